"""YAML to plain nodes that know their line and column.

Only what a map needs is taken: tables, lists, texts, numbers, true, false and null. Tags, anchors and aliases are
refused, since they build objects or grow a small file into a large one. `yes`, `on` and `1:30` stay texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

MAX_DEPTH = 10
"""How deep tables and lists may nest."""
MAX_NODES = 50_000
"""How many nodes a file may have."""

_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(r"[-+]?(?:[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,40}(?=[eE]))(?:[eE][-+]?[0-9]{1,3})?")
_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}


class Problem(NamedTuple):
    """One mistake; line and column count from 1."""

    line: int
    column: int
    text: str


class MapError(ValueError):
    """A map cannot be used; `problems` are all its mistakes, in their order."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        self.name = name
        self.problems = sorted(problems)
        super().__init__("\n".join(f"{name}:{line}:{column}: {text}" for line, column, text in self.problems))


@dataclass(frozen=True, slots=True)
class Node:
    """A scalar, a list of nodes, or a table of nodes; *keys* are the places of a table's keys."""

    value: Any
    line: int
    column: int
    keys: dict[str, tuple[int, int]]

    @property
    def shape(self) -> str:
        """Say what it is, for a person."""
        kind = type(self.value)
        names = {dict: "a table", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
        return names.get(kind, "a number")


def compose(text: str, name: str) -> Node:
    """Return the root of the one document in *text*; raises `MapError`."""
    import yaml

    events = iter(yaml.parse(text, Loader=yaml.SafeLoader))
    composer = _Composer(name, events)
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise MapError(name, [Problem(line, column, f"this is no YAML: {said}")]) from None
    except yaml.YAMLError as error:
        raise MapError(name, [Problem(1, 1, f"this is no YAML: {error}")]) from None


class _Composer:
    """Builds nodes from the events of the parser, within the bounds."""

    def __init__(self, name: str, events: Iterator[Any]) -> None:
        self._name = name
        self._events = events
        self._count = 0

    def document(self) -> Node:
        """Return the root."""
        import yaml

        root: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.NodeEvent):
                if root is not None:
                    raise self._bad(event, "a second document begins here: a file holds one map")
                root = self._node(event, 1)
        if root is None:
            raise MapError(self._name, [Problem(1, 1, "the file is empty: a map begins with `kind:`")])
        return root

    def _node(self, event: Any, depth: int) -> Node:
        import yaml

        self._count += 1
        if self._count > MAX_NODES:
            raise self._bad(event, f"the file has more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise self._bad(event, f"tables and lists are nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._bad(event, "anchors (&) and aliases (*) are not taken: write it out, or put text in quotes")
        if event.tag is not None:
            raise self._bad(event, f"the tag {event.tag} is not taken: write the value alone")
        line, column = event.start_mark.line + 1, event.start_mark.column + 1
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(event.value) if event.style is None else event.value
            return Node(value, line, column, {})
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            for inner in self._events:
                if isinstance(inner, yaml.SequenceEndEvent):
                    break
                items.append(self._node(inner, depth + 1))
            return Node(items, line, column, {})
        table: dict[str, Node] = {}
        keys: dict[str, tuple[int, int]] = {}
        for inner in self._events:
            if isinstance(inner, yaml.MappingEndEvent):
                break
            if not isinstance(inner, yaml.ScalarEvent):
                raise self._bad(inner, "a key must be a text")
            self._node(inner, depth + 1)
            key = inner.value
            if key in table:
                raise self._bad(inner, f"{key!r} is there twice, first in line {keys[key][0]}")
            mark: Any = inner.start_mark
            keys[key] = (mark.line + 1, mark.column + 1)
            table[key] = self._node(next(self._events), depth + 1)
        return Node(table, line, column, keys)

    def _bad(self, event: Any, text: str) -> MapError:
        mark: Any = event.start_mark
        return MapError(self._name, [Problem(mark.line + 1, mark.column + 1, text)])


def _scalar(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
