"""Reading: by id, by number, and scans; in any thread, while the writer goes on."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence

from lightfast.storage.archive import codec
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.frame import BrokenFrame
from lightfast.storage.archive.opened import Neighbours, Opened
from lightfast.storage.archive.records import Damage, Frame, Location, Sealer
from lightfast.storage.archive.scan import Scanning
from lightfast.storage.archive.segment import REPAIR, Segment
from lightfast.storage.archive.sidecar import Columns, Sidecar
from lightfast.storage.archive.tail import Tail
from lightfast.storage.archive.view import ALONE, Place, View

__all__ = ["ALONE", "Place", "Reader", "View"]


class Reader(Scanning):
    """What the archive held when it was made; frames that were removed since are no longer found.

    It may be used by one thread at a time. What cannot be read is left out: `why` tells, `damage` collects.
    """

    def __init__(
        self, view: View, fresh: Callable[[], View], sealer: Sealer | None, damaged: Callable[[Damage], None]
    ) -> None:
        self._view = view
        self._fresh = fresh
        self._sealer = sealer
        self._damaged = damaged
        self._limit = view.next_number
        self._neighbours: dict[str, Neighbours] = {}
        self.locked = 0
        """So many frames were left out because they are sealed."""

    @property
    def view(self) -> View:
        """Return the files it reads."""
        return self._view

    @property
    def count(self) -> int:
        """Return how many frames there are."""
        return self._view.count

    @property
    def next_number(self) -> int:
        """Return the number that the next frame will get; all frames have lower ones."""
        return self._limit

    # ---- one frame

    def get(self, frame_id: str) -> Frame | None:
        """Return a frame by its id, or `None`."""
        place = self.find(frame_id)
        return None if place is None else self._read(place)

    def at(self, number: int) -> Frame | None:
        """Return a frame by its number, or `None`."""
        place = self.find_number(number)
        return None if place is None else self._read(place)

    def many(self, numbers: Iterable[int]) -> Iterator[Frame]:
        """Yield the frames of *numbers*, in that order; those that cannot be read are left out."""
        for number in numbers:
            found = self.at(number)
            if found is not None:
                yield found

    def why(self, frame_id: str) -> str:
        """Return why a frame cannot be read; empty if it can, or is not there."""
        place = self.find(frame_id)
        if place is None:
            return ""
        try:
            self._decode(place)
        except Damaged as error:
            return f"locked: {error.reason}" if error.locked else f"damaged: {error.reason}"
        except BrokenFrame as error:
            return f"damaged: {error.reason}"
        return ""

    def holds(self, frame_id: str) -> bool:
        """Say whether a frame is there, and whole: what its content needs besides is not looked at."""
        place = self.find(frame_id)
        try:
            return place is not None and layout.parse(self.raw(place)).frame_id == frame_id
        except (Damaged, BrokenFrame):
            return False

    def find(self, frame_id: str) -> Place | None:
        """Return where a frame lies, or `None`."""
        if not layout.is_id(frame_id):
            return None
        key = int(frame_id, 16)

        def look(view: View) -> Iterator[Place]:
            if view.tail is not None and 0 <= (at := view.tail.places.get(key, -1)) < view.tail_count:
                yield Place(view.tail, at)
            for segment in view.known.segments(key):
                opened = self._open(segment)
                if opened is not None and (at := opened.sidecar.find(key)) >= 0:
                    yield Place(segment, at, opened)

        return self._first(look)

    def find_number(self, number: int) -> Place | None:
        """Return where the frame with a number lies, or `None`."""
        if number >= self._limit:
            return None

        def look(view: View) -> Iterator[Place]:
            tail = view.tail
            if tail is not None and view.tail_count and number >= tail.columns.numbers[0]:
                at = _bisect(tail.columns.numbers, number, view.tail_count)
                if at >= 0:
                    yield Place(tail, at)
            for segment in reversed(view.segments):
                if segment.info.first <= number <= segment.info.last:
                    opened = self._open(segment)
                    if opened is not None and (at := opened.sidecar.find_number(number)) >= 0:
                        yield Place(segment, at, opened)

        return self._first(look)

    def _first(self, look: Callable[[View], Iterator[Place]]) -> Place | None:
        """Return the first place that can be read, else one that is lost; looks again if a file was replaced."""
        found = None
        for _ in range(3):
            view = self._view
            for place in look(view):
                if place.opened is None or not place.opened.lost:
                    return place
                found = place
            if self._fresh().segments is view.segments:
                return found
            self._refresh()
        return found

    def _open(self, segment: Segment) -> Opened | None:
        try:
            return segment.open()
        except FileNotFoundError:  # the sidecar is gone, too: replaced, or lost beyond knowing
            return None

    def locate(self, place: Place) -> Location:
        """Return where the bytes of a frame lie."""
        home, at = place.home, place.at
        if isinstance(home, Tail):
            return Location(home.shard, f"{home.name}.frames", home.columns.offsets[at], home.columns.lengths[at])
        sidecar = (place.opened or home.open()).sidecar
        return Location(home.info.shard, f"{home.name}.frames", sidecar.offsets[at], sidecar.lengths[at])

    def raw(self, place: Place) -> bytes:
        """Return the bytes of a frame as they lie in the file."""
        home, at = place.home, place.at
        if isinstance(home, Tail):
            return home.read(home.columns.offsets[at], home.columns.lengths[at])
        return (place.opened or home.open()).read(at)

    def _read(self, place: Place) -> Frame | None:
        try:
            return self._decode(place)
        except (Damaged, BrokenFrame) as error:
            self._left_out(place, error)
        return None

    def _left_out(self, place: Place, error: Damaged | BrokenFrame) -> None:
        if isinstance(error, Damaged) and error.locked:
            self.locked += 1
        else:
            self._report(place, error.reason)

    def _decode(self, place: Place) -> Frame:
        home, at = place.home, place.at
        if isinstance(home, Tail):
            columns = home.columns
            raw = layout.parse(home.read(columns.offsets[at], columns.lengths[at]))
            return codec.decode(raw, columns.numbers[at], ALONE, self._sealer)
        around = self._around(home, place.opened)
        raw = layout.parse(around.opened.read(at))
        return codec.decode(raw, around.opened.sidecar.numbers[at], around, self._sealer)

    def _around(self, segment: Segment, opened: Opened | None) -> Neighbours:
        found = self._neighbours.get(segment.name)
        if found is None:
            if len(self._neighbours) >= 8:
                self._neighbours.clear()
            found = self._neighbours[segment.name] = Neighbours(opened or segment.open())
        return found

    def _report(self, place: Place, reason: str) -> None:
        home, at = place.home, place.at
        columns = home.columns if isinstance(home, Tail) else (place.opened or home.open()).sidecar
        key = columns.ids[at] if isinstance(columns, Columns) else _id_at(columns, at)
        self._damaged(Damage(home.relative, columns.offsets[at], columns.lengths[at], reason, f"{key:016x}", REPAIR))

    def _refresh(self) -> None:
        """Look again: a file that was replaced meanwhile is gone, its frames are in another."""
        self._view = self._fresh()
        self._neighbours.clear()


def _bisect(numbers: Sequence[int], number: int, count: int) -> int:
    at = bisect.bisect_left(numbers, number, 0, count)
    return at if at < count and numbers[at] == number else -1


def _id_at(sidecar: Sidecar, at: int) -> int:
    """Return the id of the frame at a place; slow, for reports."""
    return next((sidecar.ids[i] for i in range(sidecar.count) if sidecar.order[i] == at), 0)
