"""The node tree: read from `/g_queryTree.reply`, and as values below the mount."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightfast.sdk import Parameter, Value
from lightfast_link.path import encode_segment

ROOT = 0


@dataclass(slots=True)
class Node:
    """One node; a group has no *definition*. *mapped* names the bus of a control that follows one (`c7`, `a3`).

    *running* is None while nobody has said.
    """

    number: int
    parent: int
    definition: str = ""
    group: bool = False
    running: bool | None = None
    controls: dict[str, float] = field(default_factory=dict)
    mapped: dict[str, str] = field(default_factory=dict)

    def values(self) -> Iterator[tuple[str, Value]]:
        """Yield its paths and values."""
        base = f"nodes/{self.number}"
        yield f"{base}/isGroup", self.group
        yield f"{base}/parent", self.parent
        if not self.group:
            yield f"{base}/defname", self.definition
        if self.running is not None:
            yield f"{base}/running", self.running
        for name, value in self.controls.items():
            yield f"{base}/controls/{encode_segment(name)}", value
        for name, bus in self.mapped.items():
            yield f"{base}/mapped/{encode_segment(name)}", bus


def read_tree(arguments: Sequence[Any]) -> dict[int, Node]:
    """Return the nodes of a reply by number; raise `ValueError` where it is malformed."""
    try:
        return _Walk(arguments).nodes
    except (IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"a malformed tree of {len(arguments)} arguments: {error}") from None


class _Walk:
    def __init__(self, arguments: Sequence[Any]) -> None:
        self.nodes: dict[int, Node] = {}
        self._arguments, self._at = arguments, 1
        self._controls = bool(arguments[0])
        # Groups lie in groups: what is open is kept with how many children are still to come.
        waiting: list[list[int]] = []
        number, children = int(self._next()), int(self._next())
        self.nodes[number] = Node(number, -1, group=True)
        waiting.append([number, children])
        while waiting:
            if waiting[-1][1] <= 0:
                waiting.pop()
                continue
            waiting[-1][1] -= 1
            self._node(waiting)
        if self._at != len(arguments):
            raise ValueError(f"{len(arguments) - self._at} arguments follow the tree")

    def _next(self) -> Any:
        self._at += 1
        return self._arguments[self._at - 1]

    def _node(self, waiting: list[list[int]]) -> None:
        number, children = int(self._next()), int(self._next())
        node = self.nodes[number] = Node(number, waiting[-1][0], group=children >= 0)
        if node.group:
            waiting.append([number, children])
            return
        node.definition = str(self._next())
        for _ in range(int(self._next()) if self._controls else 0):
            name, value = str(self._next()), self._next()
            if isinstance(value, str):
                node.mapped[name] = value
            else:
                node.controls[name] = float(value)


def below(nodes: Mapping[int, Node], number: int) -> list[int]:
    """Return a node and all below it."""
    found = [number]
    for one in found:
        found += [node.number for node in nodes.values() if node.parent == one and node.number not in found]
    return found


def declarations() -> tuple[Parameter, ...]:
    """Return what is known of every server's paths."""
    rate = "time.freq"
    return (
        _told("nodes/*/isGroup", "bool", "A group, else a synth."),
        _told("nodes/*/parent", "int", "The group it is in; -1 for the root."),
        _told("nodes/*/defname", "string", "Its synth definition."),
        Parameter("nodes/*/running", "bool", description="Off: it is not executed. Shown once it has changed."),
        Parameter("nodes/*/controls/*", "double", description="A control, by its name; one of an array by its index."),
        _told("nodes/*/mapped/*", "string", "The bus that a control follows: c7, a3."),
        Parameter("buses/*", "double", description="A control bus that is followed."),
        _told("buffers/*/frames", "int", "Its length."),
        _told("buffers/*/channels", "int", "Its channels."),
        _told("buffers/*/sampleRate", "double", "Its sample rate.", rate),
        _told("status/ugens", "int", "Unit generators.", signal=True),
        _told("status/synths", "int", "Synths.", signal=True),
        _told("status/groups", "int", "Groups.", signal=True),
        _told("status/synthdefs", "int", "Synth definitions.", signal=True),
        _told("status/avgCPU", "double", "Average load.", "ratio.percent", signal=True),
        _told("status/peakCPU", "double", "Highest load.", "ratio.percent", signal=True),
        _told("status/sampleRate", "double", "Nominal sample rate.", rate),
        _told("status/actualSampleRate", "double", "Measured sample rate.", rate, signal=True),
    )


def _told(pattern: str, kind: str, description: str, unit: str = "", *, signal: bool = False) -> Parameter:
    return Parameter(pattern, kind, unit=unit, access="r", description=description, signal=signal)
