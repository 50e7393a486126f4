"""Smoothing: a follower that moves to the newest value instead of jumping there, and always arrives exactly."""

from __future__ import annotations

import math

from lightfast_link.value import Value

RATE_HZ = 60.0
"""Steps a second of a glide, where the link has no lower rate of its own."""
_ARRIVED = 1e-3
"""The part of the way that is left when the rest is done at once."""
_LONGEST = 10.0
"""Time constants after which a glide is there, whatever the way."""

Numbers = tuple[float, ...]


class Glide:
    """One glide, of a number or a vector. The follower approaches with one time constant: 63 % of the way in it."""

    __slots__ = ("_at", "_begun", "_goal", "_last", "_way", "arrived")

    def __init__(self, at: Numbers, now: float) -> None:
        self._at = at
        self._goal: Numbers = at
        self._way = 0.0
        self._begun = self._last = now
        self.arrived = False

    def step(self, goal: Numbers, now: float, constant: float) -> Numbers:
        """Return where the follower should be *now* (in seconds) on its way to *goal*; `arrived` says that it is it."""
        if goal != self._goal:
            self._goal, self._begun = goal, now - 1.0 / RATE_HZ
            self._way = max(abs(g - a) for g, a in zip(goal, self._at, strict=True))
            self._last = max(self._last, self._begun)
        share = -math.expm1(-max(now - self._last, 1e-3) / constant)
        self._last = now
        moved = tuple([a + (g - a) * share for g, a in zip(goal, self._at, strict=True)])
        left = max(abs(g - m) for g, m in zip(goal, moved, strict=True))
        self.arrived = not left > self._way * _ARRIVED or now - self._begun >= _LONGEST * constant
        self._at = goal if self.arrived else moved
        return self._at


def numbers_of(value: Value | None) -> Numbers | None:
    """Return the numbers of what can glide (finite ones, alone or as a vector), else None."""
    if type(value) in {int, float} and math.isfinite(value):  # type: ignore[arg-type]  # a number, as was just seen
        return (float(value),)  # type: ignore[arg-type]
    if isinstance(value, tuple) and value and all(math.isfinite(item) for item in value):
        return value
    return None


def like(numbers: Numbers, goal: Value) -> Value:
    """Return *numbers* as a value of the kind of *goal*."""
    if isinstance(goal, tuple):
        return numbers
    return round(numbers[0]) if type(goal) is int else numbers[0]
