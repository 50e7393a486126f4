"""A text as it was read, before it is a program: plain values that know where they stand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lightfast.core.errors import InvalidArgument

MOST_CHARACTERS = 2_000_000
"""The longest text of a program. Reading takes about 1 s per million characters: long ones belong in a thread."""
MOST_NODES = 400_000
"""The most values of one program, aliases of YAML counted as often as they stand for something."""
MOST_NESTED = 64
"""How deep values may nest, the blocks of instructions counted."""
_INT = 1 << 63


class Node:
    """One value with its place: *value* is a scalar, a list of nodes, or a map of nodes by name; both from 1."""

    __slots__ = ("column", "line", "value")

    def __init__(self, value: Any, line: int = 0, column: int = 0) -> None:
        self.value = value
        self.line = line
        self.column = column

    def plain(self) -> Any:
        """Return the value without places."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


def malformed(
    what: str, node: Node | None = None, *, reason: str = "PROGRAM_MALFORMED", field: str = "", instruction: str = ""
) -> InvalidArgument:
    """Return the error for a text that is no program, with its place."""
    where = f"line {node.line}, column {node.column}: " if node is not None and node.line else ""
    metadata = {}
    if node is not None and node.line:
        metadata = {"line": str(node.line), "column": str(node.column)}
    if instruction:
        metadata["instruction"] = instruction
    return InvalidArgument(where + what, reason=reason, field=field or None, metadata=metadata)


def of_plain(value: Any, depth: int = 0) -> Node:
    """Return the nodes of a decoded JSON value; raise `InvalidArgument` for anything else."""
    if depth > MOST_NESTED:
        raise malformed(f"it is nested deeper than {MOST_NESTED}")
    if isinstance(value, Mapping):
        made = {}
        for name, item in value.items():
            if not isinstance(name, str):
                raise malformed(f"the key {name!r} is not a text")
            made[name] = of_plain(item, depth + 1)
        return Node(made)
    if isinstance(value, (list, tuple)):
        return Node([of_plain(item, depth + 1) for item in value])
    node = Node(value)
    check_scalar(node)
    return node


def check_scalar(node: Node) -> None:
    """Raise `InvalidArgument` unless a scalar is one that JSON and the context can hold."""
    value = node.value
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, int):
        if not -_INT <= value < _INT:
            raise malformed("the number does not fit 64 bits: write it as a double, such as 1e20", node)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise malformed(f"{value} is not a number that JSON has", node)
    elif isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise malformed("the text holds a lone surrogate, which is not Unicode text", node) from None
    else:
        raise malformed(f"{type(value).__name__} is not a value: use what JSON has", node)
