"""Reads values out of the nodes of a file, and keeps what is wrong with its line and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from lightfast.core.errors import LightfastError
from lightfast.engine.programs.near import did_you_mean
from lightfast.engine.workflows.records import FileProblem, Place
from lightfast.sdk.oscmap.document import Node

MOST_PROBLEMS = 50
"""How many problems of one file are told."""
LONGEST_S = 366 * 86400.0
"""The longest duration, in seconds."""
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*(ms|s|m|min|h|d)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Reading:
    """The problems of one file, and the ways to read it."""

    def __init__(self) -> None:
        self.problems: list[FileProblem] = []

    def bad(self, where: Node | Place, message: str, reason: str = "WORKFLOW_INVALID") -> None:
        """Keep one problem."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(FileProblem(where.line, where.column, reason, message))

    def guarded(self, where: Node | Place, what: str, action: Callable[[], Any]) -> Any:
        """Return what *action* does; what it refuses is a problem at *where*, and `None`."""
        try:
            return action()
        except LightfastError as error:
            self.bad(where, f"{what}: {error.message}", error.reason)
            return None

    def keys(self, node: Node, known: Iterable[str], what: str) -> dict[str, Node]:
        """Return the table, without keys that nobody knows; a problem for each of those."""
        if not isinstance(node.value, dict):
            self.bad(node, f"{what} is {node.shape}: write a table, NAME: VALUE a line")
            return {}
        names = list(known)
        for key, place in node.keys.items():
            if key not in names:
                self.bad(
                    Place(*place),
                    f"{what} has no {key!r:.60}{did_you_mean(key, names, most=40)}",
                    "WORKFLOW_KEY_UNKNOWN",
                )
        return {key: each for key, each in node.value.items() if key in names}

    def text(self, table: dict[str, Node], key: str, usual: str = "", most: int = 2_000) -> str:
        """Return a text."""
        node = table.get(key)
        if node is None:
            return usual
        if not isinstance(node.value, str) or not node.value.strip():
            self.bad(node, f"{key} is {node.shape if node.value != '' else 'empty'}: write a text, quoted if need be")
            return usual
        if len(node.value) > most:
            self.bad(node, f"{key} has {len(node.value)} characters, the most is {most}")
            return usual
        return node.value

    def choice(self, table: dict[str, Node], key: str, choices: Iterable[str], usual: str) -> str:
        """Return one of *choices*."""
        found = self.text(table, key, usual)
        names = list(choices)
        if found not in names and found != usual:
            self.bad(table[key], f"{key} is {found!r:.60}{did_you_mean(found, names)}")
            return usual
        return found

    def number(self, table: dict[str, Node], key: str, usual: float, least: float, most: float) -> float:
        """Return a number within bounds."""
        node = table.get(key)
        if node is None:
            return usual
        value = node.value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self.bad(node, f"{key} is {node.shape}: write a number from {least:g} to {most:g}")
            return usual
        if not least <= value <= most:
            self.bad(node, f"{key} is {value:g}: it must be from {least:g} to {most:g}")
            return usual
        return value

    def whole(self, table: dict[str, Node], key: str, usual: int, least: int, most: int) -> int:
        """Return a whole number within bounds."""
        found = self.number(table, key, usual, least, most)
        if found != int(found):
            self.bad(table[key], f"{key} is {found:g}: write a whole number")
            return usual
        return int(found)

    def duration(self, table: dict[str, Node], key: str, usual: float = 0.0, most: float = LONGEST_S) -> float:
        """Return a duration in seconds: of a number, or a text such as `250ms`, `90s`, `5m`, `2h`, `1d`."""
        node = table.get(key)
        if node is None:
            return usual
        found = seconds_of(node.value)
        if found is None:
            self.bad(node, f"{key} is {node.value!r:.40}: write seconds, or 250ms, 90s, 5m, 2h, 1d")
            return usual
        if found > most:
            self.bad(node, f"{key} is {node.value!r:.40}: the most is {most / 86400:g} days")
            return usual
        return found

    def names(self, table: dict[str, Node], key: str) -> tuple[str, ...]:
        """Return a list of texts; one alone is a list of one."""
        node = table.get(key)
        if node is None:
            return ()
        items = node.value if isinstance(node.value, list) else [node]
        found = []
        for each in items:
            if isinstance(each.value, str) and each.value:
                found.append(each.value)
            else:
                self.bad(each, f"{key} holds {each.shape}: write names")
        return tuple(found)

    def flag(self, table: dict[str, Node], key: str, usual: bool = False) -> bool:
        """Return true or false."""
        node = table.get(key)
        if node is None:
            return usual
        if not isinstance(node.value, bool):
            self.bad(node, f"{key} is {node.shape}: write true or false")
            return usual
        return node.value


def seconds_of(value: Any) -> float | None:
    """Return the seconds of a number or of `250ms`, `90s`, `5m`, `2h`, `1d`; `None`: it is no duration."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if value >= 0 else None
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    return float(match[1]) * _UNITS[match[2] or "s"] if match else None


def plain(node: Node) -> Any:
    """Return what a node holds, without places."""
    if isinstance(node.value, dict):
        return {key: plain(each) for key, each in node.value.items()}
    if isinstance(node.value, list):
        return [plain(each) for each in node.value]
    return node.value
