"""Values between a server's JSON, its OSC frames, and the context."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from lightfast.sdk import Value
from lightfast_bridges.oscquery.nodes import Node, Tree, usable

_COLOR = re.compile(r"#([0-9A-Fa-f]{8})")


def from_json(node: Node, raw: Any) -> Value | None:
    """Return the value in the attribute VALUE; None where there is none that fits."""
    items = raw if isinstance(raw, list) else [raw]
    if node.array and len(items) == 1 and isinstance(items[0], list):
        items = items[0]
    if len(items) == 1 and len(node.tags) > 1 and not isinstance(raw, list):
        items = items * len(node.tags)  # one scalar stands for elements that are all equal
    return from_arguments(node, items)


def from_arguments(node: Node, items: Sequence[Any]) -> Value | None:
    """Return the value in the arguments of a message, or in the items of JSON."""
    if node.array and len(items) == 1 and isinstance(items[0], list):
        items = items[0]
    if node.kind == "vector":
        numbers = [_number(item) for item in items]
        if len(numbers) != len(node.tags) or any(number is None for number in numbers):
            return None
        return tuple(number for number in numbers if number is not None)
    if node.kind == "list":
        found = [_plain(item) for item in items]
        return found if usable(found) else None
    if len(items) != 1 or items[0] is None:
        return None
    value = _single(node, items[0])
    return value if value is not None and usable(value) else None


def _single(node: Node, item: Any) -> Value | None:
    if node.kind == "double":
        return _number(item)
    if node.kind == "int":
        number = _number(item)
        return None if number is None else item if isinstance(item, int) else round(number)
    if node.kind == "bool":
        return item != 0 if isinstance(item, (bool, int, float)) else None
    if node.kind == "bytes":
        return item if isinstance(item, bytes) else None
    if node.tags == "r" and isinstance(item, int):
        return f"#{item & 0xFFFFFFFF:08X}"
    if node.tags == "c" and isinstance(item, int):
        return chr(item) if 0 < item < 0x110000 and not 0xD800 <= item < 0xE000 else None
    return item if isinstance(item, str) else None


def _number(item: Any) -> float | None:
    if not isinstance(item, (bool, int, float)):
        return None
    try:
        number = float(item)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _plain(item: Any) -> Any:
    """Return an item of a list; null has no place in the context and becomes an empty text."""
    if isinstance(item, (list, tuple)):
        return [_plain(inner) for inner in item]
    return "" if item is None else item


def to_arguments(node: Node, value: Value) -> list[Any]:
    """Return the arguments that carry *value*; raise `ValueError` that says why it cannot be carried."""
    if node.kind in ("vector", "list"):
        if not isinstance(value, (tuple, list)) or len(value) != len(node.tags):
            raise ValueError(f"{node.path} takes {len(node.tags)} values, not {value!r:.60}")
        items = [_argument(node, tag, item) for tag, item in zip(node.tags, value, strict=True)]
        return [items] if node.array else items
    return [_argument(node, node.tags, value)]


def _argument(node: Node, tag: str, item: Any) -> Any:
    number = isinstance(item, (int, float))
    if tag in "TF" and number:
        return bool(item)
    if tag in "fd" and number:
        return (tag, float(item))
    if tag in "ih" and number and math.isfinite(item) and abs(round(item)) < (1 << 31 if tag == "i" else 1 << 63):
        return (tag, round(item))
    if tag in "sS" and isinstance(item, str):
        return item
    if tag == "b" and isinstance(item, bytes):
        return item
    if tag == "r" and isinstance(item, str) and (color := _COLOR.fullmatch(item)):
        return ("r", int(color[1], 16))
    raise ValueError(f"{node.path} cannot carry {item!r:.60} as the OSC type {tag}")


def readable(tree: Tree) -> list[str]:
    """Return the addresses of what can be read."""
    return [node.address for node in tree.nodes.values() if node.access != "w"]


def values_of(tree: Tree) -> list[tuple[str, Value]]:
    """Return the values that were read with a tree, by path."""
    found: list[tuple[str, Value]] = []
    for path, raw in tree.raw.items():
        node = tree.nodes[path]
        value = from_json(node, raw) if node.access != "w" else None
        if value is not None:
            found.append((path, value))
    return found
