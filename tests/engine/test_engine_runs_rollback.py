"""Runs are taken back: the newest step first, in the context and outside, and nothing twice."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.runs import LOCAL, RunHouse, Service, open_runs, program

from lightfast.core.errors import FailedPrecondition
from lightfast.engine.runs.records import Run, RunState, Step, StepState

FOUR = program(
    ("put", {"path": "/a", "value": 1}),
    ("act.keyed", {"what": "lamp"}),
    ("put", {"path": "/a", "value": 2}),
    ("act.keyed", {"what": "fan"}),
)


async def back(house: RunHouse, run: Run, *, dry_run: bool = False) -> tuple[list[Step], Run]:
    found = [each async for each in house.runs.rollback(run.run_id, LOCAL, dry_run=dry_run)]
    assert isinstance(found[-1], Run)
    return [each for each in found if isinstance(each, Step)], found[-1]


async def test_a_run_is_taken_back_newest_step_first(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        await house.house.set(("/a", 0))
        run = await house.done(FOUR)
        rehearsed, same = await back(house, run, dry_run=True)
        assert [(step.step_id, step.state) for step in rehearsed] == [(f"s{n}", StepState.UNDONE) for n in (4, 3, 2, 1)]
        assert (same.state, house.service.done) == (RunState.SUCCEEDED, ["lamp", "fan"])
        steps, after = await back(house, run)
        assert [(step.step_id, step.state) for step in steps] == [(f"s{n}", StepState.UNDONE) for n in (4, 3, 2, 1)]
        assert (after.state, after.reason) == (RunState.ROLLED_BACK, "4 steps taken back")
        assert house.service.done == ["lamp", "fan", "unfan", "unlamp"]
        assert house.house.values() == {"/a": 0}
        again, still = await back(house, run)
        assert ([step.step_id for step in again], still.state) == (["s4", "s3", "s2", "s1"], RunState.ROLLED_BACK)
        assert house.service.done == ["lamp", "fan", "unfan", "unlamp"]


async def test_where_others_have_written_since_a_step_is_stuck_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(program(("put", {"path": "/a", "value": 1}), ("put", {"path": "/b", "value": 1})))
        revision = await house.house.set(("/a", 9), origin="client:eve")
        dry, _ = await back(house, run, dry_run=True)
        steps, after = await back(house, run)
        why = f"others have written since: /a by client:eve at revision {revision}"
        assert [(step.step_id, step.state, step.stuck) for step in steps] == [
            ("s2", StepState.UNDONE, ""),
            ("s1", StepState.STUCK, why),
        ]
        assert [(step.step_id, step.state) for step in dry] == [("s2", StepState.UNDONE), ("s1", StepState.STUCK)]
        assert after.reason == f"1 step taken back, 1 could not be: s1: {why}"
        assert house.house.values() == {"/a": 9}
        await house.house.store.undo(revision=revision, origin="client:eve")
        steps, after = await back(house, run)
        assert (after.reason, house.house.values()) == ("2 steps taken back", {})


async def test_what_cannot_be_taken_back_says_so(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(program(("act.keyed", {"what": "forever burnt"}), ("act.keyed", {"what": "fan"})))
        house.service.refused.add("unfan")
        steps, after = await back(house, run)
        assert [(step.step_id, step.state, step.stuck) for step in steps] == [
            ("s2", StepState.STUCK, "unfan is refused"),
            ("s1", StepState.STUCK, "it cannot be unmade"),
        ]
        assert after.state is RunState.ROLLED_BACK
        house.service.refused.clear()
        steps, after = await back(house, run)
        assert [step.state for step in steps] == [StepState.UNDONE, StepState.STUCK]
        assert house.service.done == ["forever burnt", "fan", "unfan"]


async def test_only_what_has_ended_is_taken_back(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.start(FOUR, approve="x")
        with pytest.raises(FailedPrecondition) as error:
            await back(house, run)
        assert error.value.reason == "RUN_NOT_ENDED"


async def test_a_caller_who_leaves_does_not_end_a_rollback_and_a_second_joins_it(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(FOUR)
        house.service.gates["unlamp"] = asyncio.Event()
        following = house.runs.rollback(run.run_id, LOCAL)
        first = await anext(following)
        assert isinstance(first, Step)
        await following.aclose()
        second = asyncio.ensure_future(back(house, run))
        while "unlamp" not in house.service.begun:
            await asyncio.sleep(0.002)
        with pytest.raises(FailedPrecondition) as error:
            await house.runs.cancel(run.run_id)
        assert error.value.reason == "RUN_TAKEN_BACK"
        house.service.gates["unlamp"].set()
        steps, after = await second
        assert (len(steps), after.state) == (4, RunState.ROLLED_BACK)
        assert house.service.done == ["lamp", "fan", "unfan", "unlamp"]


@pytest.mark.parametrize("acted", [False, True], ids=["before", "after"])
async def test_a_rollback_goes_on_with_the_next_daemon(tmp_path: Path, acted: bool) -> None:
    service = Service()
    async with open_runs(tmp_path, service) as house:
        run = await house.done(FOUR)
        service.gates["unlamp"] = asyncio.Event()
        following = asyncio.ensure_future(back(house, run))
        while "unlamp" not in service.begun:
            await asyncio.sleep(0.002)
        if acted:
            service.act("unlamp", f"{run.run_id}/s2/undo")
        following.cancel()
    service.gates.clear()
    async with open_runs(tmp_path, service) as house:
        found = await house.until(run.run_id, RunState.ROLLED_BACK)
        assert found.reason == "4 steps taken back"
        assert sorted(service.done) == ["fan", "lamp", "unfan", "unlamp"]
        assert house.house.values() == {}


async def test_a_failed_run_is_taken_back_where_that_was_asked(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        house.service.refused.add("fan")
        kept = await house.done(FOUR)
        assert (kept.state, kept.reason, house.service.done) == (
            RunState.FAILED,
            "s4: fan is refused (REFUSED)",
            ["lamp"],
        )
        assert house.house.values() == {"/a": 2}
        run = await house.done(FOUR, compensate=True)
        assert (run.state, run.reason) == (RunState.FAILED, "s4: fan is refused (REFUSED); 3 steps taken back")
        assert house.service.done == ["lamp", "lamp", "unlamp"]
        assert house.house.values() == {"/a": 2}  # what it was before the second run
        assert [step.state for step in run.steps] == [StepState.UNDONE] * 3 + [StepState.FAILED]
        steps, after = await back(house, run)
        assert (after.state, {step.state for step in steps}) == (RunState.ROLLED_BACK, {StepState.UNDONE})


async def test_a_failed_rollback_of_one_step_does_not_keep_the_others(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(FOUR)
        undo: Any = house.operations.kinds.pop("act.undo")
        steps, _ = await back(house, run)
        assert [step.state for step in steps] == [StepState.STUCK, StepState.UNDONE, StepState.STUCK, StepState.UNDONE]
        assert "act.undo is not there" in steps[0].stuck
        assert undo.service.done == ["lamp", "fan"]
