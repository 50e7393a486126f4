"""Words of frames that are not sealed into a group yet, or never are: in memory alone."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING

from lightfast.storage.archive.search import layout
from lightfast.storage.archive.search.layout import Row

if TYPE_CHECKING:
    from pyroaring import BitMap

_FEW = 8
"""Up to so many frames of a word are compared one by one."""


class Fresh:
    """The open group of one shard, or the private frames while they are unlocked. Not thread-safe: its owner locks.

    Frames are placed by (time, number), which is the order of coming as long as none comes late.
    """

    def __init__(self, shard: str = "") -> None:
        self.shard = shard
        self.rows: list[Row] = []
        """In the order of coming."""
        self.comings: dict[str, int] = {}
        """Where a frame is among the rows, by its id."""
        self.size = 0
        """How many pairs of a word and a frame it holds: what it takes in memory goes by that."""
        self._words: dict[bytes, int | array[int]] = {}
        self._bitmaps: dict[bytes, tuple[int, BitMap]] = {}
        self._is_ordered = True
        self._places: array[int] | None = None
        self._ordered: list[Row] = []

    @property
    def count(self) -> int:
        """How many frames it holds."""
        return len(self.rows)

    def add(self, row: Row, words: Sequence[bytes]) -> None:
        """Take a frame in."""
        coming = len(self.rows)
        if coming and row < self.rows[-1]:
            self._is_ordered = False
        self._places = None
        self.rows.append(row)
        self.comings[row.frame_id] = coming
        found = self._words
        self.size += len(words)
        for word in words:
            comings = found.get(word)
            if comings is None:
                found[word] = coming  # most words are in one frame, and a number is smaller than an array
            elif isinstance(comings, int):
                found[word] = array("I", (comings, coming))
            else:
                comings.append(coming)

    def numbers_of(self, frame_ids: Iterable[str]) -> list[int]:
        """Return the numbers of those of *frame_ids* that are here."""
        return [self.rows[self.comings[frame_id]].number for frame_id in frame_ids if frame_id in self.comings]

    def without(self, frame_ids: Iterable[str]) -> Fresh:
        """Return the same without some frames."""
        gone = {self.comings[frame_id] for frame_id in frame_ids if frame_id in self.comings}
        fresh = Fresh(self.shard)
        moved: dict[int, int] = {}
        for coming, row in enumerate(self.rows):
            if coming not in gone:
                moved[coming] = len(moved)
                fresh.add(row, ())
        for word, comings in self._words.items():
            left = [moved[coming] for coming in _listed(comings) if coming not in gone]
            if left:
                fresh._words[word] = left[0] if len(left) == 1 else array("I", left)
                fresh.size += len(left)
        return fresh

    def has_any(self, words: Sequence[bytes]) -> bool:
        """Say whether any frame has one of *words*."""
        return not self._words.keys().isdisjoint(words)

    def with_all(self, words: Sequence[bytes]) -> BitMap | None:
        """Return the places of the frames with all *words*, not to be changed; mostly there is none, and then `None`.

        Where one of the words is in few frames, those are compared one by one, and no bitmap of a word need be made.
        """
        found: list[Sequence[int]] = []
        for word in words:
            comings = self._words.get(word)
            if comings is None:
                return None
            found.append((comings,) if isinstance(comings, int) else comings)
        found.sort(key=len)
        left = found[0]
        if len(left) > _FEW:
            return reduce(and_, sorted(map(self.bitmap, words), key=len))
        for there in found[1:]:
            left = [one for one in left if there[bisect_left(there, one, hi=len(there) - 1)] == one]
            if not left:
                return None
        return self._bitmap_of(left)

    def bitmap(self, word: bytes) -> BitMap:
        """Return the places of the frames of *word*; not to be changed."""
        comings = self._words.get(word, ())
        if not isinstance(comings, array) or not self._is_ordered:
            return self._bitmap_of(_listed(comings))
        length, bitmap = self._bitmaps.get(word, (0, None))
        if bitmap is None:
            bitmap = self._bitmap_of(comings)
        elif length < len(comings):
            bitmap = bitmap | self._bitmap_of(comings[length:])  # a new one: somebody may still read the old
        else:
            return bitmap
        self._bitmaps[word] = (len(comings), bitmap)
        return bitmap

    def _bitmap_of(self, comings: Sequence[int]) -> BitMap:
        from pyroaring import BitMap

        if self._is_ordered:
            return BitMap(comings)
        places = self._all_places()
        return BitMap(array("I", [places[coming] for coming in comings]))

    def ordered(self) -> Sequence[Row]:
        """Return the frames by place; the list grows at its end, or stays as it is."""
        if self._is_ordered:
            return self.rows
        self._all_places()
        return self._ordered

    def marked(self, mark: bytes) -> list[Row]:
        """Return the frames of a mark, in the order they came."""
        comings = self._words.get(mark)
        return [] if comings is None else [self.rows[coming] for coming in _listed(comings)]

    def sealed(self, sequence: int, rest: Callable[[], None] | None = None) -> bytes:
        """Return the file of these frames as group *sequence* of the shard; *rest* is called often."""
        rows = self.ordered()
        places = None if self._is_ordered else self._all_places()
        postings: dict[bytes, Sequence[int]] = {}
        for word, comings in self._words.items():
            listed = _listed(comings)
            postings[word] = listed if places is None else sorted(places[coming] for coming in listed)
        return layout.encode(self.shard, sequence, rows, postings, rest)

    def _all_places(self) -> array[int]:
        if self._places is None:
            order = sorted(range(len(self.rows)), key=self.rows.__getitem__)
            places = array("I", bytes(4 * len(order)))
            for place, coming in enumerate(order):
                places[coming] = place
            self._places = places
            self._ordered = [self.rows[coming] for coming in order]
            self._bitmaps.clear()
        return self._places


def _listed(comings: int | Sequence[int]) -> Sequence[int]:
    return (comings,) if isinstance(comings, int) else comings
