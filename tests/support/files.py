"""The files of a running daemon: some come and go while one looks."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path


def files(folder: Path) -> list[Path]:
    """Return what lies in *folder* and below it, but for folders."""
    # `Path.rglob` raises where a folder goes meanwhile.
    return sorted(Path(where, name) for where, _, names in os.walk(folder) for name in names)


def content(path: Path) -> bytes:
    """Return what a file holds; nothing where it has just gone, or is no file, such as a socket."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except FileNotFoundError:
        return b""


def holding(folder: Path, needles: Iterable[bytes]) -> list[str]:
    """Return the names below *folder* of the files that hold one of *needles*."""
    wanted = list(needles)
    found = []
    for path in files(folder):
        data = content(path)
        if any(needle in data for needle in wanted):
            found.append(str(path.relative_to(folder)))
    return found


def modes(folder: Path) -> dict[Path, int]:
    """Return the rights of all that is below *folder*, folders included."""
    found: dict[Path, int] = {}
    for where, folders, names in os.walk(folder):
        for path in (Path(where, name) for name in (*folders, *names)):
            try:
                found[path] = stat.S_IMODE(path.lstat().st_mode)
            except FileNotFoundError:
                continue
    return found
