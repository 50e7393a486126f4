"""The way into the store: in order, conflated, and neither one bad change nor a full disk takes the rest along."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import Desk, bounded, open_desk, until

from lightfast.context.entry import Delete, Move, Mutation, Report, Set, Status
from lightfast.context.store import Store
from lightfast.context.watch import bus_of
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.conflicts import MAX_CONFLICTS, Conflicts
from lightfast.engine.apps.groups import Groups
from lightfast.engine.apps.recorder import MAX_BACKLOG, MAX_TRANSACTION, Recorder


class Made:
    """A recorder on a desk's store, and what it complained of."""

    def __init__(self, desk: Desk, store: Any = None) -> None:
        self.refused: list[tuple[Mutation, str]] = []
        self.troubles: list[str] = []
        self.recorder = Recorder(
            store or desk.store,
            Groups(desk.store),
            refused=lambda mutation, reason: self.refused.append((mutation, reason)),
            trouble=self.troubles.append,
        )
        desk.store.add_mount("/m")

    def report(self, path: str, value: float, **more: Any) -> None:
        self.recorder.add(Report(path, Status.SETTLED, reported=value, value=value), origin="app:m", **more)


async def test_what_waits_together_is_one_transaction_with_the_last_values(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        for value in range(100):
            made.report("/m/a", float(value))
            made.report("/m/b", float(-value))
        assert made.recorder.backlog == 2
        before = desk.store.revision
        tasks.start(made.recorder.run(), "recorder")
        await bounded(made.recorder.drained())
        assert desk.store.revision == before + 1
        assert (desk.entry("/m/a").value, desk.entry("/m/b").value) == (99.0, -99.0)


async def test_what_counts_each_time_is_committed_each_time(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        for value in (100.0, 0.0, 90.0):
            made.report("/m/note", value, every=True)
            made.report("/m/level", value)
        seen: list[tuple[str, Any]] = []
        bus_of(desk.store).listen(
            ["/m//"], lambda batch: seen.extend((e.entry.path, e.entry.value) for e in batch.events)
        )
        tasks.start(made.recorder.run(), "recorder")
        await bounded(made.recorder.drained())
        await until(lambda: len(seen) == 6, lambda: seen)
        assert [value for path, value in seen if path == "/m/note"] == [100.0, 0.0, 90.0]
        made.report("/m/note", 1.0, every=True)
        made.report("/m/note", 2.0, every=True)
        assert made.recorder.backlog == 2
        made.report("/m/note", 3.0)
        assert made.recorder.backlog == 2, "one that does not count each time is conflated"


async def test_a_move_stands_between_what_was_before_and_after(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        made.report("/m/a/x", 1.0)
        made.recorder.add(Move("/m/a", "/m/b"), origin="app:m")
        made.report("/m/a/x", 2.0)
        made.recorder.add(Delete("/m/gone", recursive=True), origin="app:m")
        tasks.start(made.recorder.run(), "recorder")
        await bounded(made.recorder.drained())
        assert (desk.entry("/m/b/x").value, desk.entry("/m/a/x").value) == (1.0, 2.0)
        assert made.refused == []


async def test_one_bad_change_is_left_out_by_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        for index in range(10):
            made.report(f"/m/{index}", float(index))
            if index == 4:
                made.recorder.add(Move("/m/nothing", "/m/there"), origin="app:m")
        tasks.start(made.recorder.run(), "recorder")
        await bounded(made.recorder.drained())
        assert [desk.entry(f"/m/{index}").value for index in range(10)] == [float(index) for index in range(10)]
        ((mutation, reason),) = made.refused
        assert mutation == Move("/m/nothing", "/m/there")
        assert "nothing at /m/nothing" in reason


async def test_what_answers_joins_the_group_of_its_cause(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        causes = [await desk.set("/free", float(index), group=f"g{index}") for index in range(3)]
        for cause in causes:
            made.report("/m/a", float(cause), cause=cause)
        tasks.start(made.recorder.run(), "recorder")
        await bounded(made.recorder.drained())
        page = await desk.store.history("/m/a")
        assert [(t.cause, t.group) for t in reversed(page.transactions)] == [(c, f"g{i}") for i, c in enumerate(causes)]


async def test_more_than_a_transaction_holds_goes_in_several(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        reports: list[Mutation] = [
            Report(f"/m/{index}", Status.SETTLED, reported=1, value=1) for index in range(MAX_TRANSACTION + 5)
        ]
        done: list[int] = []
        made.recorder.add_together(reports, origin="app:m", flushed=done.append)
        tasks.start(made.recorder.run(), "recorder")
        await bounded(made.recorder.drained(), 20)
        assert len(desk.store.select("/m//")) == MAX_TRANSACTION + 5
        assert done == [desk.store.revision]


class Full:
    """A store whose disk is full for a while."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.full = True

    def get(self, path: str) -> Any:
        return self.store.get(path)

    async def apply(self, *arguments: Any, **more: Any) -> Any:
        if self.full:
            raise Exhausted("the disk is full", reason="DISK_FULL")
        return await self.store.apply(*arguments, **more)


async def test_a_full_disk_is_shown_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.engine.apps.recorder.RETRY_S", 0.01)
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        full = Full(desk.store)
        made = Made(desk, full)
        made.report("/m/a", 1.0)
        tasks.start(made.recorder.run(), "recorder")
        await until(lambda: len(made.troubles) > 2)
        assert set(made.troubles) == {"the store cannot write: the disk is full"}
        made.report("/m/a", 2.0)
        full.full = False
        await bounded(made.recorder.drained())
        assert made.troubles[-1] == ""
        assert desk.entry("/m/a").value == 2.0


async def test_the_queue_is_bounded(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        made = Made(desk)
        made.recorder.backlog = MAX_BACKLOG
        with pytest.raises(Exhausted, match="changes of app:m wait for the store"):
            made.report("/m/a", 1.0)


async def test_conflict_records_are_bounded() -> None:
    conflicts = Conflicts(SYSTEM)
    alive: set[str] = set()
    for index in range(MAX_CONFLICTS + 10):
        for write in conflicts.record(
            "/m/a", wished=1.0, reported=None, origin="client:x", revision=index, reason="because"
        ):
            if isinstance(write, Set):
                alive.add(write.path)
            else:
                alive.remove(write.path)
        await asyncio.sleep(0)
    assert len(alive) == MAX_CONFLICTS
