"""The tree of a server, read with suspicion: whatever a node says wrongly costs that node, not the others."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import Command, Parameter
from lightfast_bridges.oscquery.errors import TroubleError
from lightfast_link.messages import check_relative
from lightfast_link.path import check_path, decode_segment, encode_segment
from lightfast_link.value import check_value

MAX_NODES = 10_000
"""The most values of one server."""
MAX_VISITED = 100_000
"""The most nodes that are looked at."""
MAX_DEPTH = 32
MAX_WIDTH = 1024
"""The most elements of one value."""
MAX_COMMANDS = 500
MAX_DESCRIPTION = 500

_NUMBERS = frozenset("ifhdt")
_TEXTS = frozenset("sScr")
_KINDS = {"f": "double", "d": "double", "i": "int", "h": "int", "t": "int", "s": "string", "S": "string",
          "c": "string", "r": "string", "T": "bool", "F": "bool", "b": "bytes"}  # fmt: skip
_KNOWN = frozenset(_KINDS) | frozenset("NI[]m")
_ACCESS = {1: "r", 2: "w", 3: "rw"}


@dataclass(frozen=True, slots=True)
class Node:
    """One value: its *address* on the wire, its *path* below the mount, its type *tags* without the outer brackets."""

    address: str
    path: str
    tags: str
    kind: str
    access: str = "rw"
    array: bool = False
    critical: bool = False
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    description: str = ""
    choices: tuple[str, ...] = ()

    @property
    def parameter(self) -> Parameter:
        """Return it as it is declared."""
        return Parameter(
            self.path, self.kind, self.minimum, self.maximum, self.unit, self.access, self.description,
            choices=self.choices,
        )  # fmt: skip


@dataclass(slots=True)
class Tree:
    """What a server has: nodes and raw values by path, triggers by command, and what was left out, with reasons."""

    nodes: dict[str, Node] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    triggers: dict[str, str] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()
    left_out: int = 0
    why: str = ""

    def leave_out(self, address: str, reason: str) -> None:
        """Note a node that cannot be used; the first reason is told."""
        self.left_out += 1
        self.why = self.why or f"{address[:100]}: {reason}"

    @property
    def shape(self) -> tuple[Any, ...]:
        """Return what makes it another tree when it differs: everything but the values."""
        return (tuple(self.nodes.values()), tuple(self.triggers.items()))


def parse(content: bytes, what: str) -> dict[str, Any]:
    """Return the JSON object in *content*; raise `TroubleError`."""
    try:
        found = json.loads(content)
    except RecursionError:
        raise TroubleError(f"{what} is nested too deep to be read") from None
    except ValueError as error:
        raise TroubleError(f"{what} is no JSON: {str(error)[:200]}") from None
    if not isinstance(found, dict):
        raise TroubleError(f"{what} is a JSON {type(found).__name__}, not an object")
    return found


def read_tree(content: bytes) -> Tree:
    """Return the tree in the answer to `GET /`; raise `TroubleError` for one that is no tree, or too large."""
    root = parse(content, "its tree")
    tree = Tree()
    commands: list[Command] = []
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    visited = 0
    while waiting:
        above, node, depth = waiting.pop()
        visited += 1
        if visited > MAX_VISITED:
            raise TroubleError(f"its tree has more than {MAX_VISITED} nodes")
        if not isinstance(node, dict):
            tree.leave_out(above, "it is no JSON object")
            continue
        _read_node(above, node, tree, commands)
        contents = node.get("CONTENTS")
        if contents is None:
            continue
        if not isinstance(contents, dict):
            tree.leave_out(above, "CONTENTS is no JSON object")
        elif depth >= MAX_DEPTH:
            tree.leave_out(above, f"it lies deeper than {MAX_DEPTH} levels")
        else:
            waiting += [(f"{above}/{name}", inner, depth + 1) for name, inner in reversed(contents.items())]
    tree.commands = tuple(commands)
    return tree


def _read_node(address: str, node: dict[str, Any], tree: Tree, commands: list[Command]) -> None:
    tags, access = node.get("TYPE"), node.get("ACCESS", 3)
    if tags is None or not address or access == 0:
        return
    full = node.get("FULL_PATH")
    if isinstance(full, str) and full.rpartition("/")[2] == address.rpartition("/")[2] and full.startswith("/"):
        address = full
    if not isinstance(tags, str) or not _KNOWN.issuperset(tags):
        tree.leave_out(address, f"its TYPE is {tags!r:.40}")
        return
    if len(tags) > MAX_WIDTH or not tags:
        if tags:
            tree.leave_out(address, f"it has {len(tags)} elements, the most is {MAX_WIDTH}")
        return
    path = "/".join(encode_segment(decode_segment(part)) for part in address[1:].split("/"))
    try:
        check_path("/m/" + check_relative(path))  # `..` is no name: a browser would climb by it
    except ValueError as error:
        tree.leave_out(address, str(error))
        return
    if tags in ("N", "I"):
        _trigger(address, path, node, tree, commands)
    elif len(tree.nodes) >= MAX_NODES:
        raise TroubleError(f"it has more than {MAX_NODES} values: let it serve fewer, or grant fewer there")
    elif path in tree.nodes:
        tree.leave_out(address, "there are two of this name")
    else:
        tree.nodes[path] = _node(address, path, tags, access, node)
        if "VALUE" in node:
            tree.raw[path] = node["VALUE"]


def _trigger(address: str, path: str, node: dict[str, Any], tree: Tree, commands: list[Command]) -> None:
    """Offer a node without a value as a command."""
    name = re.sub(r"[^A-Za-z0-9_./]", "_", path)
    if len(commands) >= MAX_COMMANDS or name in tree.triggers:
        tree.leave_out(address, "there are too many commands, or two of this name")
        return
    tree.triggers[name] = address
    commands.append(Command(name, _text(node.get("DESCRIPTION"))))


def _node(address: str, path: str, tags: str, access: Any, node: dict[str, Any]) -> Node:
    array = tags.startswith("[") and tags.endswith("]") and tags.count("[") == 1
    inner = tags[1:-1] if array else tags
    if "[" in inner or not inner or set("NIm").intersection(inner):
        kind = "list"
    elif len(inner) == 1 and not array:
        kind = _KINDS[inner]
    else:
        kind = "vector" if _NUMBERS.issuperset(inner) else "list"
    minimum, maximum, choices = _range(node.get("RANGE"), kind)
    unit = node.get("UNIT")
    return Node(
        address,
        path,
        inner.replace("F", "T"),  # true and false have a type each, and are one kind of value
        kind,
        _ACCESS.get(access if isinstance(access, int) else 3, "rw") if kind != "list" or "[" not in inner else "r",
        array,
        node.get("CRITICAL") is True,
        minimum,
        maximum,
        _text(unit[0] if isinstance(unit, list) and unit else unit)[:64],
        _text(node.get("DESCRIPTION")),
        choices,
    )


def _text(found: Any) -> str:
    if not isinstance(found, str):
        return ""
    return "".join(char for char in found[:MAX_DESCRIPTION] if char.isprintable())


def _range(found: Any, kind: str) -> tuple[float | None, float | None, tuple[str, ...]]:
    """Return the limits that hold for all elements, and the choices of a text."""
    items = found if isinstance(found, list) else [found]
    parts = [item for item in items if isinstance(item, dict)]
    if not parts or len(parts) != len(items):
        return None, None, ()
    if kind == "string":
        choices = parts[0].get("VALS")
        fits = isinstance(choices, list) and 0 < len(choices) <= 256 and all(isinstance(one, str) for one in choices)
        return None, None, tuple(choices) if fits and isinstance(choices, list) else ()
    if kind not in ("double", "int", "vector"):
        return None, None, ()
    lows = [number for part in parts if (number := _number(part.get("MIN"))) is not None]
    highs = [number for part in parts if (number := _number(part.get("MAX"))) is not None]
    low = min(lows) if len(lows) == len(parts) else None
    high = max(highs) if len(highs) == len(parts) else None
    return (None, None, ()) if low is not None and high is not None and low > high else (low, high, ())


def _number(found: Any) -> float | None:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    try:
        number = float(found)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def usable(value: Any) -> bool:
    """Say whether *value* can be held by the context."""
    try:
        check_value(value)
    except ValueError:
        return False
    return True
