"""Panic, a locked show, the deadline and the budget of a run, what acted out of order, and a purge."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.runs import LOCAL, OWNER, RunHouse, Service, open_runs, plan, program

from lightfast.context.upkeep.purge_target import make_target
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import FailedPrecondition, NotFound
from lightfast.engine.programs.checked import Checked, Plan
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.limits import RunLimits
from lightfast.engine.runs.purge import RunPurge
from lightfast.engine.runs.records import Run, RunAsk, RunState, StepState
from lightfast.engine.show.guard import Guard, Lock
from lightfast.engine.show.panic import Panic, Stopped
from lightfast.sdk import Effect

TWO = program(("act.keyed", {"what": "one"}), ("put", {"path": "/a", "value": 1}), ("act.keyed", {"what": "two"}))


class Stage:
    """As much of a show as runs ask for."""

    def __init__(self) -> None:
        self.guard, self.panic = Guard(), Panic()

    def check_ai(self) -> None:
        """Refuse what AI writes."""
        self.panic.check("an AI write")
        self.guard.check("an AI write")


async def begun(house: RunHouse, what: str) -> None:
    while what not in house.service.begun:
        await asyncio.sleep(0.002)


async def test_a_panic_pauses_every_run_and_nothing_is_written_before_it_is_resumed(tmp_path: Path) -> None:
    stage: Any = Stage()
    async with open_runs(tmp_path, show=stage) as house:
        house.service.gates["one"] = asyncio.Event()
        run = await house.start(TWO)
        waiting = await house.start(TWO, approve="x")
        await begun(house, "one")
        stage.panic.hold(Stopped("local", SYSTEM.now_ns(), "fire"))
        house.service.gates["one"].set()
        found = await house.until(run.run_id, RunState.PAUSED)
        assert "everything was stopped by local" in found.reason
        for call in (house.runs.resume(run.run_id), house.runs.approve(waiting.run_id, waiting.digest, OWNER)):
            with pytest.raises(FailedPrecondition) as error:
                await call
            assert error.value.reason == "PANIC"
        with pytest.raises(FailedPrecondition) as error:
            await house.start(TWO)
        assert error.value.reason == "PANIC"
        assert (await house.runs.get(run.run_id)).steps[0].state is StepState.STARTED
        stage.panic.release()
        assert (await house.runs.get(run.run_id)).state is RunState.PAUSED
        await house.runs.resume(run.run_id)
        assert (await house.until(run.run_id)).state is RunState.SUCCEEDED
        assert house.service.done == ["one", "two"]
        await house.runs.approve(waiting.run_id, waiting.digest, OWNER)
        await house.until(waiting.run_id)


async def test_a_run_can_be_cancelled_in_a_panic_and_the_panic_outlasts_a_restart(tmp_path: Path) -> None:
    stage: Any = Stage()
    service = Service()
    async with open_runs(tmp_path, service, show=stage) as house:
        service.gates["one"] = asyncio.Event()
        run, other = await house.start(TWO), await house.start(TWO)
        await begun(house, "one")
        stage.panic.hold(Stopped("local", SYSTEM.now_ns()))
        await house.until(other.run_id, RunState.PAUSED)
        await house.until(run.run_id, RunState.PAUSED)
        await house.runs.cancel(run.run_id)
        stage.panic.release()
        assert (await house.until(run.run_id)).state is RunState.CANCELLED
    service.gates.clear()
    stage.panic.hold(Stopped("local", SYSTEM.now_ns()))
    async with open_runs(tmp_path, service, show=stage) as house:
        assert house.runs.held
        assert (await house.runs.get(other.run_id)).state is RunState.PAUSED
        stage.panic.release()
        await house.runs.resume(other.run_id)
        assert (await house.until(other.run_id)).state is RunState.SUCCEEDED


async def test_a_locked_show_refuses_what_a_model_planned_and_what_cannot_be_taken_back(tmp_path: Path) -> None:
    stage: Any = Stage()
    stage.guard.lock = Lock("local", SYSTEM.now_ns())
    destructive = {"s1": frozenset((Effect.DESTRUCTIVE,))}
    async with open_runs(tmp_path, show=stage) as house:
        refused = [
            (plan(TWO, planner="openai/model"), LOCAL),
            (plan(replace(TWO, untrusted=True)), LOCAL),
            (plan(TWO), replace(LOCAL, untrusted=True)),
            (Plan(Checked(TWO, effects=destructive)), LOCAL),
            (plan(TWO), replace(LOCAL, via="mcp")),
            (plan(program(("scene.delete", {"name": "a"}))), LOCAL),
        ]
        for made, asker in refused:
            with pytest.raises(FailedPrecondition) as error:
                await house.runs.start(made, asker, RunAsk())
            assert error.value.reason == "SHOW_LOCKED"
        for made in (plan(TWO), plan(TWO, planner="grammar")):
            run = await house.runs.start(made, LOCAL, RunAsk())
            assert (await house.until(run.run_id)).state is RunState.SUCCEEDED
        looked = plan(TWO, planner="openai/model")
        looks = replace(looked, checked=replace(looked.checked, effects={"s1": frozenset((Effect.READ,))}))
        assert (await house.runs.start(looks, LOCAL, RunAsk())).state is not RunState.CANCELLED


async def test_what_waits_when_a_show_is_locked_does_not_begin_before_it_is_unlocked(tmp_path: Path) -> None:
    stage: Any = Stage()
    async with open_runs(tmp_path, show=stage) as house:
        waiting = await house.runs.start(plan(TWO, planner="openai/model", approve="look"), LOCAL, RunAsk())
        stage.guard.lock = Lock("local", SYSTEM.now_ns())
        with pytest.raises(FailedPrecondition) as error:
            await house.runs.approve(waiting.run_id, waiting.digest, OWNER)
        assert error.value.reason == "SHOW_LOCKED"
        assert (await house.runs.get(waiting.run_id)).state is RunState.AWAITING_APPROVAL
        stage.guard.unlocked()
        await house.runs.approve(waiting.run_id, waiting.digest, OWNER)
        assert (await house.until(waiting.run_id)).state is RunState.SUCCEEDED


async def test_a_run_ends_at_its_deadline_and_a_pause_does_not_count(tmp_path: Path) -> None:
    async with open_runs(tmp_path, limits=RunLimits(run_hours=1.0)) as house:
        house.service.gates["one"] = asyncio.Event()
        late = await house.start(TWO, timeout=0.05)
        found = await house.until(late.run_id)
        assert found.state is RunState.FAILED
        assert "DEADLINE_EXCEEDED" in found.reason
        before = house.service.begun.count("one")  # on a slow machine it ended before that
        paused = await house.start(TWO, timeout=30.0)
        while house.service.begun.count("one") == before:
            await asyncio.sleep(0.002)
        await house.runs.pause(paused.run_id)
        (body,) = await house.house.db.query("SELECT body FROM runs WHERE run_id = ?", (paused.run_id,))
        assert 0 < json.loads(body[0])["left_s"] <= 30.0
        house.service.gates["one"].set()
        await house.runs.resume(paused.run_id)
        assert (await house.until(paused.run_id)).state is RunState.SUCCEEDED
        plain = await house.done(TWO)
        assert plain.timeout == 3600.0


async def test_the_budget_of_a_run_is_set_before_it_begins_and_goes_with_it(tmp_path: Path) -> None:
    class Budgets:
        def __init__(self) -> None:
            self.calls: list[tuple[Any, ...]] = []

        async def set_budget(self, *what: Any) -> None:
            self.calls.append(("set", *what))

        async def remove_budget(self, *what: Any) -> None:
            self.calls.append(("remove", *what))
            raise NotFound("it is gone already")

    budgets = Budgets()
    async with open_runs(tmp_path, budgets=budgets) as house:
        run = await house.done(TWO, max_cost_usd=0.25)
        await house.done(TWO)
    assert budgets.calls == [("set", "run", run.run_id, 0.25, "total"), ("remove", "run", run.run_id, "total")]


async def test_what_acted_though_it_comes_later_is_taken_back_when_a_step_fails(tmp_path: Path) -> None:
    """The second acts while the first still works, and then the first fails."""
    made = Program(
        (Instruction("bad", "act.keyed", {"what": "bad"}), Instruction("lamp", "act.keyed", {"what": "lamp"}))
    )
    async with open_runs(tmp_path) as house:
        house.service.refused.add("bad")
        house.service.gates["bad"] = asyncio.Event()
        run = await house.start(made)
        while house.service.done != ["lamp"]:
            await asyncio.sleep(0.002)
        house.service.gates["bad"].set()
        found = await house.until(run.run_id)
        assert (found.state, found.reason) == (RunState.FAILED, "bad: bad is refused (REFUSED); 1 step taken back")
        assert [step.state for step in found.steps] == [StepState.FAILED, StepState.UNDONE]
        assert house.service.done == ["lamp", "unlamp"]


async def holds(house: RunHouse, text: str) -> dict[str, int]:
    found = {}
    for table in ("runs", "run_steps", "run_events"):
        columns = [row[0] for row in await house.house.db.query(f"SELECT name FROM pragma_table_info('{table}')")]
        where = " OR ".join(f"instr(CAST({column} AS TEXT), ?)" for column in columns)
        rows = await house.house.db.query(f"SELECT count(*) FROM {table} WHERE {where}", [text] * len(columns))
        found[table] = rows[0][0]
    return found


async def test_a_purge_finds_runs_steps_and_events_and_leaves_that_they_were(tmp_path: Path) -> None:
    secret = 'the "garden" key'
    made = program(("act.keyed", {"what": secret}), ("put", {"path": "/a", "value": secret}), returns="${s2}")
    async with open_runs(tmp_path) as house:
        run = await house.done(made, intent=f"use {secret}", next_steps=(secret,))
        other = await house.done(TWO)
        open_run = await house.start(made, approve="x")
        room = RunPurge(house.house.db)
        target = make_target(text=secret)
        items = [item async for found in room.find(target) for item in found]
        assert {str(item).partition(":")[0] for item in items} == {"runs", "run_steps", "run_events"}
        assert await room.erase(items, "purge-1") == len(items)
        assert await room.erase(items, "purge-1") == len(items)
        (left,) = await room.remaining(target)
        assert open_run.run_id in left
        await house.runs.cancel(open_run.run_id)
        items = [item async for found in room.find(target) for item in found]
        await room.erase(items, "purge-2")
        assert await room.remaining(target) == []
        assert await holds(house, "garden") == {"runs": 0, "run_steps": 0, "run_events": 0}
        blank = await house.runs.get(run.run_id)
        assert (blank.state, blank.requester, blank.intent, blank.reason) == (
            RunState.SUCCEEDED,
            "local",
            "",
            "it was purged",
        )
        assert [step.state for step in blank.steps] == [StepState.DONE, StepState.DONE]
        assert [event.sequence async for event in house.runs.watch(run.run_id)] == list(range(1, 6))
        assert (await house.runs.get(other.run_id)).program == TWO
        assert isinstance(blank, Run)
