"""How a run begins: what is on the disk by when, and who may stop it at that moment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.flows import flows
from tests.support.runs import LOCAL, open_runs, program

from lightfast.engine.events.records import Wanted
from lightfast.engine.runs.records import RunState

ONE = program(("act.keyed", {"what": "lamp"}))
TWO = program(("act.keyed", {"what": "lamp"}), ("put", {"path": "/a", "value": 2}), returns="${s2}")
QUICK = "name: quick\nsteps:\n  - {id: put, op: context.set, arguments: {path: /quick, value: 1}}\n"


async def test_what_a_start_returns_is_what_is_on_the_disk(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.start(TWO, approve="x", intent="look", project="show", details={"job": "j1"}, timeout=60.0)
        assert run == await house.runs.get(run.run_id)
        assert ([step.step_id for step in run.steps], run.steps_known) == (["s1", "s2"], 2)


async def test_a_run_that_is_paused_at_the_moment_it_begins_does_nothing(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        await house.done(program(("put", {"path": "/a", "value": 1})))  # from here on what is started begins at once
        for turn in range(5):
            run = await house.start(ONE)
            assert (await house.runs.pause(run.run_id)).state is RunState.PAUSED
            while run.run_id in house.runs._drive.running:
                await asyncio.sleep(0)
            assert (await house.runs.get(run.run_id)).state is RunState.PAUSED
            assert house.service.done == ["lamp"] * turn
            await house.runs.resume(run.run_id)
            assert (await house.until(run.run_id)).state is RunState.SUCCEEDED


async def test_until_when_it_may_go_on_is_on_the_disk_before_a_run_acts(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        gate = house.service.gates["lamp"] = asyncio.Event()
        run = await house.start(ONE, timeout=100.0)
        while not house.service.begun:
            await asyncio.sleep(0.002)
        ((deadline,),) = await house.house.db.query(
            "SELECT body ->> '$.deadline' FROM runs WHERE run_id = ?", (run.run_id,)
        )
        assert deadline > run.create_time
        gate.set()
        assert (await house.until(run.run_id)).state is RunState.SUCCEEDED


def test_a_workflow_is_started_and_told_of_in_one_unit_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            house.write("quick", QUICK)
            await house.workflows.read()
            units: list[Any] = []
            db = house.workflows._db
            plain = db.enqueue

            def enqueue(unit: Any, done: Any) -> None:
                units.append(unit)
                plain(unit, done)

            monkeypatch.setattr(db, "enqueue", enqueue)
            run = await house.workflows.start("quick", {}, LOCAL)
            # Its first step may well be on its way to the disk by now, and other rooms write in their own time.
            about = [said for each in units if run.run_id in (said := str(each.statements))]
            assert ["workflow.started" in said for said in about] == [True] + [False] * (len(about) - 1)
            assert "INSERT INTO runs" in about[0]
            found = await house.events.page(0, Wanted(("run.*", "workflow.started")), 100)
            assert [(each.kind, each.payload["run_id"]) for each in found[:2]] == [
                ("run.running", run.run_id),
                ("workflow.started", run.run_id),
            ]
            assert found[1].payload == {"version": run.details["version"], "run_id": run.run_id, "via": LOCAL.via}
            assert (await house.ended(run.run_id)).state is RunState.SUCCEEDED

    asyncio.run(main())
