"""The half of a bridge that lives inside an application, as an installable file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path


class Pack(ABC):
    """One in-application half; `lightfast pack NAME --output FOLDER` writes it."""

    name: str
    description: str

    @abstractmethod
    def write(self, folder: Path) -> tuple[Path, str]:
        """Write the file(s) into *folder*; return the main file and one line on how to install it."""
