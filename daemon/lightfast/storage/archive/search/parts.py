"""What a search goes through: parts of the archive, each with its frames in the order of their times."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lightfast.core.checksum import crc32
from lightfast.storage.archive.search import layout
from lightfast.storage.archive.search.fresh import Fresh
from lightfast.storage.archive.search.group import Group
from lightfast.storage.archive.search.layout import Key, Row

if TYPE_CHECKING:
    from mmap import mmap

    from pyroaring import BitMap

    from lightfast.storage.archive.caches import Postings

SPAN = 64 * layout.MAX_FRAMES
"""How many frames of sealed groups are looked at in one go. A common word is answered from the newest span alone, so
that the cost stays flat while the archive grows; a rare one costs little in each."""


class Plan(NamedTuple):
    """A query, taken apart. *only* are the marks of the kinds, or *without* those of all the daemon's own.

    `after < time < before` in ms, 0 for no bound; *is_narrow* where kinds or times are given.
    """

    words: Sequence[bytes]
    is_any: bool
    only: Sequence[bytes]
    without: Sequence[bytes]
    after: int
    before: int
    is_narrow: bool


class Part(Protocol):
    """Frames with the words they hold, in places by (time, number); *low* and *high* are the keys of both ends."""

    low: Key
    high: Key
    count: int

    def matches(self, plan: Plan) -> BitMap:
        """Return the places of the frames that match."""
        ...

    def ids(self, places: Sequence[int]) -> list[str]:
        """Return the ids of frames."""
        ...

    def key(self, place: int) -> Key:
        """Return the time and the number of a frame."""
        ...


class Span:
    """Sealed groups that follow each other in time, looked at as one."""

    def __init__(self, groups: Sequence[Group], cache: Postings) -> None:
        self.groups = tuple(groups)
        self.low, self.high = self.groups[0].low, self.groups[-1].high
        self._bases: list[int] = []
        self.count = 0
        for group in self.groups:
            self._bases.append(self.count)
            self.count += group.count
        self._cache = cache
        self._kept: dict[bytes, BitMap] = {}
        self._own: BitMap | None = None
        self._spots: list[tuple[mmap, int, int, int] | None] = [None] * len(self.groups)

    def bitmap(self, word: bytes) -> BitMap:
        """Return the places of the frames of a word; not to be changed."""
        found = self._kept.get(word)
        if found is None:
            from pyroaring import BitMap

            found = BitMap()
            checksum = crc32(word)
            for group, base in zip(self.groups, self._bases, strict=True):
                found = group.add(word, checksum, found, base)
            self._cache.put(self._kept, word, found, _weight(found))
        return found

    def matches(self, plan: Plan) -> BitMap:
        """Return the places of the frames that match."""
        words = plan.words
        if len(words) == 2 and not plan.is_any:  # what is asked most, without detours
            kept = self._kept
            one, other = kept.get(words[0]), kept.get(words[1])
            found = (self.bitmap(words[0]) if one is None else one) & (
                self.bitmap(words[1]) if other is None else other
            )
        else:
            found = _all_or_any(plan, self.bitmap, self.count)
        if plan.without and found:
            if self._own is None:
                self._own = type(found).union(*(self.bitmap(mark) for mark in plan.without))
            if self._own:
                found = found - self._own
        if plan.is_narrow and found:
            found = _narrowed(found, plan, self.bitmap, self._since)
        return found

    def _since(self, time_ms: int) -> int:
        return bisect_left(range(self.count), time_ms, key=lambda place: self.key(place)[0])

    def ids(self, places: Sequence[int]) -> list[str]:
        """Return the ids of frames."""
        found = []
        bases, spots = self._bases, self._spots
        base = end = begin = 0
        data: mmap | bytes = b""
        for place in places:
            if not base <= place < end:
                index = bisect_right(bases, place) - 1
                data, begin, base, end = spots[index] or self._spot(index)
            at = begin + 8 * place
            found.append(data[at : at + 8].hex())
        return found

    def _spot(self, index: int) -> tuple[mmap, int, int, int]:
        """Return where the ids of a group are: those of the span's places from the third number to before the last."""
        group, base = self.groups[index], self._bases[index]
        data, begin = group.checked_ids()
        spot = self._spots[index] = (data, begin - 8 * base, base, base + group.count)
        return spot

    def key(self, place: int) -> Key:
        """Return the time and the number of a frame."""
        index = bisect_right(self._bases, place) - 1
        group, at = self.groups[index], place - self._bases[index]
        return group.time(at), group.number(at)


