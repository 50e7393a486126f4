"""An archive in memory, and what a search of it must find, by looking at every frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightfast.storage.archive.records import OWN_KINDS, Frame, Match, Query
from lightfast.storage.archive.search import words
from lightfast.storage.archive.search.layout import Row
from lightfast.storage.archive.search.source import Item, item_of

if TYPE_CHECKING:
    from pyroaring import BitMap64


@dataclass
class Shelf:
    """Frames by their numbers, as an archive would hold them."""

    frames: dict[int, Frame] = field(default_factory=dict)
    next_number: int = 0
    unlocked: bool = True
    reads: int = 0

    def append(self, content: str | bytes, time_ms: int, kind: str = "note", private: bool = False) -> Frame:
        number = self.next_number
        frame_id = f"{(number + 1) * 0x9E3779B97F4A7C15 & (1 << 64) - 1:016x}"
        frame = Frame(frame_id, number, content, kind, time_ms, {}, private)
        self.frames[number] = frame
        self.next_number += 1
        return frame

    def remove(self, frame_id: str) -> None:
        self.frames = {number: frame for number, frame in self.frames.items() if frame.frame_id != frame_id}

    def source(self) -> ShelfSource:
        return ShelfSource(self)


class ShelfSource:
    """What the index sees of a shelf at one moment."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._frames = dict(shelf.frames)
        self._ids = {frame.frame_id: frame for frame in self._frames.values()}
        self.stamp = (shelf.next_number, len(shelf.frames))

    def get(self, frame_id: str) -> Frame | None:
        self._shelf.reads += 1
        frame = self._ids.get(frame_id)
        if frame is None or frame.number not in self._shelf.frames or (frame.private and not self._shelf.unlocked):
            return None
        return frame

    def since(self, number: int) -> Iterator[Item]:
        return (_item(frame) for frame in self._frames.values() if frame.number >= number)

    def unheld(self, held: BitMap64) -> Iterator[Item]:
        return (_item(frame) for frame in self._frames.values() if frame.number not in held)

    def ghosts(self, held: BitMap64) -> BitMap64:
        return held - type(held)(list(self._frames))


def _item(frame: Frame) -> Item:
    if frame.private:
        return Item(Row(frame.time_ms, frame.number, frame.frame_id), frame.kind, "", True)
    return item_of(frame)


def naive(frames: list[Frame], query: Query, *, unlocked: bool) -> list[Frame]:
    """Return what matches, newest first, without limit."""
    return sorted(
        (frame for frame in frames if _matches(frame, query, unlocked)),
        key=lambda frame: (frame.time_ms, frame.number),
        reverse=True,
    )


def _matches(frame: Frame, query: Query, unlocked: bool) -> bool:
    if frame.private and not unlocked:
        return False
    if frame.kind not in query.kinds if query.kinds else frame.kind in OWN_KINDS:
        return False
    if (query.after_ms and frame.time_ms <= query.after_ms) or (query.before_ms and frame.time_ms >= query.before_ms):
        return False
    if not query.text.strip():
        return True
    wanted = words.asked(query.text)
    if not wanted or not isinstance(frame.content, str):
        return False
    there = words.indexed(frame.content)
    if query.match is Match.ANY:
        return any(word in there for word in wanted)
    if not all(word in there for word in wanted):
        return False
    return query.match is Match.ALL or words.holds_phrase(words.units(query.text), frame.content)
