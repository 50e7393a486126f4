"""Looks for a text in the bytes of every file, to prove that it is gone, or to name where it is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lightfast.storage.backup_records import SUFFIX
from lightfast.storage.scrub import holds

MOST = 100
"""So many files are named."""


def files(folders: Sequence[Path]) -> list[Path]:
    """Return all plain files below *folders*, each once, but for backups, which are named in any case."""
    found: dict[Path, None] = {}
    for folder in folders:
        for place, _, names in os.walk(folder):
            for name in names:
                path = Path(place, name)
                if path.suffix != SUFFIX and path.is_file() and not path.is_symlink():
                    found[path] = None
    return list(found)


def holders(paths: Sequence[Path], needles: Sequence[bytes]) -> list[Path]:
    """Return those of *paths* that hold one of *needles*; one that is there and cannot be read counts as holding it."""
    found = []
    for path in paths:
        try:
            held = holds(path, needles)
        except OSError:
            held = path.exists()
        if held:
            found.append(path)
    return found
