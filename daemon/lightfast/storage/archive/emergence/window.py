"""The newest frames as points, each with its nearest neighbours: what clusters and relations are found in."""

from __future__ import annotations

import heapq
import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightfast.storage.archive.emergence import words as wording
from lightfast.storage.archive.emergence.communities import communities

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

NEIGHBOURS = 8
"""So many are kept for each point."""
LINKED = 4
"""So many of them make the graph of the clusters."""
CANDIDATES = 40
"""So many of the nearest by their vectors are looked at word by word."""
WORDS = 0.3
"""What shared words count in likeness, against the vectors."""
AROUND = 5
"""How many neighbours say how crowded it is around a point."""
SPREADS = 2.5
"""Points are linked where they are alike by so many standard deviations more than any two are."""
SHARPNESS = 8.0
SEQUENCE_MS = 120_000
"""Frames that follow each other so soon, and are alike a little, belong to one sequence."""


@dataclass(slots=True)
class Point:
    """One frame in the window; *row* is that of its vector. *cluster* is 0 as long as it is alone."""

    number: int
    frame_id: str
    time_ms: int
    words: frozenset[str]
    row: int
    cluster: int = 0
    near: dict[int, float] = field(default_factory=dict)
    """Likeness to its nearest, by number."""
    last: Floats | None = None
    """Its vector, once it has left the window."""


