"""Values on the command line, in both directions, as proto JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

KINDS = ("auto", "bool", "int", "double", "string", "vector", "list", "map")


def parse(text: str, kind: str = "auto") -> dict[str, Any]:
    """Return the proto JSON of a value written on the command line.

    `auto` reads JSON (`0.5`, `true`, `[1, 2, 3]`, `{"a": 1}`) and takes anything else as a string;
    a JSON list of numbers is a vector. Raises `ValueError` that says what was expected.
    """
    if kind == "string":
        return {"string_value": text}
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        if kind != "auto":
            raise ValueError(f"{text!r} is no {kind}: write it as JSON, for example {_EXAMPLES[kind]}") from None
        return {"string_value": text}
    if kind == "auto":
        return _guess(data)
    return _force(data, kind, text)


def parse_named(items: Iterable[str]) -> dict[str, Any]:
    """Return the proto JSON of `name=value` pairs; raises `ValueError` that names the wrong one."""
    found: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise ValueError(f"{item!r}: write it as name=value")
        found[name] = parse(text)
    return found


_EXAMPLES = {
    "bool": "true",
    "int": "3",
    "double": "0.5",
    "vector": "[1, 2, 3]",
    "list": '[1, "two"]',
    "map": '{"a": 1}',
}


def _force(data: Any, kind: str, text: str) -> dict[str, Any]:
    wrong = ValueError(f"{text!r} is no {kind}: write for example {_EXAMPLES[kind]}")
    number = isinstance(data, int | float) and not isinstance(data, bool)
    if kind == "bool" and isinstance(data, bool):
        return {"bool_value": data}
    if kind == "int" and number and float(data).is_integer():
        return {"int_value": str(int(data))}
    if kind == "double" and number:
        return {"double_value": data}
    if kind in {"vector", "list"} and isinstance(data, list):
        if kind == "list":
            return {"list_value": {"values": [_guess(item) for item in data]}}
        if all(isinstance(item, int | float) and not isinstance(item, bool) for item in data):
            return {"vector_value": {"values": data}}
    if kind == "map" and isinstance(data, dict):
        return _guess(data)
    raise wrong


def _guess(data: Any) -> dict[str, Any]:
    if isinstance(data, bool):
        return {"bool_value": data}
    if isinstance(data, int):
        return {"int_value": str(data)}
    if isinstance(data, float):
        return {"double_value": data}
    if isinstance(data, list):
        if data and all(isinstance(item, int | float) and not isinstance(item, bool) for item in data):
            return {"vector_value": {"values": data}}
        return {"list_value": {"values": [_guess(item) for item in data]}}
    if isinstance(data, dict):
        return {"map_value": {"fields": {name: _guess(item) for name, item in data.items()}}}
    if data is None:
        raise ValueError("null is no value: delete the path instead")
    return {"string_value": str(data)}


def show(value: dict[str, Any] | None) -> str:
    """Return a proto JSON value as a person reads it."""
    if not value:
        return "-"
    ((kind, body),) = value.items()
    if kind == "string_value":
        return json.dumps(body, ensure_ascii=False)
    if kind == "double_value":
        return str(body) if isinstance(body, str) else f"{body:.9g}"
    if kind == "bool_value":
        return "true" if body else "false"
    if kind == "vector_value":
        return "[" + ", ".join(f"{x:.7g}" if isinstance(x, int | float) else x for x in body.get("values", [])) + "]"
    if kind == "list_value":
        return "[" + ", ".join(show(item) for item in body.get("values", [])) + "]"
    if kind == "map_value":
        return "{" + ", ".join(f"{name}: {show(item)}" for name, item in body.get("fields", {}).items()) + "}"
    if kind == "asset_value":
        return f"{body.get('uri', '')} ({body.get('media_type', '?')}, {body.get('size', '0')} bytes)"
    if kind == "bytes_value":
        return f"bytes:{body}"
    return str(body)
