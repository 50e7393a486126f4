"""Scans: all frames in the order of their numbers, merged over all files, in memory that does not grow."""

from __future__ import annotations

import heapq
import mmap
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, TypeVar

from lightfast.storage.archive import codec
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.frame import BrokenFrame, RawFrame
from lightfast.storage.archive.opened import Neighbours, Opened
from lightfast.storage.archive.records import Damage, Frame, Sealer
from lightfast.storage.archive.segment import REPAIR, Segment
from lightfast.storage.archive.tail import Tail
from lightfast.storage.archive.view import ALONE, Place, View

T = TypeVar("T")
Source = codec.Source
Make = Callable[[RawFrame, int, Source], T]
Found = Iterator[tuple[int, T | None]]
Wanted = Callable[[Any, int], bool]

DROP = 1 << 20
"""A scan gives pages of a mapped file back after so many bytes."""


class _Moved(Exception):
    """A file was replaced while it was to be read."""


class Scanning(ABC):
    """The scans of a reader."""

    _view: View
    _fresh: Callable[[], View]
    _sealer: Sealer | None
    _damaged: Callable[[Damage], None]
    _limit: int

    @abstractmethod
    def _open(self, segment: Segment) -> Opened | None: ...

    @abstractmethod
    def _left_out(self, place: Place, error: Damaged | BrokenFrame) -> None: ...

    @abstractmethod
    def _refresh(self) -> None: ...

    def scan(
        self,
        *,
        kinds: Sequence[str] = (),
        after_ms: int = 0,
        before_ms: int = 0,
        newest_first: bool = False,
        after_number: int = -1,
        private: bool = True,
    ) -> Iterator[Frame]:
        """Yield frames in the order of their numbers, or backwards; memory does not grow with their number.

        *kinds*: only these; times in ms since 1970, `after_ms < time < before_ms`, 0 for no bound. *after_number*
        begins behind a frame (backwards: ends before it). What cannot be read is left out and reported.
        """

        def make(raw: RawFrame, number: int, around: Source) -> Frame:
            return codec.decode(raw, number, around, self._sealer)

        return self.scan_with(
            make, kinds=kinds, after_ms=after_ms, before_ms=before_ms, newest_first=newest_first,
            after_number=after_number, private=private,
        )  # fmt: skip

    def scan_with(
        self,
        make: Callable[[RawFrame, int, Source], T],
        *,
        kinds: Sequence[str] = (),
        after_ms: int = 0,
        before_ms: int = 0,
        newest_first: bool = False,
        after_number: int = -1,
        private: bool = True,
    ) -> Iterator[T]:
        """Yield what *make* makes of each frame's bytes, its number and what its codings need; see `scan`."""
        wanted = frozenset(kinds)

        def is_wanted(columns: Any, at: int) -> bool:
            time_ms = columns.times[at]
            if (after_ms and time_ms <= after_ms) or (before_ms and time_ms >= before_ms):
                return False
            if wanted and columns.names[columns.kinds[at]] not in wanted:
                return False
            return private or not columns.flags[at]

        def may_hold(segment: Segment) -> bool:
            info = segment.info
            if (after_ms and info.max_ms <= after_ms) or (before_ms and info.min_ms >= before_ms):
                return False
            return not wanted or any(kind in wanted for kind in info.kinds)

        sign = -1 if newest_first else 1
        low, high = after_number, self._limit
        while True:
            try:
                for number, found in self._walk(make, low, high, sign, is_wanted, may_hold):
                    if sign > 0:
                        low = number
                    else:
                        high = number
                    if found is not None:
                        yield found
            except _Moved:
                self._refresh()
                continue
            return

    def _walk(
        self, make: Make[T], low: int, high: int, sign: int, is_wanted: Wanted, may_hold: Callable[[Segment], bool]
    ) -> Found[T]:
        """Yield (number, frame) with low < number < high, merged over all files, each opened as it is reached."""
        view = self._view
        sources: list[tuple[int, Callable[[], Found[T]]]] = []
        for segment in view.segments:
            info = segment.info
            if info.last > low and info.first < high and may_hold(segment):
                first = info.first if sign > 0 else -info.last
                sources.append((first, partial(self._scan_segment, make, segment, low, high, sign, is_wanted)))
        tail = view.tail
        if tail is not None and view.tail_count:
            numbers = tail.columns.numbers
            first = numbers[0] if sign > 0 else -numbers[view.tail_count - 1]
            sources.append((first, partial(self._scan_tail, make, tail, view.tail_count, low, high, sign, is_wanted)))
        sources.sort(key=itemgetter(0), reverse=True)
        active: list[tuple[int, int, T | None, Found[T]]] = []
        while active or sources:
            while sources and (not active or sources[-1][0] <= active[0][0]):
                _advance(active, sources.pop()[1](), len(sources), sign)
            if not active:
                continue
            key, order, found, rest = heapq.heappop(active)
            yield sign * key, found
            if not active:  # nothing to merge with, up to where the next file begins
                until = sources[-1][0] if sources else None
                for number, one in rest:
                    if until is not None and sign * number >= until:
                        heapq.heappush(active, (sign * number, order, one, rest))
                        break
                    yield number, one
            else:
                _advance(active, rest, order, sign)

    def _scan_tail(
        self, make: Make[T], tail: Tail, count: int, low: int, high: int, sign: int, is_wanted: Wanted
    ) -> Found[T]:
        columns = tail.columns
        for at in range(count) if sign > 0 else range(count - 1, -1, -1):
            number = columns.numbers[at]
            if low < number < high and is_wanted(columns, at):
                try:
                    raw = layout.parse(tail.read(columns.offsets[at], columns.lengths[at]))
                    found = make(raw, number, ALONE)
                except (Damaged, BrokenFrame) as error:
                    self._left_out(Place(tail, at), error)
                    yield number, None
                else:
                    yield number, found

    def _scan_segment(
        self, make: Make[T], segment: Segment, low: int, high: int, sign: int, is_wanted: Wanted
    ) -> Found[T]:
        opened = self._open(segment)
        if opened is None or opened.lost:
            if all(one.name != segment.name for one in self._fresh().segments):
                raise _Moved
            reason = opened.lost if opened is not None else "the file is missing"
            self._damaged(Damage(segment.relative, 0, segment.info.length, reason, "", REPAIR))
            return
        sidecar, data = opened.sidecar, opened.map()
        around = Neighbours(opened)
        dropped = 0
        numbers, offsets = sidecar.numbers, sidecar.offsets
        for at in range(sidecar.count) if sign > 0 else range(sidecar.count - 1, -1, -1):
            number = numbers[at]
            if not low < number < high or not is_wanted(sidecar, at):
                continue
            offset = offsets[at]
            try:
                found = make(layout.parse(data, offset), number, around)
            except (Damaged, BrokenFrame) as error:
                self._left_out(Place(segment, at, opened), error)
                yield number, None
                continue
            yield number, found
            if abs(offset - dropped) > DROP:
                dropped = offset
                give_back(data)


def give_back(data: memoryview) -> None:
    """Let go of the pages of a mapped file; they are read again where they are needed again."""
    mapped = data.obj
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _advance(active: list[tuple[int, int, T | None, Found[T]]], rest: Found[T], order: int, sign: int) -> None:
    """Put the next frame of *rest* on the heap, if there is one."""
    for number, found in rest:
        heapq.heappush(active, (sign * number, order, found, rest))
        return
