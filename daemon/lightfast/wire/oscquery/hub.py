"""What happens in the tree, told to the clients that listen: values as OSC frames, structure as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec
import structlog

from lightfast.context.entry import Entry, Event, EventType
from lightfast.context.watch import Batch
from lightfast.core.osc import OscError
from lightfast.core.osc_build import encode
from lightfast.wire.oscquery.nodes import Nodes
from lightfast.wire.oscquery.values import MAX_ARGUMENTS, arguments, size
from lightfast_link.path import ascii_path, parent

log = structlog.get_logger("lightfast.oscquery")

MAX_CLIENTS = 64
"""How many WebSocket clients there may be; one more is refused."""
MAX_NEWS = 256
"""The most paths that came or went that are told one by one; of more, only the applications are named."""


class Listening(Protocol):
    """A client, as the hub sees it."""

    def tell(self, messages: list[str]) -> None:
        """Queue news of structure."""

    def push(self, path: str, frame: bytes, *, critical: bool) -> None:
        """Queue a value; a newer one takes the place of one that waits."""


class Hub:
    """Listens to the bus while anybody is there. *counts* says what could not be sent."""

    def __init__(
        self, nodes: Nodes, listen: Callable[[Iterable[str], Callable[[Batch], None]], Callable[[], None]]
    ) -> None:
        """*listen* is the bus's: patterns and a callback, and it returns what ends it."""
        self._nodes = nodes
        self._listen = listen
        self._end: Callable[[], None] | None = None
        self._listeners: dict[str, set[Any]] = {}
        self.clients: set[Any] = set()
        self.counts: Counter[str] = Counter()

    def join(self, client: Listening) -> bool:
        """Take a client in; false where there is no room."""
        if len(self.clients) >= MAX_CLIENTS:
            return False
        self.clients.add(client)
        if self._end is None:
            self._end = self._listen(("//",), self._batch)
        return True

    def leave(self, client: Listening, paths: Iterable[str]) -> None:
        """Let a client go, who listened to *paths*."""
        for path in paths:
            self.ignore(client, path)
        self.clients.discard(client)
        if not self.clients:
            self.close()

    def close(self) -> None:
        """Listen no longer."""
        if self._end is not None:
            self._end()
            self._end = None

    def listen(self, client: Listening, path: str) -> bool:
        """Tell *client* each new value of *path*, and the one there is; false where there is nothing."""
        entry = self._nodes.entry(path)
        if entry is None:
            return False
        self._listeners.setdefault(path, set()).add(client)
        frame = self._frame(entry)
        if frame is not None:
            client.push(path, frame, critical=True)
        return True

    def ignore(self, client: Listening, path: str) -> None:
        """Tell *client* no more of *path*."""
        listeners = self._listeners.get(path)
        if listeners is not None:
            listeners.discard(client)
            if not listeners:
                del self._listeners[path]

    def _batch(self, batch: Batch) -> None:
        added: list[str] = []
        removed: list[str] = []
        renamed: list[tuple[str, str]] = []
        changed: dict[str, None] = {}
        for event in batch.events:
            self._event(event, added, removed, renamed, changed)
        if added or removed or renamed or changed:
            self._tell(added, removed, renamed, changed)

    def _event(
        self,
        event: Event,
        added: list[str],
        removed: list[str],
        renamed: list[tuple[str, str]],
        changed: dict[str, None],
    ) -> None:
        entry = event.entry
        path = entry.path
        if event.type is EventType.MOVE:
            shown_before, shown_now = self._nodes.granted(event.source), self._nodes.granted(path)
            if shown_before and shown_now:
                renamed.append((event.source, path))
            elif shown_before:
                removed.append(event.source)
            elif shown_now:
                added.append(path)
            return
        if not self._nodes.granted(path):
            return
        if event.type is EventType.DELETE:
            removed.append(path)
            return
        if event.previous is None:
            added.append(path)
        elif type(event.previous.value) is not type(entry.value):
            changed[path] = None
        listeners = self._listeners.get(path)
        if listeners:
            frame = self._frame(entry)
            if frame is not None:
                for client in listeners:
                    client.push(path, frame, critical=not entry.signal)

    def _frame(self, entry: Entry) -> bytes | None:
        """Return the OSC message that tells *entry*, or None where OSC cannot, or it is not to be read."""
        value = entry.reported if entry.value is None else entry.value
        if size(value) > MAX_ARGUMENTS or not self._nodes.readable(entry.path):
            self.counts["not_sent"] += 1
            return None
        try:
            return encode(ascii_path(entry.path), *arguments(value))
        except OscError as error:
            self.counts["not_sent"] += 1
            log.debug("a value cannot go over OSC", path=entry.path, reason=error.problem)
            return None

    def _tell(
        self, added: list[str], removed: list[str], renamed: list[tuple[str, str]], changed: dict[str, None]
    ) -> None:
        moved = [path for pair in renamed for path in pair]
        touched = [*added, *removed, *moved]
        if len(touched) > MAX_NEWS:
            tops = dict.fromkeys("/" + path.split("/", 2)[1] for path in touched)
            messages = [_command("PATH_CHANGED", ascii_path(top)) for top in tops]
        else:
            messages = [_command("PATH_ADDED", ascii_path(path)) for path in added]
            messages += [_command("PATH_REMOVED", ascii_path(path)) for path in removed]
            messages += [
                _command("PATH_RENAMED", {"OLD": ascii_path(old), "NEW": ascii_path(new)}) for old, new in renamed
            ]
            # Some clients know none of the three above, but read again what is said to have changed.
            where = dict.fromkeys([*(parent(path) for path in touched), *changed])
            messages += [_command("PATH_CHANGED", ascii_path(path)) for path in where]
        for client in tuple(self.clients):
            client.tell(messages)


def _command(name: str, data: Any) -> str:
    return msgspec.json.encode({"COMMAND": name, "DATA": data}).decode()
