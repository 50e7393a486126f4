"""The caches of the archive: each bounded by count and by bytes, thread-safe, and measured.

    frames       1,000 frames as they were read
    chunks       100 chunks, decoded
    searches     100 answers, for 300 s; each stamped with the generation of the archive it was given at
    embeddings   10,000
    patterns     50, for 600 s

The source's four layers (frames, searches, embeddings, patterns) and its cache of chunks. The figures are `Options`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from lightfast.core.clock import SYSTEM, Clock
from lightfast.storage.archive.records import Frame, Options

if TYPE_CHECKING:
    from cachetools import LRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MIB = 1 << 20
FRAME_BYTES = 32 * MIB
CHUNK_BYTES = 64 * MIB
SEARCH_BYTES = 16 * MIB
EMBEDDING_BYTES = 64 * MIB
PATTERN_BYTES = 16 * MIB
POSTING_BYTES = 64 * MIB
FRAME_OVERHEAD = 1024
"""What a frame takes besides its content, about."""


class Cache(Generic[K, V]):
    """Keeps what was used last: at most *most* items and *most_bytes* bytes, each for *ttl* seconds (0: for ever).

    An item that alone is larger than a quarter of *most_bytes* is not kept.
    """

    def __init__(self, most: int, most_bytes: int, ttl: float = 0.0, clock: Clock = SYSTEM) -> None:
        self.most, self.most_bytes = most, most_bytes
        self.hits = self.misses = 0
        self.epoch = 0
        """Grows whenever something is forgotten on purpose; what was read before that is not kept any more."""
        self._ttl, self._clock = ttl, clock
        self._lock = threading.Lock()
        self._made: LRUCache[K, tuple[V, int]] | None = None

    @property
    def _items(self) -> LRUCache[K, tuple[V, int]]:
        if self._made is None:
            import cachetools  # only where something is cached at all

            if self._ttl:
                # TTLCache is no LRUCache by inheritance, and has all of it that is used here.
                made: Any = cachetools.TTLCache(self.most_bytes, self._ttl, self._clock.monotonic, _size)
            else:
                made = cachetools.LRUCache(self.most_bytes, _size)
            self._made = made
        return self._made

    def get(self, key: K) -> V | None:
        """Return what is kept under *key*."""
        with self._lock:
            found = self._items.get(key)
            if found is None:
                self.misses += 1
                return None
            self.hits += 1
            return found[0]

    def put(self, key: K, value: V, size: int, epoch: int | None = None) -> None:
        """Keep *value*, which takes *size* bytes; not if something was forgotten since the *epoch* it was read at."""
        with self._lock:
            if epoch is not None and epoch != self.epoch:
                return
            items = self._items
            items.pop(key, None)
            if size * 4 > self.most_bytes:
                return
            while len(items) >= self.most:
                items.popitem()
            items[key] = (value, size)

    def drop(self, key: K) -> None:
        """Forget one item."""
        with self._lock:
            self.epoch += 1
            if self._made is not None:
                self._made.pop(key, None)

    def drop_where(self, unwanted: Callable[[K, V], bool]) -> None:
        """Forget the items of which *unwanted* says so."""
        with self._lock:
            self.epoch += 1
            for key, (value, _) in list(self._items.items()) if self._made is not None else ():
                if unwanted(key, value):
                    self._items.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.epoch += 1
            self._made = None

    def __len__(self) -> int:
        with self._lock:
            return 0 if self._made is None else len(self._made)

    def figures(self) -> dict[str, float]:
        """Return `size`, `most`, `bytes`, `most_bytes`, `hits` and `misses`."""
        with self._lock:
            count, held = (0, 0.0) if self._made is None else (len(self._made), float(self._made.currsize))
        return {
            "size": count,
            "most": self.most,
            "bytes": held,
            "most_bytes": self.most_bytes,
            "hits": self.hits,
            "misses": self.misses,
        }


class Postings:
    """Bitmaps of words that were searched for, ready to be combined: at most *most_bytes*; no layer of the source.

    The first that came are the first to go: keeping the order of use would cost a search more than all the rest.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.misses = 0
        self._order: deque[tuple[dict[bytes, Any], bytes, int]] = deque()
        self._size = 0
        self._lock = threading.Lock()

    def put(self, kept: dict[bytes, Any], word: bytes, bitmap: Any, size: int) -> None:
        """Keep a bitmap that takes *size* bytes in *kept*, where its owner looks without a lock."""
        with self._lock:
            self.misses += 1
            if word in kept or size * 4 > self.most_bytes:
                return
            while self._size + size > self.most_bytes:
                oldest, its_word, its_size = self._order.popleft()
                oldest.pop(its_word, None)
                self._size -= its_size
            self._order.append((kept, word, size))
            self._size += size
            kept[word] = bitmap

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            for kept, word, _ in self._order:
                kept.pop(word, None)
            self._order.clear()
            self._size = 0

    def __len__(self) -> int:
        return len(self._order)

    def figures(self) -> dict[str, float]:
        """Return `size`, `bytes`, `most_bytes` and `misses`."""
        with self._lock:
            return {
                "size": len(self._order),
                "bytes": self._size,
                "most_bytes": self.most_bytes,
                "misses": self.misses,
            }


class Caches:
    """All caches of one archive."""

    def __init__(self, options: Options, clock: Clock = SYSTEM) -> None:
        self.frames: Cache[str, Frame] = Cache(options.frame_cache_size, FRAME_BYTES)
        self.chunks: Cache[Any, Any] = Cache(options.chunk_cache_size, CHUNK_BYTES)
        self.searches: Cache[Any, Any] = Cache(options.search_cache_size, SEARCH_BYTES, options.search_cache_ttl, clock)
        self.embeddings: Cache[str, Any] = Cache(options.embedding_cache_size, EMBEDDING_BYTES)
        self.patterns: Cache[Any, Any] = Cache(
            options.pattern_cache_size, PATTERN_BYTES, options.pattern_cache_ttl, clock
        )
        self.postings = Postings(POSTING_BYTES)

    def all(self) -> dict[str, Cache[Any, Any] | Postings]:
        """Return the caches by name."""
        names = ("frames", "chunks", "searches", "embeddings", "patterns", "postings")
        return {name: getattr(self, name) for name in names}

    def frame(self, frame_id: str, read: Callable[[str], Frame | None]) -> Frame | None:
        """Return a frame, by *read* where it is not kept. Private ones are never kept."""
        found = self.frames.get(frame_id)
        if found is None:
            epoch = self.frames.epoch
            found = read(frame_id)
            if found is not None and not found.private:
                self.frames.put(frame_id, found, FRAME_OVERHEAD + 2 * len(found.content), epoch)
        return found

    def forget(self, frame_ids: set[str]) -> None:
        """Forget what is known of removed frames; answers and patterns may hold any of them."""
        for frame_id in frame_ids:
            self.frames.drop(frame_id)
            self.embeddings.drop(frame_id)
        self.chunks.clear()
        self.searches.clear()
        self.patterns.clear()
        self.postings.clear()

    def lock(self, private: set[str]) -> None:
        """Forget what private frames say."""
        self.embeddings.drop_where(lambda frame_id, _: frame_id in private)
        self.chunks.clear()
        self.searches.clear()
        self.patterns.clear()

    def figures(self) -> dict[str, float]:
        """Return the figures of all, by `<cache>.<figure>`."""
        return {
            f"{name}.{figure}": number
            for name, cache in self.all().items()
            for figure, number in cache.figures().items()
        }


def _size(item: tuple[Any, int]) -> int:
    return item[1]
