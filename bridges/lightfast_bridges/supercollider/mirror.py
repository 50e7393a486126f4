"""What is known of the server: its nodes, buses and buffers, as it told them, and what was reported of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from lightfast.sdk import AppSession, Change, OscMessage, Value
from lightfast_bridges.supercollider.asking import missing_node
from lightfast_bridges.supercollider.settings import MAX_BUSES
from lightfast_bridges.supercollider.tree import Node, below, read_tree
from lightfast_bridges.supercollider.wishes import Wishes, same
from lightfast_link.path import encode_segment

MALFORMED = (ValueError, TypeError, IndexError, OverflowError)
"""What is raised by reading a message that is not what scsynth sends."""

log = structlog.get_logger("lightfast.bridges.supercollider")

STATUS = ("ugens", "synths", "groups", "synthdefs", "avgCPU", "peakCPU", "sampleRate", "actualSampleRate")
_GONE = frozenset(("/n_set", "/s_get", "/n_run", "/n_query"))
"""Commands of ours whose failure says that the node is gone."""


class Memory:
    """What a bridge remembers of a server from one session to the next."""

    def __init__(self) -> None:
        self.definitions: dict[int, str] = {}
        self.document = 0
        self.buses: set[int] = set()


class Mirror:
    """Takes what the server tells; *restarted* is called when it turns out to be another one."""

    def __init__(self, memory: Memory, restarted: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._memory, self._restarted = memory, restarted
        self.session: AppSession | None = None
        self.wishes: Wishes | None = None
        self.nodes: dict[int, Node] = {}
        self.buses: set[int] = set()
        self.marker: tuple[int, float] | None = None
        self.values: dict[str, Value] = {}
        self.stale = asyncio.Event()
        """The tree is to be read."""

    # ------------------------------------------------------------------ messages

    def hear(self, messages: Sequence[OscMessage]) -> None:
        """Take messages; what is malformed is dropped."""
        if self.session is None or self.wishes is None:
            return
        for address, _, arguments in messages:
            said = tuple(arguments)
            try:
                self._hear(address, said)
                self.wishes.hear(address, said)
            except MALFORMED as error:
                log.debug("a message was dropped", address=address, reason=str(error))

    def _hear(self, address: str, said: tuple[Any, ...]) -> None:
        if address == "/status.reply":
            self.take_status(said)
        elif address == "/c_set":
            self._take_buses(said)
        elif address == "/b_info":
            self.take_buffers(said)
        elif address == "/n_go":
            self._born(said)
        elif address == "/n_end":
            self._forget(int(said[0]))
        elif address == "/n_move" and (moved := self.nodes.get(said[0])):
            moved.parent = int(said[1])
            self.report(list(moved.values()))
        elif address in {"/n_on", "/n_off"} and (turned := self.nodes.get(said[0])):
            turned.running = address == "/n_on"
            self.report(list(turned.values()))
        elif address == "/fail" and len(said) >= 2 and said[0] in _GONE:
            number = missing_node(str(said[1]))
            if number is not None and self.wishes is not None:
                self.wishes.gone(number)
                self.stale.set()  # whether it has ended, or all of the server, the tree will tell

    def _born(self, said: tuple[Any, ...]) -> None:
        number, parent = int(said[0]), int(said[1])
        if said[4] and number not in self.nodes:
            self.nodes[number] = Node(number, parent, group=True, running=True)
            self.report(list(self.nodes[number].values()))
        self.stale.set()  # of a synth the name and the controls are not told

    def take_status(self, said: Sequence[Any]) -> None:
        """Take `/status.reply`."""
        kinds = (int, int, int, int, float, float, float, float)
        values = zip(STATUS, kinds, said[1:], strict=False)
        self.report([(f"status/{name}", kind(value)) for name, kind, value in values])

    def take_buffers(self, said: Sequence[Any]) -> None:
        """Take `/b_info`."""
        changes: list[tuple[str, Value]] = []
        for number, frames, channels, rate in zip(said[::4], said[1::4], said[2::4], said[3::4], strict=False):
            base = f"buffers/{number}"
            if frames and channels:
                changes += [(f"{base}/frames", int(frames)), (f"{base}/channels", int(channels))]
                changes.append((f"{base}/sampleRate", float(rate)))
            elif f"{base}/frames" in self.values:
                self._gone(base)
        self.report(changes)

    def _take_buses(self, said: tuple[Any, ...]) -> None:
        changes: list[tuple[str, Value]] = []
        for bus, value in zip(said[::2], said[1::2], strict=False):
            if self.marker is not None and bus == self.marker[0] and value != self.marker[1]:
                self._restarted("scsynth was started again")
                return
            if bus in self.buses:
                changes.append((f"buses/{bus}", float(value)))
        self.report(changes)

    def follow(self, bus: int) -> None:
        """Follow a bus that somebody asked for, as long as this bridge runs."""
        if len(self.buses) < MAX_BUSES:
            self.buses.add(bus)
            self._memory.buses.add(bus)

    # ------------------------------------------------------------------ the tree

    def take_tree(self, said: Sequence[Any], asked: float) -> None:
        """Take a tree that was asked for at *asked*: what was set after that is newer."""
        try:
            found = read_tree(said)
        except ValueError as error:
            log.warning("a tree was dropped", reason=str(error))
            return
        for number in [number for number in self.nodes if number not in found]:
            self._forget(number)
        for node in found.values():
            self._merge(node, asked, controls=bool(said[0]))
        if self.session is not None:
            self.remember()
            self.report([pair for node in self.nodes.values() for pair in node.values()])

    def remember(self) -> None:
        """Keep what plays, for when the server comes back."""
        self._memory.definitions = {node.number: node.definition for node in self.nodes.values()}

    def plays_something_else(self) -> bool:
        """Say whether a number that is remembered belongs to another definition now."""
        known = self._memory.definitions
        return any(node.definition != known.get(node.number, node.definition) for node in self.nodes.values())

    def _merge(self, node: Node, asked: float, *, controls: bool) -> None:
        known = self.nodes.get(node.number)
        if known is None or (known.definition, known.group) != (node.definition, node.group):
            if known is not None:
                self._forget(node.number)
            self.nodes[node.number] = node
            return
        known.parent = node.parent
        if not controls:
            return
        for name in [name for name in known.mapped if name not in node.mapped]:
            del known.mapped[name]
            self._gone(f"nodes/{node.number}/mapped/{encode_segment(name)}")
        for name in [name for name in known.controls if name not in node.controls]:
            del known.controls[name]
            self._gone(f"nodes/{node.number}/controls/{encode_segment(name)}")
        known.mapped.update(node.mapped)
        for name, value in node.controls.items():
            touched = self.wishes.touched.get(("control", node.number, name), -1.0) if self.wishes else -1.0
            if name not in known.controls or not (touched >= asked or same(known.controls[name], value)):
                known.controls[name] = value

    def _forget(self, number: int) -> None:
        """Take a node out, with all below it."""
        for gone in below(self.nodes, number):
            self.nodes.pop(gone, None)
            if self.wishes is not None:
                self.wishes.gone(gone)
            self._gone(f"nodes/{gone}")

    # ------------------------------------------------------------------ reports

    def report(self, found: Sequence[tuple[str, Value]]) -> None:
        """Report what is not known yet."""
        changed = [(path, value) for path, value in found if self.values.get(path) != value]
        self.values.update(changed)
        if changed and self.session is not None:
            self.session.report([_change(path, value) for path, value in changed])

    def report_all(self) -> None:
        """Report everything."""
        for node in self.nodes.values():
            self.values.update(node.values())
        if self.session is not None:
            self.session.report([_change(path, value) for path, value in self.values.items()])

    def _gone(self, base: str) -> None:
        known = [path for path in self.values if path == base or path.startswith(base + "/")]
        for path in known:
            del self.values[path]
        if known and self.session is not None:
            self.session.report([Change(base, None)])


def _change(path: str, value: Value) -> Change:
    """Return a change; what belongs to a node says so, so that it can be deleted as a whole."""
    parts = path.split("/", 2)
    return Change(path, value, object_id=f"node {parts[1]}" if parts[0] == "nodes" else "")
