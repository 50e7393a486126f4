"""A state machine drives writers, watchers and compaction, and judges each promise of Watch by name.

It runs on a small store in memory, for many short histories, and on the real one.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.support.watch_store import MemoryStore

from lightfast.context.entry import Declaration, Delete, Event, Move, Set, Transaction
from lightfast.context.store import Store
from lightfast.context.watch import Batch, Bus, WatchSpec, watch
from lightfast.context.watch_batch import Filter
from lightfast.core.errors import Exhausted, OutOfRange
from lightfast.storage.database import Database

PATHS = [f"/{app}/{name}" for app in ("blender", "ableton") for name in ("tempo", "volume", "x/y")]
SIGNALS = ["/blender/fader", "/ableton/fader"]
PATTERNS = ["//", "/blender//", "/*/tempo", "/ableton/volume", "//y", "/*/fader", "/nothing"]
ORIGINS = ["local", "client:ann", "client:ann#1", "app:blender"]
BOUND = 6
INTERVAL = 0.001
MOST_WATCHERS = 5
WHO = st.integers(0, MOST_WATCHERS - 1)


class World(Protocol):
    """A store with its writers."""

    store: Any

    async def set(self, paths: list[str], value: int, origin: str) -> None: ...
    async def delete(self, path: str) -> None: ...
    async def move(self, source: str, goal: str) -> None: ...
    async def signal(self, path: str, value: int) -> None: ...
    async def compact(self, revision: int) -> None: ...
    async def close(self) -> None: ...


class MemoryWorld:
    """The store in memory: everything happens at once."""

    def __init__(self) -> None:
        self.store = MemoryStore(bookmark_interval=INTERVAL)

    async def set(self, paths: list[str], value: int, origin: str) -> None:
        self.store.set(*[(path, value) for path in dict.fromkeys(paths)], origin=origin)

    async def delete(self, path: str) -> None:
        if any(known.startswith(path + "/") for known in self.store.entries):
            self.store.delete(path)

    async def move(self, source: str, goal: str) -> None:
        if source in self.store.entries and goal not in self.store.entries:
            self.store.move(source, goal)

    async def signal(self, path: str, value: int) -> None:
        self.store.signal(path, value)

    async def compact(self, revision: int) -> None:
        self.store.compact(revision)

    async def close(self) -> None:
        self.store.bus.close()


class RealWorld:
    """The real store on a real database; signals settle, and so are committed, all the time."""

    def __init__(self, folder: Path, database: Database, store: Store) -> None:
        self._folder = folder
        self._database = database
        self.store: Any = store

    @classmethod
    async def open(cls) -> RealWorld:
        folder = Path(tempfile.mkdtemp())
        database = await Database.open(folder / "store.db")
        bus = Bus(database.store_id, bookmark_interval=INTERVAL)
        store = await Store.open(database, bus=bus, settle_after=0.01)
        await store.declare([Declaration("/*/fader", signal=True)], owner="test")
        return cls(folder, database, store)

    async def set(self, paths: list[str], value: int, origin: str) -> None:
        await self.store.apply([Set(path, value) for path in paths], origin=origin)

    async def delete(self, path: str) -> None:
        await self.store.apply([Delete(path, recursive=True)], origin="local")

    async def move(self, source: str, goal: str) -> None:
        if self.store.get(source) and not self.store.get(goal):
            await self.store.apply([Move(source, goal)], origin="local")

    async def signal(self, path: str, value: int) -> None:
        assert self.store.publish([Set(path, value)], origin="local").accepted == 1

    async def compact(self, revision: int) -> None:
        if self.store.oldest_revision < revision:
            await self.store.compact(revision)

    async def close(self) -> None:
        self.store.bus.close()
        await self.store.close()
        await self._database.close()
        shutil.rmtree(self._folder)


@dataclass
class Watcher:
    """One stream and everything it has sent, over all its resumptions."""

    spec: WatchSpec
    start: int
    stream: AsyncGenerator[Batch, None]
    revision: int
    batches: list[Batch] = field(default_factory=list)
    pending: asyncio.Future[Batch] | None = None

    @property
    def filter(self) -> Filter:
        return Filter(self.spec.patterns, self.spec.exclude_origins)

    def states(self) -> list[Event]:
        return [event for batch in self.batches for event in batch.events if event.entry.revision]


class Broken(AssertionError):
    """A promise was broken."""


Key = tuple[int, str, str, str, int, object]


def keys(events: list[Event]) -> list[Key]:
    """Return what tells events apart."""
    return [(e.entry.revision, e.type.value, e.entry.path, e.source, e.entry.version, e.entry.value) for e in events]


def check_ordered(watcher: Watcher) -> None:
    """Revisions of events and of batches never go back."""
    revisions = [event.entry.revision for event in watcher.states()]
    if revisions != sorted(revisions):
        raise Broken(f"ordered: {revisions}")
    ends = [batch.revision for batch in watcher.batches]
    if ends != sorted(ends):
        raise Broken(f"ordered: batches end at {ends}")


def check_unique(watcher: Watcher) -> None:
    """No state event comes twice."""
    seen = [key[:5] for key in keys(watcher.states())]
    if len(seen) != len(set(seen)):
        raise Broken(f"unique: {seen}")


def check_atomic(watcher: Watcher, log: list[Transaction]) -> None:
    """All events of a transaction that match come in one batch."""
    wanted = {item.revision: keys(watcher.filter.select(item)) for item in log}
    for batch in watcher.batches:
        mine: dict[int, list[Event]] = {}
        for event in batch.events:
            if event.entry.revision:
                mine.setdefault(event.entry.revision, []).append(event)
        for revision, events in mine.items():
            if keys(events) != wanted[revision]:
                raise Broken(f"atomic: {revision} has {keys(events)}, not {wanted[revision]}")


def check_reliable(watcher: Watcher, log: list[Transaction]) -> None:
    """Up to the revision of the last batch, nothing that matches is missing, and nothing else is there."""
    expected = [
        event
        for item in log
        if watcher.start < item.revision <= watcher.revision
        for event in watcher.filter.select(item)
    ]
    if keys(watcher.states()) != keys(expected):
        raise Broken(f"reliable: {keys(watcher.states())} is not {keys(expected)}")


def check_resumable(watcher: Watcher, error: OutOfRange, oldest: int) -> None:
    """A revision is refused only when it is no longer kept."""
    if error.reason != "REVISION_COMPACTED" or watcher.revision >= oldest:
        raise Broken(f"resumable: {error} at {watcher.revision}, kept from {oldest}")


def check_bookmarks(watcher: Watcher, revision: int) -> None:
    """A watcher that has read all there is stands at the revision of the store."""
    if watcher.revision < revision:
        raise Broken(f"bookmarks: it stands at {watcher.revision}, the store at {revision}")


def check_bounded(watcher: Watcher, error: Exhausted) -> None:
    """A watcher that is cut is told the revision of the last batch it got."""
    if error.reason != "WATCHER_TOO_SLOW" or error.metadata["revision"] != str(watcher.revision):
        raise Broken(f"bounded: told {error.metadata}, the last was {watcher.revision}")


def check_signals(watcher: Watcher) -> None:
    """The versions of a path's signals never go back between two commits to it."""
    last: dict[str, int] = {}
    for batch in watcher.batches:
        for event in batch.events:
            path = event.entry.path
            if event.entry.revision:
                last.pop(path, None)
            elif event.entry.version < last.get(path, 0):
                raise Broken(f"bounded: {path} went back to version {event.entry.version}")
            else:
                last[path] = event.entry.version


