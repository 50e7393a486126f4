"""The caches of the desk: size, lifetime and hits of each; and no stale answer after an acknowledged write."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.desk_back import ASKER, DeskHouse, desk_house

from lightfast.context.entry import Declaration, Delete, Set
from lightfast.context.store import Store
from lightfast.context.views.views import Views
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM, StillClock
from lightfast.engine.desk import loads as loading
from lightfast.engine.desk.caches import Kept, Recent
from lightfast.engine.desk.coded import ContextLoaded, parse_event
from lightfast.engine.desk.status import MOST_ENTITIES, Board, coded
from lightfast.engine.events.records import Event


class NoDialects:
    def dialect(self, mount: str) -> None:
        return None

    def mounts(self) -> tuple[str, ...]:
        return ()


@asynccontextmanager
async def house_with_context(folder: Path, **how: Any) -> AsyncIterator[tuple[DeskHouse, Store]]:
    """Open a desk that sees a context, in the same database."""
    async with desk_house(folder, start=False, **how) as house:
        store = await Store.open(house.db, clock=SYSTEM, bus=Bus(house.db.store_id))
        try:
            views = Views(store, SYSTEM, NoDialects())
            house.desk.loads._store, house.desk.loads._views = store, lambda: views
            await house.desk.start()
            yield house, store
            await house.desk.close()
        finally:
            await store.close()


def test_a_cache_has_a_size_a_lifetime_and_counts() -> None:
    clock = StillClock()
    kept: Kept[str] = Kept("test", 2, clock, 300.0)
    assert kept.get("a") is None
    kept.put("a", "one", 1)
    assert kept.get("a", 1) == "one"
    assert kept.get("a", 2) is None  # another stamp: it is gone for good
    assert kept.get("a", 1) is None
    for name in "abc":
        kept.put(name, name, 1)
    assert len(kept) == 2
    clock.advance(301)
    assert kept.get("c", 1) is None
    assert kept.figures() == {
        "size": 0,
        "most": 2,
        "lifetime_s": 300.0,
        "hits": 1,
        "misses": 4,
        "stale": 1,
        "hit_ratio": 0.2,
    }


def test_recent_commands_are_100_of_each_client() -> None:
    recent = Recent()
    for number in range(150):
        recent.add("one", f"tc:{number}")
    recent.add("one", "tc:100")
    newest = list(recent.newest("one"))
    assert len(newest) == 100
    assert newest[:2] == ["tc:100", "tc:149"]
    assert list(recent.newest("two")) == []
    for client in range(300):
        recent.add(f"client:{client}", "tc:a")
    assert not recent.knows("one")
    assert recent.figures()["size"] == 256


def test_the_status_is_kept_for_30_seconds_or_until_an_event() -> None:
    clock = StillClock()
    board = Board(clock)
    board.take(Event(1, 1, "run.running", "run", "run-1", {"fraction": 0.5}))
    assert board.lines() == ("su:run-1|running|0.5",)
    assert board.lines() is board.lines()
    hits = board.snapshots.hits
    board.take(Event(2, 2, "run.succeeded", "run", "run-1", {}))
    assert board.lines() == ("tc:run-1|success|{next:[]}",)
    clock.advance(31)
    board.lines()
    assert board.snapshots.hits == hits
    for number in range(500):
        board.take(Event(number, 1, "job.started", "job", f"job-{number}", {}))
    assert len(board.lines()) == MOST_ENTITIES
    assert board.lines()[0] == "su:job-499|started|0"


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (("run.succeeded", "run", "r", {}), "tc:r|success|{next:[]}"),
        (("run.failed", "run", "r", {"reason": "a|b"}), "er:RUN_FAILED|run r failed: a\\|b|Look at it: cl:r"),
        (("job.dead", "job", "j", {"error": "no"}), "er:JOB_FAILED|job j failed: no|lightfast jobs retry"),
        (("task.done", "task", "t", {}), "tc:t|success|{next:[]}"),
        (("step.done", "step", "r", {"step_id": "s1"}), "su:r/s1|done|1"),
        (("trigger.fired", "trigger", "x|y", {}), "su:x\\|y|fired|0"),
        (("job.progress", "job", "j", {"fraction": 7}), "su:j|progress|1"),
        (("desk.loaded", "desk", "l", {"line": "cl:a|b"}), "cl:a|b"),
        (("desk.odd", "desk", "l", {"line": 7}), "su:l|odd|0"),
    ],
)
def test_every_event_has_one_coded_line(event: tuple[str, str, str, dict[str, Any]], line: str) -> None:
    reply = coded(Event(9, 1, *event))
    assert (reply.line, reply.sequence) == (line, 9)
    parse_event(reply.line)


async def test_a_summary_is_loaded_once_and_then_at_hand(tmp_path: Path) -> None:
    async with house_with_context(tmp_path) as (house, store):
        await store.apply([Set("/stage/light", 0.5), Set("/stage/fog", True)], origin="client:test")
        ack = await house.desk.say("cl:/stage", ASKER, "client:test")
        assert ack.line == "su:/stage|loading|0"
        (told,) = await house.told("desk.loaded")
        ack = await house.desk.say("cl:/stage", ASKER, "client:test")
        loaded = parse_event(ack.line)
        assert isinstance(loaded, ContextLoaded)
        assert "/stage/light = 0.5" in loaded.summary
        assert told["line"] == ack.line
        assert len(house.jobs.jobs) == 1
        figures = house.desk.figures()
        assert figures["summaries"]["hits"] >= 1
        assert figures["summaries"]["lifetime_s"] == 300.0
        assert set(figures) == {"commands", "status", "responses", "summaries", "relations"}
        await store.apply([Set("/elsewhere", 1)], origin="client:test")
        assert house.desk.loads.ready("client:test", "/stage", "summary") is None


async def test_a_full_load_is_longer_than_a_summary_and_both_are_within_their_budgets(tmp_path: Path) -> None:
    async with house_with_context(tmp_path) as (house, store):
        await store.apply([Set(f"/many/{n:04}", f"value number {n}") for n in range(900)], origin="client:test")
        loads = house.desk.loads
        short, long = [await loads.load("c", "/many", depth) for depth in ("summary", "full")]
        count = loads._counter.count
        assert count(short) <= 300 < count(long) <= 2_000


async def test_signals_flow_without_revisions_so_they_are_asked_each_time(tmp_path: Path) -> None:
    async with house_with_context(tmp_path) as (house, store):
        await store.declare([Declaration("/s/x", signal=True)], owner="client:test")
        store.publish([Set("/s/x", 1.0)], origin="client:test")
        assert "1" in await house.desk.loads.load("c", "/s", "summary")
        store.publish([Set("/s/x", 2.0)], origin="client:test")
        assert "2" in await house.desk.loads.load("c", "/s", "summary")


PATHS = ("/a/x", "/a/y", "/b")
step = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(PATHS), st.integers(0, 9)),
    st.tuples(st.just("delete"), st.sampled_from(PATHS), st.just(0)),
    st.tuples(st.just("load"), st.sampled_from(("/a", "/b", "conversation")), st.just(0)),
    st.tuples(st.just("say"), st.sampled_from(("one", "two")), st.just(0)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(step, max_size=20))
def test_no_stale_answer_after_an_acknowledged_write(steps: list[tuple[str, str, int]]) -> None:
    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with house_with_context(Path(folder)) as (house, store):
                house.jobs.stop("only what is acknowledged counts here")
                live: dict[str, int] = {}
                said: list[str] = []
                for kind, what, number in steps:
                    if kind == "set":
                        await store.apply([Set(what, number)], origin="client:test")
                        live[what] = number
                    elif kind == "delete" and what in live:
                        await store.apply([Delete(what)], origin="client:test")
                        del live[what]
                    elif kind == "say":
                        await house.desk.say(f"tc:{what} {len(said)}", ASKER, "client:test")
                        said.append(f"{what} {len(said)}")
                    elif kind == "load":
                        await check(house, what, live, said)

    async def check(house: DeskHouse, what: str, live: dict[str, int], said: list[str]) -> None:
        loads = house.desk.loads
        if what == "conversation":
            text = await loads.load("client:test", what, "full")
            assert [line for line in said if line not in text] == []
            return
        wanted = {path: value for path, value in live.items() if path == what or path.startswith(f"{what}/")}
        ready = loads.ready("client:test", what, "summary")
        if not wanted:
            assert ready is None
            return
        for found in (ready, await loads.load("client:test", what, "summary")):
            if found is not None:
                assert sorted(found.splitlines()) == sorted(f"{path} = {value}" for path, value in wanted.items())

    asyncio.run(play())


async def test_a_likely_context_is_loaded_before_it_is_asked_for(tmp_path: Path) -> None:
    async with house_with_context(tmp_path) as (house, store):
        await store.apply([Set("/look/warm", 1)], origin="client:test")
        for round_ in range(4):
            await house.desk.say("tc:change the look", ASKER, "client:test")
            await house.desk.say("cl:/look", ASKER, "client:test")
            await house.told("desk.ready", count=round_ + 1)
        await store.apply([Set("/look/warm", 2)], origin="client:test")
        await house.desk.say("tc:change the look", ASKER, "client:test")
        await house.until(lambda: house.desk.loads.ready("client:test", "/look", "summary") is not None)
        ack = await house.desk.say("cl:/look", ASKER, "client:test")
        assert ack.line == "cl:/look|/look/warm = 2"


async def test_the_relations_of_a_task_are_kept_until_a_task_changes(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:

        async def write(task: str, title: str, state: str, parent: str = "", *, replaces: bool = False) -> None:
            unit = house.db.unit()
            if replaces:
                unit.execute("UPDATE task_versions SET superseded_time = 9 WHERE task_id = ?", (task,))
            unit.execute(
                "INSERT INTO task_versions(task_id, version, number, state, workspace_id, project_id, parent_task_id,"
                " title, description, intent_type, business_goal, body, create_time, record_time, superseded_time,"
                " valid_from, valid_to) VALUES(?, ?, 1, ?, '', '', ?, ?, '', '', '', '{}', 1, 1, 0, 1, 1)",
                (task, 2 if replaces else 1, state, parent, title),
            )
            await house.db.commit(unit)

        await write("task-1", "the show", "SPLIT")
        await write("task-2", "the light", "PENDING", "task-1")
        loads = house.desk.loads
        first = await loads.load("c", "task-1", "summary")
        assert first.splitlines() == ["task-1 “the show”: split", "has the part task-2 “the light”: pending"]
        assert await loads.load("c", "task-1", "summary") == first
        assert loads.relations.hits == 1
        await write("task-2", "the light", "DONE", "task-1", replaces=True)
        assert (await loads.load("c", "task-1", "summary")).endswith("task-2 “the light”: done")


def test_the_budgets_of_loads() -> None:
    assert loading.BUDGET == {"summary": 300, "full": 2_000}
