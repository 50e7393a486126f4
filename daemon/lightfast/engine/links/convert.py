"""How one value becomes another on its way through a link: by the formula, then to the kind of the target."""

from __future__ import annotations

import math
from collections.abc import Callable

from lightfast_link.value import Value, kind_of

_NUMBERS = (bool, int, float)


def convert(value: Value, formula: Callable[[float], float] | None, kind: str) -> Value:
    """Return *value* through *formula* (`None`: as it is), as *kind* (empty: whatever comes out).

    Vectors go through component by component; an int is rounded, a bool is `x != 0`. Raises
    `ValueError` that says what does not fit.
    """
    if formula is None and kind in {"", kind_of(value)}:
        return value
    if isinstance(value, _NUMBERS):
        number = float(value)
        return _as_kind(number if formula is None else formula(number), kind)
    components = _components(value)
    if components is not None and kind in {"", "vector"}:
        return tuple([component if formula is None else formula(component) for component in components])
    if formula is not None:
        raise ValueError(f"a {kind_of(value)} passes only unchanged: remove the formula")
    raise ValueError(f"a {kind_of(value)} does not become a {kind}")


def _components(value: Value) -> list[float] | None:
    """Return the numbers of a vector, or of a list of numbers, else `None`."""
    if isinstance(value, (tuple, list)) and all(type(item) in {int, float} for item in value):
        return [float(item) for item in value]
    return None


def _as_kind(number: float, kind: str) -> Value:
    if kind in {"", "double"}:
        return number
    if kind == "bool":
        return number != 0
    if kind == "int":
        if not math.isfinite(number):
            raise ValueError(f"{number} is no int")
        rounded = round(number)
        if not -(1 << 63) <= rounded < 1 << 63:
            raise ValueError(f"{number:g} does not fit an int of 64 bits")
        return rounded
    raise ValueError(f"a number does not become a {kind}")
