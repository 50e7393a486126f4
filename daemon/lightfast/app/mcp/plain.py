"""Values and messages as plain JSON that a model reads easily."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast_link.value import Value

MOST_TEXT = 20_000
"""The longest text of one answer, in characters: a model's window is small."""
MOST_ANSWER = 100_000
"""The longest list of one answer, in characters."""
MOST_DEPTH = 16
_KINDS = ("int_value", "double_value", "bool_value", "string_value", "bytes_value", "vector_value", "list_value",
          "map_value", "asset_value")  # fmt: skip


def from_proto(value: Any) -> Any:
    """Return a value in proto JSON as plain JSON."""
    if not isinstance(value, Mapping):
        return value
    for kind in _KINDS:
        if kind not in value:
            continue
        inner = value[kind]
        if kind == "int_value":
            return int(inner)
        if kind == "vector_value":
            return inner.get("values", [])
        if kind == "list_value":
            return [from_proto(each) for each in inner.get("values", ())]
        if kind == "map_value":
            return {name: from_proto(each) for name, each in inner.get("fields", {}).items()}
        return inner
    return None


def value_of(json_value: Any, where: str, depth: int = 0) -> Value:
    """Return the value for what a model sent; raise `InvalidArgument` that names *where*.

    A list of numbers becomes a vector, as places and colours are; `{"asset": "asset:…"}` cannot be sent.
    """
    if depth > MOST_DEPTH:
        raise InvalidArgument(f"{where} nests deeper than {MOST_DEPTH} levels", field=where)
    if isinstance(json_value, bool | str | float):
        return json_value
    if isinstance(json_value, int):
        if not -(2**63) <= json_value < 2**63:
            raise InvalidArgument(f"{where} is {json_value}: a whole number has 64 bits", field=where)
        return json_value
    if isinstance(json_value, list):
        if json_value and all(type(each) in (int, float) for each in json_value):
            return tuple(float(each) for each in json_value)
        return [value_of(each, f"{where}[{number}]", depth + 1) for number, each in enumerate(json_value)]
    if isinstance(json_value, Mapping):
        return {str(name): value_of(each, f"{where}.{name}", depth + 1) for name, each in json_value.items()}
    raise InvalidArgument(f"{where} is null: a path is taken away by context_delete", field=where)


def cut(text: str, most: int = MOST_TEXT) -> str:
    """Return *text*, cut where it is too long for a window, and say so."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} characters more)"


def small(value: Any, most: int = MOST_TEXT) -> Any:
    """Return *value*, plain JSON, or where it is longer than *most* characters the beginning of its text."""
    if isinstance(value, str):
        return cut(value, most)
    text = json.dumps(value, ensure_ascii=False)
    return value if len(text) <= most else cut(text, most)


def fitting(items: Sequence[Any], most: int = MOST_ANSWER) -> list[Any]:
    """Return the first of *items* that take *most* characters together; at least one."""
    found: list[Any] = []
    for item in items:
        most -= len(json.dumps(item, ensure_ascii=False))
        if found and most < 0:
            break
        found.append(item)
    return found
