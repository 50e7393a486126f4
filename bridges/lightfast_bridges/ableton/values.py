"""Values of properties, as AbletonOSC sends and wants them."""

from __future__ import annotations

from typing import Any

from lightfast.sdk import Value
from lightfast_bridges.ableton.names import Property

MAX_FLOAT = 3.4e38
"""About the greatest number of 32 bits, which is what `f` carries."""
MAX_TEXT = 4096
"""The longest text sent to Live, in characters."""


def told_cues(args: tuple[Any, ...]) -> list[Value]:
    """Return the cue points of an answer: maps of `name` and `time` (beats)."""
    return [{"name": str(name), "time": float(time)} for name, time in zip(args[::2], args[1::2], strict=False)]


def told_notes(args: tuple[Any, ...]) -> list[Value]:
    """Return the notes of an answer without its indices: maps of pitch, start, duration, velocity and mute."""
    return [
        {
            "pitch": int(pitch),
            "start": float(start),
            "duration": float(duration),
            "velocity": float(velocity),
            "mute": bool(mute),
        }
        for pitch, start, duration, velocity, mute in (args[at : at + 5] for at in range(0, len(args) - 4, 5))
    ]


def _shaped(prop: Property, raw: Any) -> Value | None:
    """Return all arguments of an answer as one value."""
    args = raw if isinstance(raw, tuple) else (raw,)
    try:
        if prop.shape == "version":
            return ".".join(str(part) for part in args)
        if prop.shape == "cues":
            return told_cues(args)
        if prop.shape == "notes":
            return told_notes(args)
        if prop.shape == "ids":
            return [int(part) for part in args]
    except (TypeError, ValueError):
        return None
    return list(args)


def to_value(prop: Property, raw: Any) -> Value | None:
    """Return what Live sent as a value of *prop*; `None` where it is no such value.

    Live sends what its Python holds: a flag may come as a number, a number as an int.
    """
    if prop.shape:
        return _shaped(prop, raw)
    if prop.kind == "bool" and isinstance(raw, (bool, int, float)):
        return bool(raw)
    if prop.kind == "double" and isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return float(raw)
    if prop.kind == "int" and isinstance(raw, (bool, int)):
        return int(raw)
    if prop.kind == "int" and isinstance(raw, float) and raw.is_integer():
        return int(raw)
    if prop.kind == "string" and isinstance(raw, str):
        return raw
    return None


def to_argument(prop: Property, value: Value) -> Any:
    """Return *value* as AbletonOSC wants it for *prop*; raise `ValueError` where it cannot be."""
    if prop.kind == "bool" and isinstance(value, (bool, int, float)) and value in (0, 1):
        return int(value)  # Live takes 0 and 1 everywhere
    if prop.kind == "double" and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not abs(value) <= MAX_FLOAT:
            raise ValueError(f"{prop.name} wants a number that 32 bits hold, not {value!r:.40}")
        return float(value)
    if prop.kind == "int" and isinstance(value, (int, float)) and not isinstance(value, bool):
        if abs(value) < 1 << 31 and float(value).is_integer():
            return int(value)
    elif prop.kind == "string" and isinstance(value, str):
        return _text(prop, value)
    elif prop.shape == "ids" and isinstance(value, (list, tuple)) and len(value) == 2:
        if all(type(part) in (int, float) and 0 <= part < 1 << 16 for part in value):
            return [int(part) for part in value]
        raise ValueError(f"{prop.name} wants two indices, not {value!r:.60}")
    raise ValueError(f"{prop.name} wants a {prop.kind}, not {value!r:.60}")


def _text(prop: Property, value: str) -> str:
    if "\0" in value:
        raise ValueError("the text holds a NUL character, which OSC cannot carry")
    if len(value) > MAX_TEXT:
        raise ValueError(f"the text has {len(value)} characters, {prop.name} takes {MAX_TEXT}")
    return value
