"""Results of reads of the past, kept as long as there is room.

A result is named by the revision it shows, so no write can make it stale: a read after a write asks for another
revision, and gets another result. What changes the past itself (compaction, purge) or where it lies empties the cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from lightfast.context.entry import Entry
from lightfast.context.watch_batch import entry_size

SIZE = 16 << 20
"""About how many bytes of results are kept."""


class Result(NamedTuple):
    """One page of the past: its entries, the paths of those from the archive, and whether more follow."""

    entries: tuple[Entry, ...]
    archived: frozenset[str]
    more: bool


class ResultCounts(msgspec.Struct):
    """What became of reads: *ahead* are those that had been made before anybody asked, *ahead_hits* those asked for."""

    hits: int = 0
    misses: int = 0
    ahead: int = 0
    ahead_hits: int = 0

    @property
    def ratio(self) -> float:
        """Return the part of the reads that the cache could answer; 0 without any."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 0.0


class Results:
    """Pages by what was asked for, those used last; used on the loop only."""

    def __init__(self, most: int = SIZE) -> None:
        self.counts = ResultCounts()
        self.size = 0
        self.generation = 0
        """Grows when the cache is emptied: what was read before that may not be put in any more."""
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[Result, int]] = OrderedDict()
        self._ahead: set[Hashable] = set()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def get(self, key: Hashable) -> Result | None:
        """Return the result of *key*."""
        found = self._kept.get(key)
        if found is None:
            self.counts.misses += 1
            return None
        self._kept.move_to_end(key)
        self.counts.hits += 1
        if key in self._ahead:
            self._ahead.discard(key)
            self.counts.ahead_hits += 1
        return found[0]

    def put(self, key: Hashable, result: Result, generation: int, *, ahead: bool = False) -> None:
        """Keep *result*, which was read in *generation*; *ahead* says that nobody has asked for it yet."""
        if generation != self.generation or key in self._kept:
            return
        size = 300 + sum([entry_size(entry) for entry in result.entries])
        if size > self._most // 4:
            return
        self._kept[key] = (result, size)
        self.size += size
        if ahead:
            self.counts.ahead += 1
            self._ahead.add(key)
        while self.size > self._most:
            name, (_, taken) = self._kept.popitem(last=False)
            self._ahead.discard(name)
            self.size -= taken

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
        self._ahead.clear()
        self.size = 0
        self.generation += 1
