"""The store against a plain model, with crashes: nothing acknowledged is lost, no revision is skipped."""

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
from tests.support.store import House, crashed, open_store

from lightfast.context.entry import Delete, Merge, Move, Mutation, Set
from lightfast.context.records import Undone
from lightfast.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, LightfastError, NotFound
from lightfast_link.path import is_under

State = dict[str, Any]
PATHS = ["/a", "/a/x", "/a/x/y", "/a!", "/b", "/b/x", "/c/d/e"]
PATH = st.sampled_from(PATHS)
VALUE = st.integers(0, 3) | st.just((1.0, 2.0)) | st.dictionaries(st.sampled_from("pq"), st.integers(0, 2), max_size=2)
MUTATION = st.one_of(
    st.builds(Set, PATH, VALUE),
    st.builds(Set, PATH, VALUE),
    st.builds(Delete, PATH, st.booleans()),
    st.builds(Merge, PATH, st.dictionaries(st.sampled_from("pq"), st.integers(0, 2), max_size=2)),
    st.builds(Move, PATH, PATH),
)
NUMBER = st.integers(0, 1000)
TRANSACTION = st.lists(MUTATION, min_size=1, max_size=4)


class Refused(Exception):
    """The model refuses a mutation."""


def applied(state: State, mutations: list[Mutation]) -> tuple[State, bool]:
    """Return the state after *mutations* and whether anything happened; raise `Refused`."""
    state, touched = dict(state), False
    for mutation in mutations:
        if isinstance(mutation, Set):
            state[mutation.path] = mutation.value
        elif isinstance(mutation, Merge):
            old = state.get(mutation.path, {})
            if not isinstance(old, dict):
                raise Refused
            state[mutation.path] = {**old, **mutation.value}
        elif isinstance(mutation, Delete):
            gone = [p for p in state if p == mutation.path or (mutation.recursive and is_under(p, mutation.path))]
            for path in gone:
                del state[path]
            if not gone:
                continue
        elif isinstance(mutation, Move):
            moving = [path for path in state if is_under(path, mutation.source)]
            taken = any(is_under(path, mutation.target) for path in state)
            if not moving or taken or is_under(mutation.target, mutation.source):
                raise Refused
            for path in moving:
                state[mutation.target + path[len(mutation.source) :]] = state.pop(path)
        touched = True
    return state, touched


