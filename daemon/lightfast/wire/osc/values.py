"""OSC arguments to values, and values to what a path is declared to hold."""

from __future__ import annotations

import math
from typing import Any

from lightfast.context.entry import Declaration
from lightfast.core.osc import OscMessage, timetag_ns
from lightfast_link.value import Value, check_value, kind_of


class Refused(Exception):
    """A message cannot become a value of its path; `args[0]` is the reason it is counted under."""


def value_of(message: OscMessage) -> Value:
    """Return the value of a message, or raise `Refused`.

    One argument is a scalar, several numbers are a vector, anything else is a list. A message
    without arguments says that something happened, not what holds: it has no value.
    """
    args = message.args
    if len(args) == 1:
        value = args[0]
        if type(value) is float:
            if value != value:  # noqa: PLR0124 — only NaN differs from itself, and nobody means it
                raise Refused("not_a_number")
            return value
        if type(value) is str or type(value) is bool:
            return value
        if not isinstance(value, list):
            return _plain(value, message.tags)
        args = tuple(value)
    if not args:
        raise Refused("empty")
    if all(type(item) is float or type(item) is int for item in args):
        vector = tuple([float(item) for item in args])
        if any(map(math.isnan, vector)):
            raise Refused("not_a_number")
        return vector
    tags = [tag for tag in message.tags if tag not in "[]"] if "[" not in message.tags else None
    return _checked([_plain(item, tags[index] if tags else "") for index, item in enumerate(args)])


def _plain(item: Any, tag: str) -> Value:
    if item is None:
        raise Refused("nil")
    if tag == "t":
        return timetag_ns(item)
    if isinstance(item, tuple):  # the four bytes of a MIDI message
        return bytes(item)
    if isinstance(item, list):
        return [_plain(inner, "") for inner in item]
    return _checked(item)


def _checked(value: Any) -> Value:
    try:
        return check_value(value)
    except ValueError:
        raise Refused("value") from None


def fit(value: Value, declared: Declaration) -> tuple[Value, bool]:
    """Return *value* as *declared* wants it, and whether it was clamped; raise `Refused` where it cannot be.

    Senders differ: a fader sends 1 for 1.0, a button 1.0 for true. What loses nothing is
    converted, what lies outside the range is clamped to it, anything else is refused.
    """
    if declared.access == "r":
        raise Refused("read_only")
    if declared.kind and kind_of(value) != declared.kind:
        value = _convert(value, declared.kind)
    if declared.choices and value not in declared.choices:
        raise Refused("choice")
    low, high = declared.minimum, declared.maximum
    if low is None and high is None:
        return value, False
    if type(value) is float or type(value) is int:
        held = _clamp(value, low, high)
        return held, held != value
    if isinstance(value, tuple):
        clamped = tuple([float(_clamp(item, low, high)) for item in value])
        return clamped, clamped != value
    return value, False


def _clamp(number: float, low: float | None, high: float | None) -> float:
    """Return *number* within the range, an int as an int; a NaN lies nowhere."""
    if math.isnan(number):
        raise Refused("not_a_number")
    if low is not None and number < low:
        return type(number)(math.ceil(low)) if type(number) is int else float(low)
    if high is not None and number > high:
        return type(number)(math.floor(high)) if type(number) is int else float(high)
    return number


def _convert(value: Value, kind: str) -> Value:
    if kind == "double" and isinstance(value, (bool, int)):
        return float(value)
    if kind == "int" and (isinstance(value, bool) or (isinstance(value, float) and value.is_integer())):
        if abs(value) < 1 << 63:
            return int(value)
    elif kind == "bool" and isinstance(value, (int, float)) and value in (0, 1):
        return bool(value)
    elif kind == "vector" and isinstance(value, (int, float)) and not isinstance(value, bool):
        return (float(value),)
    elif kind == "list":
        return list(value) if isinstance(value, tuple) else [value]
    raise Refused("kind")
