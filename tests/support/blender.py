"""What the tests of the Blender bridge share: a TCP door to the link, a desk that remembers, a Blender process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port

from lightfast import sdk
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.link_server import LinkServer
from lightfast.wire.tcp.server import TcpDoor
from lightfast_bridges.blender import headless
from lightfast_link.value import Asset, Value

DEADLINE = 60.0


@dataclass
class Joined:
    """A session that remembers what the application says: the other side of `sdk.AppSession`."""

    hello: sdk.Hello
    channel: sdk.AppChannel
    synchronized: Callable[[], None]
    mount: str = "/blender"
    values: dict[str, Value] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    moves: list[tuple[str, str]] = field(default_factory=list)
    reports: int = 0
    syncs: int = 0
    settled: dict[int, Value | None] = field(default_factory=dict)
    rejected: dict[int, str] = field(default_factory=dict)
    progressed: dict[int, list[tuple[float, str]]] = field(default_factory=dict)
    results: dict[int, Value | None] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    gone: str = ""
    trouble: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    number: int = 0

    def declare(self, parameters: Sequence[sdk.Parameter]) -> None:
        pass

    def report(self, changes: Sequence[sdk.Change]) -> None:
        for change in changes:
            self.reports += 1
            if change.moved_from:
                self.moves.append((change.moved_from, change.path))
                for old in [p for p in self.values if p.startswith(change.moved_from + "/")]:
                    self.values[change.path + old[len(change.moved_from) :]] = self.values.pop(old)
            elif change.value is None:
                self.values.pop(change.path, None)
            else:
                self.values[change.path] = change.value
                self.ids[change.path] = change.object_id
                self.times[change.path] = change.event_time
        self.news.set()

    def synced(self) -> None:
        self.syncs += 1
        self.news.set()
        self.synchronized()

    def settle(self, wish_id: int, value: Value | None = None) -> None:
        self.settled[wish_id] = value
        self.news.set()

    def reject(self, wish_id: int, reason: str) -> None:
        self.rejected[wish_id] = reason
        self.news.set()

    def progress(self, call_id: int, fraction: float, message: str = "") -> None:
        self.progressed.setdefault(call_id, []).append((fraction, message))
        self.news.set()

    def result(self, call_id: int, value: Value | None) -> None:
        self.results[call_id] = value
        self.news.set()

    def fail(self, call_id: int, reason: str) -> None:
        self.failures[call_id] = reason
        self.news.set()

    def degraded(self, reason: str) -> None:
        self.trouble = reason  # a Blender on a busy machine may be silent for a while

    def lost(self, reason: str) -> None:
        self.gone = reason or "gone"
        self.news.set()

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
        """Wait until *holds*, woken by each word of the application."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            raise AssertionError(f"not seen within {seconds} s: {what}; {self.failures} {self.rejected}") from None

    async def wish(self, path: str, value: Value | None, seconds: float = DEADLINE) -> Value | None:
        """Wish one value; return what the application then holds, or raise `RuntimeError` with its refusal."""
        self.number += 1
        number = self.number
        self.channel.apply([sdk.Wish(number, path, value, revision=number)])
        await self.until(lambda: number in self.settled or number in self.rejected, f"an answer about {path}", seconds)
        if number in self.rejected:
            raise RuntimeError(self.rejected[number])
        return self.settled[number]

    async def call(self, command: str, seconds: float = DEADLINE, **arguments: Value) -> Any:
        """Run a command; return its result, or raise `RuntimeError` with its reason."""
        self.number += 1
        number = self.number
        self.channel.invoke(sdk.Call(number, command, arguments, timeout=seconds))
        await self.until(lambda: number in self.results or number in self.failures, f"the end of {command}", seconds)
        if number in self.failures:
            raise RuntimeError(self.failures[number])
        return self.results[number]


