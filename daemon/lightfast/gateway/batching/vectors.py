"""The last vectors, by model, size and text; the texts themselves are not kept, only their SHA-256."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict

Vector = array  # of 32-bit floats
Key = tuple[str, int, bytes]

MOST_BYTES = 32 << 20
"""The most that the vectors which are kept take, about; the least recently used go."""
_OVERHEAD = 200


class VectorCache:
    """Vectors of one model never answer for another: the model's full name and the size are in the key."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self.hits = 0
        self.misses = 0
        self.bytes = 0
        self._most = most_bytes
        self._kept: OrderedDict[Key, array[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    @staticmethod
    def key(model: str, dimensions: int, text: str) -> Key:
        """Return the key of a text."""
        return model, dimensions, hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

    def get(self, key: Key) -> array[float] | None:
        """Return a vector that is kept."""
        vector = self._kept.get(key)
        if vector is None:
            self.misses += 1
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        return vector

    def put(self, key: Key, vector: array[float]) -> None:
        """Keep a vector."""
        if key in self._kept:
            return
        self._kept[key] = vector
        self.bytes += len(vector) * vector.itemsize + _OVERHEAD
        while self.bytes > self._most:
            _, gone = self._kept.popitem(last=False)
            self.bytes -= len(gone) * gone.itemsize + _OVERHEAD

    def clear(self) -> None:
        """Let go of all: something was purged, and nobody knows whose vectors these are."""
        self._kept.clear()
        self.bytes = 0
