"""What a device said before we sent is older than what we sent, whenever it is heard; what it said after is newer."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.ending import ended
from tests.support.midi import FakeBackend, Host, Noted, until

from lightfast.sdk import Change, Hello, Value
from lightfast_bridges.midi.bridge import MidiBridge
from lightfast_bridges.midi.ports import MidoPorts

Said = tuple[str, str, Value | None]


class Ordered(Noted):
    """Notes in which order wishes were settled and values reported."""

    def __init__(self, hello: Hello, host: Late) -> None:
        super().__init__(hello)
        self.host = host

    def report(self, changes: Sequence[Change]) -> None:
        self.host.said += [("reported", change.path, change.value) for change in changes]
        super().report(changes)

    def settle(self, wish_id: int, value: Value | None = None) -> None:
        self.host.said.append(("settled", self.host.wished[wish_id], value))
        super().settle(wish_id, value)


class Late(Host):
    """A host, and a device that is heard when the test says so, with the time at which it spoke."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.said: list[Said] = []
        self.wished: dict[int, str] = {}
        self.hear: Callable[[bytes, float], None] = lambda _message, _at: None
        self.sending = threading.Event()

    def hello(self, hello: Hello, channel: Any) -> Ordered:
        self.sessions.append(session := Ordered(hello, self))
        self.channels.append(channel)
        return session

    def wish(self, path: str, value: Value | None, *, signal: bool = False) -> int:
        self.wished[self._ids + 1] = path
        return super().wish(path, value, signal=signal)

    async def settled(self, path: str, value: Value) -> None:
        number = self.wish(path, value)
        await until(lambda: number in self.sessions[-1].settled, f"{path} settled")

    async def heard(self, message: bytes, at: float) -> None:
        """Let the device be heard, and wait until the bridge has dealt with it."""
        self.hear(message, at)
        mark = len(self.said)
        self.hear(bytes((0xCF, len(self.said) % 128)), time.monotonic())
        await until(lambda: ("reported", "ch/16/program", mark % 128) in self.said[mark:], "the mark behind it")

    def of(self, path: str) -> list[tuple[str, Value | None]]:
        return [(what, value) for what, where, value in self.said if where == path]


@asynccontextmanager
async def late(**config: Any) -> AsyncIterator[tuple[Late, FakeBackend]]:
    backend = FakeBackend()
    host: Any = Late(**{"name": "apc", "input": "apc*", "output": "apc*", "hold": 0.0, **config})

    class Ports(MidoPorts):
        def open_input(self, name: str, receive: Callable[[bytes, float], None], *, virtual: bool) -> Any:
            host.hear = receive
            return super().open_input(name, receive, virtual=virtual)

        def open_output(self, name: str, *, virtual: bool) -> Any:
            opened: Any = super().open_output(name, virtual=virtual)
            send = opened.send

            def noted(message: bytes) -> None:
                host.sending.set()
                send(message)

            opened.send = noted
            return opened

    running = asyncio.ensure_future(MidiBridge({}, lambda _: Ports(backend)).run(host))
    try:
        await until(lambda: host.sessions and host.sessions[-1].synced_times, f"joined: {host.away}")
        yield host, backend
    finally:
        backend.stuck.set()
        await ended(running, "the bridge")


@pytest.mark.parametrize(
    ("path", "message"),
    [("ch/1/cc/7", b"\xb0\x07\x20"), ("ch/1/pitch", b"\xe0\x00\x20"), ("ch/1/program", b"\xc0\x05")],
)
async def test_what_a_device_said_before_we_sent_is_not_reported_behind_it(path: str, message: bytes) -> None:
    async with late() as (host, _):
        before = time.monotonic()
        await host.settled(path, 100)
        await host.heard(message, before)
        assert host.of(path) == [("settled", 100)]
        await host.heard(message, time.monotonic())
        assert [what for what, _ in host.of(path)] == ["settled", "reported"], "what it says after that is news"


async def test_a_pair_of_controllers_is_as_old_as_the_half_that_came() -> None:
    async with late(pairs=[1]) as (host, _):
        before = time.monotonic()
        await host.settled("ch/1/cc14/1", 8192)
        await host.heard(b"\xb0\x01\x20", before)  # its lower half does not come
        await asyncio.sleep(0.05)
        await host.heard(b"\xb0\x05\x20", time.monotonic())
        assert host.of("ch/1/cc14/1") == [("settled", 8192)]


async def test_a_signal_is_newer_than_what_was_said_before_it() -> None:
    async with late() as (host, _):
        before = time.monotonic()
        host.wish("ch/1/cc/7", 100, signal=True)
        await host.heard(b"\xb0\x07\x20", before)
        assert host.of("ch/1/cc/7") == []


async def test_a_note_that_is_heard_late_counts_but_is_not_the_last_word() -> None:
    async with late() as (host, _):
        before = time.monotonic()
        await host.settled("ch/1/note/60", 0)
        await host.heard(b"\x90\x3c\x64", before)
        assert host.of("ch/1/note/60") == [("settled", 0), ("reported", 100), ("reported", 0)]


@pytest.mark.parametrize(("path", "message"), [("ch/1/cc/7", b"\xb0\x07\x20"), ("ch/1/note/60", b"\x90\x3c\x20")])
async def test_what_a_device_says_while_we_send_is_not_overtaken(path: str, message: bytes) -> None:
    """The engine takes what was reported before an answer to be older: it would forget what the device holds now."""
    async with late() as (host, backend):
        backend.stuck.clear()
        number = host.wish(path, 100)
        await until(host.sending.is_set, "it is sent")
        await host.heard(message, time.monotonic())
        backend.stuck.set()
        await until(lambda: number in host.sessions[-1].settled, "settled")
        await until(lambda: host.of(path)[-1] == ("reported", 32), f"the last word: {host.of(path)}")
        assert ("settled", 100) in host.of(path)


async def test_a_place_that_was_told_before_ours_is_not_reported_behind_it() -> None:
    async with late() as (host, _):
        before = time.monotonic()
        await host.settled("transport/position", 10.0)
        await host.heard(b"\xf2\x10\x00", before)
        assert host.of("transport/position")[-1][1] == 10.0
        assert ("reported", 4.0) not in host.of("clock/position")
