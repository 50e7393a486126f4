"""One value from the units and axes of one application into those of another."""

from __future__ import annotations

from collections.abc import Mapping

from lightfast.core import axes
from lightfast.core.clocked import CLOCKED, at_rates, rates_between
from lightfast.core.measures import Function, between
from lightfast_link.value import Value

_SECOND = "time.second"
_RADIAN = "angle.radian"

Rates = Mapping[str, float]


def turned(value: Value, role: str, source_up: str, target_up: str) -> Value:
    """Return *value* with the axes of the target, angles in radians; a value that has no axes is returned as it is."""
    if role not in {"point", "euler", "scale"} or not source_up or not target_up or source_up == target_up:
        return value
    if not isinstance(value, tuple) or len(value) != 3:
        raise ValueError(f"a {role} has three numbers")
    vector = (float(value[0]), float(value[1]), float(value[2]))
    turn = {"point": axes.point, "euler": axes.euler, "scale": axes.scale}[role]
    return turn(vector, source_up, target_up)


def converted(value: Value, source: str, target: str, source_rates: Rates, target_rates: Rates) -> Value:
    """Return *value* in the unit *target*; vectors component by component.

    Where one of the units is not given nothing is converted. Raises `ValueError` where there is no way, or no rate.
    """
    if source == target or not source or not target:
        return value
    return _through(value, way(source, target, source_rates, target_rates))


def way(source: str, target: str, source_rates: Rates, target_rates: Rates) -> Function:
    """Return the function from *source* to *target*; beats and frames go through seconds, at the rates of each side."""
    direct = between(source, target)
    if direct is not None:
        return direct[0]
    if source not in CLOCKED and target not in CLOCKED:
        raise ValueError(f"there is no way from {source} to {target}")
    seconds = _clocked(source, _SECOND, source_rates)
    back = _clocked(_SECOND, target, target_rates)
    return lambda number: back(seconds(number))


def _clocked(source: str, target: str, rates: Rates) -> Function:
    if source == target:
        return lambda number: number
    direct = between(source, target)
    if direct is not None:
        return direct[0]
    needed = rates_between(source, target)
    if needed is None:
        raise ValueError(f"there is no way from {source} to {target}")
    missing = [name for name in needed if name not in rates]
    if missing:
        raise ValueError(
            f"{source} to {target} needs the {missing[0].replace('_', ' ')}, which the application does not say"
        )
    return at_rates(source, target, rates)[0]


def _through(value: Value, function: Function) -> Value:
    if isinstance(value, bool):
        raise ValueError("a bool has no unit")  # noqa: TRY004  (what the caller handles)
    if isinstance(value, (int, float)):
        return function(float(value))
    if isinstance(value, (tuple, list)) and all(type(each) in {int, float} for each in value):
        return tuple(function(float(each)) for each in value)
    raise ValueError("only numbers and vectors have units")


def in_radians(value: Value, unit: str) -> Value:
    """Return angles in radians, from the *unit* they are in."""
    return converted(value, unit or _RADIAN, _RADIAN, {}, {})


def from_radians(value: Value, unit: str) -> Value:
    """Return angles in *unit*."""
    return converted(value, _RADIAN, unit or _RADIAN, {}, {})
