"""The past in one piece: whatever it needs of the archive is fetched, whatever lies in SQLite is read there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from lightfast.context.history import MAX_PAGE_SIZE
from lightfast.context.records import Gap
from lightfast.context.tiers.shelf import AT_ONCE, Gone, Shelf
from lightfast.context.tiers.view import Ask, Found, Gathered, Need, View
from lightfast.core.errors import Unavailable
from lightfast.storage.database import Database

if TYPE_CHECKING:
    from lightfast.context.tiers.block import Block

T = TypeVar("T")

_FEW = 50
"""More answers than this are looked up in a thread."""
_ROUNDS = 10_000
_MOVED = 20
"""How often a read begins anew because blocks were rewritten under it."""


class Past:
    """Runs functions of a `View` until nothing is missing."""

    def __init__(self, db: Database, shelf: Shelf) -> None:
        self.db = db
        self.shelf = shelf
        self.touched: Callable[[str], None] | None = None
        """Called with the frame of each block that is read."""

    async def run(self, function: Callable[[View], T], *, paged: bool = False, gaps: dict[str, Gap] | None = None) -> T:
        """Return what *function* does; *paged* says that it can do with less than it asked for.

        It runs in a reader thread, perhaps several times, each time with a new snapshot. Raises `Unavailable`
        (BLOCK_UNREADABLE) naming the frame and what is wrong with it; with *gaps* it does without the block, and names
        it there.
        """
        gathered = Gathered()
        if gaps is not None:
            gathered.unreadable.update(gaps)
        moved = 0
        for _ in range(_ROUNDS):
            try:
                return await self.db.read(lambda connection: function(View(connection, gathered)))
            except Need as need:
                missing = need
            try:
                await self._gather(missing, gathered, paged)
            except Gone as gone:
                moved += 1
                await self.check(gone, last=moved >= _MOVED, gaps=gaps)
                gathered.unreadable.update(gaps or ())
        raise Unavailable("the history changes faster than it can be read: try again", reason="READ_OVERTAKEN")

    async def check(self, gone: Gone, *, last: bool = False, gaps: dict[str, Gap] | None = None) -> None:
        """Return where the frame was rewritten meanwhile; else raise the error of a block that cannot be read.

        With *gaps* it is noted there instead.
        """
        rows = await self.db.query(
            "SELECT first, last, first_revision, last_revision FROM blocks WHERE frame = ?", (gone.frame,)
        )
        if not rows and not last:
            return
        first, end, *revisions = rows[0] if rows else (0, 0, 0, 0)
        if gaps is not None and rows:
            gaps[gone.frame] = Gap(revisions[0], revisions[1], gone.frame, gone.why)
            return
        raise Unavailable(
            f"the revisions {revisions[0]} to {revisions[1]} lie in the frame {gone.frame} of the archive, which "
            f"cannot be read: {gone.why}. Run 'lightfast archive verify', then 'lightfast archive repair'; what is "
            "lost comes back only with a backup. Everything outside of it can still be read",
            reason="BLOCK_UNREADABLE",
            metadata={"frame": gone.frame, "why": gone.why, "first_row": str(first), "last_row": str(end)},
        )

    async def _gather(self, need: Need, gathered: Gathered, paged: bool) -> None:
        unreadable = gathered.unreadable
        frames = [frame for frame in need.frames if frame not in unreadable]
        for frame in frames:
            self._touch(frame)
        async for frame, block in self.shelf.each(frames):
            gathered.blocks[frame] = block
        if unreadable:
            gathered.answers.update({ask: ask.unknown() for ask in need.asks if ask.frame in unreadable})
        size = 0
        readable = [ask for ask in need.asks if ask.frame not in unreadable]
        for asks in _windows(readable):  # in the order of the page, so that what is left out is its end
            for frame in asks:
                self._touch(frame)
            blocks = {frame: block async for frame, block in self.shelf.each(list(asks))}
            wanted = [ask for listed in asks.values() for ask in listed]
            if len(wanted) > _FEW:
                answers = await asyncio.to_thread(_answers, wanted, blocks)
            else:
                answers = _answers(wanted, blocks)
            gathered.answers.update(answers)
            size += sum([found.size for found in answers.values() if found is not None and not found.gone])
            if paged and size > MAX_PAGE_SIZE:
                gathered.full = True
                return

    async def block(self, frame: str) -> Block:
        """Return one block; raise `Gone`."""
        self._touch(frame)
        return await self.shelf.get(frame)

    def _touch(self, frame: str) -> None:
        if self.touched is not None:
            self.touched(frame)


def _windows(asks: Sequence[Ask]) -> Iterator[dict[str, list[Ask]]]:
    """Yield *asks* by frame, some frames at a time."""
    window: dict[str, list[Ask]] = {}
    for ask in asks:
        if ask.frame not in window and len(window) == AT_ONCE:
            yield window
            window = {}
        window.setdefault(ask.frame, []).append(ask)
    if window:
        yield window


def _answers(asks: Sequence[Ask], blocks: Mapping[str, Block]) -> dict[Ask, Found | None]:
    return {ask: ask.answer(blocks[ask.frame]) for ask in asks}
