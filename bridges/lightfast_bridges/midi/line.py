"""A straight line through what was counted and when: what is left of jittery times is their course."""

from __future__ import annotations

import math
from collections import deque


class Line:
    """The least-squares line through the last *most* points (time, count)."""

    def __init__(self, most: int) -> None:
        self._points: deque[tuple[float, float]] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._points)

    def clear(self) -> None:
        """Forget all points."""
        self._points.clear()

    def add(self, time: float, count: float) -> None:
        """Add one point."""
        self._points.append((time, count))

    def keep(self, last: int) -> None:
        """Forget all points but the *last* ones."""
        while len(self._points) > last:
            self._points.popleft()

    def slope(self, otherwise: float) -> float:
        """Return how much is counted in a second, *otherwise* where that cannot be said yet."""
        fitted = self._fit()
        return otherwise if fitted is None else fitted[2]

    def at(self, time: float) -> float:
        """Return what is counted at *time*; there must be a point."""
        fitted = self._fit()
        if fitted is None:
            return self._points[-1][1]
        middle, mean, slope = fitted
        return mean + slope * (time - middle)

    def ahead(self, last: int) -> tuple[list[float], float]:
        """Return how far the *last* points lie from the line through those before, and the deviation of these."""
        points = list(self._points)
        older = Line(max(1, len(points)))
        for point in points[:-last]:
            older.add(*point)
        fitted = older._fit()
        if fitted is None:
            return [], 0.0
        middle, mean, slope = fitted  # once: this is asked at every tick
        return [count - mean - slope * (time - middle) for time, count in points[-last:]], older._deviation(*fitted)

    def spread(self) -> float:
        """Return the standard deviation of the points from the line, in counts."""
        fitted = self._fit()
        if fitted is None:
            return 0.0
        return self._deviation(*fitted)

    def _deviation(self, middle: float, mean: float, slope: float) -> float:
        squares = sum((count - mean - slope * (time - middle)) ** 2 for time, count in self._points)
        return math.sqrt(squares / len(self._points))

    def _fit(self) -> tuple[float, float, float] | None:
        many = len(self._points)
        if many < 3:
            return None
        middle = sum(time for time, _ in self._points) / many
        mean = sum(count for _, count in self._points) / many
        square = sum((time - middle) ** 2 for time, _ in self._points)
        if square <= 0:
            return None
        return middle, mean, sum((time - middle) * (count - mean) for time, count in self._points) / square
