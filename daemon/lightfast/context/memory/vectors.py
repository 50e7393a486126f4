"""The vectors in memory: finds what lies closest, exactly, in a few milliseconds for a hundred thousand.

Loaded on first use, since it needs numpy; used by one thread, but for `later`. Dense vectors take a byte a number,
sparse ones six bytes a number that is not zero: 26 MB or about as much for 100,000 texts, with 256 numbers or with
trigrams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lightfast.context.memory.packing import WEIGHT

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 4096
"""Vectors that are turned into floats at once: they fit the processor's cache."""
_SEGMENT = 8192
"""Sparse vectors that are looked through one by one until they are sorted by dimension."""
_MOST_SEGMENTS = 16


class VectorIndex:
    """Numbers of wordings and their vectors, of *dimensions* numbers each."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._numbers: NDArray[np.int64] = np.zeros(1024, np.int64)
        self._alive: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self._present: NDArray[np.bool_] = np.zeros(1024, np.bool_)
        self._used = 0
        self._gone = 0
        self._fresh: deque[tuple[int, bytes]] = deque()
        """What is taken in before anything is looked for, or forgotten."""

    def __len__(self) -> int:
        return self._used - self._gone + len(self._fresh)

    @property
    def wasted(self) -> int:
        """How many vectors are in the way of those that are there."""
        return self._gone

    def later(self, number: int, vector: bytes) -> int:
        """Let a packed vector be taken in with the next question; from any thread. Return how many wait for that."""
        self._fresh.append((number, vector))
        return len(self._fresh)

    def take_in(self) -> None:
        """Take in what waits."""
        found = [self._fresh.popleft() for _ in range(len(self._fresh))]
        if found:
            self.add([number for number, _ in found], [vector for _, vector in found])

    def add(self, numbers: Sequence[int], vectors: Sequence[bytes]) -> None:
        """Take in packed vectors; those of numbers that are there are left out, and so are those that do not fit."""
        self._present = _room(self._present, max(numbers, default=0) + 1)
        new = []
        for number, vector in zip(numbers, vectors, strict=True):
            if not self._present[number] and self._fits(vector):
                self._present[number] = True
                new.append((number, vector))
        if not new:
            return
        end = self._used + len(new)
        self._numbers, self._alive = _room(self._numbers, end), _room(self._alive, end)
        self._numbers[self._used : end] = [number for number, _ in new]
        self._alive[self._used : end] = True
        self._extend([vector for _, vector in new])
        self._used = end

    def remove(self, numbers: Sequence[int]) -> None:
        """Forget the vectors of *numbers*; their place is free when the index is built anew."""
        self.take_in()
        wanted = np.asarray([number for number in numbers if number < len(self._present)], np.int64)
        self._present[wanted] = False
        hit = np.isin(self._numbers[: self._used], wanted) & self._alive[: self._used]
        self._alive[: self._used][hit] = False
        self._gone += int(hit.sum())

    def nearest(self, query: Any, most: int, floor: float) -> tuple[list[int], list[float]]:
        """Return the numbers and the cosines of the *most* vectors closest to *query*, best first, above *floor*."""
        scores = self._all(query)
        found = np.argpartition(scores, -most)[-most:] if most < len(scores) else np.arange(len(scores))
        found = found[scores[found] > floor]
        # Of two that are equally close the newer one comes first, always.
        order = found[np.lexsort((-self._numbers[found], -scores[found]))]
        return self._numbers[order].tolist(), scores[order].tolist()

    def cosines(self, query: Any, numbers: Sequence[int]) -> dict[int, float]:
        """Return how close the vectors of *numbers* are; those that are not there are left out."""
        scores = self._all(query)
        slots = np.flatnonzero(np.isin(self._numbers[: self._used], np.asarray(numbers, np.int64)))
        return {int(self._numbers[slot]): float(scores[slot]) for slot in slots if self._alive[slot]}

    def _all(self, query: Any) -> NDArray[np.float32]:
        self.take_in()
        scores = self._scores(np.asarray(query, np.float32))
        scores[~self._alive[: self._used]] = -2.0
        return scores

    def _fits(self, vector: bytes) -> bool:
        raise NotImplementedError

    def _extend(self, vectors: list[bytes]) -> None:
        raise NotImplementedError

    def _scores(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError


class DenseIndex(VectorIndex):
    """Of vectors with few zeros: blocks of int8, and a scale for each vector."""

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        self._blocks: list[NDArray[np.int8]] = []
        self._scales: NDArray[np.float32] = np.zeros(1024, np.float32)

    def _fits(self, vector: bytes) -> bool:
        return len(vector) == 4 + self.dimensions

    def _extend(self, vectors: list[bytes]) -> None:
        packed = np.frombuffer(b"".join(vectors), np.uint8).reshape(len(vectors), 4 + self.dimensions)
        self._scales = _room(self._scales, self._used + len(vectors))
        self._scales[self._used : self._used + len(vectors)] = packed[:, :4].copy().view("<f4")[:, 0]
        numbers = packed[:, 4:].view(np.int8)
        at = 0
        while at < len(vectors):
            block, start = divmod(self._used + at, _BLOCK)
            if block == len(self._blocks):
                self._blocks.append(np.zeros((_BLOCK, self.dimensions), np.int8))
            taken = min(_BLOCK - start, len(vectors) - at)
            self._blocks[block][start : start + taken] = numbers[at : at + taken]
            at += taken

    def _scores(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        found = [block.astype(np.float32) @ query for block in self._blocks]
        scores = np.concatenate(found)[: self._used] if found else np.zeros(0, np.float32)
        scores *= self._scales[: self._used]
        return scores


class SparseIndex(VectorIndex):
    """Of vectors that are nearly all zeros: for each dimension the vectors that have it, in segments.

    The newest are not sorted yet and looked through one by one; at 8,192 of them they become a segment, and
    16 segments become one.
    """

    def __init__(self, dimensions: int) -> None:
        super().__init__(dimensions)
        self._segments: list[tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint16]]] = []
        self._tail: list[tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.uint16]]] = []
        self._tail_from = 0

    def _fits(self, vector: bytes) -> bool:
        return len(vector) % 4 == 0

    def _extend(self, vectors: list[bytes]) -> None:
        lengths = [len(vector) // 4 for vector in vectors]
        slots = np.repeat(np.arange(self._used, self._used + len(vectors), dtype=np.int32), lengths)
        dimensions = np.frombuffer(b"".join(v[: len(v) // 2] for v in vectors), "<u2").astype(np.uint16)
        weights = np.frombuffer(b"".join(v[len(v) // 2 :] for v in vectors), "<u2").astype(np.uint16)
        known = dimensions < self.dimensions
        self._tail.append((slots[known], dimensions[known], weights[known]))
        if len(self._tail) > 64:
            self._tail = [_joined(self._tail)]
        if self._used + len(vectors) - self._tail_from >= _SEGMENT:
            self._segments.append(self._sorted(*_joined(self._tail)))
            self._tail, self._tail_from = [], self._used + len(vectors)
            if len(self._segments) > _MOST_SEGMENTS:
                self._merge()

    def _sorted(
        self, slots: NDArray[np.int32], dimensions: NDArray[np.uint16], weights: NDArray[np.uint16]
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.uint16]]:
        order = np.argsort(dimensions, kind="stable")
        starts = np.searchsorted(dimensions[order], np.arange(self.dimensions + 1)).astype(np.int64)
        return starts, slots[order], weights[order]

    def _merge(self) -> None:
        parts = []
        for starts, slots, weights in self._segments:
            dimensions = np.repeat(np.arange(self.dimensions, dtype=np.uint16), np.diff(starts))
            parts.append((slots, dimensions, weights))
        self._segments = [self._sorted(*_joined(parts))]

    def _scores(self, query: NDArray[np.float32]) -> NDArray[np.float32]:
        scores = np.zeros(self._used, np.float32)
        scaled = query / np.float32(WEIGHT)
        wanted = np.flatnonzero(query)
        for starts, slots, weights in self._segments:
            for dimension in wanted:
                span = slice(starts[dimension], starts[dimension + 1])
                scores[slots[span]] += weights[span] * scaled[dimension]
        if self._tail:
            self._tail = [_joined(self._tail)]
            slots, dimensions, weights = self._tail[0]
            there = np.bincount(slots - self._tail_from, scaled[dimensions] * weights, self._used - self._tail_from)
            scores[self._tail_from :] += there.astype(np.float32)
        return scores


def _joined(
    parts: list[tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.uint16]]],
) -> tuple[NDArray[np.int32], NDArray[np.uint16], NDArray[np.uint16]]:
    if len(parts) == 1:
        return parts[0]
    slots, dimensions, weights = zip(*parts, strict=True)
    return np.concatenate(slots), np.concatenate(dimensions), np.concatenate(weights)


def _room(numbers: NDArray[Any], wanted: int) -> NDArray[Any]:
    """Return *numbers* with room for *wanted* of them."""
    if wanted <= len(numbers):
        return numbers
    larger = np.zeros(max(wanted, 2 * len(numbers)), numbers.dtype)
    larger[: len(numbers)] = numbers
    return larger
