"""The bounded cache against a plain model: writes, moves, undo, reads side by side, restarts; never a wrong value."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.store import News, crashed

from lightfast.context.entry import Delete, Entry, Merge, Move, Mutation, Set
from lightfast.context.store import Store
from lightfast.context.stub import Stub
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import LightfastError, NotFound
from lightfast.storage.database import Database
from lightfast_link.path import is_under

ME = "client:test"
PATHS = ["/a", "/a/x", "/a/y", "/b", "/b/x", "/c", "/d/e"]
PATH = st.sampled_from(PATHS)
VALUE = st.builds(lambda letter, length: letter * length, st.sampled_from("pqrs"), st.sampled_from([1, 700, 3000]))
MAP = st.dictionaries(st.sampled_from("mn"), VALUE, min_size=1, max_size=2)
SIZES = st.sampled_from([0, 4000, 9000, 1 << 20])
CHANGE = st.one_of(
    st.builds(Set, PATH, VALUE | MAP),
    st.builds(Set, PATH, VALUE),
    st.builds(Delete, PATH, st.booleans()),
    st.builds(Merge, PATH, MAP),
    st.builds(Move, PATH, PATH),
)


def changed(state: dict[str, Any], mutation: Mutation) -> dict[str, Any]:
    """Return the model after one mutation; raise `LightfastError` where the store refuses."""
    state = dict(state)
    if isinstance(mutation, Set):
        state[mutation.path] = mutation.value
    elif isinstance(mutation, Merge):
        old = state.get(mutation.path, {})
        if not isinstance(old, dict):
            raise NotFound("not a map")
        state[mutation.path] = {**old, **mutation.value}
    elif isinstance(mutation, Delete):
        for path in [p for p in state if p == mutation.path or (mutation.recursive and is_under(p, mutation.path))]:
            del state[path]
    elif isinstance(mutation, Move):
        moving = [path for path in state if is_under(path, mutation.source)]
        if (
            not moving
            or any(is_under(path, mutation.target) for path in state)
            or is_under(mutation.target, mutation.source)
        ):
            raise NotFound("cannot move")
        for path in moving:
            state[mutation.target + path[len(mutation.source) :]] = state.pop(path)
    return state


class CacheMachine(RuleBasedStateMachine):
    """Drives a store whose cache holds next to nothing, and compares everything it says with the model."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="lightfast-cache-"))
        self.lives = 0
        self.state: dict[str, Any] = {}
        self.before: list[dict[str, Any]] = [{}]

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 120))

    @initialize(size=SIZES)
    def start(self, size: int) -> None:
        folder = self.root / "0"
        folder.mkdir()
        self.enter(folder, size)

    def enter(self, folder: Path, size: int) -> None:
        self.folder, self.size = folder, size
        self.stack = AsyncExitStack()
        self.run(self._enter(folder, size))

    async def _enter(self, folder: Path, size: int) -> None:
        db = await Database.open(folder / "store.db")
        self.stack.push_async_callback(db.close)
        self.store = await Store.open(db, clock=SYSTEM, bus=News(), settle_after=60.0, cache_size=size)
        self.stack.push_async_callback(self.store.close)

    @rule(size=SIZES, cut=st.booleans())
    def restart(self, size: int, cut: bool) -> None:
        folder = self.folder
        if cut:
            self.lives += 1
            folder = crashed(self.folder, self.root / str(self.lives))
        self.run(self.stack.aclose())
        self.enter(folder, size)

    @rule(mutations=st.lists(CHANGE, min_size=1, max_size=4))
    def write(self, mutations: list[Mutation]) -> None:
        self.run(self._write(mutations))

    async def _write(self, mutations: list[Mutation]) -> None:
        wanted: dict[str, Any] | None = self.state
        try:
            for mutation in mutations:
                wanted = changed(wanted, mutation)  # type: ignore[arg-type]
        except LightfastError:
            wanted = None
        before = self.store.revision
        try:
            await self.store.apply(mutations, origin=ME)
        except LightfastError:
            assert wanted is None
            return
        assert wanted is not None
        self.state = wanted
        if self.store.revision > before:
            self.before.append(wanted)

    @rule(mutations=st.lists(st.builds(Set, PATH, VALUE), min_size=2, max_size=4), path=PATH)
    def write_and_read_side_by_side(self, mutations: list[Set], path: str) -> None:
        """Several transactions and reads are under way at once; each read shows one of the states there were."""

        async def reads() -> None:
            for _ in range(3):
                page = await self.store.read([], pattern="//")
                seen = {entry.path: entry.value for entry in page.entries}
                assert seen == self.before[page.revision], page.revision
                entry = self.store.get(path)
                assert (entry.value if entry else None) == self.before[self.store.revision].get(path)
                await asyncio.sleep(0)

        async def writes() -> None:
            # All are drafted before anything is awaited, unless one has to wait for what is cold.
            await asyncio.gather(*[one(mutation) for mutation in mutations])

        async def one(mutation: Set) -> None:
            applied = await self.store.apply([mutation], origin=ME)
            revisions[applied.revision] = mutation

        class Published(News):
            """Keeps the model in step with what is published."""

            def publish(news, transaction: Any) -> None:  # noqa: N805
                state = dict(self.before[-1])
                for event in transaction.events:
                    state[event.entry.path] = event.entry.value
                assert transaction.revision == len(self.before)
                self.before.append(state)

        revisions: dict[int, Set] = {}
        self.store.bus, usual = Published(), self.store.bus
        try:
            self.run(self._both(writes(), reads()))
        finally:
            self.store.bus = usual
        self.state = self.before[-1]
        for revision, mutation in revisions.items():
            assert self.before[revision][mutation.path] == mutation.value

    async def _both(self, *works: Coroutine[Any, Any, None]) -> None:
        await asyncio.gather(*works)

    @rule(back=st.integers(1, 3))
    def undo(self, back: int) -> None:
        revision = self.store.revision + 1 - back
        if revision < 1:
            return
        try:
            undone = self.run(self.store.undo(revision=revision, origin=ME))
        except LightfastError:
            return
        if undone.revision and back == 1:
            assert self.live() == self.before[revision - 1]
        if undone.revision:
            self.state = self.live()
            self.before.append(self.state)

    @rule(paths=st.lists(PATH, min_size=1, max_size=4))
    def warm(self, paths: list[str]) -> None:
        self.run(self.store.cache.warm(paths))

    @rule(path=PATH)
    def get(self, path: str) -> None:
        entry = self.store.get(path)
        assert (entry.value if entry else None) == self.state.get(path)

    @rule(revision=st.integers(0, 1000))
    def read_the_past(self, revision: int) -> None:
        revision %= self.store.revision + 1
        page = self.run(self.store.read(pattern="//", at_revision=revision))
        assert {entry.path: entry.value for entry in page.entries} == self.before[revision]

    def live(self) -> dict[str, Any]:
        page = self.run(self.store.read(pattern="//"))
        return {entry.path: entry.value for entry in page.entries}

    @invariant()
    def the_store_is_the_model(self) -> None:
        if not hasattr(self, "store"):
            return
        cache = self.store.cache
        assert cache.used <= self.size
        held = [self.store.peek(path) for path in self.state]
        assert None not in held
        assert self.store.entry_count == len(self.state)
        assert cache.cold == sum(type(each) is Stub for each in held)
        for each in held:
            if type(each) is Entry:
                assert each.value == self.state[each.path]
        assert cache.used == sum(slot.bytes for slot in cache._slots.values())
        assert self.live() == self.state

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.run(self.stack.aclose())
        self.loop.close()
        shutil.rmtree(self.root)


EXAMPLES = int(os.environ.get("LIGHTFAST_EXAMPLES", "40"))
CacheMachine.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCache = CacheMachine.TestCase
