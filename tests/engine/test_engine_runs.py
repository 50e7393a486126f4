"""A run: started durably, carried out, watched, listed, paused, cancelled."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.runs import LOCAL, OWNER, open_runs, plan, program

from lightfast.core.errors import AlreadyExists, Exhausted, FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.programs.checked import Checked, Plan, Problem
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs import limits as bounds
from lightfast.engine.runs.limits import RunLimits
from lightfast.engine.runs.order import Places, in_order
from lightfast.engine.runs.records import RunAsk, RunEvent, RunState, Step, StepState

SIMPLE = program(
    ("put", {"path": "/a", "value": 1}),
    ("act.keyed", {"what": "lamp"}),
    ("put", {"path": "/b", "value": 2}),
    returns="${s3}",
)


async def events(house: Any, run_id: str, after: int = 0) -> list[RunEvent]:
    return [event async for event in house.runs.watch(run_id, after)]


def told(found: list[RunEvent]) -> list[str]:
    return [
        f"{each.kind.step_id} {each.kind.state}" if isinstance(each.kind, Step) else str(each.kind.state)
        for each in found
    ]


async def test_a_run_does_its_steps_in_the_group_and_with_the_origin_of_the_run(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        asked = await house.start(SIMPLE, intent="light", next_steps=("dim it",), project="p")
        assert (asked.state, asked.requester, asked.origin) == (RunState.RUNNING, "local", f"run:{asked.run_id}")
        run = await house.until(asked.run_id)
        assert (run.state, run.reason, run.result, run.intent) == (RunState.SUCCEEDED, "", 2, "light")
        assert (run.next_steps, run.project, run.digest) == (("dim it",), "p", SIMPLE.digest())
        assert [(step.step_id, step.state, step.revision > 0) for step in run.steps] == [
            ("s1", StepState.DONE, True),
            ("s2", StepState.DONE, False),
            ("s3", StepState.DONE, True),
        ]
        assert (run.steps_done, run.steps_known) == (3, 3)
        assert run.end_time >= run.steps[2].end_time >= run.create_time
        made = [t for t in house.house.news.transactions if t.group == run.run_id]
        assert [(t.revision, t.origin, t.label) for t in made] == [
            (run.steps[0].revision, run.origin, "s1: put"),
            (run.steps[2].revision, run.origin, "s3: put"),
        ]
        assert house.service.done == ["lamp"]


async def test_a_step_that_deletes_has_its_own_revision_and_one_that_finds_nothing_has_none(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        await house.house.set(("/a", 1))
        run = await house.done(program(("put", {"path": "/a"}), ("put", {"path": "/nothing"})))
        assert [step.revision for step in run.steps] == [house.house.store.revision, 0]


async def test_the_events_are_numbered_from_one_and_can_be_followed_from_anywhere(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(SIMPLE)
        found = await events(house, run.run_id)
        assert [event.sequence for event in found] == list(range(1, len(found) + 1))
        assert told(found) == [
            "RUNNING",
            "s1 DONE",
            "s2 STARTED",
            "s2 DONE",
            "s3 DONE",
            "SUCCEEDED",
        ]
        assert all(isinstance(event.kind, Step) or event.kind.steps == () for event in found)
        for after in range(len(found) + 1):
            assert await events(house, run.run_id, after) == found[after:]


async def test_a_watch_that_began_before_the_end_misses_nothing(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        house.service.gates["lamp"] = asyncio.Event()
        run = await house.start(SIMPLE)
        following = asyncio.ensure_future(events(house, run.run_id))
        late = asyncio.ensure_future(events(house, run.run_id, 3))
        while not house.service.begun:
            await asyncio.sleep(0.002)
        house.service.gates["lamp"].set()
        found = await following
        assert found == await events(house, run.run_id)
        assert await late == found[3:]


async def test_the_engine_log_tells_of_runs_and_steps_in_the_order_of_the_commits(tmp_path: Path) -> None:
    from lightfast.engine.events.records import Wanted

    async with open_runs(tmp_path) as house:
        run = await house.done(SIMPLE)
        page = await house.events.page(0, Wanted(kinds=("run.*", "step.*")), 100)
        assert [event.kind for event in page][-1] == "run.succeeded"
        assert {event.entity_id for event in page} == {run.run_id}
        assert "light" not in str([event.payload for event in page])


async def test_a_request_id_starts_one_run_and_refuses_another_program(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        first = await house.start(SIMPLE, request_id="r1")
        again = await asyncio.gather(*(house.start(SIMPLE, request_id="r1") for _ in range(3)))
        assert {run.run_id for run in again} == {first.run_id}
        with pytest.raises(AlreadyExists) as error:
            await house.start(program(("put", {"path": "/c", "value": 1})), request_id="r1")
        assert error.value.reason == "REQUEST_ID_REUSED"
        other = await house.start(SIMPLE, OWNER, request_id="r1")
        assert other.run_id != first.run_id
        await house.until(first.run_id)
        await house.until(other.run_id)
    async with open_runs(tmp_path, house.service) as house:
        assert (await house.start(SIMPLE, request_id="r1")).run_id == first.run_id
        assert house.service.done == ["lamp", "lamp"]


async def test_a_plan_with_mistakes_never_runs(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        wrong = Plan(Checked(SIMPLE, problems=(Problem("PATH_UNKNOWN", "there is no /a", "s1"),)))
        with pytest.raises(InvalidArgument) as error:
            await house.runs.start(wrong, LOCAL, RunAsk())
        assert (error.value.reason, error.value.metadata["first"]) == ("PROGRAM_INVALID", "PATH_UNKNOWN")
        warning = Problem("PATH_UNKNOWN", "there is no /a", "s1", warning=True)
        warned = Plan(replace(plan(SIMPLE).checked, problems=(warning,)))
        await house.until((await house.runs.start(warned, LOCAL, RunAsk())).run_id)
        assert (await house.runs.page())[0][0].state is RunState.SUCCEEDED


async def test_at_most_so_many_run_and_the_others_wait_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "MOST_WAITING", 2)
    async with open_runs(tmp_path, limits=RunLimits(runs=1)) as house:
        house.service.gates = {str(n): asyncio.Event() for n in range(4)}
        runs = [await house.start(program(("act.keyed", {"what": "0"})))]
        while house.service.begun != ["0"]:
            await asyncio.sleep(0.002)
        runs += [await house.start(program(("act.keyed", {"what": str(n)}))) for n in (1, 2)]
        with pytest.raises(Exhausted) as error:
            await house.start(program(("act.keyed", {"what": "3"})))
        assert error.value.reason == "RUNS_FULL"
        assert house.service.begun == ["0"]
        for gate in house.service.gates.values():
            gate.set()
        for run in runs:
            assert (await house.until(run.run_id)).state is RunState.SUCCEEDED
        assert house.service.done == ["0", "1", "2"]


async def test_pages_of_runs_are_newest_first_and_can_be_limited_to_states(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        house.service.refused.add("no")
        runs = [await house.done(program(("act.keyed", {"what": what}))) for what in ("a", "no", "b", "no", "c")]
        ids = [run.run_id for run in reversed(runs)]
        first, token = await house.runs.page(size=2)
        second, token = await house.runs.page(size=2, token=token)
        third, end = await house.runs.page(size=2, token=token)
        assert [run.run_id for run in first + second + third] == ids
        assert (end, [run.steps for run in first]) == ("", [(), ()])
        failed, _ = await house.runs.page(states=(RunState.FAILED,))
        assert [run.run_id for run in failed] == [ids[1], ids[3]]
        assert failed[0].reason == "s1: no is refused (REFUSED)"
        with pytest.raises(NotFound) as error:
            await house.runs.get("run-none")
        assert error.value.reason == "RUN_UNKNOWN"


async def test_a_paused_run_starts_nothing_and_goes_on_where_it_was(tmp_path: Path) -> None:
    async with open_runs(tmp_path, limits=RunLimits(runs=1)) as house:
        house.service.gates["one"] = asyncio.Event()
        two = program(("act.keyed", {"what": "one"}), ("act.keyed", {"what": "two"}))
        run = await house.start(two)
        while not house.service.begun:
            await asyncio.sleep(0.002)
        assert (await house.runs.pause(run.run_id)).state is RunState.PAUSED
        assert (await house.runs.pause(run.run_id)).state is RunState.PAUSED
        house.service.gates["one"].set()
        other = await house.done(SIMPLE)  # its place is free
        assert other.state is RunState.SUCCEEDED
        paused = await house.runs.get(run.run_id)
        assert [step.state for step in paused.steps] == [StepState.DONE, StepState.PENDING]
        assert (await house.runs.resume(run.run_id)).state is RunState.RUNNING
        assert (await house.until(run.run_id)).state is RunState.SUCCEEDED
        assert house.service.done == ["one", "lamp", "two"]
        with pytest.raises(FailedPrecondition) as error:
            await house.runs.pause(run.run_id)
        assert error.value.reason == "RUN_ENDED"


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
async def test_a_cancelled_run_ends_and_so_does_what_is_under_way(tmp_path: Path, paused: bool) -> None:
    async with open_runs(tmp_path) as house:
        house.service.gates["one"] = asyncio.Event()
        run = await house.start(program(("act.keyed", {"what": "one"}), ("act.keyed", {"what": "two"})))
        while not house.service.begun:
            await asyncio.sleep(0.002)
        if paused:
            await house.runs.pause(run.run_id)
        found = await house.runs.cancel(run.run_id, "too loud")
        assert (found.state, found.reason) == (RunState.CANCELLED, "cancelled: too loud")
        assert [step.state for step in found.steps] == [StepState.FAILED]
        assert (await house.runs.cancel(run.run_id, "again")).reason == found.reason
        assert house.service.done == []


async def test_a_run_that_waits_can_be_paused_and_cancelled(tmp_path: Path) -> None:
    async with open_runs(tmp_path, limits=RunLimits(runs=1)) as house:
        house.service.gates["one"] = asyncio.Event()
        first = await house.start(program(("act.keyed", {"what": "one"})))
        second = await house.start(program(("act.keyed", {"what": "two"})))
        third = await house.start(program(("act.keyed", {"what": "three"})))
        await house.runs.pause(second.run_id)
        assert (await house.runs.cancel(third.run_id)).state is RunState.CANCELLED
        house.service.gates["one"].set()
        await house.until(first.run_id)
        assert house.service.done == ["one"]
        await house.runs.resume(second.run_id)
        await house.until(second.run_id)
        assert house.service.done == ["one", "two"]


async def test_the_oldest_ended_runs_go_when_there_are_too_many(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        runs = [await house.done(SIMPLE) for _ in range(4)]
        waiting = await house.start(SIMPLE, approve="it is loud")
    async with open_runs(tmp_path, limits=RunLimits(keep=2)) as house:
        found, _ = await house.runs.page()
        assert [run.run_id for run in found] == [waiting.run_id, runs[3].run_id, runs[2].run_id]
        rows = await house.house.db.query("SELECT DISTINCT run_id FROM run_events UNION SELECT run_id FROM run_steps")
        assert {run_id for (run_id,) in rows} == {waiting.run_id, runs[3].run_id, runs[2].run_id}


async def test_progress_is_told_and_shown(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        keyed = house.operations.kinds["act.keyed"]
        gate = asyncio.Event()
        plain = keyed.perform

        async def perform(call: Any, bench: Any) -> Any:
            bench.progress(0.5, "half")
            await gate.wait()
            return await plain(call, bench)

        keyed.perform = perform  # type: ignore[method-assign]
        run = await house.start(program(("act.keyed", {"what": "x"})))
        while (await house.runs.get(run.run_id)).steps[0].fraction != 0.5:
            await asyncio.sleep(0.002)
        gate.set()
        await house.until(run.run_id)
        assert "s1 STARTED" in told(
            [e for e in await events(house, run.run_id) if getattr(e.kind, "message", "") == "half"]
        )


def test_steps_are_in_the_order_of_the_program() -> None:
    inner = (Instruction("x", "put"), Instruction("y", "put"))
    made = Program(
        (
            Instruction("a", "put"),
            Instruction("b", "flow.branch", blocks={"then": inner, "else": (Instruction("z", "put"),)}),
            Instruction("m", "flow.map", blocks={"do": inner}),
            Instruction("c", "put"),
        )
    )
    wanted = ["a", "b", "b.then.x", "b.then.y", "b.else.z", "m", *(f"m[{n}].{x}" for n in range(11) for x in "xy"), "c"]
    steps = [Step(name, "put") for name in (*sorted(wanted), "gone", "gone.then.x")]
    assert [step.step_id for step in in_order(made, steps, ended=True)] == [*wanted, "gone", "gone.then.x"]
    assert [step.step_id for step in in_order(made, [], ended=False)] == ["a", "b", "m", "c"]


def test_the_operation_of_a_step_is_known_from_the_program() -> None:
    inner = (Instruction("x", "put"), Instruction("y", "flow.map", blocks={"do": (Instruction("w", "wait.seconds"),)}))
    made = Program((Instruction("b", "flow.branch", blocks={"then": inner}), Instruction("c", "act.keyed")))
    places = Places(made)
    found = {name: places.operation(name) for name in ("b", "b.then.x", "b.then.y", "b.then.y[3].w", "c", "none")}
    assert list(found.values()) == ["flow.branch", "put", "flow.map", "wait.seconds", "act.keyed", ""]


async def test_a_step_that_only_waits_tells_how_far_it_is(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        put = house.operations.kinds["put"]
        gate = asyncio.Event()
        plain = put.perform

        async def perform(call: Any, bench: Any) -> Any:
            bench.progress(-1, "waiting")
            await gate.wait()
            return await plain(call, bench)

        put.perform = perform  # type: ignore[method-assign]
        run = await house.start(program(("put", {"path": "/a", "value": 1})))
        while (await house.runs.get(run.run_id)).steps[0].message != "waiting":
            await asyncio.sleep(0.002)
        assert (await house.runs.get(run.run_id)).steps[0].state is StepState.STARTED
        gate.set()
        assert (await house.until(run.run_id)).steps[0].state is StepState.DONE
