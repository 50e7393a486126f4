"""A bridge's host without a daemon, and a Live simulator with its own loop turn."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from tests.support.ending import ended
from tests.support.ports import free_port

from lightfast.sdk import (
    AppChannel,
    Asset,
    Call,
    Change,
    Hello,
    OscMessage,
    OscSender,
    OscServer,
    Parameter,
    Peer,
    Value,
    Wish,
)
from lightfast.wire.osc.port import OscPort
from lightfast_bridges.ableton.bridge import AbletonBridge
from lightfast_bridges.ableton.live_set import LiveSet, demo_set
from lightfast_bridges.ableton.simulator import AbletonSimulator


async def until(true: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Wait until *true* gives something true, and return it; fail after *seconds*."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not (found := true()):
        assert loop.time() < end, f"not within {seconds} s: {true}"
        await asyncio.sleep(0.005)
    return found


def _under(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")


class Session:
    """Records what a bridge tells the engine; a small `AppSession`."""

    mount = "/ableton"

    def __init__(self, hello: Hello, channel: AppChannel) -> None:
        self.hello = hello
        self.channel = channel
        self.values: dict[str, Value] = {}
        self.declared = {one.pattern: one for one in hello.parameters}
        self.reports: list[Change] = []
        self.syncs = 0
        self.settled: dict[int, Value | None] = {}
        self.rejected: dict[int, str] = {}
        self.results: dict[int, Value | None] = {}
        self.failed: dict[int, str] = {}
        self.problem = ""
        self.gone = ""
        self._call_ids = itertools.count(1)
        self._wished: dict[int, str] = {}

    def report(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self.reports.append(change)
            if change.moved_from:
                self._wished = {
                    wish_id: change.path + path[len(change.moved_from) :] if _under(path, change.moved_from) else path
                    for wish_id, path in self._wished.items()
                }
                for path in self._below(change.moved_from):
                    self.values[change.path + path[len(change.moved_from) :]] = self.values.pop(path)
            elif change.value is None:
                for path in self._below(change.path):
                    del self.values[path]
            else:
                self.values[change.path] = change.value

    def _below(self, root: str) -> list[str]:
        return [path for path in self.values if _under(path, root)]

    def declare(self, parameters: Sequence[Parameter]) -> None:
        self.declared = {one.pattern: one for one in parameters}

    def synced(self) -> None:
        self.syncs += 1

    def settle(self, wish_id: int, value: Value | None = None) -> None:
        assert wish_id not in self.settled
        assert wish_id not in self.rejected
        self.settled[wish_id] = value
        if value is not None:
            self.values[self._wished[wish_id]] = value

    def reject(self, wish_id: int, reason: str) -> None:
        assert wish_id not in self.settled
        assert wish_id not in self.rejected
        self.rejected[wish_id] = reason

    def progress(self, call_id: int, fraction: float, message: str = "") -> None:
        raise AssertionError("Live tells no progress")

    def result(self, call_id: int, value: Value | None) -> None:
        self.results[call_id] = value

    def fail(self, call_id: int, reason: str) -> None:
        self.failed[call_id] = reason

    def degraded(self, reason: str) -> None:
        self.problem = reason

    def lost(self, reason: str) -> None:
        assert not self.gone
        self.gone = reason

    # what a test asks for

    def wish(self, wish_id: int, path: str, value: Value | None, *, signal: bool = False) -> None:
        self._wished[wish_id] = path
        self.channel.apply([Wish(wish_id, path, value, 0 if signal else wish_id, signal)])

    async def call(self, command: str, **arguments: Value) -> Value | None:
        call_id = next(self._call_ids)
        self.channel.invoke(Call(call_id, command, arguments, 60.0))
        await until(lambda: call_id in self.results or call_id in self.failed)
        if call_id in self.failed:
            raise RuntimeError(self.failed[call_id])
        return self.results[call_id]


class Lossy:
    """An OSC sender that loses one message in twenty."""

    def __init__(self, sender: OscSender, host: Host) -> None:
        self.address = sender.address
        self._sender = sender
        self._host = host

    def send(self, address: str, *arguments: Any) -> None:
        if not self._host.loses():
            self._sender.send(address, *arguments)

    def close(self) -> None:
        self._sender.close()


class Host:
    """A `BridgeHost` that records; with *loss* it loses one message in twenty, both ways."""

    def __init__(self, config: Mapping[str, Any], loss: random.Random | None = None) -> None:
        self.config = config
        self.folder = ""
        self.lost = 0
        self._loss = loss
        self.port = OscPort()
        self.sessions: list[Session] = []
        self.reasons: list[str] = []

    def hello(self, hello: Hello, channel: AppChannel) -> Session:
        self.sessions.append(Session(hello, channel))
        return self.sessions[-1]

    def absent(self, reason: str, name: str = "") -> None:
        self.reasons.append(reason)

    async def open_osc(
        self,
        remote: tuple[str, int],
        local: tuple[str, int],
        receive: Callable[[list[OscMessage]], None],
    ) -> OscSender:
        if self._loss is None:
            return await self.port.open_osc(remote, local, receive)

        def some(messages: list[OscMessage]) -> None:
            if left := [message for message in messages if not self.loses()]:
                receive(left)

        return Lossy(await self.port.open_osc(remote, local, some), self)

    def loses(self) -> bool:
        """Say whether the next message is lost."""
        lost = self._loss is not None and self._loss.random() < 0.05
        self.lost += lost
        return lost

    async def serve_osc(
        self, local: tuple[str, int], receive: Callable[[list[tuple[Peer, list[OscMessage]]]], None]
    ) -> OscServer:
        return await self.port.serve_osc(local, receive)

    async def save_asset(self, name: str, media_type: str, data: bytes) -> Asset:
        raise NotImplementedError

    async def load_asset(self, sha256: str) -> bytes:
        raise NotImplementedError

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 10)


class Live:
    """A running simulator; `live` is its set, in reach of the test."""

    def __init__(
        self, port: int, reply_port: int, tick: float, make: Callable[[], LiveSet], *, fork: bool = False
    ) -> None:
        self.fork = fork
        self.port = port
        self.reply_port = reply_port
        self.live = make()
        self._tick = tick
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        ready: asyncio.Future[tuple[str, int]] = asyncio.get_running_loop().create_future()
        simulator = AbletonSimulator(self._tick, lambda: self.live, fork=self.fork)
        self._task = asyncio.ensure_future(simulator.run(("127.0.0.1", self.port), self.reply_port, ready.set_result))
        await asyncio.wait((ready, self._task), return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()
        self.port = ready.result()[1]

    async def stop(self) -> None:
        if self._task is not None:
            await ended(self._task, "the simulator")


@contextlib.asynccontextmanager
async def simulated(
    *,
    reply_port: int,
    port: int = 0,
    tick: float = 0.005,
    make: Callable[[], LiveSet] = demo_set,
    fork: bool = False,
) -> AsyncIterator[Live]:
    """Run a Live simulator."""
    live = Live(port, reply_port, tick, make, fork=fork)
    await live.start()
    try:
        yield live
    finally:
        await live.stop()


@contextlib.asynccontextmanager
async def bridged(
    *, loss: random.Random | None = None, bridge: AbletonBridge | None = None, **config: Any
) -> AsyncIterator[Host]:
    """Run the bridge, one of its own or *bridge*, on a recording host."""
    host = Host({"poll": 0.1, "silence": 5.0, **config}, loss)  # on a busy machine one that is slow is not gone
    task = asyncio.ensure_future((bridge or AbletonBridge()).run(host))
    try:
        yield host
    finally:
        if task.done():
            task.result()
        await ended(task, "the bridge")
        host.port.close()


async def joined(host: Host, number: int = 1) -> Session:
    """Wait until Live has joined for the *number*-th time, or once more, and is in step."""
    session: Session = await until(lambda: next((one for one in host.sessions[number - 1 :] if one.syncs), None))
    return session


@contextlib.asynccontextmanager
async def joint(*, fork: bool = False, **config: Any) -> AsyncIterator[tuple[Live, Host, Session]]:
    """Run a simulator and the bridge, joined."""
    reply_port = free_port()
    async with (
        simulated(reply_port=reply_port, fork=fork) as live,
        bridged(remote=f"127.0.0.1:{live.port}", reply_port=reply_port, **config) as host,
    ):
        yield live, host, await joined(host)
