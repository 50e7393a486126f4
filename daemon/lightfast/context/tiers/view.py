"""One look at history and archive: which row was the last at a path, wherever it lies.

A view is one SQLite snapshot and what was fetched from the archive for it so far. Its functions run in a reader
thread and do not wait: what they miss they name in `Need`, and run anew once it is there. Rows never change and a
block is named by its frame, so what was fetched for one snapshot holds for the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lightfast.context import history
from lightfast.context.codec import decode
from lightfast.context.entry import Entry
from lightfast.context.kinds import GONE, Kind
from lightfast_link.path import Pattern

if TYPE_CHECKING:
    from lightfast.context.tiers.block import Block, Head

_parse = msgspec.json.Decoder().decode


class Found(NamedTuple):
    """A row of the history; *entry* is what it left at the path, gone or not. *size* is about its bytes."""

    row: int
    kind: int
    source: str | None
    entry: Entry
    archived: bool
    size: int

    @property
    def gone(self) -> bool:
        """Say whether there is no entry after it."""
        return self.kind in GONE


class Ask(NamedTuple):
    """Asks the block in *frame* for the last row of *path* before *limit*; with *time*, the last that had happened."""

    frame: str
    path: str
    limit: int
    time: int | None

    def unknown(self) -> Found:
        """Return the answer of a block that cannot be read: whatever was there last, it is not known."""
        entry = Entry(self.path, None, 0, 0, 0, "", 0, self.time or 0, 0)
        return Found(self.limit - 1, Kind.DELETE, None, entry, True, 0)

    def answer(self, block: Block) -> Found | None:
        """Return what *block* has of it."""
        if self.time is None:
            index = block.before(self.path, self.limit)
        else:
            index = block.happened(self.path, self.limit, self.time)
        return None if index is None else found_in(block, index)


class Need(Exception):
    """The view cannot go on without these: answers to *asks*, the whole blocks in *frames*."""

    def __init__(self, asks: Sequence[Ask] = (), frames: Sequence[str] = ()) -> None:
        super().__init__(f"{len(asks)} rows and {len(frames)} blocks are missing")
        self.asks = asks
        self.frames = frames


class Unreadable(Exception):
    """The view cannot go on, for the block in *frame* cannot be read, and the read does without it."""

    def __init__(self, frame: str) -> None:
        super().__init__(frame)
        self.frame = frame


class Gathered:
    """What was fetched for one read: answers, and whole blocks by frame; *full* says that no more will be.

    *unreadable* are the frames of blocks that the read does without.
    """

    __slots__ = ("answers", "blocks", "full", "unreadable")

    def __init__(self) -> None:
        self.answers: dict[Ask, Found | None] = {}
        self.blocks: dict[str, Block] = {}
        self.full = False
        self.unreadable: set[str] = set()


class View:
    """Reads both tiers through *connection*; see the module."""

    __slots__ = ("_gathered", "archived", "border", "connection")

    def __init__(self, connection: Any, gathered: Gathered) -> None:
        self.connection = connection
        self._gathered = gathered
        self.border = 0
        """The first row that is in no block; 0 where there are no blocks."""
        self.archived = 0
        """The last revision that is in a block."""
        for first, last in connection.execute("SELECT max(first), last + 1 FROM blocks"):
            self.border = last if first is not None else 0
        if self.border:
            query = "SELECT max(last_revision) FROM blocks WHERE last_revision > 0"
            for (revision,) in connection.execute(query):
                self.archived = revision or 0

    def text(self, query: str, **bounds: Any) -> Any:
        """Return the one JSON text of *query*, parsed; `None` where there is none."""
        for (text,) in self.connection.execute(query, bounds):
            return _parse(text) if text else None
        return None

    def block(self, frame: str) -> Block:
        """Return the block in *frame*."""
        try:
            return self._gathered.blocks[frame]
        except KeyError:
            if frame in self._gathered.unreadable:
                raise Unreadable(frame) from None
            raise Need((), [frame]) from None

    def blocks(self, frames: Sequence[str]) -> list[Block]:
        """Return the blocks in *frames*."""
        missing = [frame for frame in frames if frame not in self._gathered.blocks]
        if missing:
            raise Need((), missing)
        return [self._gathered.blocks[frame] for frame in frames]

    def block_of(self, revision: int) -> Block | None:
        """Return the block that the transaction *revision* is in."""
        query = (
            "SELECT frame, first_revision FROM blocks WHERE last_revision >= ? AND last_revision > 0"
            " ORDER BY last_revision LIMIT 1"
        )
        for frame, first in self.connection.execute(query, (revision,)):
            return self.block(frame) if first <= revision else None
        return None

    def head(self, revision: int) -> Head | None:
        """Return the transaction *revision*."""
        from lightfast.context.tiers.block import Head  # the format of blocks is loaded with the first look back

        query = (
            "SELECT revision, record_time, origin, cause, grp, label, undone, first, rows"
            " FROM transactions WHERE revision = ?"
        )
        for fields in self.connection.execute(query, (revision,)):
            return Head(*fields)
        if revision > self.archived:
            return None
        block = self.block_of(revision)
        return None if block is None else block.find(revision)

    def limit_of(self, revision: int) -> int:
        """Return the first row after *revision*."""
        limit = history.limit_of(self.connection, revision)
        if limit or revision > self.archived or revision <= 0:
            return limit
        head = self.head(revision)
        return head.first + head.rows if head is not None else 0

    def edge(self, revision: int, *, upper: bool) -> int:
        """Return the first row after *revision*; where only its block is known, an edge of that."""
        try:
            return self.limit_of(revision)
        except Unreadable as found:
            query = "SELECT first, last + 1 FROM blocks WHERE frame = ?"
            for first, last in self.connection.execute(query, (found.frame,)):
                return int(last if upper else first)
            raise

    def revision_at(self, time: int, last: int) -> int:
        """Return the last revision recorded at or before *time*; 0 where there is none."""
        found = history.revision_at(self.connection, time, last)
        if found or not self.border:
            return found
        query = (
            "SELECT frame, last_revision, last_time FROM blocks WHERE first_time <= ? AND last_revision > 0"
            " ORDER BY first_time DESC, first DESC LIMIT 1"
        )
        for frame, revision, recorded in self.connection.execute(query, (time,)):
            return min(last, revision if recorded <= time else self.block(frame).recorded(time))
        return 0

    def latest(self, wanted: Sequence[tuple[str, int]], time: int | None = None) -> list[Found | None]:
        """Return, for each path and limit, the last row of the path before the row *limit*, gone or not.

        With *time*, the one that happened last by then (ns since 1970), of those at once the last written. Where the
        page is full before the last of them, the rest is left out.
        """
        if not wanted:
            return []
        kept = self._kept(wanted, time)
        if not self.border:
            return kept
        asks = self._asks(wanted, kept, time)
        missing = [ask for listed in asks for ask in listed if ask not in self._gathered.answers]
        if missing and not self._gathered.full:
            raise Need(missing)
        found: list[Found | None] = []
        for row, listed in zip(kept, asks, strict=True):
            best = row
            for ask in listed:
                if ask not in self._gathered.answers:
                    return found
                best = _later(best, self._gathered.answers[ask], time)
            found.append(best)
        return found

    def _kept(self, wanted: Sequence[tuple[str, int]], time: int | None) -> list[Found | None]:
        """Return what SQLite has."""
        latest = _LATEST_BY_RECORD if time is None else _LATEST_BY_EVENT
        query = (
            "WITH w(number, path, limit_row) AS MATERIALIZED"
            " (SELECT key, value ->> 0, value ->> 1 FROM json_each(:wanted))"
            " SELECT '[' || group_concat('[' || w.number || ',' || h.row || ',' || h.revision || ',' || h.kind || ','"
            " || json_quote(h.source) || ',' || octet_length(h.entry) || ',' || h.entry || ']') || ']'"
            " FROM w JOIN history h ON h.row = (LATEST)"
        )
        query = query.replace("LATEST", latest)
        found: list[Found | None] = [None] * len(wanted)
        for number, row, revision, kind, source, size, fields in (
            self.text(query, wanted=listed(wanted), time=time) or ()
        ):
            found[number] = Found(row, kind, source, decode(wanted[number][0], revision, fields), False, size)
        return found

    def _asks(
        self, wanted: Sequence[tuple[str, int]], kept: Sequence[Found | None], time: int | None
    ) -> list[list[Ask]]:
        """Return what is to be asked of the archive, beyond what SQLite *kept*."""
        asks: list[list[Ask]] = [[] for _ in wanted]
        if time is None:
            query = (
                "WITH w(number, path, limit_row) AS MATERIALIZED"
                " (SELECT key, value ->> 0, value ->> 1 FROM json_each(:wanted))"
                " SELECT json_group_array(json_array(w.number, b.frame, p.last)) FROM w"
                " JOIN block_paths p ON p.path = w.path AND p.block = (SELECT max(block) FROM block_paths"
                " WHERE path = w.path AND block < w.limit_row AND first < w.limit_row)"
                " JOIN blocks b ON b.first = p.block"
            )
            rest = [(number, *ask) for number, ask in enumerate(wanted) if _may_be_later(kept[number], self.border)]
            for position, frame, last in self.text(query, wanted=listed([ask[1:] for ask in rest])) or ():
                number, path, limit = rest[position]
                row = kept[number]
                if row is None or last > row.row or last >= limit:
                    asks[number].append(Ask(frame, path, limit, None))
            return asks
        query = (
            "WITH w(number, path, limit_row) AS MATERIALIZED"
            " (SELECT key, value ->> 0, value ->> 1 FROM json_each(:wanted))"
            " SELECT json_group_array(json_array(w.number, b.frame, p.last, p.last_event)) FROM w"
            " JOIN block_paths p ON p.path = w.path AND p.block < w.limit_row AND p.first < w.limit_row"
            " AND p.first_event <= :time JOIN blocks b ON b.first = p.block"
        )
        whole: dict[int, tuple[int, int, str]] = {}
        for number, frame, last, event in self.text(query, wanted=listed(wanted), time=time) or ():
            path, limit = wanted[number]
            if event > time or last >= limit:  # only a look into it can tell
                asks[number].append(Ask(frame, path, limit, time))
            else:
                whole[number] = max(whole.get(number, (event, last, frame)), (event, last, frame))
        for number, (event, last, frame) in whole.items():
            row = kept[number]
            if row is None or (event, last) > (row.entry.event_time, row.row):
                asks[number].append(Ask(frame, *wanted[number], time))
        return asks

    def page(
        self, pattern: Pattern, after: str, count: int, limit: int, time: int | None, archived: set[str]
    ) -> tuple[list[Entry], bool]:
        """Return at most *count* entries that match, after the path *after*, as of the row *limit*, and if more follow.

        The paths of those that come from the archive are added to *archived*.
        """
        if not self.border:
            return history.page(self.connection, pattern, after, count, limit, time)
        span = history.span(pattern)
        found: list[Entry] = []
        size = 0
        while True:
            paths = self.text(
                history.EVERY_PATH, low=span.low, high=span.high, glob=span.glob, after=after, count=count + 1
            )
            matching = [path for path in paths if pattern.matches(path)]
            rows = self.latest([(path, limit) for path in matching], time)
            for row in rows:
                if row is None or row.gone:
                    continue
                size += row.size
                if found and (len(found) == count or size > history.MAX_PAGE_SIZE):
                    return found, True
                found.append(row.entry)
                if row.archived:
                    archived.add(row.entry.path)
            if len(rows) < len(matching) or len(paths) <= count:
                return found, len(rows) < len(matching)
            after = paths[-1]

    def exact(self, paths: Sequence[str], limit: int, time: int | None, archived: set[str]) -> tuple[list[Entry], bool]:
        """Return the entries at *paths* as of the row *limit*, and whether the page was full before the last."""
        if not self.border:
            return history.exact(self.connection, list(paths), limit, time), False
        rows = self.latest([(path, limit) for path in paths], time)
        found = [row for row in rows if row is not None and not row.gone]
        archived.update([row.entry.path for row in found if row.archived])
        return [row.entry for row in found], len(rows) < len(paths)


def found_in(block: Block, index: int) -> Found:
    """Return a row of *block*."""
    row = block.row(index)
    return Found(row.row, row.kind, row.source, block.entry(index), True, len(row.text))


def listed(values: Any) -> str:
    """Return *values* as the JSON text that a query takes."""
    return msgspec.json.encode(values).decode()


def _may_be_later(row: Found | None, border: int) -> bool:
    """Say whether a block may have a later row: what SQLite has from the border on is the last anyway."""
    return row is None or row.row < border


def _later(one: Found | None, other: Found | None, time: int | None) -> Found | None:
    if one is None or other is None:
        return one or other
    if time is None:
        return max(one, other, key=_by_row)
    return max(one, other, key=_by_event)


def _by_row(found: Found) -> tuple[int, bool]:
    return found.row, not found.archived


def _by_event(found: Found) -> tuple[int, int, bool]:
    return found.entry.event_time, found.row, not found.archived


_LATEST_BY_RECORD = "SELECT max(row) FROM history WHERE path = w.path AND row < w.limit_row"
_LATEST_BY_EVENT = (
    "SELECT row FROM history WHERE path = w.path AND row < w.limit_row AND event_time <= :time"
    " ORDER BY event_time DESC, row DESC LIMIT 1"
)
