"""Starts the Blender of this machine without a window, joined to a daemon."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

from lightfast.sdk import Launcher, MissingDependency
from lightfast_bridges.blender import headless

VERSION_S = 60.0
"""The longest that asking for the version may take."""


class BlenderLauncher(Launcher):
    """The application where it is installed, else an interpreter with the module `bpy`."""

    name = "blender"

    def find(self) -> str | None:
        """Return the version and the place of what would be started."""
        found = headless.find()
        if found is None:
            return None
        ask = ["-c", "import bpy; print('Blender', bpy.app.version_string)"] if found.module else ["--version"]
        try:
            done = subprocess.run([found.program, *ask], capture_output=True, text=True, timeout=VERSION_S, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        said = [line for line in done.stdout.splitlines() if line.startswith("Blender")]
        version = said[0].strip() if said else "Blender"
        return f"{version}, {'the module bpy of' if found.module else 'at'} {found.program}"

    def start(self, home: Path, *, document: Path | None = None, log: Path | None = None) -> subprocess.Popen[bytes]:
        """Start it; it uses ZMQ where the running Python's pyzmq fits its Python, else TCP."""
        found = headless.find()
        if found is None:
            raise MissingDependency("Blender", headless.INSTALL)
        blend = document or ""
        paths = zmq_paths()
        if log is None:
            return headless.start(found, home=home, blend=blend, paths=paths)
        with log.open("ab") as output:
            return headless.start(found, home=home, blend=blend, paths=paths, output=output)


def zmq_paths() -> list[Path]:
    """Return the folder of the running Python's pyzmq, which Blender takes or leaves; none where there is none."""
    found = importlib.util.find_spec("zmq")
    if found is None or found.origin is None:
        return []
    return [Path(found.origin).parent.parent]
