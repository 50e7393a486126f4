"""A bounded cache that counts its hits, and gives out what it holds only while the source still looks as it did.

A stamp is what the source of a value looks like at the moment it is read: a revision, a count of changes. A value is
given out only where the stamp it was kept under is the one of now, so whoever has had a write acknowledged never reads
what was there before it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lightfast.core.clock import Clock

if TYPE_CHECKING:
    from cachetools import Cache

T = TypeVar("T")


class Kept(Generic[T]):
    """A bounded cache by least use; *lifetime* in seconds, 0: for ever. Used on the loop only."""

    def __init__(self, name: str, most: int, clock: Clock, lifetime: float = 0.0) -> None:
        self.name, self.most, self.lifetime = name, most, lifetime
        self.hits = self.misses = self.stale = 0
        self._clock = clock
        self._cache: Cache[Hashable, tuple[Hashable, T]] | None = None

    def __len__(self) -> int:
        return 0 if self._cache is None else len(self._cache)

    def get(self, key: Hashable, stamp: Hashable = None) -> T | None:
        """Return what is kept under *key* for exactly this *stamp*; what has another one goes."""
        found = None if self._cache is None else self._cache.get(key)
        if found is None:
            self.misses += 1
            return None
        if found[0] != stamp:
            self.stale += 1
            self.misses += 1
            self.drop(key)
            return None
        self.hits += 1
        return found[1]

    def put(self, key: Hashable, value: T, stamp: Hashable = None) -> None:
        """Keep *value*; the one that was used least goes where there are too many."""
        if self._cache is None:
            import cachetools  # with the first value

            self._cache = (
                cachetools.TTLCache(self.most, self.lifetime, self._clock.monotonic)
                if self.lifetime
                else cachetools.LRUCache(self.most)
            )
        self._cache[key] = (stamp, value)

    def drop(self, key: Hashable) -> None:
        """Forget one."""
        if self._cache is not None:
            self._cache.pop(key, None)

    def clear(self) -> None:
        """Forget all; what was counted stays."""
        self._cache = None

    def figures(self) -> dict[str, Any]:
        """Return size, lifetime and hits."""
        return figures(len(self), self.most, self.lifetime, self.hits, self.misses, self.stale)


def figures(
    size: int, most: int, lifetime: float = 0.0, hits: int = 0, misses: int = 0, stale: int = 0
) -> dict[str, Any]:
    """Return the figures of a cache by the names that all of them have; *lifetime* in seconds, 0: for ever."""
    asked = hits + misses
    return {
        "size": size,
        "most": most,
        "lifetime_s": lifetime,
        "hits": hits,
        "misses": misses,
        "stale": stale,
        "hit_ratio": hits / asked if asked else 0.0,
    }
