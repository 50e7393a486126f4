"""The index of vectors against plain arithmetic, with additions and deletions in any order."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from lightfast.context.memory.packing import pack_dense, pack_sparse
from lightfast.context.memory.vectors import DenseIndex, SparseIndex, VectorIndex
from lightfast.core import trigrams


def made(kind: str, count: int, seed: int = 3) -> tuple[VectorIndex, dict[int, list[float]], dict[int, bytes]]:
    """Return an empty index, and vectors with their packed forms."""
    rng = random.Random(seed)
    vectors: dict[int, list[float]] = {}
    packed: dict[int, bytes] = {}
    for number in range(1, count + 1):
        if kind == "dense":
            vector = [rng.gauss(0, 1) for _ in range(48)]
        else:
            vector = [0.0] * 300
            for place in rng.sample(range(300), 12):
                vector[place] = rng.random()
        length = math.sqrt(sum(x * x for x in vector))
        vectors[number] = [x / length for x in vector]
        packed[number] = (
            pack_dense(vectors[number])
            if kind == "dense"
            else pack_sparse({place: x for place, x in enumerate(vectors[number]) if x})
        )
    return (DenseIndex(48) if kind == "dense" else SparseIndex(300)), vectors, packed


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_it_finds_what_arithmetic_finds(kind: str) -> None:
    index, vectors, packed = made(kind, 20_000)
    rng = random.Random(5)
    there: set[int] = set()
    waiting = list(vectors)
    rng.shuffle(waiting)
    while waiting:
        batch, waiting = waiting[:3000], waiting[3000:]
        index.add(batch, [packed[number] for number in batch])
        there.update(batch)
        gone = rng.sample(sorted(there), 500)
        index.remove(gone)
        there.difference_update(gone)
        index.add(gone[:100], [packed[number] for number in gone[:100]])  # what comes back counts again
        there.update(gone[:100])
        index.add(batch[:50], [packed[number] for number in batch[:50]])  # what is there is left out
        there.update(batch[:50])
        assert len(index) == len(there)
        query = vectors[rng.choice(sorted(vectors))]
        numbers = sorted(there)
        wanted = np.array([vectors[number] for number in numbers]) @ np.array(query)
        exact = dict(zip(numbers, wanted.tolist(), strict=True))
        found, scores = index.nearest(query, 20, 0.05)
        assert len(found) == len(set(found)) == 20
        assert set(found) <= there
        for number, score in zip(found, scores, strict=True):
            assert score == pytest.approx(exact[number], abs=0.01)
        best = sorted(exact.values(), reverse=True)[19]
        assert min(exact[number] for number in found) >= best - 0.02
        assert scores == sorted(scores, reverse=True)
        some = rng.sample(numbers, 30)
        close = index.cosines(query, [*some, 10**6])
        assert set(close) == set(some)
        assert all(close[number] == pytest.approx(exact[number], abs=0.01) for number in some)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_edges(kind: str) -> None:
    index, vectors, packed = made(kind, 3)
    assert index.nearest(vectors[1], 10, 0.1) == ([], [])
    index.remove([5, 10**9])
    index.add([], [])
    index.add([1, 2], [packed[1], b"\1\2\3"])  # what does not fit is left out
    assert len(index) == 1
    assert index.nearest(vectors[1], 10, 0.1)[0] == [1]
    assert index.nearest(vectors[1], 10, 1.5)[0] == []
    empty = pack_dense([0.0] * 48) if kind == "dense" else pack_sparse({})
    index.add([3], [empty])
    assert index.nearest(vectors[1], 10, 0.1)[0] == [1]
    index.remove([1, 3])
    assert (len(index), index.wasted) == (0, 2)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_what_waits_is_there_for_every_question(kind: str) -> None:
    index, vectors, packed = made(kind, 4)
    index.add([1], [packed[1]])
    assert [index.later(number, packed[number]) for number in (2, 3)] == [1, 2]
    assert len(index) == 3
    assert index.cosines(vectors[3], [3])[3] == pytest.approx(1.0, abs=0.02)
    index.later(4, packed[4])
    index.remove([4, 2])  # what waits, and what does not
    assert index.nearest(vectors[4], 10, -1.5)[0] in ([1, 3], [3, 1])
    assert len(index) == 2


def test_equal_ones_come_newest_first() -> None:
    index = SparseIndex(trigrams.DIMENSIONS)
    packed = pack_sparse(trigrams.sparse("the very same text"))
    index.add([4, 9, 2], [packed] * 3)
    assert index.nearest(trigrams.dense("the very same text"), 10, 0.1)[0] == [9, 4, 2]


def test_packed_trigrams_are_small_and_exact() -> None:
    text = "the cube is rendered in warm light"
    packed = pack_sparse(trigrams.sparse(text))
    assert len(packed) == 4 * len(trigrams.sparse(text)) < 200
    index = SparseIndex(trigrams.DIMENSIONS)
    index.add([1], [packed])
    assert index.cosines(trigrams.dense(text), [1])[1] == pytest.approx(1.0, abs=1e-3)