def view_of(fresh: Fresh, plan: Plan) -> FreshView | None:
    """Return what a query finds among fresh frames; None where that is nothing."""
    if not fresh.rows:
        return None
    by_all = plan.words and not plan.is_any
    found = fresh.with_all(plan.words) if by_all else _all_or_any(plan, fresh.bitmap, fresh.count)
    if not found:
        return None
    if fresh.has_any(plan.without):
        for mark in plan.without:
            found = found - fresh.bitmap(mark)
    rows = fresh.ordered()
    if plan.is_narrow and found:
        count = fresh.count

        def since(time_ms: int) -> int:
            return bisect_left(rows, time_ms, hi=count, key=lambda row: row.time_ms)

        found = _narrowed(found, plan, fresh.bitmap, since)
    return FreshView(rows, found) if found else None


class FreshView:
    """What a query finds among fresh frames, evaluated at once: they change, the view does not."""

    def __init__(self, rows: Sequence[Row], found: BitMap) -> None:
        self._rows = rows
        self._found = found
        self.count = found.max() + 1
        self.low, self.high = rows[found.min()][:2], rows[self.count - 1][:2]

    def matches(self, plan: Plan) -> BitMap:
        """Return the places of the frames that match."""
        return self._found

    def ids(self, places: Sequence[int]) -> list[str]:
        """Return the ids of frames."""
        return [self._rows[place].frame_id for place in places]

    def key(self, place: int) -> Key:
        """Return the time and the number of a frame."""
        return self._rows[place][:2]


Lookup = Callable[[bytes], "BitMap"]


def _all_or_any(plan: Plan, bitmap: Lookup, count: int) -> BitMap:
    """Return the places of the words, in new or shared bitmaps; without words those of all frames that are open."""
    if not plan.words:
        from pyroaring import BitMap

        return BitMap(range(count)) - bitmap(layout.PRIVATE)
    found = [bitmap(wanted) for wanted in plan.words]
    if len(found) == 1:
        return found[0]
    if plan.is_any:
        return type(found[0]).union(*found)
    if len(found) == 2:
        return found[0] & found[1]
    found.sort(key=len)
    result = found[0]
    for other in found[1:]:
        if not result:
            break
        result = result & other
    return result


def _narrowed(found: BitMap, plan: Plan, bitmap: Lookup, since: Callable[[int], int]) -> BitMap:
    """Return those of *found* that are of the kinds and the time that are asked for."""
    if plan.only and found:
        found = found & type(found).union(*(bitmap(mark) for mark in plan.only))
    if (plan.after or plan.before) and found:
        begin = since(plan.after + 1) if plan.after else 0
        end = since(plan.before) if plan.before else found.max() + 1
        found = found & type(found)(range(begin, max(begin, end)))
    return found


def _weight(bitmap: BitMap) -> int:
    """Return about how many bytes a bitmap takes in memory."""
    figures: Any = bitmap.get_statistics()
    return 128 + int(sum(figures[f"n_bytes_{kind}_containers"] for kind in ("array", "run", "bitset")))


def runs_of(groups: Iterable[Group]) -> list[tuple[Group, ...]]:
    """Return *groups* of a shard in runs that follow each other in time and are not too long: each makes a span."""
    runs: list[list[Group]] = []
    count = 0
    for group in sorted((group for group in groups if group.count), key=lambda group: group.low):
        if not runs or count + group.count > SPAN or group.low < runs[-1][-1].high:
            runs.append([])
            count = 0
        runs[-1].append(group)
        count += group.count
    return [tuple(run) for run in runs]