class Window:
    """At most *most* points; the oldest leave. Not thread-safe."""

    def __init__(self, dimensions: int, most: int) -> None:
        self.most = most
        self.dimensions = dimensions
        self.points: dict[int, Point] = {}
        """By number, oldest first."""
        self.frequency: Counter[str] = Counter()
        self.threshold = 1.0
        """From what likeness on points are linked; known once it was measured."""
        self._vectors: Floats | None = None
        self._numbers: NDArray[np.int64] | None = None
        self._weigher = wording.Weigher(self.frequency, 0)
        self._free: list[int] = []
        self._by_id: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.points)

    def number_of(self, frame_id: str) -> int | None:
        """Return the number of a frame in the window."""
        return self._by_id.get(frame_id)

    def vector(self, point: Point) -> Floats:
        """Return the vector of a point."""
        assert self._vectors is not None  # noqa: S101 — there is a point, so there are vectors
        row: Floats = self._vectors[point.row]
        return row

    def add(self, new: Sequence[tuple[int, str, int, frozenset[str]]], vectors: Floats) -> list[Point]:
        """Add frames as (number, id, time, words) with their vectors; return those that had to leave for them."""
        import numpy as np

        if self._vectors is None:
            self._vectors = np.zeros((0, self.dimensions), np.float32)
            self._numbers = np.zeros(0, np.int64)
        left = [self.drop(number) for number in list(self.points)[: max(0, len(self.points) + len(new) - self.most)]]
        added: list[Point] = []
        for number, frame_id, time_ms, words in new:
            point = Point(number, frame_id, time_ms, words, self._row())
            self._vectors[point.row] = vectors[len(added)]
            assert self._numbers is not None  # noqa: S101 — made with the vectors
            self._numbers[point.row] = number
            self.points[number] = point
            self._by_id[frame_id] = number
            self.frequency.update(words)
            added.append(point)
        self._weigher = wording.Weigher(self.frequency, len(self.points))
        if added:
            self._look_around(added)
        return [point for point in left if point is not None]

    def drop(self, number: int) -> Point | None:
        """Take a point out, and out of the neighbours of others."""
        point = self.points.pop(number, None)
        if point is None:
            return None
        self._by_id.pop(point.frame_id, None)
        for word in point.words:
            self.frequency[word] -= 1
            if not self.frequency[word]:
                del self.frequency[word]
        assert self._vectors is not None  # noqa: S101 — there was a point
        assert self._numbers is not None  # noqa: S101 — the same
        point.last = self._vectors[point.row].copy()
        self._vectors[point.row] = 0.0
        self._numbers[point.row] = -1
        self._free.append(point.row)
        for near in point.near:  # who has it as a neighbour unnoticed finds that out later
            other = self.points.get(near)
            if other is not None:
                other.near.pop(number, None)
        return point

    def likeness(self, one: Point, other: Point, cosine: float) -> float:
        """Return how alike two points are, 0 to 1: by their vectors, and by the rare words they share."""
        return (1.0 - WORDS) * max(0.0, cosine) + WORDS * self._weigher.overlap(one.words, other.words)

    # ---- clusters

    def cluster(self, anchors: Sequence[tuple[int, Floats]] = ()) -> tuple[list[int], list[int]]:
        """Return the community of each point, in their order, and that of each anchor; -1 for those that are alone.

        *anchors* are clusters whose frames have left the window, as (id, centroid): points join them by likeness.
        """
        self._measure_again()
        numbers = {number: index for index, number in enumerate(self.points)}
        links: list[dict[int, float]] = [{} for _ in range(len(numbers) + len(anchors))]
        nearest = {
            number: [n for n, _ in _best(point.near, LINKED) if point.near[n] >= self.threshold and n in numbers]
            for number, point in self.points.items()
        }
        for number, near in nearest.items():
            mine = set(near)
            for other in near:
                # Two points that have neighbours in common are the more likely in one cluster.
                weight = self.points[number].near[other] * (1 + len(mine.intersection(nearest[other])))
                links[numbers[number]][numbers[other]] = links[numbers[other]][numbers[number]] = weight
        for index, (_, centroid) in enumerate(anchors):
            for number, weight in self._near_to(centroid):
                links[numbers[number]][len(numbers) + index] = links[len(numbers) + index][numbers[number]] = weight
        found = communities(links, breathe=_breathe)
        found = [community if links[node] else -1 for node, community in enumerate(found)]
        return found[: len(numbers)], found[len(numbers) :]

    def _near_to(self, centroid: Floats) -> Iterator[tuple[int, float]]:
        import numpy as np

        assert self._vectors is not None  # noqa: S101 — clusters are asked for when there are points
        assert self._numbers is not None  # noqa: S101 — the same
        length = float(np.linalg.norm(centroid))
        if not length:
            return
        cosines = self._vectors @ (centroid / np.float32(length))
        # A centroid is closer to everything than a single text is: it must be twice as clear.
        for row in np.flatnonzero(cosines >= min(0.9, 2.0 * self.threshold)):
            number = int(self._numbers[row])
            if number in self.points:
                yield number, float(cosines[row])

    def _measure_again(self) -> None:
        """Find likenesses anew, since rarity has changed, and the threshold between alike and not."""
        points = list(self.points.values())
        self._weigher = wording.Weigher(self.frequency, len(points))
        for index, point in enumerate(points):
            for number in list(point.near):
                other = self.points.get(number)
                if other is None:
                    del point.near[number]
                elif number > point.number or point.number not in other.near:
                    likeness = self.likeness(point, other, self._cosine(point, other))
                    point.near[number] = likeness
                    if point.number in other.near:
                        other.near[point.number] = likeness
            if index % 64 == 63:
                _breathe()
        chance = random.Random(len(points))  # noqa: S311 — a sample, no secret
        if len(points) < 3:
            self.threshold = 0.35
            return
        pairs = [chance.sample(points, 2) for _ in range(min(2000, len(points) ** 2))]
        sample = [self.likeness(one, other, self._cosine(one, other)) for one, other in pairs]
        mean = math.fsum(sample) / len(sample)
        spread = math.sqrt(math.fsum((value - mean) ** 2 for value in sample) / len(sample))
        # Few texts, or all of one matter, say little about what is usual: then a fixed bound holds.
        trust = min(1.0, len(points) / 64)
        self.threshold = min(0.6, max(0.12, trust * (mean + SPREADS * spread) + (1.0 - trust) * 0.3))

    # ---- relations

    def relations(self, point: Point) -> list[tuple[int, float, str]]:
        """Return what a point has to do with others, as (number, strength 0 to 1, reason), strongest first.

        Strength is likeness beyond what is usual around both points (as in cross-domain similarity local scaling,
        Conneau et al. 2018), bent to 0…1; 0.5 is as alike as their neighbours are on average.
        """
        here = self._crowd(point)
        found = []
        for number, likeness in point.near.items():
            other = self.points.get(number)
            if other is None or likeness < 0.5 * self.threshold:
                continue
            beyond = 2.0 * likeness - here - self._crowd(other)
            soon = abs(point.time_ms - other.time_ms) <= SEQUENCE_MS
            beyond += 0.05 * soon
            strength = min(1.0, likeness / self.threshold) / (1.0 + math.exp(-SHARPNESS * beyond))
            found.append((number, strength, self._reason(point, other, soon=soon)))
        return sorted(found, key=lambda one: (-one[1], one[0]))

    def _reason(self, point: Point, other: Point, *, soon: bool) -> str:
        by_words = WORDS * self._weigher.overlap(point.words, other.words)
        by_vectors = (1.0 - WORDS) * self._cosine(point, other)
        if soon and by_vectors + by_words < self.threshold:
            return "sequence"
        return "shared-words" if by_words > 0.5 * by_vectors else "similar"

    def _crowd(self, point: Point) -> float:
        best = [likeness for _, likeness in _best(point.near, AROUND)]
        return math.fsum(best) / AROUND  # a point with fewer neighbours stands freer

    # ---- inside

    def _look_around(self, added: Sequence[Point]) -> None:
        """Find the neighbours of new points, and put these among those of the old ones."""
        import numpy as np

        assert self._vectors is not None  # noqa: S101 — points were added
        assert self._numbers is not None  # noqa: S101 — the same
        cosines = self._vectors[[point.row for point in added]] @ self._vectors.T
        most = min(CANDIDATES, cosines.shape[1])
        nearest = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
        for index, point in enumerate(added):
            for row in nearest[index]:
                other = self.points.get(int(self._numbers[row]))
                if other is None or other is point:
                    continue
                likeness = self.likeness(point, other, float(cosines[index, row]))
                if likeness > 0.0:
                    _keep(point.near, other.number, likeness)
                    _keep(other.near, point.number, likeness)
            best = max(point.near.items(), key=lambda one: one[1], default=(0, 0.0))
            if best[1] >= self.threshold:  # for now, until clusters are found anew
                point.cluster = self.points[best[0]].cluster

    def _cosine(self, one: Point, other: Point) -> float:
        return float(self.vector(one) @ self.vector(other))

    def _row(self) -> int:
        import numpy as np

        if not self._free:
            assert self._vectors is not None  # noqa: S101 — made before
            assert self._numbers is not None  # noqa: S101 — the same
            old = len(self._vectors)
            grown = min(self.most, max(64, 2 * old))
            self._vectors = np.concatenate([self._vectors, np.zeros((grown - old, self.dimensions), np.float32)])
            self._numbers = np.concatenate([self._numbers, np.full(grown - old, -1, np.int64)])
            self._free = list(range(grown - 1, old - 1, -1))
        return self._free.pop()


def _best(near: dict[int, float], most: int) -> list[tuple[int, float]]:
    return heapq.nlargest(most, near.items(), key=lambda one: (one[1], -one[0]))


def _keep(near: dict[int, float], number: int, likeness: float) -> None:
    if len(near) < NEIGHBOURS or number in near:
        near[number] = likeness
        return
    weakest = min(near, key=lambda one: (near[one], -one))
    if likeness > near[weakest]:
        del near[weakest]
        near[number] = likeness


def _breathe() -> None:
    time.sleep(0.0005)  # the loop's thread gets the interpreter
