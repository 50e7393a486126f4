"""Starts a real application, joined to a daemon: for the demo, for tests, for a desk set up by one command."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path


class Launcher(ABC):
    """One kind of application that can be started without a screen."""

    name: str

    @abstractmethod
    def find(self) -> str | None:
        """Return what would be started, for a person (`Blender 3.4.1 at /usr/bin/blender`); None if nothing is."""

    @abstractmethod
    def start(self, home: Path, *, document: Path | None = None, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start it so that it joins the daemon of *home* and opens *document*; its output goes to *log*.

        The process is the application itself: killing it kills the application. Raises `MissingDependency`.
        """
