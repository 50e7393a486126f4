"""Which files are workflows, and a look at the folder without reading any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

SUFFIXES = (".yaml", ".yml")
"""What the names of workflow files end in."""


def has_files(folder: Path) -> bool:
    """Say whether there is any. Blocks."""
    try:
        return any(each.suffix in SUFFIXES for each in folder.iterdir())
    except OSError:
        return False


def holding(folder: Path, wanted: Callable[[bytes], bool]) -> list[Path]:
    """Return the files whose bytes are *wanted*. Blocks."""
    if not has_files(folder):
        return []
    files = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES and each.is_file())
    return [each for each in files if wanted(each.read_bytes())]