class Vault:
    """Assets in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Asset, bytes]] = {}

    def add(self, data: bytes, media_type: str) -> Asset:
        digest = hashlib.sha256(data).hexdigest()
        asset = Asset(f"asset:{digest}", media_type, digest, len(data))
        self.kept[digest] = (asset, data)
        return asset

    async def put(self, name: str, media_type: str, chunks: AsyncIterator[bytes], origin: str) -> Asset:
        return self.add(b"".join([chunk async for chunk in chunks]), media_type)

    async def get(self, sha256: str) -> tuple[Asset, AsyncIterator[bytes]]:
        if sha256 not in self.kept:
            raise NotFound(f"no asset {sha256}", reason="ASSET_NOT_FOUND")
        asset, data = self.kept[sha256]

        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(data), 1 << 16):
                yield data[start : start + (1 << 16)]

        return asset, chunks()


class Desk:
    """A registry that takes everyone in, behind the real TCP door, findable like a daemon in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.vault = Vault()
        self.sessions: list[Joined] = []
        self.news = asyncio.Event()
        self.address = f"127.0.0.1:{free_port(socket.SOCK_STREAM)}"  # it is closed and opened again
        self._key = secrets.token_bytes(32)
        self._lock = -1
        self._tasks = TaskGroup("desk")
        self._door: TcpDoor | None = None

    def hello(self, hello: sdk.Hello, channel: sdk.AppChannel, *, transport: str) -> Joined:
        session = Joined(hello, channel, synchronized=self.news.set)
        self.sessions.append(session)
        self.news.set()
        return session

    async def __aenter__(self) -> Desk:
        await self.open()
        return self

    async def open(self) -> None:
        """Open the door, at the same address as before."""
        link = LinkServer(
            self,
            position=lambda: ("store", 1),
            tasks=self._tasks,
            clock=SYSTEM,
            key=self._key,
            assets=self.vault,
        )
        self._door = TcpDoor(link, self.address, clock=SYSTEM)
        self.address = await self._door.start()
        self._lock = advertise(self.home, self._key, link_tcp=self.address)

    async def __aexit__(self, *_: object) -> None:
        await self.shut()
        await self._tasks.close()

    async def shut(self) -> None:
        """Close the door, as a daemon that ended."""
        if self._door is not None:
            await self._door.stop()
            self._door = None
            os.close(self._lock)

    async def joined(self, count: int = 1, seconds: float = DEADLINE) -> Joined:
        """Return the *count*th session, or a later one, once it is in step: a hello may be said anew before it is."""

        def found() -> Joined | None:
            return next((session for session in self.sessions[count - 1 :] if session.syncs), None)

        try:
            async with asyncio.timeout(seconds):
                while (session := found()) is None:
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            said = [(each.hello.document_id, each.hello.generation, each.syncs, each.gone) for each in self.sessions]
            raise AssertionError(f"no session number {count} in step within {seconds} s: {said}") from None
        return session


def advertise(home: Path, key: bytes, **doors: str) -> int:
    """Write what a daemon writes for those who look for it; returns the lock it holds, to be closed."""
    run = home / "run"
    run.mkdir(parents=True, exist_ok=True, mode=0o700)
    key_file = home / "link.key"
    key_file.write_text(key.hex() + "\n", encoding="ascii")
    lock = os.open(run / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    found = {"pid": os.getpid(), "store_id": "store", "link_key_file": str(key_file), **doors}
    endpoints = run / "endpoints.json"
    endpoints.write_text(json.dumps(found), encoding="utf-8")
    endpoints.chmod(0o600)
    return lock


def wanted(which: str) -> headless.Installation:
    """Return the Blender called *which* (`application` or `module`), or skip with the line that installs it."""
    found = headless.find_application() if which == "application" else headless.find_module()
    if found is None:
        line = {
            "application": "apt-get install --no-install-recommends blender",
            "module": "pip install bpy==5.0.1 into a Python 3.11, and name it in LIGHTFAST_BPY_PYTHON",
        }[which]
        pytest.skip(f"no Blender here ({which}): {line}")
    return found


@contextlib.contextmanager
def blender(
    installation: headless.Installation,
    home: Path,
    *,
    env: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Blender joined to the daemon of the folder *home*; what it printed is shown when the test fails."""
    log = home / f"blender-{secrets.token_hex(4)}.log"
    with log.open("wb") as output:
        process = headless.start(
            installation,
            output=output,
            home=home,
            env=env,
            **options,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(60)
        print(log.read_text(encoding="utf-8", errors="replace")[-8000:])


async def ended(process: subprocess.Popen[bytes], seconds: float = 60.0) -> int:
    """Return the exit code of *process*."""
    return await asyncio.to_thread(process.wait, seconds)
