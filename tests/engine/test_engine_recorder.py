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
from lightfast.core.errors import Conflict, Exhausted, Unavailable
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


async def test_a_deletion_of_one_path_stands_between_nothing_but_what_is_said_of_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        before = desk.store.revision
        for number in range(20):
            made.recorder.add(Delete(f"/m/old{number}"), origin="app:m")
            made.report(f"/m/new{number}", 1.0)
        made.report("/m/old0", 2.0)
        tasks.start(made.recorder.run(), "recorder")
        await bounded(made.recorder.drained())
        assert desk.store.revision == before + 2
        assert desk.entry("/m/old0").value == 2.0
        assert desk.entry("/m/new19").value == 1.0


async def test_what_is_crossed_without_an_end_is_left_out_and_takes_nothing_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfast.engine.apps.recorder.CROSSED_S", 0.0)
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        made.report("/m/a", 1.0)
        tasks.start(made.recorder.run(), "recorder")
        await bounded(made.recorder.drained())
        real = desk.store.apply

        async def apply(mutations: Any, **more: Any) -> Any:
            if any(mutation.path == "/m/a" for mutation in mutations):
                raise Conflict("somebody writes it all the time")
            return await real(mutations, **more)

        monkeypatch.setattr(desk.store, "apply", apply)
        for path in ("/m/a", "/m/b", "/m/c"):
            made.report(path, 2.0)
        await bounded(made.recorder.drained())
        assert (desk.entry("/m/b").value, desk.entry("/m/c").value) == (2.0, 2.0)
        assert [mutation.path for mutation, _ in made.refused if isinstance(mutation, Report)] == ["/m/a"]


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


async def test_one_fault_of_the_store_does_not_end_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_desk(tmp_path) as desk, TaskGroup("test") as tasks:
        made = Made(desk)
        tasks.start(made.recorder.run(), "recorder")

        async def broken(*_: Any, **__: Any) -> Any:
            raise Unavailable("the disk does not answer", reason="STORE_IO")

        with monkeypatch.context() as patch:
            patch.setattr(made.recorder._groups, "_recent", lambda _: None)
            patch.setattr(desk.store, "replay", broken)
            made.report("/m/a", 1.0, cause=1)
            await until(lambda: desk.store.get("/m/a") is not None)  # without the group of its cause
        told: list[int] = []

        async def mistaken(*_: Any, **__: Any) -> Any:
            raise ValueError("nobody thought of this")

        with monkeypatch.context() as patch:
            patch.setattr(desk.store, "apply", mistaken)
            lost = Report("/m/b", Status.SETTLED, reported=2.0, value=2.0)
            made.recorder.add_together([lost], origin="app:m", flushed=told.append)
            await bounded(made.recorder.drained())
        assert told == [0]
        made.report("/m/c", 3.0)
        await bounded(made.recorder.drained())
        assert desk.entry("/m/c").value == 3.0
