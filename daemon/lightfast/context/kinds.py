"""What a row of the history is."""

from __future__ import annotations

from enum import IntEnum

from lightfast.context.entry import Entry, Status


class Kind(IntEnum):
    """What a row of the history is. LEFT marks the old path of a move, and is no event."""

    SET = 0
    DELETE = 1
    MOVE = 2
    LEFT = 3
    REPORT = 4


GONE = (Kind.DELETE, Kind.LEFT)
"""After such a row there is no entry at the path."""

HOT, PLAIN, COOL = 1, 5, 9
"""How a row of `sink` marks what it leaves at its path; see `schema_memory.CACHE`."""
_MARKS = {Status.NONE: PLAIN, Status.STALE: COOL}


def mark(entry: Entry) -> int:
    """Return whether the values of *entry* stay in memory (HOT), unless they are large (PLAIN), or need not (COOL)."""
    return HOT if entry.signal or entry.lease else _MARKS.get(entry.status, HOT)
