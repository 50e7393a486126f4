"""The algebra of two times: what a new statement does to what was known before. Pure functions over rows.

A row is one state of one statement: true from `valid_from` to `valid_to`, known from `record_time` to
`superseded_time`; both intervals are half open. The rows known at one time never overlap in valid time, for one item
(a memory, a relation). So what was true at V as known at R is one row at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from lightfast.context.memory.records import FOREVER


class Row(msgspec.Struct, frozen=True, gc=False):
    """One state of one statement about *item*. *row* and *wording* are numbers of the database; 0: not yet given."""

    row: int
    item: int
    version: int
    wording: int
    kind: int
    text: str
    tags: tuple[str, ...]
    metadata: str
    strength: float
    confidence: float
    source: str
    origin: str
    valid_from: int
    valid_to: int
    record_time: int
    superseded_time: int
    revision: int
    closed_by: str
    reason: str

    @property
    def empty(self) -> bool:
        """Whether it is true at no time: so a statement is kept of which nothing is left after a contradiction."""
        return self.valid_from >= self.valid_to

    @property
    def live(self) -> bool:
        """Whether it is what is known now."""
        return self.superseded_time == FOREVER

    def holds(self, valid: int, known: int) -> bool:
        """Say whether it was true at *valid*, as known at *known*."""
        return self.valid_from <= valid < self.valid_to and self.record_time <= known < self.superseded_time


class Change(msgspec.Struct, frozen=True):
    """What to write: the rows that were known until now, the rows that are known from now on, what becomes stronger.

    *stated* is the row that holds the statement; where nothing is new, it is the one that was there.
    """

    stated: Row
    superseded: tuple[Row, ...] = ()
    added: tuple[Row, ...] = ()
    raised: tuple[Row, float] | None = None


def same(one: Row, other: Row) -> bool:
    """Say whether two rows state the same. Who said it, and where it came from, is not what is said."""
    return (
        one.text == other.text
        and one.kind == other.kind
        and one.tags == other.tags
        and one.confidence == other.confidence
        and one.metadata == other.metadata
    )


def state(live: Sequence[Row], new: Row, strength: float | None, last: int) -> Change:
    """Return what the statement *new* does to the *live* rows of its item that touch its time.

    *strength* is the one given, if any; *last* the number of the item's last version.
    """
    alike = [row for row in live if not row.empty and same(row, new) and (strength is None or strength >= row.strength)]
    for row in alike:
        if row.valid_from <= new.valid_from and new.valid_to <= row.valid_to:
            if strength is not None and strength > row.strength:
                return Change(replace(row, strength=strength), raised=(row, strength))
            return Change(row)
    begin, end, weight = new.valid_from, new.valid_to, new.strength
    for row in alike:  # what is said again of a time next to it becomes one
        if row.valid_from <= new.valid_to and new.valid_from <= row.valid_to:
            begin, end = min(begin, row.valid_from), max(end, row.valid_to)
            weight = row.strength if strength is None else weight
    stated = replace(new, version=last + 1, valid_from=begin, valid_to=end, strength=weight)
    superseded, rest = carve(live, begin, end, new.record_time)
    return Change(stated, tuple(superseded), (*rest, stated))


def carve(
    live: Iterable[Row], begin: int, end: int, now: int, closed_by: str = "", reason: str = ""
) -> tuple[list[Row], list[Row]]:
    """Cut the time from *begin* to *end* out of *live* rows: return those known until *now*, and what is left of them.

    Nothing is left of a row that lies within.
    """
    superseded, left = [], []
    for row in live:
        if row.empty or row.valid_to <= begin or end <= row.valid_from:
            continue
        superseded.append(replace(row, superseded_time=now))
        if row.valid_from < begin:
            left.append(_known(row, row.valid_from, begin, now, closed_by, reason))
        if end < row.valid_to:
            left.append(_known(row, end, row.valid_to, now, row.closed_by, row.reason))
    return superseded, left


def contradict(
    live: Sequence[Row], begin: int, end: int, now: int, closed_by: str = "", reason: str = ""
) -> tuple[list[Row], list[Row]]:
    """Do as `carve` for one item, but leave a row of no length where nothing is left, so that it stays known."""
    superseded, left = carve(live, begin, end, now, closed_by, reason)
    if superseded and not left:
        last = max(superseded, key=lambda row: (row.version, row.valid_from))
        left.append(_known(last, last.valid_from, last.valid_from, now, closed_by, reason))
    return superseded, left


def _known(row: Row, begin: int, end: int, now: int, closed_by: str, reason: str) -> Row:
    return replace(
        row,
        row=0,
        valid_from=begin,
        valid_to=end,
        record_time=now,
        superseded_time=FOREVER,
        closed_by=closed_by,
        reason=reason,
    )
