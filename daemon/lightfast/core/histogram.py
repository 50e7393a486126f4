"""How often something took how long: plain counts in fixed buckets, for `lightfast.core.metrics`."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of buckets for the time that a service takes, in seconds."""


class Histogram:
    """Counts numbers by the smallest of *bounds* that is not below them; the last bucket has none."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def add(self, number: float) -> None:
        """Count a number."""
        self.counts[bisect_left(self.bounds, number)] += 1
        self.total += number

    def buckets(self) -> list[tuple[str, int]]:
        """Return the buckets as Prometheus has them: the upper bound and how many numbers are at most that."""
        found: list[tuple[str, int]] = []
        below = 0
        for bound, count in zip((*self.bounds, float("inf")), self.counts, strict=True):
            below += count
            found.append(("+Inf" if bound == float("inf") else f"{bound:g}", below))
        return found
