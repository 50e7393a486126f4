"""MIDI without a machine's ports: a backend as mido has them, a device behind it, and a host that notes what is said."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from mido import Message

from lightfast.sdk import AppChannel, Change, Hello, Value, Wish
from lightfast_bridges.midi.ports import MidoPorts

PATIENCE = 60.0
Data = bytes
"""Within `FakeBackend` that name is what was sent."""


class FakeInput:
    """An input of the backend's."""

    def __init__(self, backend: FakeBackend, name: str, callback: Callable[[Any], None]) -> None:
        self.backend, self.name, self.callback = backend, name, callback
        backend.inputs.append(self)

    def close(self) -> None:
        self.backend.inputs.remove(self)


class FakeOutput:
    """An output of the backend's; `stuck` makes it hang, `broken` makes it fail."""

    def __init__(self, backend: FakeBackend, name: str) -> None:
        self.backend, self.name = backend, name
        backend.outputs.append(self)

    def send(self, message: Any) -> None:
        if self.backend.broken:
            raise OSError("no such device")
        self.backend.stuck.wait(PATIENCE)
        self.backend.sent.append((time.monotonic(), bytes(message.bytes())))

    def close(self) -> None:
        self.backend.outputs.remove(self)


class FakeBackend:
    """A mido backend with one device; `say` is what the device sends, from a thread of its own."""

    def __init__(self, name: str = "APC mini:0") -> None:
        self.there = [name]
        self.inputs: list[FakeInput] = []
        self.outputs: list[FakeOutput] = []
        self.sent: list[tuple[float, bytes]] = []
        self.broken = False
        self.receive: Callable[[bytes, float], None] = lambda _message, _at: None
        self.stuck = threading.Event()
        self.stuck.set()

    def get_input_names(self) -> list[str]:
        return list(self.there)

    def get_output_names(self) -> list[str]:
        return list(self.there)

    def open_input(self, name: str, callback: Callable[[Any], None], **_: Any) -> FakeInput:
        self._check(name)
        return FakeInput(self, name, callback)

    def open_output(self, name: str, **_: Any) -> FakeOutput:
        self._check(name)
        return FakeOutput(self, name)

    def _check(self, name: str) -> None:
        if name not in self.there:
            raise OSError(f"unknown port {name!r}")

    def say(self, *messages: Sequence[int]) -> None:
        def run() -> None:
            for message in messages:
                for port in list(self.inputs):
                    port.callback(Message.from_bytes(list(message)))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join(PATIENCE)

    @property
    def bytes(self) -> list[bytes]:
        """What was sent, without clock and timecode."""
        return [message for _, message in list(self.sent) if message[0] < 0xF1]

    def hear(self, *messages: tuple[Data, float]) -> None:
        """Let the device say messages, each at the monotonic time that is given."""
        for message, at in messages:
            self.receive(message, at)

    def ports(self, api: str = "") -> MidoPorts:
        backend = self

        class Ports(MidoPorts):
            def open_input(self, name: str, receive: Callable[[bytes, float], None], *, virtual: bool) -> Any:
                backend.receive = receive
                return super().open_input(name, receive, virtual=virtual)

        return Ports(self)


class Noted:
    """An `AppSession` that notes."""

    mount = "/apc"

    def __init__(self, hello: Hello) -> None:
        self.hello = hello
        self.changes: list[Change] = []
        self.values: dict[str, Value | None] = {}
        self.settled: dict[int, Value | None] = {}
        self.rejected: dict[int, str] = {}
        self.results: dict[int, Value | None] = {}
        self.failed: dict[int, str] = {}
        self.reasons: list[str] = []
        self.gone = ""
        self.synced_times = 0

    def declare(self, parameters: Any) -> None: ...

    def report(self, changes: Sequence[Change]) -> None:
        self.changes += changes
        self.values.update({change.path: change.value for change in changes})

    def synced(self) -> None:
        self.synced_times += 1

    def settle(self, wish_id: int, value: Value | None = None) -> None:
        self.settled[wish_id] = value

    def reject(self, wish_id: int, reason: str) -> None:
        self.rejected[wish_id] = reason

    def progress(self, call_id: int, fraction: float, message: str = "") -> None: ...

    def result(self, call_id: int, value: Value | None) -> None:
        self.results[call_id] = value

    def fail(self, call_id: int, reason: str) -> None:
        self.failed[call_id] = reason

    def degraded(self, reason: str) -> None:
        self.reasons.append(reason)

    def lost(self, reason: str) -> None:
        self.gone = reason

    def of(self, path: str) -> list[Value | None]:
        """Return what was reported of *path*, in order."""
        return [change.value for change in self.changes if change.path == path]


class Host:
    """A `BridgeHost` that notes; nothing waits for long."""

    folder = ""

    def __init__(self, **config: Any) -> None:
        self.config = config
        self.sessions: list[Noted] = []
        self.channels: list[AppChannel] = []
        self.away: list[str] = []
        self._ids = 0

    def hello(self, hello: Hello, channel: AppChannel) -> Noted:
        self.sessions.append(Noted(hello))
        self.channels.append(channel)
        return self.sessions[-1]

    def absent(self, reason: str, name: str = "") -> None:
        self.away.append(reason)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.02))

    def wish(self, path: str, value: Value | None, *, signal: bool = False) -> int:
        self._ids += 1
        self.channels[-1].apply([Wish(self._ids, path, value, 0 if signal else self._ids, signal=signal)])
        return self._ids


async def until(look: Callable[[], Any], what: str, within: float = PATIENCE) -> Any:
    """Return the first true answer of *look*."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := look():
            return found
        await asyncio.sleep(0.005)
    raise AssertionError(f"not within {within} s: {what}")
