"""The file with what a server says on its standard error."""

from __future__ import annotations

import os
from pathlib import Path

from lightfast_bridges.mcp.settings import Settings

MOST_LOG = 1 << 20
"""The file begins anew over so many bytes."""


def log_file(settings: Settings, folder: str) -> Path:
    """Return the file; the null device where there is no folder for it."""
    place = Path(folder) if folder else None
    return place / f"{settings.name}.log" if place is not None and place.is_dir() else Path(os.devnull)


def trim(settings: Settings, folder: str) -> None:
    """Empty the file where it is too large; who writes it has it open to append, and goes on at its beginning."""
    path = log_file(settings, folder)
    try:
        if path.is_file() and path.stat().st_size > MOST_LOG:
            os.truncate(path, 0)
    except OSError:
        return  # it is looked at again
