"""Curves that shape a value: a line through points, straight or eased, and named ones on 0 to 1.

| name     | shape                                                                                     |
|----------|-------------------------------------------------------------------------------------------|
| `linear` | straight lines between points                                                             |
| `smooth` | each step between points eased in and out: `3t² - 2t³`                                    |
| `exp`    | slow, then fast, on 0 to 1: `(e^(kx) - 1) / (e^k - 1)`, k = 4                              |
| `log`    | fast, then slow: the inverse of `exp`                                                     |
| `s`      | slow, fast, slow: the hyperbolic tangent of steepness k = 6, scaled to 0 to 1             |

Each is monotonic where its points are, and then has an inverse; the ends of a line through points hold beyond them.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

Function = Callable[[float], float]

MAX_POINTS = 256
"""The most points of one curve."""
DRAWN = ("linear", "smooth")
SHAPED = {"exp": 4.0, "log": 4.0, "s": 6.0}
"""The named curves, with the parameter each takes where none is given."""
MAX_PARAMETER = 50.0
_SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Curve:
    """One curve: *points* for a drawn one, *parameter* (0: the usual one) for a named one."""

    name: str = ""
    parameter: float = 0.0
    points: tuple[tuple[float, float], ...] = ()

    @property
    def shaped(self) -> bool:
        """Say whether it is a named curve on 0 to 1, and not one through points."""
        return self.name in SHAPED

    def check(self) -> None:
        """Raise `ValueError` that says what is wrong with it."""
        if self.name and self.name not in SHAPED and self.name not in DRAWN:
            raise ValueError(f"there is no curve {self.name!r}: use {', '.join((*DRAWN, *SHAPED))}")
        if self.shaped:
            if self.points:
                raise ValueError(f"the curve {self.name} takes no points: they are for {' and '.join(DRAWN)}")
            if not 0 <= self.parameter <= MAX_PARAMETER:
                raise ValueError(f"the parameter of {self.name} is {self.parameter:g}: use 0 to {MAX_PARAMETER:g}")
            return
        if self.parameter:
            raise ValueError(f"a curve through points takes no parameter: that is for {', '.join(SHAPED)}")
        if not 2 <= len(self.points) <= MAX_POINTS:
            raise ValueError(f"a curve through points has 2 to {MAX_POINTS} of them, not {len(self.points)}")
        for x, y in self.points:
            if not (math.isfinite(x) and math.isfinite(y)):
                raise ValueError(f"the point ({x:g}, {y:g}) is not finite")
        for (x, _), (later, _) in pairwise(self.points):
            if not x < later:
                raise ValueError(f"the points go up in x, and {later:g} comes after {x:g}")

    def functions(self) -> tuple[Function, Function | None]:
        """Return the curve, which `check` has passed, and its inverse; None where two x have one y."""
        if self.shaped:
            return _shaped(self.name, self.parameter or SHAPED[self.name])
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        eased = self.name == "smooth"
        forward = _through(xs, ys, _ease if eased else _same)
        ways = {_sign(later - y) for y, later in pairwise(ys)}
        if len(ways) != 1 or 0 in ways:
            return forward, None
        if ys[0] > ys[-1]:
            xs, ys = xs[::-1], ys[::-1]
        return forward, _through(ys, xs, _unease if eased else _same)


def _through(xs: Sequence[float], ys: Sequence[float], ease: Function) -> Function:
    def function(x: float) -> float:
        if x <= xs[0]:
            return ys[0]
        if x >= xs[-1]:
            return ys[-1]
        index = bisect_right(xs, x)
        low, high = xs[index - 1], xs[index]
        return ys[index - 1] + (ys[index] - ys[index - 1]) * ease((x - low) / (high - low))

    return function


def _same(t: float) -> float:
    return t


def _ease(t: float) -> float:
    return t * t * (3.0 - 2.0 * t)


def _unease(y: float) -> float:
    return 0.5 - math.sin(math.asin(1.0 - 2.0 * y) / 3.0)


def _sign(number: float) -> int:
    return (number > 0) - (number < 0)


def _shaped(name: str, k: float) -> tuple[Function, Function]:
    if name == "s":
        top = math.tanh(k / 2.0)
        return (
            _within(name, lambda x: 0.5 + 0.5 * math.tanh(k * (x - 0.5)) / top),
            _within(name, lambda y: 0.5 + math.atanh((2.0 * y - 1.0) * top) / k),
        )
    span = math.expm1(k)
    slow, fast = _within(name, lambda x: math.expm1(k * x) / span), _within(name, lambda y: math.log1p(y * span) / k)
    return (slow, fast) if name == "exp" else (fast, slow)


def _within(name: str, shape: Function) -> Function:
    def function(x: float) -> float:
        if not -_SLACK <= x <= 1.0 + _SLACK:
            raise ValueError(
                f"the curve {name} goes from 0 to 1, and this is {x:g}: "
                "give the link a scale, or draw the curve through points"
            )
        return min(max(shape(min(max(x, 0.0), 1.0)), 0.0), 1.0)

    return function