class WatchMachine(RuleBasedStateMachine):
    """Writers, watchers that read, lag, leave and resume, and compaction."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.watchers: list[Watcher] = []
        self.log: list[Transaction] = []

    async def make(self) -> World:
        return MemoryWorld()

    @property
    def store(self) -> Any:
        return self.world.store

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(asyncio.wait_for(coroutine, 120))

    @initialize(count=st.integers(0, 5))
    def open(self, count: int) -> None:
        async def go() -> None:
            self.world = await self.make()
            if count:
                await self.world.set(PATHS[:count], 0, "local")

        self.run(go())

    async def read_log(self) -> None:
        """Take over what was committed since, from the history."""
        while (last := self.log[-1].revision if self.log else 0) < self.store.revision:
            self.log += await self.store.replay(last, self.store.revision, 1000)

    @rule(
        writes=st.lists(
            st.tuples(st.lists(st.sampled_from(PATHS), min_size=1, max_size=4), st.sampled_from(ORIGINS)),
            min_size=1,
            max_size=4,
        ),
        value=st.integers(0, 3),
        together=st.booleans(),
    )
    def write(self, writes: list[tuple[list[str], str]], value: int, together: bool) -> None:
        """Commit some transactions, at once or one after the other."""

        async def go() -> None:
            if together:
                await asyncio.gather(*(self.world.set(paths, value, origin) for paths, origin in writes))
            else:
                for paths, origin in writes:
                    await self.world.set(paths, value, origin)
                    await asyncio.sleep(0)

        self.run(go())

    @rule(path=st.sampled_from(["/blender", "/ableton", "/blender/x"]))
    def delete(self, path: str) -> None:
        self.run(self.world.delete(path))

    @rule(source=st.sampled_from(PATHS), goal=st.sampled_from(PATHS))
    def move(self, source: str, goal: str) -> None:
        self.run(self.world.move(source, goal))

    @rule(path=st.sampled_from(SIGNALS), count=st.integers(1, 5), tick=st.booleans())
    def signal(self, path: str, count: int, tick: bool) -> None:
        async def go() -> None:
            for number in range(count):
                await self.world.signal(path, number)
                if tick:
                    await asyncio.sleep(0)

        self.run(go())

    @rule(
        patterns=st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True),
        excluded=st.lists(st.sampled_from(["client:ann", "client:ann#1", "local"]), max_size=2),
        back=st.one_of(st.none(), st.integers(0, 50)),
        rate=st.sampled_from([0.0, 500.0]),
        writes=st.lists(st.sampled_from(PATHS), max_size=3),
    )
    def join(self, patterns: list[str], excluded: list[str], back: int | None, rate: float, writes: list[str]) -> None:
        """Begin to watch, from now or from a revision that is kept, in the tick of some writes."""
        if len(self.watchers) < MOST_WATCHERS:
            self.run(self.begin(patterns, excluded, back, rate, writes))

    async def begin(
        self, patterns: list[str], excluded: list[str], back: int | None, rate: float, writes: list[str]
    ) -> None:
        for path in writes:
            await self.world.set([path], 7, "local")
        start = None if back is None else max(self.store.oldest_revision, self.store.revision - back)
        spec = WatchSpec(tuple(patterns), start, exclude_origins=tuple(excluded), max_rate_hz=rate)
        now = self.store.revision if start is None else start
        watcher = Watcher(spec, now, watch(self.store, spec, max_events=BOUND), now)
        self.watchers.append(watcher)
        if start is None:
            # Without a task of its own, so that it joins before the tick of the writes ends.
            first = await anext(watcher.stream)
            await self.read_log()
            self.take(watcher, first)
        else:
            await self.step(watcher, 0.005)

    # Which of them are still there depends on time, and nothing that is drawn may: Hypothesis wants the same again.
    @rule(who=WHO, count=st.integers(1, 4))
    def read_some(self, who: int, count: int) -> None:
        if self.watchers:
            self.run(self.read(self.watchers[who % len(self.watchers)], count))

    async def read(self, watcher: Watcher, count: int) -> None:
        for _ in range(count):
            if watcher in self.watchers:
                await self.step(watcher, 0.005)

    @rule(who=WHO)
    def leave_and_resume(self, who: int) -> None:
        if self.watchers:
            self.run(self.resume(self.watchers[who % len(self.watchers)]))

    @rule(keep=st.integers(0, 20))
    def compact(self, keep: int) -> None:
        async def go() -> None:
            await self.read_log()
            await self.world.compact(max(0, self.store.revision - keep))

        self.run(go())

    async def step(self, watcher: Watcher, wait: float) -> None:
        """Take one batch if one comes in time; a watcher that was cut resumes."""
        if watcher.pending is None:
            watcher.pending = asyncio.ensure_future(anext(watcher.stream))
        done, _ = await asyncio.wait([watcher.pending], timeout=wait)
        if not done:
            return
        task, watcher.pending = watcher.pending, None
        try:
            batch = task.result()
        except Exhausted as error:
            check_bounded(watcher, error)
            await self.resume(watcher)
            return
        except OutOfRange as error:
            check_resumable(watcher, error, self.store.oldest_revision)
            self.watchers.remove(watcher)
            return
        await self.read_log()
        self.take(watcher, batch)

    def take(self, watcher: Watcher, batch: Batch) -> None:
        """Judge one more batch."""
        watcher.batches.append(batch)
        watcher.revision = batch.revision
        check_ordered(watcher)
        check_unique(watcher)
        check_atomic(watcher, self.log)
        check_reliable(watcher, self.log)
        check_signals(watcher)

    async def resume(self, watcher: Watcher) -> None:
        """Go on from the last revision, as a client does after a lost connection."""
        await self.leave(watcher)
        spec = WatchSpec(
            watcher.spec.patterns,
            watcher.revision,
            self.store.store_id,
            exclude_origins=watcher.spec.exclude_origins,
            max_rate_hz=watcher.spec.max_rate_hz,
        )
        watcher.stream = watch(self.store, spec, max_events=BOUND)

    async def leave(self, watcher: Watcher) -> None:
        if watcher.pending is not None:
            watcher.pending.cancel()
            await asyncio.wait([watcher.pending])
            watcher.pending = None
        await watcher.stream.aclose()

    async def finish(self) -> None:
        """Let everyone read to the end: nobody may be left behind."""
        async with asyncio.timeout(110):
            for watcher in list(self.watchers):
                while watcher in self.watchers and watcher.revision < self.store.revision:
                    await self.step(watcher, 1.0)
        for watcher in self.watchers:
            check_bookmarks(watcher, self.store.revision if isinstance(self.world, MemoryWorld) else watcher.revision)
            await self.leave(watcher)
        assert self.store.bus.watchers == 0
        await self.world.close()

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.run(self.finish())
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()


class RealWatchMachine(WatchMachine):
    """The same on the real store."""

    async def make(self) -> World:
        return await RealWorld.open()


WatchMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=35, deadline=None)
TestWatchPromises = WatchMachine.TestCase
RealWatchMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=28, deadline=None)
TestWatchPromisesOnTheRealStore = RealWatchMachine.TestCase