class StoreMachine(RuleBasedStateMachine):
    """Drives a real store on real files and compares it with `states`, the model by revision."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="lightfast-machine-"))
        self.lives = 0
        self.states: list[State] = [{}]
        self.oldest = 0

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 120))

    @initialize()
    def start(self) -> None:
        folder = self.root / "0"
        folder.mkdir()
        self.enter(folder)

    def enter(self, folder: Path) -> None:
        self.folder = folder
        self.stack = AsyncExitStack()
        self.house: House = self.run(self.stack.enter_async_context(open_store(folder)))

    @property
    def state(self) -> State:
        return self.states[-1]

    def expect(self, mutations: list[Mutation]) -> bool:
        """Move the model on; say whether the store must take the mutations."""
        try:
            state, touched = applied(self.state, mutations)
        except Refused:
            return False
        if touched:
            self.states.append(state)
        return True

    @rule(mutations=TRANSACTION, group=st.sampled_from(["", "g", "h"]))
    def apply(self, mutations: list[Mutation], group: str) -> None:
        if self.expect(mutations):
            assert self.run(self.house.apply(*mutations, group=group)) == len(self.states) - 1
        else:
            try:
                self.run(self.house.apply(*mutations))
            except (InvalidArgument, AlreadyExists, NotFound):
                return
            raise AssertionError(f"{mutations} were not refused")

    @rule(batch=st.lists(TRANSACTION, min_size=2, max_size=6))
    def apply_at_once(self, batch: list[list[Mutation]]) -> None:
        async def together() -> list[Any]:
            return await asyncio.gather(*[self.house.apply(*mutations) for mutations in batch], return_exceptions=True)

        results = self.run(together())
        for mutations, result in zip(batch, results, strict=True):
            if self.expect(mutations):
                assert isinstance(result, int), result
            else:
                assert isinstance(result, LightfastError), result

    @rule(batch=st.lists(TRANSACTION, min_size=1, max_size=8), turns=st.integers(0, 12))
    def crash_while_writing(self, batch: list[list[Mutation]], turns: int) -> None:
        """Take the files away in the middle: a prefix is there, and all of it that was acknowledged."""

        async def crash() -> tuple[Path, int]:
            writes = [asyncio.ensure_future(self.house.apply(*mutations)) for mutations in batch]
            for _ in range(turns):
                await asyncio.sleep(0)
            acknowledged = self.house.store.revision
            self.lives += 1
            copy = crashed(self.folder, self.root / str(self.lives))
            await asyncio.gather(*writes, return_exceptions=True)
            return copy, acknowledged

        copy, acknowledged = self.run(crash())
        for mutations in batch:
            self.expect(mutations)
        self.run(self.stack.aclose())
        self.enter(copy)
        revision = self.house.store.revision
        assert acknowledged <= revision < len(self.states)
        del self.states[revision + 1 :]

    @rule()
    def restart(self) -> None:
        self.run(self.stack.aclose())
        self.enter(self.folder)

    def pick(self, number: int, *, first: int) -> int:
        """Return a revision from *first* to the last; what is drawn must not depend on how far a crash got."""
        return first + number % (len(self.states) - first)

    @rule(number=NUMBER, redo=st.booleans())
    def undo(self, number: int, redo: bool) -> None:
        if self.oldest == len(self.states) - 1:
            return
        revision = self.pick(number, first=self.oldest + 1)
        call = self.house.store.redo if redo else self.house.store.undo
        before = dict(self.state)
        try:
            done = self.run(call(revision=revision, origin="client:undo"))
        except FailedPrecondition as error:
            if error.reason != ("NOT_UNDONE" if redo else "ALREADY_UNDONE"):
                raise
            done = Undone(0)
        if not done.revision:
            assert self.house.values() == before
            return
        assert not done.conflicts
        assert done.revision == len(self.states)
        (taken,) = done.undone
        (transaction,) = self.run(self.house.store.replay(taken - 1, taken, 1))
        touched = {path for event in transaction.events for path in (event.entry.path, event.source) if path}
        after = {path: value for path, value in before.items() if path not in touched}
        after |= {path: value for path, value in self.states[taken - 1].items() if path in touched}
        self.states.append(after)

    @rule(number=NUMBER)
    def compact(self, number: int) -> None:
        revision = self.pick(number, first=self.oldest)
        assert self.run(self.house.store.compact(revision)).oldest == revision
        self.oldest = revision

    @rule(number=NUMBER, size=st.sampled_from([1, 2, 100]))
    def look_back(self, number: int, size: int) -> None:
        revision = self.pick(number, first=self.oldest)

        async def read() -> State:
            found: State = {}
            token = ""
            while True:
                page = await self.house.store.read(pattern="//", at_revision=revision, page_size=size, page_token=token)
                found |= {entry.path: entry.value for entry in page.entries}
                token = page.next_page_token
                if not token:
                    return found

        found = self.run(read())
        assert found == self.states[revision]
        assert list(found) == sorted(found)

    @rule()
    def replay(self) -> None:
        """The events from the oldest revision on lead from its state to the present one."""
        state = dict(self.states[self.oldest])
        transactions = self.run(self.house.store.replay(self.oldest, len(self.states), 10_000))
        assert [t.revision for t in transactions] == list(range(self.oldest + 1, len(self.states)))
        for transaction in transactions:
            for event in transaction.events:
                if event.source:
                    state.pop(event.source)
                if event.type == "DELETE":
                    state.pop(event.entry.path)
                else:
                    state[event.entry.path] = event.entry.value
            assert state == self.states[transaction.revision]

    @invariant()
    def the_live_tree_is_the_last_state(self) -> None:
        if self.lives or hasattr(self, "house"):
            assert self.house.values() == self.state
            assert self.house.store.revision == len(self.states) - 1
            news = [t.revision for t in self.house.news.transactions]
            assert news == list(range(len(self.states) - len(news), len(self.states)))

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.run(self.stack.aclose())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.root)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=int(os.environ.get("LIGHTFAST_MACHINE_EXAMPLES", "120")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
