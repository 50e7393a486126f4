"""The tiers of the past: SQLite for what is new, the archive for what is old, and one read over both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from lightfast.context.tiers.blocks import MAX_ROWS, Blocks
from lightfast.context.tiers.demoter import Demoted, Demoter
from lightfast.context.tiers.past import Past
from lightfast.context.tiers.results import Results
from lightfast.context.tiers.shelf import CACHE_SIZE, Frames, Shelf
from lightfast.context.tiers.view import View
from lightfast.core.clock import Clock
from lightfast.core.tasks import TaskGroup
from lightfast.storage.database import Database

if TYPE_CHECKING:
    from lightfast.context.tiers.block import Row
    from lightfast.context.tiers.mending import Progress, Rebuilt
    from lightfast.context.upkeep.purge_history import Edit
    from lightfast.context.upkeep.purge_target import Target

T = TypeVar("T")


class TierOptions(msgspec.Struct, frozen=True):
    """The settings of `[history]`, `[cache]` and `[archive]` that matter here; sizes in bytes, 0 for no bound."""

    keep_days: float = 30.0
    quota: int = 2 << 30
    archive_quota: int = 0
    cache_size: int = CACHE_SIZE
    prefetch: bool = True
    block_rows: int = MAX_ROWS


class Tiers:
    """What the store reads the past through; also what moves, drops and mends it."""

    def __init__(
        self, db: Database, clock: Clock, frames: Frames | None = None, options: TierOptions | None = None
    ) -> None:
        """*frames* is the archive; without one nothing moves, and what has moved cannot be read."""
        options = options or TierOptions()
        self.options = options
        self.shelf = Shelf(frames, size=options.cache_size)
        self.past = Past(db, self.shelf)
        self.blocks = Blocks(db, self.shelf, clock, rows=options.block_rows)
        self.demoter = Demoter(
            db,
            self.blocks,
            clock,
            keep_days=options.keep_days,
            quota=options.quota,
            archive_quota=options.archive_quota,
        )
        self.results = Results(options.cache_size // 2)
        self.demoter.on_moved = self.results.clear
        self._db = db
        self._tasks = TaskGroup("tiers")

    def start(self) -> None:
        """Begin to move what is old, in the background."""
        if self.shelf.frames is not None:
            self._tasks.start(self.demoter.run(), "demotion")

    async def close(self) -> None:
        """End what runs in the background."""
        await self._tasks.close()

    async def run(self, function: Callable[[View], T], *, paged: bool = False) -> T:
        """Run *function* with a view of both tiers; see `Past.run`."""
        return await self.past.run(function, paged=paged)

    async def demote(self, until: int | None = None, *, seconds: float = 0.0, size: int = 0) -> Demoted:
        """Move history to the archive now; see `Demoter.demote`."""
        return await self.demoter.demote(until, seconds=seconds, size=size)

    async def limit_of(self, revision: int) -> int:
        """Return the first row after *revision*."""
        return await self.run(lambda view: view.limit_of(revision))

    async def drop(self, revision: int) -> int:
        """Drop from the archive what only revisions before *revision* need; for `compact`, under the lock."""
        from lightfast.context.tiers.dropping import drop  # seldom used, and not needed for a start

        if not await self._db.query("SELECT 1 FROM blocks LIMIT 1"):
            return 0
        try:
            return await drop(self.past, self.blocks, revision, await self.limit_of(revision))
        finally:
            self.results.clear()

    def find_edits(self, target: Target) -> AsyncIterator[Sequence[Edit]]:
        """Yield what a purge does to archived rows."""
        from lightfast.context.tiers.mending import find_edits

        return find_edits(self.past, target)

    async def edit(self, edits: Sequence[Edit], purge_id: str) -> int:
        """Do it to those of the rows that are archived, and return how many those were; again is harmless."""
        from lightfast.context.tiers.mending import edit

        try:
            return await edit(self.past, self.blocks, edits, purge_id)
        finally:
            self.forget()

    async def rewrite(self, unwanted: Callable[[Row], bool]) -> int:
        """Take the rows that are *unwanted* out of every block, bytes and all; return how many they were."""
        from lightfast.context.tiers.mending import rewrite

        try:
            return await rewrite(self.past, self.blocks, unwanted)
        finally:
            self.forget()

    async def rebuild(self, progress: Progress | None = None) -> Rebuilt:
        """Make the records of the blocks anew from the frames of the archive alone."""
        from lightfast.context.tiers.mending import rebuild

        try:
            return await rebuild(self.past, self.blocks, progress)
        finally:
            self.forget()

    def forget(self) -> None:
        """Empty every cache of the past."""
        self.shelf.forget()
        self.results.clear()
