"""The daemon's floors in this process, from the database to the link's doors, for an application to join."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq
from tests.support.blender import DEADLINE, advertise

from lightfast.app.joints import LinkAssets
from lightfast.context.entry import Delete, Entry, Set, Status
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.link_server import LinkServer
from lightfast.engine.apps.records import AppRecord, AppState, Result
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.links.links import Links
from lightfast.security.keys import ensure_secret
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database
from lightfast.wire.tcp.server import TcpDoor
from lightfast.wire.zmq.door import ZmqDoor
from lightfast_bridges.blender.bridge import BlenderBridge
from lightfast_link.value import Value, close


@dataclass
class House:
    """What a test may touch of it."""

    home: Path
    store: Store
    registry: AppRegistry
    links: Links
    blobs: BlobStore

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = DEADLINE) -> None:
        """Wait until *holds*, looked at after each tick of the store."""
        news = asyncio.Event()
        bus = self.store.bus
        assert isinstance(bus, Bus)
        stop = bus.listen(["//"], lambda batch: news.set())
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    news.clear()
                    await news.wait()
        except TimeoutError:
            apps = [(app.mount, app.state, app.state_reason) for app in self.registry.list()]
            raise AssertionError(f"not seen within {seconds} s: {what}; {apps}") from None
        finally:
            stop()

    def app(self, mount: str = "/blender") -> AppRecord | None:
        return next((app for app in self.registry.list() if app.mount == mount), None)

    async def live(self, mount: str = "/blender") -> AppRecord:
        """Wait until the application is in step."""

        def holds() -> bool:
            app = self.app(mount)
            return app is not None and app.state is AppState.LIVE

        await self.until(holds, f"{mount} live")
        app = self.app(mount)
        assert app is not None
        return app

    async def gone(self, mount: str = "/blender") -> None:
        """Wait until the loss was seen and everything about it is committed."""

        def holds() -> bool:
            app = self.app(mount)
            return app is not None and app.state is AppState.GONE

        await self.until(holds, f"{mount} gone")
        await self.until(
            lambda: not [e for e in self.store.select(mount + "//") if e.status is Status.SETTLED], "stale"
        )

    def value(self, path: str) -> Value | None:
        entry = self.store.get(path)
        return None if entry is None else entry.value

    def in_step(self, path: str) -> bool:
        """Say whether the application holds what is wished at *path*."""
        entry = self.store.get(path)
        if entry is None or entry.value is None or entry.reported is None or entry.status is not Status.SETTLED:
            return False
        return close(entry.value, entry.reported)

    async def wish(self, path: str, value: Value | None, group: str = "") -> Entry | None:
        """Apply a client's write and return the entry once the application has answered."""
        change: Set | Delete = Delete(path) if value is None else Set(path, value)
        applied = await self.store.apply([change], origin="client:test", group=group)

        def answered() -> bool:
            entry = self.store.get(path)
            return entry is None or (entry.status is not Status.PENDING and entry.revision >= applied.revision)

        await self.until(answered, f"an answer about {path}")
        return self.store.get(path)

    async def invoke(self, command: str, mount: str = "/blender", **arguments: Value) -> Any:
        """Run a command and return its result."""
        result: Value | None = None
        async for step in await self.registry.invoke(mount, command, arguments, 60.0, "client:test"):
            if isinstance(step, Result):
                result = step.value
        return result


@asynccontextmanager
async def house(folder: Path, *, zeromq: bool = True) -> AsyncIterator[House]:
    """Open everything over *folder* (again, if it was open before), with or without the ZMQ door."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    async with AsyncExitStack() as stack:
        db = await Database.open(home / "store.sqlite", clock=SYSTEM)
        stack.push_async_callback(db.close)
        blobs = await BlobStore.open(home / "assets", db, 1 << 30, SYSTEM)
        bus = Bus(db.store_id)
        store = await Store.open(db, clock=SYSTEM, bus=bus)
        stack.push_async_callback(store.close)
        tasks = await stack.enter_async_context(TaskGroup("house"))
        registry = AppRegistry(store, db, SYSTEM, tasks, blobs, {})
        registry.add_kind(BlenderBridge())
        await registry.start()
        stack.push_async_callback(registry.close)
        links = Links(store, db)
        await links.start()
        stack.push_async_callback(links.close)
        key = ensure_secret(home / "link.key")
        link = LinkServer(
            registry,
            position=lambda: (store.store_id, store.revision),
            tasks=tasks,
            clock=SYSTEM,
            key=key,
            assets=LinkAssets(blobs),
        )
        doors: dict[str, str] = {}
        if zeromq:
            # A path of its own, since a socket's may have 107 bytes.
            runtime = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lf-")))
            router, pub = f"ipc://{runtime}/router", f"ipc://{runtime}/pub"
            zmq_door = ZmqDoor(link, bus, router=router, pub=pub, clock=SYSTEM)
            doors |= await zmq_door.start()
            stack.push_async_callback(zmq_door.stop)
        tcp = TcpDoor(link, "127.0.0.1:0", clock=SYSTEM)
        doors["link_tcp"] = await tcp.start()
        stack.push_async_callback(tcp.stop)
        stack.callback(os.close, advertise(home, key, **doors))
        yield House(home, store, registry, links, blobs)


def zmq_folder(folder: Path) -> Path:
    """Return a folder with this interpreter's pyzmq and nothing else, for an application's module path."""
    target = folder / "pyzmq"
    target.mkdir(exist_ok=True)
    package = Path(zmq.__file__).parent
    for name in ("zmq", "pyzmq.libs"):
        source = package.parent / name
        if source.exists() and not (target / name).exists():
            (target / name).symlink_to(source, target_is_directory=True)
    return target
