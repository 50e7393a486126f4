"""What the options of the link commands say, as the fields of a link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_FIELDS = {
    "two_way": "two_way",
    "expression": "expression",
    "rate": "max_rate_hz",
    "tolerance": "tolerance",
    "raw_units": "raw_units",
    "smooth": "smooth_s",
    "when": "condition",
    "from_unit": "from_unit",
    "to_unit": "to_unit",
    "scale": "scale",
    "tempo": "tempo",
    "frame_rate": "frame_rate",
    "sample_rate": "sample_rate",
    "off": "disabled",
}


def settings_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that the options *given* set; None takes one away. Raises `ValueError` for a malformed one."""
    fields = {field: given[name] for name, field in _FIELDS.items() if given.get(name) is not None}
    if given.get("curve") is not None:
        fields["curve"] = parse_curve(given["curve"])
    if given.get("inputs"):
        fields["inputs"] = [_input(text) for text in given["inputs"]]
    return fields


def parse_curve(text: str) -> dict[str, Any] | None:
    """Return the proto JSON of a curve: `exp`, `exp:3`, `0,0 1,1`, `smooth:0,0 1,1`; None for `none`.

    >>> parse_curve("smooth:0,0 1,2")
    {'name': 'smooth', 'points': [{'x': 0.0, 'y': 0.0}, {'x': 1.0, 'y': 2.0}]}
    """
    text = text.strip()
    if text in {"", "none"}:
        return None
    name, colon, rest = text.partition(":")
    if not colon and "," in text:
        name, rest = "", text
    fields: dict[str, Any] = {"name": name.strip()} if name else {}
    if "," in rest:
        fields["points"] = [_point(word) for word in rest.split()]
    elif rest:
        fields["parameter"] = _number(rest, f"{name}:3")
    return fields


def _point(word: str) -> dict[str, float]:
    x, comma, y = word.partition(",")
    if not comma:
        raise ValueError(f"{word!r} is no point: write points as '0,0 0.5,0.2 1,1'")
    return {"x": _number(x, "0,0 1,1"), "y": _number(y, "0,0 1,1")}


def _number(text: str, example: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is no number: write a curve for example as {example!r}") from None


def _input(text: str) -> dict[str, str]:
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise ValueError(f"{text!r}: write an input as NAME=PATH, for example low=/desk/fader/1")
    return {"name": name, "path": path}
