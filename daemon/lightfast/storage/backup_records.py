"""What is known of backups, without what reads and writes them: that is loaded when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

FORMAT = 1
SUFFIX = ".lfbackup"


class Head(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    store_id: str
    revision: int
    create_time: int
    lightfast: str
    parts: list[str] = []
    """What is in it: `assets`, `recordings`, `archive`."""
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Sources:
    """Where things lie; an empty part is left out. *extra* are single files by their names in the backup."""

    store: Path
    assets: Path | None = None
    archive: Path | None = None
    recordings: Callable[[], Sequence[Path]] | None = None
    """Returns the recordings that are closed."""
    extra: dict[str, Path] = field(default_factory=dict)


class Missing(Exception):
    """A file that the database names is not there."""
