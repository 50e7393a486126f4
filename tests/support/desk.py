"""A desk for the engine's tests: the real store, bus and database, and an application one can misbehave with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightfast.context.entry import Entry, Set, Status
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.apps.session import Session
from lightfast.engine.links.links import Links
from lightfast.sdk import Argument, Call, Change, Command, Hello, Parameter, Wish
from lightfast.storage.database import Database
from lightfast_link.value import Value

PARAMETERS = (
    Parameter("song/tempo", kind="double", minimum=20, maximum=999, unit="bpm"),
    Parameter("tracks/*/volume", kind="double", tolerance=1e-4),
    Parameter("tracks/*/meter", kind="double", access="r", signal=True),
    Parameter("tracks/*/send", kind="double", signal=True),
    Parameter("song/name", kind="string"),
    Parameter("song/length", kind="double", access="r"),
    Parameter("objects/*/location", kind="vector"),
    Parameter("objects/*/count", kind="int"),
    Parameter("objects/*/shown", kind="bool"),
)
COMMANDS = (
    Command("render", "Render", (Argument("path", "string", required=True), Argument("samples", "double"))),
    Command("evaluate", "Run code", (Argument("text", "string"),), effect="code"),
)


class App:
    """An application and its channel: it holds values and reports them, as well or as badly as told.

    *rounds* is what it makes of a value, *refuses* the reason it refuses a path for, *answers* whether
    it settles wishes itself, *echoes* whether it reports what was set, *deaf* that it does nothing at all.
    """

    def __init__(self, values: dict[str, Value] | None = None, **manners: Any) -> None:
        self.values: dict[str, Value] = dict(values or {})
        self.rounds: Callable[[str, Value], Value] = manners.get("rounds", lambda _, value: value)
        self.refuses: dict[str, str] = manners.get("refuses", {})
        self.answers: bool = manners.get("answers", True)
        self.echoes: bool = manners.get("echoes", False)
        self.deaf: bool = manners.get("deaf", False)
        self.session: Session | None = None
        self.wishes: list[Wish] = []
        self.calls: list[Call] = []
        self.cancelled: list[int] = []
        self.resyncs = 0
        self.closed = ""

    @property
    def joined(self) -> Session:
        assert self.session is not None
        return self.session

    # The channel.

    def apply(self, wishes: Sequence[Wish]) -> None:
        self.wishes += wishes
        asyncio.get_running_loop().call_soon(self._work_off, list(wishes))

    def invoke(self, call: Call) -> None:
        self.calls.append(call)

    def cancel(self, call_id: int) -> None:
        self.cancelled.append(call_id)

    def resync(self) -> None:
        self.resyncs += 1
        if not self.deaf:
            asyncio.get_running_loop().call_soon(self.report_all)

    def close(self, reason: str) -> None:
        self.closed = reason

    # The application.

    def report_all(self) -> None:
        """Report everything, and say that it was all."""
        self.joined.report([Change(path, value) for path, value in self.values.items()])
        self.joined.synced()

    def turn(self, path: str, value: Value) -> None:
        """Let its user change a value."""
        self.values[path] = value
        self.joined.report([Change(path, value)])

    def _work_off(self, wishes: list[Wish]) -> None:
        if not self.deaf:
            for wish in wishes:
                self._take(wish)

    def _take(self, wish: Wish) -> None:
        if wish.path in self.refuses:
            self.joined.reject(wish.wish_id, self.refuses[wish.path])
            return
        if wish.moved_from:
            for path in [path for path in self.values if path.startswith(wish.moved_from + "/")]:
                self.values[wish.path + path[len(wish.moved_from) :]] = self.values.pop(path)
            if self.answers:
                self.joined.settle(wish.wish_id)
            return
        if wish.value is None:
            for path in [path for path in self.values if path == wish.path or path.startswith(wish.path + "/")]:
                del self.values[path]
            if self.answers:
                self.joined.settle(wish.wish_id)
            return
        value = self.rounds(wish.path, wish.value)
        changed = self.values.get(wish.path) != value
        self.values[wish.path] = value
        if wish.signal:
            return
        if self.echoes and changed:
            self.joined.report([Change(wish.path, value)])
        if self.answers:
            self.joined.settle(wish.wish_id, value)


@dataclass
class Desk:
    """The parts of a daemon that the engine works with."""

    folder: Path
    db: Database
    store: Store
    registry: AppRegistry
    links: Links
    tasks: TaskGroup
    config: dict[str, Any] = field(default_factory=dict)

    def join(self, app: App, hello: Hello, *, snapshot: bool = True) -> Session:
        """Let *app* say hello and report everything."""
        app.session = self.registry.hello(hello, app, transport="test")
        if snapshot:
            app.report_all()
        return app.session

    async def live(self, app: App, hello: Hello) -> Session:
        """Let *app* join, and wait until it is in step."""
        session = self.join(app, hello)
        await bounded(session.live.wait())
        return session

    async def leave(self, app: App, reason: str = "it crashed") -> None:
        """Let *app* go away, and wait until that is recorded."""
        app.joined.lost(reason)
        await bounded(app.joined.ended.wait())

    async def set(self, path: str, value: Value, **more: Any) -> int:
        """Let a client set a value; return the revision."""
        applied = await self.store.apply([Set(path, value)], origin="client:test", **more)
        return applied.revision

    def entry(self, path: str) -> Entry:
        """Return the entry at *path*, which must be there."""
        found = self.store.get(path)
        assert found is not None, f"nothing at {path}"
        return found

    async def status(self, path: str, status: Status) -> Entry:
        """Wait until *path* has *status*."""
        await until(
            lambda: (e := self.store.get(path)) is not None and e.status is status, lambda: self.store.get(path)
        )
        return self.entry(path)

    async def holds(self, path: str, value: Value | None) -> None:
        """Wait until *path* holds *value* (`None`: until it is gone)."""

        def there() -> bool:
            entry = self.store.get(path)
            return (entry.value if entry is not None else None) == value

        await until(there, lambda: self.store.get(path))


@asynccontextmanager
async def open_desk(folder: Path, config: dict[str, Any] | None = None, *, start: bool = True) -> AsyncIterator[Desk]:
    """Open the store in *folder*, with an engine on top; leaving it is a clean stop."""
    db = await Database.open(folder / "context.db", clock=SYSTEM)
    bus = Bus(db.store_id)
    store = await Store.open(db, clock=SYSTEM, bus=bus)
    tasks = TaskGroup("engine")
    registry = AppRegistry(store, db, SYSTEM, tasks, None, config, tick_s=0.02)
    links = Links(store, db)
    desk = Desk(folder, db, store, registry, links, tasks, config or {})
    try:
        if start:
            await registry.start()
            await links.start()
        yield desk
    finally:
        await links.close()
        await registry.close()
        await tasks.close()
        await store.close()
        await db.close()


def hello(instance: str = "i1", document: str = "a", *, kind: str = "live", **more: Any) -> Hello:
    """Return a hello with the parameters and commands of the tests."""
    return Hello(
        kind, instance, document_id=document, parameters=PARAMETERS, commands=COMMANDS, app_version="12.1", **more
    )


def conflicts(desk: Desk) -> list[dict[str, Any]]:
    """Return the conflict records."""
    return [entry.value for entry in desk.store.select("/lightfast/conflicts//") if isinstance(entry.value, dict)]


async def until(
    condition: Callable[[], object], shown: Callable[[], object] = lambda: "", seconds: float = 60.0
) -> None:
    """Wait until *condition* holds, or fail and show."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not condition():
        assert loop.time() < deadline, f"it did not happen within {seconds} s: {shown()}"
        await asyncio.sleep(0.002)


async def bounded(waiting: Any, seconds: float = 60.0) -> Any:
    """Wait for something, with a bound."""
    async with asyncio.timeout(seconds):
        return await waiting
