"""Recordings take part in a purge: they are looked into, and named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightfast.context.upkeep.purge_files import holders
from lightfast.context.upkeep.purge_target import Item, Target
from lightfast.core.errors import LightfastError
from lightfast.engine.journal.reader import Reader


class RecordingRoom:
    """The recordings: each is one sealed session, so one that holds what is purged is named, and left to its owner."""

    name = "recordings"

    def __init__(self, recordings: Callable[[], list[tuple[Path, bool]]]) -> None:
        self._recordings = recordings

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield nothing: a session without some of its changes would replay as another one."""
        nothing: tuple[Sequence[Item], ...] = ()
        for items in nothing:
            yield items

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Do nothing; see `find`."""
        return 0

    async def remaining(self, target: Target) -> list[str]:
        """Name the recordings that hold it."""
        if not target.patterns and target.needles is None:
            return []
        known = dict(self._recordings())
        found = await asyncio.to_thread(lambda: [path for path in known if _records(path, target)])
        return [
            f"the recording {path.stem}: {'end it, then ' if known[path] else ''}delete it with "
            f"'lightfast record delete {path.stem}'"
            for path in found
        ]


def _records(path: Path, target: Target) -> bool:
    """Say whether the recording at *path* holds what is purged; packed ones are unpacked to look."""
    try:
        if target.needles is not None and holders([path], target.needles.plain):
            return True  # so one that is damaged is looked into, too
        with Reader(path) as reader:
            return _means(target, reader.head) or any(_means(target, item) for item in reader.items())
    except FileNotFoundError:
        return False
    except LightfastError:  # it cannot be replayed either: its bytes were looked at
        return False


def _means(target: Target, item: Any) -> bool:
    """Say whether a record names a purged path, or holds the text."""
    if target.needles is not None and target.needles.in_value(item):
        return True
    return bool(target.patterns) and any(target.path_matches(text) for text in _texts(item) if text.startswith("/"))


def _texts(item: Any) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif isinstance(item, dict):
        for name, value in item.items():
            yield name
            yield from _texts(value)
    elif isinstance(item, list | tuple):
        for value in item:
            yield from _texts(value)
