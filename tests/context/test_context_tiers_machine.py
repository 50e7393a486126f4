"""All tiers against a plain model: whatever moved, was dropped or crashed, every read gives what was acknowledged."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from tests.support.frames import Frames
from tests.support.store import House, crashed, open_store

from lightfast.context.entry import Delete, Entry, Event, EventType, Move, Mutation, Set, Transaction
from lightfast.context.tiers.tiers import TierOptions
from lightfast.core.clock import StillClock
from lightfast.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, LightfastError, OutOfRange

PATHS = ["/a", "/a/x", "/a/x/y", "/a!", "/b", "/b/x", "/c/d/e"]
PATH = st.sampled_from(PATHS)
VALUE = st.integers(0, 3) | st.sampled_from([0.5, -0.0, 1 / 3, "text", True, (1.0, 0.1), [1, "a"], {"p": 1}])
START = StillClock().now_ns()
SECOND = 10**9
EVENT_TIME = st.just(0) | st.integers(-5, 60).map(lambda number: START + number * SECOND)
MUTATION = st.one_of(
    st.builds(Set, PATH, VALUE, EVENT_TIME),
    st.builds(Set, PATH, VALUE, EVENT_TIME),
    st.builds(Delete, PATH, st.booleans()),
    st.builds(Move, PATH, PATH),
)
NUMBER = st.integers(0, 1000)
TRANSACTION = st.lists(MUTATION, min_size=1, max_size=4)
PATTERN = st.sampled_from(["//", "/a//", "/a", "/b", "/a/*", "/*/x", "//x"])
ALL = "//"
REFUSALS = {"NOT_UNDONE", "ALREADY_UNDONE", "REVISION_COMPACTED", "UNDO_TARGET_UNKNOWN"}


class TierMachine(RuleBasedStateMachine):
    """Drives a store with an archive; the model is what the store has published, in `transactions`."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="lightfast-tiers-"))
        self.lives = 0
        self.clock = StillClock()
        self.frames = Frames()
        self.transactions: list[Transaction] = []
        self.oldest = 0
        self.moved = 0

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
        options = TierOptions(block_rows=5, cache_size=20_000)
        self.house: House = self.run(
            self.stack.enter_async_context(open_store(folder, clock=self.clock, archive=self.frames, tiers=options))
        )

    # ---- the model

    def state(self, revision: int) -> dict[str, Entry]:
        """Return the tree as of *revision*."""
        found: dict[str, Entry] = {}
        for transaction in self.transactions[:revision]:
            for event in transaction.events:
                found.pop(event.source, None)
                if event.type == EventType.DELETE:
                    found.pop(event.entry.path)
                else:
                    found[event.entry.path] = event.entry
        return found

    def happened(self, time: int) -> dict[str, Entry]:
        """Return what had happened by *time*, as it is known now."""
        best: dict[str, tuple[int, Entry | None]] = {}

        def take(path: str, when: int, entry: Entry | None) -> None:
            if when <= time and (path not in best or when >= best[path][0]):
                best[path] = (when, entry)

        for transaction in self.transactions:
            for event in transaction.events:
                when = event.entry.event_time
                if event.source:
                    take(event.source, when, None)
                take(event.entry.path, when, None if event.type == EventType.DELETE else event.entry)
        return {path: entry for path, (_, entry) in sorted(best.items()) if entry is not None}

    def pick(self, number: int, *, first: int) -> int:
        return first + number % (len(self.transactions) + 1 - first)

    def published(self) -> None:
        """Take what was published into the model."""
        news = self.house.news.transactions
        known = self.transactions[-1].revision if self.transactions else 0
        self.transactions += [each for each in news if each.revision > known]

    # ---- what happens

    @rule(mutations=TRANSACTION, group=st.sampled_from(["", "g", "h"]), seconds=st.integers(0, 3))
    def apply(self, mutations: list[Mutation], group: str, seconds: int) -> None:
        self.clock.advance(seconds)
        cause = self.transactions[-1].revision if self.transactions and seconds == 1 else 0
        try:
            self.run(self.house.apply(*mutations, group=group, cause=cause))
        except (InvalidArgument, AlreadyExists, LightfastError) as error:
            if error.status not in {"INVALID_ARGUMENT", "ALREADY_EXISTS", "NOT_FOUND"}:
                raise
        self.published()

    @rule(number=NUMBER, size=st.sampled_from([0, 1, 300]))
    def demote(self, number: int, size: int) -> None:
        if not self.transactions:
            return
        self.run(self.house.store.tiers.demote(self.pick(number, first=0), size=size))
        self.moved += 1

    @rule(number=NUMBER)
    def compact(self, number: int) -> None:
        revision = self.pick(number, first=self.oldest)
        assert self.run(self.house.store.compact(revision)).oldest == revision
        self.oldest = revision

    @rule()
    def restart(self) -> None:
        self.run(self.stack.aclose())
        self.enter(self.folder)

    @rule(number=NUMBER, turns=st.integers(0, 60), compaction=st.booleans())
    def crash(self, number: int, turns: int, compaction: bool) -> None:
        """Take the files away while history moves, or is dropped."""
        revision = self.pick(number, first=self.oldest)

        async def crash() -> Path:
            work = self.house.store.compact(revision) if compaction else self.house.store.tiers.demote(revision)
            task = asyncio.ensure_future(work)
            for _ in range(turns):
                await asyncio.sleep(0)
            self.lives += 1
            frames = self.frames.copy()
            copy = crashed(self.folder, self.root / str(self.lives))
            await task
            self.frames = frames
            return copy

        copy = self.run(crash())
        self.run(self.stack.aclose())
        self.enter(copy)
        assert self.oldest <= self.house.store.oldest_revision <= max(self.oldest, revision)
        self.oldest = self.house.store.oldest_revision

    @rule(number=NUMBER, redo=st.booleans(), by_group=st.booleans())
    def undo(self, number: int, redo: bool, by_group: bool) -> None:
        if self.oldest == len(self.transactions):
            return
        revision = self.pick(number, first=self.oldest + 1)
        call = self.house.store.redo if redo else self.house.store.undo
        before = self.state(len(self.transactions))
        try:
            if by_group:
                done = self.run(call(group="g", origin="client:undo"))
            else:
                done = self.run(call(revision=revision, origin="client:undo"))
        except (FailedPrecondition, OutOfRange, LightfastError) as error:
            if error.reason not in REFUSALS:
                raise
            return
        self.published()
        if not done.revision or by_group or redo:
            return
        # What was touched is as it was before, but for what those in the way have touched since.
        touched: dict[str, int] = {}
        for each in sorted(done.undone):
            for event in self.transactions[each - 1].events:
                for path in filter(None, (event.entry.path, event.source)):
                    touched.setdefault(path, each)
        after = self.state(len(self.transactions))
        for path in before.keys() | after.keys():
            if path not in touched:
                assert before.get(path) == after.get(path)

    @rule(marks=st.booleans())
    def rebuild(self, marks: bool) -> None:
        """The records of the blocks can be made from the frames alone."""
        if marks:
            unit = self.house.db.unit()
            for table in ("blocks", "block_paths", "block_moves", "block_names", "block_undos"):
                unit.execute(f"DELETE FROM {table}")
            self.run(self.house.db.commit(unit))
        self.run(self.house.store.tiers.rebuild())

    # ---- what is read

    async def pages(self, size: int, **how: Any) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        token = ""
        while True:
            page = await self.house.store.read(page_size=size, page_token=token, **how)
            for entry in page.entries:
                assert entry.path not in found
                found[entry.path] = entry
            token = page.next_page_token
            if not token:
                assert list(found) == sorted(found)
                return found

    @rule(number=NUMBER, size=st.sampled_from([1, 2, 100]), meanwhile=st.booleans())
    def look_back(self, number: int, size: int, meanwhile: bool) -> None:
        revision = self.pick(number, first=self.oldest)

        async def read() -> dict[str, Entry]:
            reading = asyncio.ensure_future(self.pages(size, pattern=ALL, at_revision=revision))
            if meanwhile:
                await self.house.store.tiers.demote(len(self.transactions))
            return await reading

        assert self.run(read()) == self.state(revision)

    @rule(number=NUMBER, paths=st.sets(PATH, min_size=1), pattern=st.sampled_from(["", "/b//"]))
    def look_at_paths(self, number: int, paths: set[str], pattern: str) -> None:
        revision = self.pick(number, first=self.oldest)
        state = self.state(revision)
        wanted = {path for path in state if path in paths or (pattern and path.startswith("/b/"))}
        if pattern:
            wanted |= {path for path in state if path == "/b"}
        there = sorted(paths) if pattern else sorted(paths & state.keys())
        if not there:
            return
        found = self.run(self.pages(2, paths=there, pattern=pattern, at_revision=revision))
        assert found == {path: entry for path, entry in state.items() if path in wanted}

    @rule(seconds=st.integers(-10, 200))
    def look_at_record_time(self, seconds: int) -> None:
        time = START + seconds * SECOND
        revision = max((each.revision for each in self.transactions if each.record_time <= time), default=0)
        try:
            found = self.run(self.pages(3, pattern=ALL, at_time=time))
        except OutOfRange:
            assert revision < self.oldest
            return
        assert revision >= self.oldest
        assert found == self.state(revision)

    @rule(seconds=st.integers(-10, 80), size=st.sampled_from([1, 100]))
    def look_at_event_time(self, seconds: int, size: int) -> None:
        if self.oldest:
            return  # what is left tells half of it
        time = START + seconds * SECOND
        found = self.run(self.pages(size, pattern=ALL, at_time=time, event_axis=True))
        assert found == self.happened(time)

    @rule(number=NUMBER, limit=st.sampled_from([1, 3, 1000]))
    def replay(self, number: int, limit: int) -> None:
        after = self.pick(number, first=self.oldest)
        while after < len(self.transactions):
            found = self.run(self.house.store.replay(after, len(self.transactions), limit))
            assert found
            assert found == self.transactions[after : after + len(found)]
            after += len(found)

    @rule(pattern=PATTERN, number=NUMBER, size=st.sampled_from([1, 2, 100]))
    def history(self, pattern: str, number: int, size: int) -> None:
        from lightfast_link.path import compile_pattern

        after = self.pick(number, first=0)
        wanted = compile_pattern(pattern)

        async def read() -> list[Transaction]:
            found: list[Transaction] = []
            token = ""
            while True:
                page = await self.house.store.history(pattern, after=after, page_size=size, page_token=token)
                found += page.transactions
                token = page.next_page_token
                if not token:
                    return found

        found = self.run(read())
        uptos: dict[str, int] = {}

        def is_wanted(event: Event, revision: int) -> bool:
            """Say whether *event* belongs to an entry that matches, or that moved to where it matches."""
            paths = [path for path in (event.entry.path, event.source) if path]
            return any(wanted.matches(path) or uptos.get(path, 0) > revision for path in paths)

        expected: list[Transaction] = []
        for transaction in reversed(self.transactions):
            events = []
            for event in reversed(transaction.events):
                if pattern != ALL and event.source and is_wanted(Event(event.type, event.entry), transaction.revision):
                    uptos[event.source] = max(uptos.get(event.source, 0), transaction.revision)
                if is_wanted(event, transaction.revision):
                    events.append(event)
            if events and transaction.revision > max(after, self.oldest):
                expected.append(transaction)
        assert [each.revision for each in found] == [each.revision for each in expected]
        for mine, whole in zip(found, expected, strict=True):
            assert set(map(repr, mine.events)) <= set(map(repr, whole.events))

    @invariant()
    def nothing_is_in_neither_place(self) -> None:
        if not hasattr(self, "house"):
            return
        assert {each.path: each for each in self.house.store.select(ALL)} == self.state(len(self.transactions))
        assert self.house.store.revision == len(self.transactions)
        in_blocks = self.run(self.house.db.query("SELECT first, last FROM blocks ORDER BY first"))
        for (_, last), (first, _) in pairwise(in_blocks):
            assert last < first

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.run(self.stack.aclose())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.root)


TestTierMachine = TierMachine.TestCase
TestTierMachine.settings = settings(
    max_examples=int(os.environ.get("LIGHTFAST_MACHINE_EXAMPLES", "60")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
