"""Demotion: history that is old, or too much, moves to the archive, verified before it leaves SQLite."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog

from lightfast.context import history
from lightfast.context.tiers.blocks import MAX_SIZE, Blocks, Part, Written, done, parts_of, record
from lightfast.context.tiers.view import listed
from lightfast.core.clock import Clock
from lightfast.core.errors import Exhausted, LightfastError
from lightfast.storage.database import Database, Unit

if TYPE_CHECKING:
    from lightfast.context.tiers.block import Head, Row

log = structlog.get_logger("lightfast.tiers")

INTERVAL = 60.0
"""Seconds between two looks at what is old."""
_REST = 3.0
"""In the background a slice of work is followed by a rest so many times as long."""
_BATCH = 4
"""How many blocks are appended at a time."""
_DAY_NS = 86_400 * 10**9
_SAMPLE = 512
_SHARE = 0.9
"""Above the quota, so much of it is kept: demotion comes in portions."""
_parse = msgspec.json.Decoder().decode


class Demoted(NamedTuple):
    """What moved: transactions, rows, bytes of their texts, blocks; *until* is the last revision in the archive."""

    revisions: int = 0
    rows: int = 0
    bytes: int = 0
    blocks: int = 0
    until: int = 0


class Size(NamedTuple):
    """What could leave SQLite: *rows* exactly, *bytes* estimated from a sample, with their indexes."""

    rows: int
    bytes: int


class Archived(NamedTuple):
    """What the archive holds of the history; *bytes* before compression."""

    blocks: int
    rows: int
    bytes: int


class Demoter:
    """Moves the oldest transactions, whole and in order; the last one always stays in SQLite."""

    def __init__(
        self,
        db: Database,
        blocks: Blocks,
        clock: Clock,
        *,
        keep_days: float,
        quota: int,
        archive_quota: int,
    ) -> None:
        """*quota* and *archive_quota* are in bytes; 0 for none."""
        self.keep_days = keep_days
        self.quota = quota
        self.archive_quota = archive_quota
        self.paused = ""
        """Why nothing moves, where nothing can; a reason in capitals."""
        self.total = Demoted()
        self.size = Size(0, 0)
        self.archived = Archived(0, 0, 0)
        self.on_moved: Callable[[], None] = _nothing
        self.turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext
        """Lets a slice in the background wait for its turn."""
        self._db = db
        self._blocks = blocks
        self._clock = clock

    async def run(self) -> None:
        """Demote what is due, for ever, in slices with rests between them."""
        while True:
            try:
                await self.demote(rest=_REST)
            except LightfastError as error:
                self._pause(error)
            await asyncio.sleep(INTERVAL)

    async def due(self) -> int:
        """Return the last revision that is to move by age or quota; 0 for none."""
        before = self._clock.now_ns() - int(self.keep_days * _DAY_NS)
        self.size = await self.measure()
        surplus = 0
        if self.quota and self.size.bytes > self.quota:
            surplus = int(self.size.rows * (1 - _SHARE * self.quota / self.size.bytes))

        def find(connection: Any) -> int:
            ((first, last, row),) = connection.execute(
                "SELECT min(revision), max(revision) - 1, (SELECT first FROM transactions ORDER BY revision LIMIT 1)"
                " FROM transactions"
            )
            if first is None or last < first:
                return 0
            by_age = history.revision_at(connection, before - 1, last)
            by_size = _up_to_row(connection, first, last, row + surplus) if surplus else 0
            return max(by_age, by_size)

        return await self._db.read(find)

    async def measure(self) -> Size:
        """Return what the history takes in SQLite."""

        def look(connection: Any) -> Size:
            ((low, high),) = connection.execute(
                "SELECT (SELECT first FROM transactions ORDER BY revision LIMIT 1), (SELECT max(row) FROM history)"
            )
            query = "SELECT count(*), coalesce(sum(rows), 0), coalesce(sum(bytes), 0) FROM blocks"
            for found in connection.execute(query):
                self.archived = Archived(*found)
            if low is None or high is None or high < low:
                return Size(0, 0)
            rows = high - low + 1
            chosen = list(range(low, high + 1, max(1, rows // _SAMPLE)))[:_SAMPLE]
            # A row, its text and path, and the path once more in each of two indexes.
            ((average,),) = connection.execute(
                "SELECT avg(octet_length(entry) + 3 * octet_length(path) + 60) FROM history"
                " WHERE row IN (SELECT value FROM json_each(?))",
                (listed(chosen),),
            )
            return Size(rows, int(rows * (average or 0)))

        return await self._db.read(look)

    async def estimate(self, until: int) -> int:
        """Return about how many bytes of texts a move up to the revision *until* takes along, from a sample."""

        def look(connection: Any) -> int:
            ((low,),) = connection.execute("SELECT (SELECT first FROM transactions ORDER BY revision LIMIT 1)")
            high = history.limit_of(connection, until)
            if low is None or high <= low:
                return 0
            chosen = list(range(low, high, max(1, (high - low) // _SAMPLE)))
            ((average,),) = connection.execute(
                "SELECT avg(octet_length(entry)) FROM history WHERE row IN (SELECT value FROM json_each(?))",
                (listed(chosen),),
            )
            return int((high - low) * (average or 0))

        return await self._db.read(look)

    async def demote(
        self, until: int | None = None, *, seconds: float = 0.0, size: int = 0, rest: float = 0.0
    ) -> Demoted:
        """Move history up to the revision *until*, or what is due; stop after *seconds* or *size* bytes, unless 0.

        Between slices it rests *rest* times as long as they took. Raises what the archive raises, `Exhausted`
        (ARCHIVE_FULL) at its quota, and `FailedPrecondition` (BLOCK_DIFFERS); nothing is lost then.
        """
        last = await self.due() if until is None else until
        began = time.monotonic()
        moved = Demoted()
        while moved.until < last:
            if (seconds and time.monotonic() - began >= seconds) or (size and moved.bytes >= size):
                break
            slice_began = time.monotonic()
            async with self.turn() if rest else nullcontext(), self._blocks.lock:
                await self._check_room()
                some = await self._step(last)
            if not some.blocks:
                break
            moved = _sum(moved, some)
            if rest:
                await asyncio.sleep(rest * (time.monotonic() - slice_began))
        if moved.blocks:
            log.info("history moved to the archive", blocks=moved.blocks, rows=moved.rows, until=moved.until)
        self._resume()
        return moved

    async def _check_room(self) -> None:
        if not self.archive_quota:
            return
        taken = (await self._blocks.frames.stats()).bytes
        if taken >= self.archive_quota:
            raise Exhausted(
                f"the archive takes {taken} bytes, its quota is {self.archive_quota}: no more history moves there, and "
                "all of it stays in the database. Raise [archive] quota, or compact what is no longer needed",
                reason="ARCHIVE_FULL",
                metadata={"bytes": str(taken), "quota": str(self.archive_quota)},
            )

    async def _step(self, last: int) -> Demoted:
        """Move the next few blocks up to the revision *last*; call it under the lock."""
        parts = await self._db.read(lambda connection: _slice(connection, last, self._blocks.rows))
        if not parts:
            return Demoted()
        token, written = await self._blocks.write(parts)
        for block in written:
            unit = self._db.unit()
            record(unit, block)
            _leave(unit, block)
            if block is written[-1]:
                done(unit, token)
            await self._db.commit(unit)
        revisions = sum([len(part.heads) for part in parts])
        rows = sum([len(part.rows) for part in parts])
        size = sum([len(row.text) for part in parts for row in part.rows])
        until = parts[-1].heads[-1].revision if parts[-1].heads else 0
        moved = Demoted(revisions, rows, size, len(parts), until)
        self.total = _sum(self.total, moved)
        self.on_moved()
        return moved

    def _pause(self, error: LightfastError) -> None:
        if self.paused != error.reason:
            self.paused = error.reason
            log.warning("history does not move to the archive", reason=error.reason, error=error.message)

    def _resume(self) -> None:
        if self.paused:
            self.paused = ""
            log.info("history moves to the archive again")


def _sum(one: Demoted, more: Demoted) -> Demoted:
    return Demoted(
        one.revisions + more.revisions,
        one.rows + more.rows,
        one.bytes + more.bytes,
        one.blocks + more.blocks,
        max(one.until, more.until),
    )


def _nothing() -> None:
    """Tell nobody."""


def _up_to_row(connection: Any, low: int, high: int, limit: int) -> int:
    """Return the last revision from *low* to *high* whose rows all come before *limit*, or 0. By halving."""
    found = 0
    while low <= high:
        middle = (low + high) // 2
        if history.limit_of(connection, middle) <= limit:
            found, low = middle, middle + 1
        else:
            high = middle - 1
    return found


def _leave(unit: Unit, written: Written) -> None:
    """Add to *unit* what takes the rows of a block out of SQLite; those that the live tree needs stay as copies."""
    part = written.part
    not_live = "NOT EXISTS (SELECT 1 FROM live WHERE live.path = history.path AND live.row = history.row)"
    paths = listed(sorted({row.path for row in part.rows}))
    if part.heads:
        revisions = (part.heads[0].revision, part.heads[-1].revision)
        unit.execute("DELETE FROM transactions WHERE revision BETWEEN ? AND ?", revisions)
    unit.execute(f"DELETE FROM history WHERE row BETWEEN ? AND ? AND {not_live}", (part.first, part.last))  # noqa: S608
    # Copies of rows that were live when they moved, and are no longer.
    unit.execute(
        f"DELETE FROM history WHERE path IN (SELECT value FROM json_each(?)) AND row < ? AND {not_live}",  # noqa: S608
        (paths, part.first),
    )


def _slice(connection: Any, last: int, most: int) -> list[Part]:
    """Return the next parts that are to move: the oldest transactions up to the revision *last*, *most* rows each."""
    from lightfast.context.tiers.block import Head  # only where something moves

    heads: list[Head] = []
    query = (
        "SELECT json_group_array(json_array(revision, record_time, origin, cause, grp, label, undone, first, rows))"
        " FROM (SELECT * FROM transactions WHERE revision <= ? AND revision < (SELECT max(revision) FROM transactions)"
        " ORDER BY revision LIMIT ?)"
    )
    for (text,) in connection.execute(query, (last, _BATCH * most)):
        heads = [Head(*fields) for fields in _parse(text)]
    if not heads:
        return []
    kept = _kept_before(connection, heads[0].first, most)
    if kept:
        return kept[:_BATCH]
    parts: list[Part] = []
    start = 0
    while start < len(heads) and len(parts) < _BATCH:
        end, count = start, 0
        while end < len(heads) and (end == start or count + heads[end].rows <= most):
            count += heads[end].rows
            end += 1
        rows = _rows(connection, heads[start].first, heads[end - 1].first + heads[end - 1].rows)
        end, rows = _fitting(heads, start, end, rows)
        parts.append(Part(heads[start].first, heads[end - 1].first + heads[end - 1].rows - 1, heads[start:end], rows))
        start = end
    return parts


def _kept_before(connection: Any, first: int, most: int) -> list[Part]:
    """Return what a compaction has kept before the row *first*, and is in no block yet."""
    ((border,),) = connection.execute("SELECT coalesce((SELECT last + 1 FROM blocks ORDER BY first DESC LIMIT 1), 0)")
    rows = _rows(connection, border, first, _BATCH * most + 1)
    if len(rows) > _BATCH * most:  # the rest comes with the next slice
        first = rows[-1].row
        del rows[-1]
    return parts_of(border, first - 1, rows, most)


def _fitting(heads: list[Head], start: int, end: int, rows: list[Row]) -> tuple[int, list[Row]]:
    """Return how many of *heads* fit into a block, and their rows."""
    size = at = 0
    for index in range(start, end):
        limit = heads[index].first + heads[index].rows
        until = at
        while until < len(rows) and rows[until].row < limit:
            size += len(rows[until].text)
            until += 1
        if index > start and size > MAX_SIZE:
            return index, rows[:at]
        at = until
    return end, rows


def _rows(connection: Any, low: int, high: int, count: int = -1) -> list[Row]:
    from lightfast.context.tiers.block import Row

    query = (
        "SELECT json_group_array(json_array(row, revision, path, kind, source, event_time, entry)) FROM"
        " (SELECT * FROM history WHERE row >= ? AND row < ? ORDER BY row LIMIT ?)"
    )
    for (text,) in connection.execute(query, (low, high, count)):
        return [Row(*fields) for fields in _parse(text)]
    return []
