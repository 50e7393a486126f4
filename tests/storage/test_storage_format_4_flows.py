"""What a store of format 4 holds of runs, workflows, triggers and lines is read as it was written."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.storage.fixtures.engine import ASKER
from tests.storage.fixtures.flows import LINE, WORKFLOW, add_flows, open_runs

from lightfast.context.store import Store
from lightfast.core.clock import StillClock
from lightfast.engine.desk.lines import Lines
from lightfast.engine.desk.records import LineState
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import wanted
from lightfast.engine.runs.records import RunState, StepState
from lightfast.engine.triggers.traces import Traces
from lightfast.engine.workflows.workflows import Workflows
from lightfast.storage.archive.archive import Archive
from lightfast.storage.database import Database

FIXTURE = Path(__file__).with_name("fixtures") / "store-v4.db"
NOW = pytest.mark.parametrize("source", ["fixture", "fresh"])


@asynccontextmanager
async def opened(folder: Path, source: str) -> AsyncIterator[tuple[Database, Store, StillClock, EventLog]]:
    """Open a copy of the fixture, or what is written today."""
    clock = StillClock()
    path = folder / "store.db"
    if source == "fixture":
        shutil.copy(FIXTURE, path)
        shutil.copytree(FIXTURE.with_suffix(".archive"), folder / "archive")
    db = await Database.open(path, clock=clock)
    archive = await Archive.open(folder / "archive", clock=clock)
    store = await Store.open(db, clock=clock, archive=archive)
    try:
        if source == "fresh":
            await add_flows(db, store, clock, folder)
        events = await EventLog.open(db, clock)
        yield db, store, clock, events
        await events.close()
    finally:
        await store.close()
        await archive.close()
        await db.close()


@NOW
async def test_runs_and_their_steps(tmp_path: Path, source: str) -> None:
    async with opened(tmp_path, source) as (db, store, clock, events):
        runs, pools = await open_runs(db, store, clock, events)
        waits, done = (await runs.page())[0]
        assert (waits.state, waits.intent, len(waits.approval_reasons) > 0) == (
            RunState.AWAITING_APPROVAL,
            "sound the horn",
            True,
        )
        assert (done.state, done.intent, done.project, done.requester) == (
            RunState.SUCCEEDED,
            "light the lamp",
            "premiere",
            ASKER.identity,
        )
        whole = await runs.get(done.run_id)
        assert [(step.step_id, step.state) for step in whole.steps] == [("s1", StepState.DONE), ("s2", StepState.DONE)]
        assert [step.op for step in whole.program.walk()] == ["act.keyed", "act.keyed"]
        told = [event async for event in runs.watch(done.run_id, 0)]
        assert [event.sequence for event in told] == list(range(1, len(told) + 1))
        kinds = [event.kind for event in await events.page(0, wanted((), done.run_id), 100)]
        assert kinds[0] == "run.running"
        assert kinds[-1] == "run.succeeded"
        await runs.close()
        await pools.close()


@NOW
async def test_workflows_and_traces(tmp_path: Path, source: str) -> None:
    async with opened(tmp_path, source) as (db, _, clock, events):
        folder = tmp_path / "wrong"
        folder.mkdir()
        (folder / "dim.yaml").write_text("name: [", encoding="utf-8")
        workflows = await Workflows.open(db, folder, events, examples=False)
        await workflows.read()  # the file is wrong: what was good last is used
        assert workflows.find("dim").text == WORKFLOW
        await workflows.close()
        traces = await Traces.open(db, events, clock, 100)
        assert [(each.fired, each.code, each.reason) for each in await traces.page("dim-1")] == [
            (False, "false", '/door="shut"'),
            (True, "started", '/door="open"'),
        ]
        assert (traces.of("dim-1").fired, traces.of("dim-1").held_back) == (1, 1)


@NOW
async def test_lines_of_the_desk(tmp_path: Path, source: str) -> None:
    async with opened(tmp_path, source) as (db, _, clock, events):
        line = await Lines(db, events, clock).get(LINE)
        assert line is not None
        assert (line.said, line.state, line.outcome, line.asker) == (
            "light the lamp",
            LineState.DONE,
            "it is lit",
            ASKER,
        )
        assert line.ack is not None
        assert (line.ack.job, line.ack.next_steps) == ("task-1", ("wf:dim",))
        (event,) = await events.page(0, wanted(("desk.*",)), 10)
        assert (event.kind, event.entity_id) == ("desk.queued", LINE)
