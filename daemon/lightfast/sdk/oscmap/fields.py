"""Reads the fields of a map's tables and notes every mistake, so that all of them are told together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk.oscmap.document import Node, Problem
from lightfast.sdk.oscmap.model import VALUE, Message, Named
from lightfast.sdk.oscmap.places import Index, fill, is_place

MAX_PROBLEMS = 50
"""The most mistakes that are told at once."""
MAX_TEXT = 4096
MAX_MESSAGES = 64
"""The most messages, or arguments, in one list."""

_ADDRESS = re.compile(r"[^\x00-\x1f\x7f]{1,255}")
_FORCED = frozenset("ifhdsb")
_NOTHING: Index = {}


class TooMany(Exception):
    """There are more mistakes than anybody reads."""


class Fields:
    """Takes typed values out of nodes. What cannot be taken is noted, and the default is returned."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def bad(self, node: Node, text: str) -> None:
        """Note a mistake at *node*."""
        self.bad_at((node.line, node.column), text)

    def bad_at(self, place: tuple[int, int], text: str) -> None:
        """Note a mistake at a line and column."""
        problem = Problem(*place, text)
        if problem not in self.problems:
            self.problems.append(problem)
        if len(self.problems) >= MAX_PROBLEMS:
            raise TooMany

    def table(self, node: Node, what: str, known: Sequence[str]) -> dict[str, Node]:
        """Return the fields of a table whose keys are all *known*."""
        if not isinstance(node.value, dict):
            self.bad(node, f"{what} must be a table with {', '.join(known[:4])} …, not {node.shape}")
            return {}
        for key, place in node.keys.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, 1, 0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}"
                self.bad_at(place, f"{what} has no field {key!r}: {hint}")
        return {key: value for key, value in node.value.items() if key in known}

    def required(self, fields: Mapping[str, Node], name: str, node: Node, what: str) -> bool:
        """Say whether the field *name* is there; note it where not."""
        if name not in fields:
            self.bad(node, f"{what} needs the field {name!r}")
        return name in fields

    def text(self, fields: Mapping[str, Node], name: str, default: str = "") -> str:
        """Return a text."""
        node = fields.get(name)
        if node is None:
            return default
        if not isinstance(node.value, str) or len(node.value) > MAX_TEXT:
            self.bad(node, f"{name} must be a text, not {node.shape}: put it in quotes")
            return default
        return node.value

    def flag(self, fields: Mapping[str, Node], name: str, default: bool = False) -> bool:
        """Return true or false."""
        node = fields.get(name)
        if node is None:
            return default
        if not isinstance(node.value, bool):
            self.bad(node, f"{name} must be true or false, not {node.shape}")
            return default
        return node.value

    def number(self, fields: Mapping[str, Node], name: str, default: float, low: float, high: float) -> float:
        """Return a number from *low* to *high*."""
        node = fields.get(name)
        if node is None:
            return default
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)) or not low <= node.value <= high:
            self.bad(node, f"{name} must be a number from {low:g} to {high:g}, not {node.value!r:.40}")
            return default
        return float(node.value)

    def choice(self, fields: Mapping[str, Node], name: str, default: str, choices: Sequence[str]) -> str:
        """Return one of *choices*."""
        node = fields.get(name)
        if node is None:
            return default
        if node.value not in choices:
            near = difflib.get_close_matches(str(node.value), choices, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(choices)}"
            self.bad(node, f"{name} cannot be {node.value!r:.40}: {hint}")
            return default
        return str(node.value)

    def pair(self, fields: Mapping[str, Node], name: str) -> tuple[float, float] | None:
        """Return two different numbers, lower first or (for a scale) higher first."""
        node = fields.get(name)
        if node is None:
            return None
        items = node.value if isinstance(node.value, list) else []
        numbers = [
            float(item.value)
            for item in items
            if isinstance(item.value, (int, float)) and not isinstance(item.value, bool)
        ]
        if len(numbers) != 2 or len(items) != 2 or numbers[0] == numbers[1]:
            self.bad(node, f"{name} must be two different numbers, such as [0, 1]")
            return None
        return numbers[0], numbers[1]

    def items(self, node: Node, what: str) -> list[Node]:
        """Return the items of a list; one value stands for a list of one."""
        items = node.value if isinstance(node.value, list) else [node]
        if len(items) > MAX_MESSAGES:
            self.bad(node, f"{what} has {len(items)} items, the most is {MAX_MESSAGES}")
            return []
        return items

    def address(self, node: Node, index: Index = _NOTHING) -> str:
        """Return an OSC address, its places filled; empty where there is none."""
        text = node.value
        if not isinstance(text, str) or not _ADDRESS.fullmatch(text) or " " in text:
            self.bad(node, f"{text!r:.60} is no OSC address: write one such as /layer/1/opacity")
            return ""
        try:
            return fill(text, index)
        except ValueError as error:
            self.bad(node, str(error))
            return ""

    def arguments(
        self, node: Node, index: Index = _NOTHING, *, names: Sequence[str] | None = None, value: bool = False
    ) -> tuple[Any, ...]:
        """Return the arguments of a message: constants, places, `$value` where *value*, `$name` of *names*."""
        return tuple(self._argument(item, index, names, value) for item in self.items(node, "arguments"))

    def _argument(self, node: Node, index: Index, names: Sequence[str] | None, value: bool) -> Any:
        content = node.value
        if isinstance(content, dict):
            return self._forced(node)
        if content is None or isinstance(content, list):
            self.bad(node, f"an argument is a number, a text, true or false, not {node.shape}")
            return 0
        if not isinstance(content, str):
            return content
        if content.startswith("$"):
            if content == "$value" and value:
                return VALUE
            if names is not None and content[1:] in names:
                return Named(content[1:])
            there = "$value" if value else ", ".join("$" + name for name in names or ()) or "none here"
            self.bad(node, f"{content} stands for nothing: there is {there}")
            return 0
        try:
            filled = fill(content, index)
        except ValueError as error:
            self.bad(node, str(error))
            return 0
        return int(filled) if is_place(content) and filled.isdecimal() else filled

    def _forced(self, node: Node) -> Any:
        """Return an argument with its type tag: `{d: 0.5}`."""
        if len(node.value) != 1 or next(iter(node.value)) not in _FORCED:
            self.bad(node, "a typed argument is written as {f: 0.5}, with one of i f h d s b")
            return 0
        ((tag, inner),) = node.value.items()
        found = inner.value
        if tag in "ih" and isinstance(found, int) and not isinstance(found, bool):
            return (tag, found)
        if tag in "fd" and isinstance(found, (int, float)) and not isinstance(found, bool):
            return (tag, float(found))
        if tag in "sb":
            return str(found) if tag == "s" else str(found).encode()
        self.bad(inner, f"{found!r:.40} cannot go as the OSC type {tag}")
        return 0

    def message(self, node: Node, index: Index = _NOTHING, *, address: str = "") -> Message | None:
        """Return a message: an address alone, or a table with `address` (default *address*) and `arguments`."""
        if isinstance(node.value, str):
            found = self.address(node, index)
            return Message(found) if found else None
        fields = self.table(node, "a message", ("address", "arguments"))
        if "address" in fields:
            address = self.address(fields["address"], index)
        if not address:
            if "address" not in fields:
                self.bad(node, "a message needs an address")
            return None
        arguments = self.arguments(fields["arguments"], index) if "arguments" in fields else ()
        return Message(address, arguments)

    def messages(self, fields: Mapping[str, Node], name: str) -> tuple[Message, ...]:
        """Return a list of messages."""
        if name not in fields:
            return ()
        found = [self.message(item) for item in self.items(fields[name], name)]
        return tuple(message for message in found if message is not None)
