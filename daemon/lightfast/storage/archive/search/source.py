"""What the index asks of the frames: one by its id, and those it does not have yet."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.caches import Caches
from lightfast.storage.archive.frame import BrokenFrame
from lightfast.storage.archive.reader import Place, Reader
from lightfast.storage.archive.records import Frame
from lightfast.storage.archive.search.layout import Row
from lightfast.storage.archive.segment import Segment
from lightfast.storage.archive.sidecar import PRIVATE
from lightfast.storage.archive.tail import Tail

if TYPE_CHECKING:
    from pyroaring import BitMap64

_FEW = 256
"""Up to so many frames are read one by one; more are scanned for."""


class Item(NamedTuple):
    """A frame to take in: *text* is empty for one that is private, or no text."""

    row: Row
    kind: str
    text: str
    is_private: bool


class Source(Protocol):
    """The frames at one moment."""

    stamp: tuple[int, int]
    """The number that the next frame will get, and how many there are."""

    def get(self, frame_id: str) -> Frame | None:
        """Return a frame, or None where it is not there or cannot be read."""
        ...

    def since(self, number: int) -> Iterator[Item]:
        """Yield the frames from *number* on, also private ones that are locked."""
        ...

    def unheld(self, held: BitMap64) -> Iterator[Item]:
        """Yield the frames whose numbers are not in *held*, also private ones that are locked."""
        ...

    def ghosts(self, held: BitMap64) -> BitMap64:
        """Return the numbers in *held* that no frame has any more."""
        ...


def item_of(frame: Frame) -> Item:
    """Return what the index takes of *frame*: nothing of what a private one says."""
    row = Row(frame.time_ms, frame.number, frame.frame_id)
    text = frame.content if isinstance(frame.content, str) and not frame.private else ""
    return Item(row, frame.kind, text, frame.private)


class ReaderSource:
    """The frames of a `Reader`."""

    def __init__(self, reader: Reader, caches: Caches) -> None:
        self._reader = reader
        self._caches = caches
        self.stamp = (reader.next_number, reader.count)

    def get(self, frame_id: str) -> Frame | None:
        """Return a frame, or None."""
        return self._caches.frame(frame_id, self._reader.get)

    def since(self, number: int) -> Iterator[Item]:
        """Yield the frames from *number* on."""
        for home, _, last, count in self._homes():
            if last < number or (isinstance(home, Segment) and not home.info.private):
                continue
            columns = home.open().sidecar if isinstance(home, Segment) else home.columns
            for at in range(bisect_left(columns.numbers, number, hi=count), count):
                if columns.flags[at] & PRIVATE and (item := self._sealed(Place(home, at))):
                    yield item
        yield from map(item_of, self._reader.scan(after_number=number - 1, private=False))

    def unheld(self, held: BitMap64) -> Iterator[Item]:
        """Yield the frames whose numbers are not in *held*; whole files are known to be held by counting alone."""
        from pyroaring import BitMap64

        missing = BitMap64()
        private: list[Place] = []
        for home, first, last, count in self._homes():
            if held.range_cardinality(first, last + 1) == count:
                continue
            numbers, flags = _columns(home, count)
            wanted = BitMap64(numbers) - held
            if not wanted:
                continue
            for at, number in enumerate(numbers):
                if flags[at] & PRIVATE and number in wanted:
                    private.append(Place(home, at))
                    wanted.discard(number)
            missing |= wanted
        for place in private:
            if item := self._sealed(place):
                yield item
        if len(missing) <= _FEW:
            yield from map(item_of, self._reader.many(missing))
            return
        last = missing.max()
        for frame in self._reader.scan(after_number=missing.min() - 1, private=False):
            if frame.number > last:
                break
            if frame.number in missing:
                yield item_of(frame)

    def ghosts(self, held: BitMap64) -> BitMap64:
        """Return the numbers in *held* that no frame has any more; files are looked into only where counts differ."""
        from pyroaring import BitMap64

        homes = self._homes()
        if len(held) == sum(held.range_cardinality(first, last + 1) for _, first, last, _ in homes) and all(
            held.range_cardinality(first, last + 1) <= count for _, first, last, count in homes
        ):
            return BitMap64()
        there = BitMap64()
        for home, _, _, count in homes:
            there.update(_columns(home, count)[0])
        return held - there

    def _homes(self) -> list[tuple[Segment | Tail, int, int, int]]:
        view = self._reader.view
        homes: list[tuple[Segment | Tail, int, int, int]] = [
            (segment, segment.info.first, segment.info.last, segment.info.frames)
            for segment in view.segments
            if segment.info.frames
        ]
        if view.tail is not None and view.tail_count:
            numbers = view.tail.columns.numbers
            homes.append((view.tail, numbers[0], numbers[view.tail_count - 1], view.tail_count))
        return homes

    def _sealed(self, place: Place) -> Item | None:
        home, at = place.home, place.at
        columns = home.open().sidecar if isinstance(home, Segment) else home.columns
        try:
            frame_id = layout.parse(self._reader.raw(place)).frame_id
        except BrokenFrame:
            return None
        row = Row(columns.times[at], columns.numbers[at], frame_id)
        return Item(row, columns.names[columns.kinds[at]], "", is_private=True)


def _columns(home: Segment | Tail, count: int) -> tuple[Sequence[int], Sequence[int]]:
    """Return the numbers and the flags of a file's frames."""
    columns = home.open().sidecar if isinstance(home, Segment) else home.columns
    return array("Q", columns.numbers[:count]), columns.flags[:count]
