"""The way of one value to another: numbers, vectors and colours, as a function of how far the morph is.

Colours are mixed as light is (linearly), whatever form an application keeps them in, so that a fade from red to green
does not go through mud; hues go through the colours that light mixes to. Angles move the way their numbers do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from lightfast.core.colours import FORMS, decode, encode
from lightfast_link.value import Value

Numbers = tuple[float, ...]
Track = Callable[[float], Value]
"""Gives the value at a part of the way, from 0 to 1 (a curve may reach beyond)."""


def track(before: Value | None, after: Value, unit: str = "") -> Track | None:
    """Return the way from *before* to *after*, given in *unit*; `None` where there is none and it has to flip."""
    if before is None:
        return None
    if unit in FORMS and unit != "color.linear":
        return _coloured(before, after, unit)
    here, there = _numbers(before), _numbers(after)
    if (
        here is None
        or there is None
        or len(here) != len(there)
        or isinstance(before, tuple) != isinstance(after, tuple)
    ):
        return None
    if isinstance(after, tuple):
        return lambda part: _mixed(here, there, part)
    if type(after) is int:
        return lambda part: round(_mixed(here, there, part)[0])
    return lambda part: _mixed(here, there, part)[0]


def _coloured(before: Value, after: Value, unit: str) -> Track | None:
    enter, leave = FORMS[unit]
    try:
        here, there = _light(enter(before)), _light(enter(after))
    except ValueError:
        return None
    if len(here) != len(there):
        return None

    def at(part: float) -> Value:
        red, green, blue, *alpha = _mixed(here, there, part)
        return leave((encode(red), encode(green), encode(blue), *alpha))

    return at


def _light(rgba: Numbers) -> Numbers:
    return (*[decode(code) for code in rgba[:3]], *rgba[3:])


def _mixed(here: Numbers, there: Numbers, part: float) -> Numbers:
    return tuple([a + (b - a) * part for a, b in zip(here, there, strict=True)])


def _numbers(value: Value) -> Numbers | None:
    if type(value) in {int, float} and math.isfinite(value):  # type: ignore[arg-type]  # a number, as was just seen
        return (float(value),)  # type: ignore[arg-type]
    if isinstance(value, tuple) and value and all(map(math.isfinite, value)):
        return value
    return None
