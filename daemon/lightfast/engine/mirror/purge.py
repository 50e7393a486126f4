"""The files of a mirror take part in a purge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightfast.context.upkeep.purge_target import BATCH, Item, Target
from lightfast.engine.mirror.files import FOLDERS, Files

if TYPE_CHECKING:
    from lightfast.engine.mirror.mirror import Mirror


class MirrorPurge:
    """A file that holds the text goes, and is written again as the database has its record now.

    *folder* is `None` where there is no mirror. An item is the name of a file, which is the identity of its record.
    """

    name = "mirror"

    def __init__(self, folder: Path | None, mirror: Callable[[], Mirror | None]) -> None:
        self._folder = folder
        self._mirror = mirror

    async def find(self, target: Target) -> AsyncIterator[Sequence[Item]]:
        """Yield the names of the files."""
        found = await asyncio.to_thread(self._holding, target, ".json")
        for start in range(0, len(found), BATCH):
            yield found[start : start + BATCH]

    async def erase(self, items: Sequence[Item], purge_id: str) -> int:
        """Remove the files, and have all records written again."""
        folder = self._folder
        if folder is None:
            return 0

        def remove() -> None:
            files = Files(folder)
            files.open()
            files.forget(map(str, items))

        mirror = self._mirror()
        if mirror is not None:
            await mirror.erase(map(str, items))
        else:
            await asyncio.to_thread(remove)
        return len(items)

    async def remaining(self, target: Target) -> list[str]:
        """Name the files that others wrote and that were put aside."""
        found = await asyncio.to_thread(self._holding, target, "")
        return [f"the file {name} in the mirror {self._folder}: others wrote it, delete it" for name in found]

    def _holding(self, target: Target, suffix: str) -> list[str]:
        """Return the files that hold the text; without *suffix* those that are no records."""
        if self._folder is None or target.needles is None:
            return []
        found: list[str] = []
        for name in FOLDERS.values():
            for path in sorted((self._folder / name).glob("*")):
                wanted = (path.suffix == ".json") is bool(suffix) and path.is_file()
                if wanted and target.needles.in_bytes(path.read_bytes()):
                    found.append(f"{name}/{path.name}")
        return found
