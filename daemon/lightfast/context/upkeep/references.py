"""Who refers to assets: every SHA-256 that stands in a text which somebody can still read.

What is in the database is looked through at each run, a slice at a time. What is in the archive never changes: each
frame is read once, and what it refers to is noted in the table `asset_refs`. Private frames leave no note: while they
are locked nobody can say what they refer to, and no asset goes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

import msgspec

from lightfast.context.tiers.block import Block
from lightfast.context.tiers.shelf import Gone, Shelf
from lightfast.context.upkeep.collect_records import Reached
from lightfast.core.errors import Unavailable
from lightfast.storage.archive.records import Frame
from lightfast.storage.database import Database

T = TypeVar("T")

_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_STEP = 5000
_FRAMES = 500
HISTORY = "history"


def named(texts: Iterable[str]) -> set[str]:
    """Return every SHA-256 that stands in *texts*."""
    return {found for text in texts for found in _SHA256.findall(text)}


class Table:
    """The texts of one table, as roots: *columns* of *table*, whose *key* comes after *low* in all rows."""

    def __init__(
        self, db: Database, name: str, table: str, key: str, columns: Sequence[str], low: int | str = -(1 << 62)
    ) -> None:
        self.name = name
        self._low = low
        self._db = db
        self._table = table
        self._key = key
        self._columns = columns

    async def reach(self, reached: Reached) -> None:
        """Add every asset that is named."""
        low = self._low
        while True:
            found, last = await self._db.read(partial(self._slice, low=low))
            for sha256 in found:
                reached.assets.setdefault(sha256, self.name)
            if last is None:
                return
            low = last

    def _slice(self, connection: Any, low: int | str) -> tuple[set[str], int | str | None]:
        texts = " || ' ' || ".join(f"coalesce({column}, '')" for column in self._columns)
        # Texts too short for a SHA-256 are nearly all there are: they stay in SQLite.
        rows = f"SELECT {self._key} AS k, {texts} AS t FROM {self._table} WHERE {self._key} > ?"  # noqa: S608
        query = (
            "SELECT max(k), count(*), json_group_array(t) FILTER (WHERE length(t) >= 64)"  # noqa: S608  (constants)
            f" FROM ({rows} ORDER BY {self._key} LIMIT {_STEP})"
        )
        for last, count, listed in connection.execute(query, (low,)):
            return named([listed or ""]), last if count == _STEP else None
        return set(), None


class ArchiveFrames(Protocol):
    """What is asked of the archive."""

    async def run(self, function: Callable[[Any], T]) -> T:
        """Run *function* with a reader in a thread."""


class Private(NamedTuple):
    """How many private frames there are, and whether they can be read."""

    frames: int
    unlocked: bool


class Archived:
    """The frames of the archive, and the blocks of history among them, as roots."""

    name = "archive"

    def __init__(
        self, db: Database, archive: ArchiveFrames, shelf: Shelf, private: Callable[[], Awaitable[Private]]
    ) -> None:
        self._db = db
        self._archive = archive
        self._shelf = shelf
        self._private = private

    async def reach(self, reached: Reached) -> None:
        """Add what frames refer to."""
        private = await self._private()
        if private.frames and not private.unlocked:
            reached.closed = f"{private.frames} private frames are locked: they may refer to any asset"
            return
        if private.frames:
            await self._scan(reached)  # all of them, each time: a note would tell what is in there
        else:
            await self._scan_new()
        await self._look_at_blocks(reached)
        for (sha256,) in await self._db.query("SELECT DISTINCT sha256 FROM asset_refs"):
            reached.assets.setdefault(sha256, self.name)

    async def _scan(self, reached: Reached) -> None:
        last = -1
        while frames := await self._archive.run(partial(_next, after=last)):
            for sha256 in named(text for _, texts in frames for text in texts):
                reached.assets.setdefault(sha256, self.name)
            last = frames[-1][0][1]

    async def _scan_new(self) -> None:
        """Read the frames behind the last that was read."""
        rows = await self._db.query("SELECT mark FROM asset_scans WHERE source = 'frames'")
        last = rows[0][0] if rows else -1
        while frames := await self._archive.run(partial(_next, after=last)):
            unit = self._db.unit()
            for (frame_id, _), texts in frames:
                refs = [(sha256, frame_id) for sha256 in named(texts)]
                unit.insert("INSERT OR IGNORE INTO asset_refs VALUES(?, ?)", refs)
            last = frames[-1][0][1]
            unit.execute("INSERT OR REPLACE INTO asset_scans VALUES('frames', ?)", (last,))
            await self._db.commit(unit)

    async def _look_at_blocks(self, reached: Reached) -> None:
        fresh = await self._db.query(
            "SELECT frame FROM blocks WHERE frame NOT IN (SELECT source FROM asset_scans) ORDER BY first"
        )
        for (frame,) in fresh:
            try:
                block = await self._shelf.get(frame)
            except (Gone, Unavailable) as error:
                reached.closed = f"a block of history cannot be read ({error}): it may refer to any asset"
                return
            found = await asyncio.to_thread(_of_block, block)
            unit = self._db.unit()
            unit.insert("INSERT OR IGNORE INTO asset_refs VALUES(?, ?)", [(sha256, frame) for sha256 in found])
            unit.execute("INSERT OR REPLACE INTO asset_scans VALUES(?, 0)", (frame,))
            await self._db.commit(unit)

    async def removed(self, frame_ids: Sequence[str]) -> None:
        """Forget what frames referred to that are gone."""
        unit = self._db.unit()
        listed = msgspec.json.encode(list(frame_ids)).decode()
        unit.execute("DELETE FROM asset_refs WHERE source IN (SELECT value FROM json_each(?))", (listed,))
        unit.execute("DELETE FROM asset_scans WHERE source IN (SELECT value FROM json_each(?))", (listed,))
        await self._db.commit(unit)


def _of_block(block: Block) -> set[str]:
    return named(row.text for row in block.rows())


def _next(reader: Any, *, after: int) -> list[tuple[tuple[str, int], list[str]]]:
    """Return the ids, numbers and texts of the next frames; blocks of history are looked at by themselves."""
    frames = islice(reader.scan(after_number=after), _FRAMES)
    return [((frame.frame_id, frame.number), [] if frame.kind == HISTORY else _texts(frame)) for frame in frames]


def _texts(frame: Frame) -> list[str]:
    content = frame.content
    text = content if isinstance(content, str) else content.decode("latin-1")
    return [text, msgspec.json.encode(frame.metadata).decode()]
