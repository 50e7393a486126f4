"""Both ends of a link: a registry that records, doors on real sockets, and the client."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightfast import sdk
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.link_server import LinkServer
from lightfast.wire.tcp.server import TcpDoor
from lightfast_link.client import LinkClient
from lightfast_link.tcp import TcpTransport
from lightfast_link.value import Asset, Value

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))


class RecordingSession:
    """An `AppSession` that remembers what it was told."""

    def __init__(self, mount: str, hello: sdk.Hello, channel: sdk.AppChannel) -> None:
        self.mount = mount
        self.hello = hello
        self.channel = channel
        self.changes: list[sdk.Change] = []
        self.synced_count = 0
        self.settled: list[tuple[int, Value | None]] = []
        self.rejected: list[tuple[int, str]] = []
        self.progressed: list[tuple[int, float, str]] = []
        self.results: list[tuple[int, Value | None]] = []
        self.failed: list[tuple[int, str]] = []
        self.lost_reasons: list[str] = []

    def declare(self, parameters: Sequence[sdk.Parameter]) -> None:
        pass

    def report(self, changes: Sequence[sdk.Change]) -> None:
        self.changes.extend(changes)

    def synced(self) -> None:
        self.synced_count += 1

    def settle(self, wish_id: int, value: Value | None = None) -> None:
        self.settled.append((wish_id, value))

    def reject(self, wish_id: int, reason: str) -> None:
        self.rejected.append((wish_id, reason))

    def progress(self, call_id: int, fraction: float, message: str = "") -> None:
        self.progressed.append((call_id, fraction, message))

    def result(self, call_id: int, value: Value | None) -> None:
        self.results.append((call_id, value))

    def fail(self, call_id: int, reason: str) -> None:
        self.failed.append((call_id, reason))

    def degraded(self, reason: str) -> None:
        pass

    def lost(self, reason: str) -> None:
        self.lost_reasons.append(reason)


@dataclass
class RecordingRegistry:
    """A registry that gives every application the mount of its kind."""

    sessions: list[RecordingSession] = field(default_factory=list)
    refusal: Exception | None = None

    def hello(self, hello: sdk.Hello, channel: sdk.AppChannel, *, transport: str) -> RecordingSession:
        if self.refusal is not None:
            raise self.refusal
        session = RecordingSession("/" + (hello.name or hello.kind), hello, channel)
        self.sessions.append(session)
        return session

    @property
    def changes(self) -> list[sdk.Change]:
        return [change for session in self.sessions for change in session.changes]


class MemoryAssets:
    """Assets in a dictionary."""

    def __init__(self) -> None:
        self.stored: dict[str, tuple[Asset, bytes]] = {}
        self.origins: list[str] = []

    async def put(self, name: str, media_type: str, chunks: AsyncIterator[bytes], origin: str) -> Asset:
        import hashlib

        data = b"".join([chunk async for chunk in chunks])
        sha256 = hashlib.sha256(data).hexdigest()
        asset = Asset("asset:" + sha256, media_type, sha256, len(data))
        self.stored[sha256] = (asset, data)
        self.origins.append(origin)
        return asset

    async def get(self, sha256: str) -> tuple[Asset, AsyncIterator[bytes]]:
        if sha256 not in self.stored:
            raise NotFound(f"there is no asset {sha256}")
        asset, data = self.stored[sha256]

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 100_000):
                yield data[start : start + 100_000]

        return asset, chunks()


@asynccontextmanager
async def link_server(registry: Any = None, *, key: bytes = KEY, assets: Any = None) -> AsyncIterator[LinkServer]:
    """Yield a `LinkServer` over *registry*."""
    async with TaskGroup("test-link") as tasks:
        yield LinkServer(
            registry if registry is not None else RecordingRegistry(),
            position=lambda: ("store-1", 7),
            tasks=tasks,
            clock=SYSTEM,
            key=key,
            assets=assets,
        )


@asynccontextmanager
async def tcp_door(server: LinkServer, listen: str = "127.0.0.1:0") -> AsyncIterator[tuple[TcpDoor, str, int]]:
    """Yield a door, its host and its port."""
    door = TcpDoor(server, listen, clock=SYSTEM)
    host, _, port = (await door.start()).rpartition(":")
    try:
        yield door, host, int(port)
    finally:
        await door.stop()


def hello(**changes: Any) -> dict[str, Any]:
    """Return a hello that is welcome."""
    return {
        "app": "blender",
        "app_version": "5.0.1",
        "instance_id": "instance-1",
        "document_id": "document-1",
        "generation": 3,
        "pid": os.getpid(),
        "parameters": [{"pattern": "objects/*/location", "kind": "vector", "unit": "m"}],
        "commands": [{"name": "render", "arguments": [{"name": "path", "kind": "string"}], "effect": "read"}],
        "capabilities": ["assets"],
        **changes,
    }


class App:
    """A client that collects its events, as an application's main thread would."""

    def __init__(self, transport: Any, *, key: bytes | None = KEY, **changes: Any) -> None:
        self.client = LinkClient(transport, hello(**changes), key=key)
        self.events: list[tuple[Any, ...]] = []

    @classmethod
    def tcp(cls, host: str, port: int, *, key: bytes | None = KEY, **changes: Any) -> App:
        return cls(TcpTransport(host, port), key=key, **changes)

    def __enter__(self) -> App:
        self.client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close(5.0)

    async def aclose(self) -> None:
        await asyncio.to_thread(self.client.close, 5.0)

    async def until(self, kind: str, count: int = 1, timeout: float = 60.0) -> tuple[Any, ...]:
        """Poll until *count* events of *kind* have come, and return the last of them."""
        found: list[tuple[Any, ...]] = []

        def enough() -> bool:
            self.events += self.client.poll()
            found[:] = [event for event in self.events if event[0] == kind]
            return len(found) >= count

        await eventually(enough, timeout, lambda: f"{kind} x{count}: {self.events!r:.400} {self.client.status()}")
        return found[count - 1]


async def eventually(
    condition: Callable[[], object], timeout: float = 60.0, say: Callable[[], str] = lambda: "it did not come true"
) -> None:
    """Wait until *condition* holds, within a deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, say()
        await asyncio.sleep(0.002)


def short_path(tmp_path: Path, name: str) -> str:
    """Return an `ipc://` endpoint in a private folder."""
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700, exist_ok=True)
    return f"ipc://{folder / name}"


@asynccontextmanager
async def zmq_door(
    server: LinkServer, tmp_path: Path, **options: Any
) -> AsyncIterator[tuple[Any, dict[str, str], Any]]:
    """Yield a ZMQ door, its endpoints and its bus; on ipc:// unless *options* say otherwise."""
    from lightfast.context.watch import Bus
    from lightfast.wire.zmq.door import ZmqDoor

    bus = Bus("store-1")
    options = {"router": short_path(tmp_path, "link.sock"), "pub": short_path(tmp_path, "pub.sock"), **options}
    door = ZmqDoor(server, bus, clock=SYSTEM, **options)
    found = await door.start()
    try:
        yield door, found, bus
    finally:
        await door.stop()
        bus.close()
