"""What a row of the history is."""

from __future__ import annotations

from enum import IntEnum


class Kind(IntEnum):
    """What a row of the history is. LEFT marks the old path of a move, and is no event."""

    SET = 0
    DELETE = 1
    MOVE = 2
    LEFT = 3
    REPORT = 4


GONE = (Kind.DELETE, Kind.LEFT)
"""After such a row there is no entry at the path."""
