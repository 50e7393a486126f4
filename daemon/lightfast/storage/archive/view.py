"""What there is at one moment, and places in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.known import Known
from lightfast.storage.archive.opened import Opened
from lightfast.storage.archive.segment import Segment
from lightfast.storage.archive.tail import Tail


@dataclass(frozen=True, slots=True)
class View:
    """What there is at one moment; the writer replaces it as a whole."""

    segments: tuple[Segment, ...] = ()
    """In the order of their first numbers."""
    tail: Tail | None = None
    tail_count: int = 0
    next_number: int = 0
    count: int = 0
    known: Known = field(default_factory=Known)


class Place:
    """A frame in a file: *home* and the place in it; what is *opened* can be read even if it is replaced meanwhile."""

    __slots__ = ("at", "home", "opened")

    def __init__(self, home: Segment | Tail, at: int, opened: Opened | None = None) -> None:
        self.home = home
        self.at = at
        self.opened = opened


class Alone:
    """For frames of the tail, which need no neighbours."""

    def dictionary(self, name: str) -> Any:
        """There are none."""
        raise Damaged("a frame of the open segment has no dictionary")

    def plain(self, frame_id: str) -> bytes:
        """There are none."""
        raise Damaged("a frame of the open segment is no delta")


ALONE = Alone()
