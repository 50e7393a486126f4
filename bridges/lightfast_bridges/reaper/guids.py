"""Reads the file in which the script in REAPER says which track is which."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger("lightfast.bridges.reaper")

VERSION = 1
MAX_SIZE = 16 << 20
"""The largest file that is read, in bytes."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What the script says: the project's file (empty: never saved), REAPER's version, the tracks' GUIDs and names."""

    project: str
    version: str
    guids: tuple[str, ...]
    names: tuple[str, ...]

    def fits(self, told: Sequence[str]) -> bool:
        """Say whether these are the tracks that REAPER tells: one without a name is told by its number."""
        return len(told) == len(self.names) and all(
            name == (f"Track {index}" if own in {"", str(index)} else own)
            for index, (name, own) in enumerate(zip(told, self.names, strict=True), 1)
        )


def resource_path(given: str = "") -> Path:
    """Return REAPER's resource path: *given*, else where this system's REAPER has it."""
    if given:
        return Path(given).expanduser()
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library/Application Support/REAPER"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", str(home))) / "REAPER"
    return home / ".config/REAPER"


class SheetFile:
    """The file, read again when it has changed."""

    def __init__(self, folder: Path) -> None:
        """*folder* is REAPER's resource path."""
        self.path = folder / "lightfast" / "tracks.json"
        self._seen: tuple[int, int, int] | None = None
        self._sheet: Sheet | None = None

    def look(self) -> Sheet | None:
        """Return what the file says now; None where there is none, or none that can be read."""
        seen: tuple[int, int, int] | None = None
        try:
            about = self.path.stat()
            seen = (about.st_mtime_ns, about.st_size, about.st_ino)
            if seen != self._seen:
                self._sheet = read_sheet(self.path.read_bytes()) if about.st_size <= MAX_SIZE else None
                self._seen = seen
        except OSError:
            self._seen = self._sheet = None
        except ValueError as error:
            log.warning("the file of the script in reaper is not understood", file=str(self.path), reason=str(error))
            self._seen, self._sheet = seen, None
        return self._sheet


def read_sheet(data: bytes) -> Sheet:
    """Return the sheet in *data*; raise `ValueError` that says what is wrong."""
    found = json.loads(data.decode("utf-8", "replace"))
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError(f"it is not of version {VERSION}: write the script anew with `lightfast pack reaper`")
    tracks = found.get("tracks")
    if not isinstance(tracks, list) or not all(
        isinstance(one, dict) and isinstance(one.get("guid"), str) and isinstance(one.get("name"), str)
        for one in tracks
    ):
        raise ValueError("its tracks have no GUIDs and names")
    guids = tuple(str(one["guid"]) for one in tracks)
    if len(set(guids)) != len(guids):
        raise ValueError("two tracks have one GUID")
    names = tuple(str(one["name"]) for one in tracks)
    return Sheet(str(found.get("project", "")), str(found.get("reaper", "")), guids, names)
