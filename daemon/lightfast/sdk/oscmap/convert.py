"""Values to what a device takes, and what it says to values: types, scales, names of choices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lightfast.sdk.oscmap.model import MapParameter
from lightfast_link.value import Value

NUMBERS = frozenset("ifhd")
"""The type tags that carry a number."""


def kind_of_tags(tags: str) -> str:
    """Return the kind of value that goes as *tags*."""
    if len(tags) == 1:
        return {"f": "double", "d": "double", "i": "int", "h": "int", "s": "string", "T": "bool", "b": "bytes"}[tags]
    return "vector" if NUMBERS.issuperset(tags) else "list"


def to_arguments(parameter: MapParameter, value: Value) -> list[Any]:
    """Return the arguments that carry *value*; raise `ValueError` that says why it cannot be carried."""
    kind, tags = parameter.parameter.kind, parameter.tags
    if kind in ("vector", "list"):
        if not isinstance(value, (tuple, list)) or len(value) != len(tags):
            raise ValueError(f"{parameter.path} takes {len(tags)} values, not {value!r:.60}")
        return [_argument(tag, _scaled(parameter, one), parameter.path) for tag, one in zip(tags, value, strict=True)]
    if kind == "string" and parameter.choices:
        for name, device in parameter.choices:
            if name == value:
                return [_argument(tags, device, parameter.path)]
        names = ", ".join(name for name, _ in parameter.choices)
        raise ValueError(f"{parameter.path} takes one of {names}, not {value!r:.60}")
    return [_argument(tags, _scaled(parameter, value), parameter.path)]


def _argument(tag: str, value: Any, path: str) -> Any:
    number = isinstance(value, (int, float))
    if tag == "T" and number:
        return bool(value)
    if tag in "fd" and number:
        return (tag, float(value))
    if tag in "ih" and number and math.isfinite(value):
        whole = round(value)
        if abs(whole) < (1 << 31 if tag == "i" else 1 << 63):
            return (tag, whole)
    if (tag == "s" and isinstance(value, str)) or (tag == "b" and isinstance(value, bytes)):
        return value
    raise ValueError(f"{path} cannot carry {value!r:.60} as the OSC type {tag}")


def _scaled(parameter: MapParameter, value: Any) -> Any:
    scale, declared = parameter.scale, parameter.parameter
    if scale is None or declared.minimum is None or declared.maximum is None:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    share = (value - declared.minimum) / (declared.maximum - declared.minimum)
    return scale[0] + share * (scale[1] - scale[0])


def to_value(parameter: MapParameter, raw: Sequence[Any]) -> Value | None:
    """Return the value in what a device said; None where it cannot be one of this parameter."""
    kind = parameter.parameter.kind
    if kind == "vector":
        numbers = [_number(parameter, one) for one in raw]
        if len(numbers) != len(parameter.tags) or any(one is None for one in numbers):
            return None
        return tuple(one for one in numbers if one is not None)
    if kind == "list":
        known = [one for one in raw if isinstance(one, (bool, int, float, str, bytes))]
        return known if len(known) == len(raw) == len(parameter.tags) else None
    return _single(parameter, raw[0]) if len(raw) == 1 else None


def _single(parameter: MapParameter, raw: Any) -> Value | None:
    kind = parameter.parameter.kind
    number = None if isinstance(raw, (str, bytes)) else _number(parameter, raw)
    if kind == "double":
        return number
    if kind == "int":
        return round(number) if number is not None and abs(number) < 1 << 63 else None
    if kind == "bool":
        return None if number is None else number != 0
    if kind == "string":
        return _text(parameter, raw)
    return raw if isinstance(raw, bytes) else None


def _text(parameter: MapParameter, raw: Any) -> str | None:
    if parameter.choices:
        for name, device in parameter.choices:
            if device == raw and isinstance(device, bool) == isinstance(raw, bool):
                return name
        return None
    if isinstance(raw, (bool, int, float)):
        return str(raw)
    return raw if isinstance(raw, str) else None


def _number(parameter: MapParameter, raw: Any) -> float | None:
    if isinstance(raw, bool):
        return float(raw)
    if not isinstance(raw, (int, float)) or not math.isfinite(raw):
        return None
    scale, declared = parameter.scale, parameter.parameter
    if scale is None or declared.minimum is None or declared.maximum is None:
        return float(raw)
    share = (raw - scale[0]) / (scale[1] - scale[0])
    return declared.minimum + share * (declared.maximum - declared.minimum)
