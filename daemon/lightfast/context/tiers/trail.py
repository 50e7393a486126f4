"""The history and its replay over both tiers: SQLite for what is new, the archive block by block for what is old."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec

from lightfast.context import history
from lightfast.context.codec import decode
from lightfast.context.entry import Event, Transaction
from lightfast.context.kinds import Kind
from lightfast.context.records import Gap
from lightfast.context.tiers.past import Past
from lightfast.context.tiers.shelf import AT_ONCE, Gone
from lightfast.context.tiers.view import View, listed
from lightfast.core.errors import Unavailable
from lightfast_link.path import Pattern

if TYPE_CHECKING:
    from lightfast.context.tiers.block import Block, Head

_MANY_PATHS = 64
"""With more paths than this every block is looked into, one after the other."""
_TRIES = 20
_undone = msgspec.json.Decoder(tuple[int, ...]).decode

T = TypeVar("T")


class _Draft(NamedTuple):
    """A transaction whose events may still lack what was there before: *asks* has where to look, by event."""

    transaction: Transaction
    asks: dict[int, tuple[str, int]]


class _Begun(NamedTuple):
    """What SQLite has of a page, and where to go on in the archive: the rows from *floor* up to before *limit*."""

    transactions: list[Transaction]
    more: bool
    floor: int
    limit: int
    uptos: dict[str, int] | None


async def newest(
    past: Past, wanted: Pattern, first: int, last: int, top: int, count: int
) -> tuple[list[Transaction], bool, list[Gap]]:
    """Return the last *count* transactions after *first* up to *last* that touched *wanted*, newest first.

    About a page of them, at least one; also says whether there are more, and what could not be read. The history of an
    entry goes on along its moves up to the revision *top*.
    """
    gaps: dict[str, Gap] = {}

    def begin(view: View) -> _Begun:
        floor = view.edge(first, upper=False) if first else 1
        limit, roof = view.edge(last, upper=True), view.edge(top, upper=True)
        ways = history.ways(view.connection, wanted, roof)
        found, more = history.newest(view.connection, wanted, ways, max(floor, view.border), limit, count)
        rows = [row for _, rows in found for row in rows]
        transactions = built(view, [revision for revision, _ in found], rows)
        return _Begun(transactions, more, floor, min(limit, view.border), None if ways is None else dict(ways))

    async def read() -> tuple[list[Transaction], bool, list[Gap]]:
        gaps.clear()
        begun = await past.run(begin, gaps=gaps)
        found, more = begun.transactions, begun.more
        if not more and begun.limit > begun.floor:
            older, more = await _older(past, wanted, begun, count - len(found), gaps)
            found = found + older
        end = found[-1].revision if more and found else 0  # what lies before is told with the next page
        return found, more, sorted((gap for gap in gaps.values() if gap.last > end), reverse=True)

    return await _steady(past, read)


async def replay(past: Past, after: int, until: int, count: int) -> list[Transaction]:
    """Return at most *count* whole transactions after *after* up to *until*, oldest first, about a page of them."""

    async def read() -> list[Transaction]:
        found: list[Transaction] = []
        size = 0
        while len(found) < count and size <= history.MAX_PAGE_SIZE:
            position = found[-1].revision if found else after
            if position >= until:
                break
            part = await past.run(lambda view: _next(view, position, until, count - len(found)))  # noqa: B023
            if isinstance(part, str):
                drafts, taken = await _from_block(past, part, position, until, count - len(found), size)
                found += await _finished(past, drafts)
                size += taken
                if not drafts:
                    break
                continue
            if not found:
                return part
            # What lies in SQLite comes with the next call, if this page is large already.
            return found + part if size < history.MAX_PAGE_SIZE // 2 else found
        return found

    return await _steady(past, read)


async def _steady(past: Past, read: Callable[[], Awaitable[T]]) -> T:
    """Return what *read* does; where a block was rewritten meanwhile, read again."""
    for _ in range(_TRIES):
        try:
            return await read()
        except Gone as gone:
            await past.check(gone)
    raise Unavailable("the history changes faster than it can be read: try again", reason="READ_OVERTAKEN")


def _next(view: View, after: int, until: int, count: int) -> list[Transaction] | str:
    """Return what follows *after* in SQLite, or the frame of the block that it is in."""
    if after < view.archived:
        query = "SELECT frame FROM blocks WHERE last_revision > ? AND last_revision > 0 ORDER BY last_revision LIMIT 1"
        for (frame,) in view.connection.execute(query, (after,)):
            return str(frame)
    revisions, rows = history.next_rows(view.connection, after, until, count)
    return built(view, revisions, rows)


async def _from_block(
    past: Past, frame: str, after: int, until: int, count: int, size: int
) -> tuple[list[_Draft], int]:
    block = await past.block(frame)

    def read() -> tuple[list[_Draft], int]:
        drafts: list[_Draft] = []
        taken = 0
        for head in block.heads():
            if not after < head.revision <= until:
                continue
            indexes = [
                index for index in block.within(head.first, head.first + head.rows) if block.kind(index) != Kind.LEFT
            ]
            taken += _size(block, indexes)
            if (drafts or size) and size + taken > history.MAX_PAGE_SIZE:
                break
            drafts.append(_draft(block, head, indexes))
            if len(drafts) == count:
                break
        return drafts, taken

    return await asyncio.to_thread(read)


async def _older(
    past: Past, wanted: Pattern, begun: _Begun, count: int, gaps: dict[str, Gap]
) -> tuple[list[Transaction], bool]:
    """Return the next *count* transactions of the archive, newest first, and whether there are more.

    A block that cannot be read is left out, and noted in *gaps*.
    """
    drafts: list[_Draft] = []
    size = 0
    limit = begun.limit
    while True:
        blocks = await past.run(lambda view: _older_blocks(view, begun, limit))  # noqa: B023
        for first, frame in blocks:
            try:
                block = await past.block(frame)
            except Gone as gone:
                await past.check(gone, gaps=gaps)
                if frame not in gaps:
                    raise  # it was rewritten meanwhile: read anew
                limit = first
                continue
            chosen, size, full = await asyncio.to_thread(
                _chosen, block, wanted, begun, count - len(drafts), size, any_before=bool(drafts or begun.transactions)
            )
            drafts += chosen
            if full:
                return await _finished(past, drafts, gaps), True
            limit = first
        if len(blocks) < AT_ONCE:
            return await _finished(past, drafts, gaps), False


def _older_blocks(view: View, begun: _Begun, limit: int) -> list[tuple[int, str]]:
    """Return the next blocks before the row *limit* that may hold what is wanted, newest first."""
    paths = begun.uptos
    if paths is not None and len(paths) <= _MANY_PATHS:
        query = (
            "SELECT json_group_array(json_array(first, frame)) FROM (SELECT first, frame FROM blocks WHERE first IN"
            " (SELECT DISTINCT p.block FROM json_each(:paths) w JOIN block_paths p ON p.path = w.value"
            " WHERE p.block < :limit AND p.last >= :floor - 1 ORDER BY p.block DESC LIMIT :count) ORDER BY first DESC)"
        )
        return list(view.text(query, paths=listed(list(paths)), limit=limit, floor=begun.floor, count=AT_ONCE) or ())
    query = (
        "SELECT json_group_array(json_array(first, frame)) FROM (SELECT first, frame FROM blocks"
        " WHERE first < :limit AND last >= :floor ORDER BY first DESC LIMIT :count)"
    )
    return list(view.text(query, limit=limit, floor=begun.floor, count=AT_ONCE) or ())


def _chosen(
    block: Block, wanted: Pattern, begun: _Begun, count: int, size: int, *, any_before: bool
) -> tuple[list[_Draft], int, bool]:
    """Return the transactions of *block* that are wanted, newest first, the size by now, and if the page is full."""
    drafts: list[_Draft] = []
    by_revision: dict[int, list[int]] = {}
    for index in _matching(block, wanted, begun):
        by_revision.setdefault(block.revision(index), []).append(index)
    for revision, indexes in by_revision.items():
        if len(drafts) == count:
            return drafts, size, True
        size += _size(block, indexes)
        if size > history.MAX_PAGE_SIZE and (any_before or drafts):
            return drafts, size, True
        head = block.find(revision)
        if head is not None:  # the rows of what was compacted have none
            drafts.append(_draft(block, head, sorted(indexes)))
    return drafts, size, False


def _matching(block: Block, wanted: Pattern, begun: _Begun) -> Iterable[int]:
    """Yield the rows that are wanted, newest first; a LEFT row stands for the MOVE behind it."""
    rows = block.within(begun.floor, begun.limit)
    uptos = begun.uptos
    if uptos is None:
        for index in reversed(rows):
            if block.kind(index) != Kind.LEFT and (
                wanted.matches(block.path(index)) or wanted.matches(block.source(index) or "/")
            ):
                yield index
        return
    seen = -1
    for index in sorted((index for path in uptos for index in block.rows_of(path)), reverse=True):
        if index not in rows or block.numbers[index] >= uptos[block.path(index)]:
            continue
        found = index + (block.kind(index) == Kind.LEFT)
        if found != seen:
            yield found
        seen = found


def _size(block: Block, indexes: Sequence[int]) -> int:
    return sum([100 + 2 * len(block.path(index)) + 2 * len(block.row(index).text) for index in indexes])


def _draft(block: Block, head: Head, indexes: Sequence[int]) -> _Draft:
    """Return a transaction with the events at *indexes*, as far as *block* knows what was there before them."""
    events: list[Event] = []
    asks: dict[int, tuple[str, int]] = {}
    for index in indexes:
        source = block.source(index)
        # The old path of a move has its LEFT row directly before; what was there before that is meant.
        path, limit = source or block.path(index), block.numbers[index] - (source is not None)
        before = block.before(path, limit)
        if before is None:
            asks[len(events)] = (path, limit)
        previous = None if before is None or block.gone(before) else block.entry(before)
        kind = history.TYPES[Kind(block.kind(index))]
        events.append(Event(kind, block.entry(index), previous, source or ""))
    return _Draft(transaction_of(head, events), asks)


async def _finished(past: Past, drafts: Sequence[_Draft], gaps: dict[str, Gap] | None = None) -> list[Transaction]:
    """Return the transactions, with what was there before their events."""
    wanted = [ask for draft in drafts for ask in draft.asks.values()]
    before = iter(await past.run(lambda view: view.latest(wanted), gaps=gaps) if wanted else ())
    finished = []
    for transaction, asks in drafts:
        if asks:
            events = list(transaction.events)
            for index in asks:
                row = next(before)
                if row is not None and not row.gone:
                    events[index] = msgspec.structs.replace(events[index], previous=row.entry)
            transaction = msgspec.structs.replace(transaction, events=tuple(events))  # noqa: PLW2901
        finished.append(transaction)
    return finished


def built(view: View, revisions: Sequence[int], rows: Sequence[int]) -> list[Transaction]:
    """Return the transactions *revisions* of SQLite, in that order, with those of their events that are in *rows*."""
    if not view.border:
        return history.build(view.connection, revisions, rows)
    query = (
        "SELECT '[' || group_concat('[' || row || ',' || revision || ',' || json_quote(path) || ',' || kind || ',' ||"
        " json_quote(source) || ',' || entry || ']') || ']' FROM (SELECT * FROM history WHERE row IN"
        " (SELECT value FROM json_each(:rows)) AND kind <> 3 ORDER BY row)"
    )
    found: Sequence[Any] = view.text(query, rows=listed(list(rows))) or ()
    wanted = [(source or path, row - (source is not None)) for row, _, path, _, source, _ in found]
    events: dict[int, list[Event]] = {}
    for (_, revision, path, kind, source, fields), before in zip(found, view.latest(wanted), strict=True):
        previous = None if before is None or before.gone else before.entry
        event = Event(history.TYPES[Kind(kind)], decode(path, revision, fields), previous, source or "")
        events.setdefault(revision, []).append(event)
    return history.with_heads(view.connection, revisions, events)


def transaction_of(head: Head, events: Sequence[Event]) -> Transaction:
    """Return the transaction of *head* with *events*."""
    return Transaction(
        head.revision,
        head.record_time,
        head.origin,
        head.cause,
        head.group,
        head.label,
        tuple(events),
        _undone(head.undone) if head.undone else (),
    )
