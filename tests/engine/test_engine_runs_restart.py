"""A run is taken up by the next daemon: what is done is not repeated, what cannot be known is asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.runs import LOCAL, RunHouse, Service, open_runs, program

from lightfast.core.errors import FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.runs.records import Run, RunState, StepState


def three(op: str) -> tuple[tuple[str, dict[str, object]], ...]:
    return (
        ("put", {"path": "/a", "value": 1}),
        (op, {"what": "lamp"}),
        ("put", {"path": "/b", "value": 2}),
    )


async def stopped_in(folder: Path, service: Service, op: str, *, acted: bool = False, **ask: Any) -> Run:
    """Let a daemon end while the second step is under way, before or after it has *acted*."""
    async with open_runs(folder, service) as house:
        service.gates["lamp"] = asyncio.Event()
        run = await house.start(program(*three(op)), **ask)
        while not service.begun:
            await asyncio.sleep(0.002)
        if acted:
            service.act("lamp", f"{run.run_id}/s2" if op == "act.keyed" else "")
    service.gates.clear()
    return run


async def states(house: RunHouse, run_id: str) -> list[StepState]:
    return [step.state for step in (await house.runs.get(run_id)).steps]


@pytest.mark.parametrize("op", ["act.keyed", "act.plain"])
@pytest.mark.parametrize("acted", [False, True], ids=["before", "after"])
async def test_a_step_that_was_under_way_happens_once(tmp_path: Path, op: str, acted: bool) -> None:
    service = Service()
    run = await stopped_in(tmp_path, service, op, acted=acted)
    async with open_runs(tmp_path, service) as house:
        found = await house.until(run.run_id)
        assert (found.state, service.done) == (RunState.SUCCEEDED, ["lamp"])
        assert [step.state for step in found.steps] == [StepState.DONE] * 3
        assert len([t for t in house.house.news.transactions if t.group == run.run_id]) == 1  # /a was there already
        assert house.house.values() == {"/a": 1, "/b": 2}


async def test_nothing_is_run_before_the_plugins_are_loaded(tmp_path: Path) -> None:
    service = Service()
    run = await stopped_in(tmp_path, service, "act.keyed")
    loaded = asyncio.Event()

    async def settled() -> None:
        await loaded.wait()

    async with open_runs(tmp_path, service, settled=settled) as house:
        fresh = await house.start(program(("put", {"path": "/c", "value": 3})))
        assert (await house.runs.pause(run.run_id)).state is RunState.PAUSED
        assert (await house.runs.resume(run.run_id)).state is RunState.RUNNING
        assert service.begun == ["lamp"]
        loaded.set()
        await house.until(run.run_id)
        await house.until(fresh.run_id)


async def test_a_paused_run_stays_paused_over_a_restart(tmp_path: Path) -> None:
    service = Service()
    async with open_runs(tmp_path, service) as house:
        service.gates["lamp"] = asyncio.Event()
        run = await house.start(program(*three("act.keyed")))
        while not service.begun:
            await asyncio.sleep(0.002)
        await house.runs.pause(run.run_id)
    service.gates.clear()
    async with open_runs(tmp_path, service) as house:
        assert (await house.runs.get(run.run_id)).state is RunState.PAUSED
        await house.runs.resume(run.run_id)
        await house.until(run.run_id)
        assert service.done == ["lamp"]


async def needing(folder: Path, service: Service, **ask: Any) -> Run:
    return await stopped_in(folder, service, "act.mystery", acted=True, **ask)


async def test_what_cannot_be_known_needs_somebody_and_nothing_after_it_is_done(tmp_path: Path) -> None:
    service = Service()
    run = await needing(tmp_path, service)
    for _ in range(2):  # also the next daemon still needs them
        async with open_runs(tmp_path, service) as house:
            found = await house.until(run.run_id, RunState.NEEDS_YOU)
            assert f"whether s2 happened: look, and say so with lightfast runs resolve {run.run_id} s2" in found.reason
            assert await states(house, run.run_id) == [StepState.DONE, StepState.UNKNOWN, StepState.PENDING]
            assert (service.done, house.house.values()) == (["lamp"], {"/a": 1})


@pytest.mark.parametrize(
    ("resolution", "state", "steps", "done"),
    [
        ("HAPPENED", RunState.SUCCEEDED, ["DONE", "DONE", "DONE"], ["lamp"]),
        ("REPEAT", RunState.SUCCEEDED, ["DONE", "DONE", "DONE"], ["lamp", "lamp"]),
        ("SKIP", RunState.SUCCEEDED, ["DONE", "SKIPPED", "DONE"], ["lamp"]),
        ("GIVE_UP", RunState.FAILED, ["DONE", "UNKNOWN"], ["lamp"]),
    ],
)
async def test_somebody_says_what_became_of_it(
    tmp_path: Path, resolution: str, state: RunState, steps: list[str], done: list[str]
) -> None:
    service = Service()
    run = await needing(tmp_path, service)
    async with open_runs(tmp_path, service) as house:
        await house.until(run.run_id, RunState.NEEDS_YOU)
        await house.runs.resolve(run.run_id, "s2", resolution, LOCAL)
        found = await house.until(run.run_id)
        assert (found.state, [str(step.state) for step in found.steps], service.done) == (state, steps, done)
        if state is RunState.FAILED:
            assert found.reason == "local gave it up at s2"


async def test_giving_up_takes_back_what_was_done_where_that_was_asked(tmp_path: Path) -> None:
    service = Service()
    run = await needing(tmp_path, service, compensate=True)
    async with open_runs(tmp_path, service) as house:
        await house.until(run.run_id, RunState.NEEDS_YOU)
        await house.runs.resolve(run.run_id, "s2", "GIVE_UP", LOCAL)
        found = await house.until(run.run_id)
        assert found.state is RunState.FAILED
        assert await states(house, run.run_id) == [StepState.UNDONE, StepState.STUCK]
        assert house.house.values() == {}


async def test_a_resolution_is_refused(tmp_path: Path) -> None:
    service = Service()
    run = await needing(tmp_path, service)
    async with open_runs(tmp_path, service) as house:
        await house.until(run.run_id, RunState.NEEDS_YOU)
        with pytest.raises(InvalidArgument) as wrong:
            await house.runs.resolve(run.run_id, "s2", "PERHAPS", LOCAL)
        with pytest.raises(NotFound) as missing:
            await house.runs.resolve(run.run_id, "s1", "SKIP", LOCAL)
        assert (wrong.value.reason, missing.value.reason) == ("RESOLUTION_UNKNOWN", "STEP_UNKNOWN")
        await house.runs.cancel(run.run_id)
        other = await house.start(program(("put", {"path": "/c", "value": 1})), approve="x")
        with pytest.raises(FailedPrecondition) as early:
            await house.runs.resolve(other.run_id, "s1", "SKIP", LOCAL)
        assert early.value.reason == "NOTHING_TO_RESOLVE"


async def test_a_run_that_is_taken_up_waits_for_its_applications(tmp_path: Path) -> None:
    from lightfast.engine.runs.returning import apps_back, needed

    made = program(("app.command", {"app": "/blender", "command": "render"}), ("app.command", {"app": "${s1}"}))
    assert needed(made, {}) == {"/blender"}
    asked: list[str] = []

    def there(mount: str) -> bool:
        asked.append(mount)
        return len(asked) > 2

    await apps_back(made, {}, there, lambda: True)
    assert asked == ["/blender"] * 3
    await apps_back(made, {}, lambda _: False, lambda: True, grace=0.01)
    await apps_back(made, {}, lambda _: False, lambda: False)


async def test_a_run_of_a_restored_backup_is_not_taken_up_by_itself(tmp_path: Path) -> None:
    """What it did after the backup was made is not on record, so a person decides."""
    service = Service()
    run = await stopped_in(tmp_path / "old", service, "act.keyed")
    async with open_runs(tmp_path / "old", service, settled=never) as house:
        await house.house.db.commit(_renamed(house))
    async with open_runs(tmp_path / "old", service) as house:
        found = await house.until(run.run_id, RunState.PAUSED)
        assert "this store was restored from" in found.reason
        assert service.done == []
        await house.runs.resume(run.run_id)
        await house.until(run.run_id)
        assert service.done == ["lamp"]


async def never() -> None:
    """Is never settled."""
    await asyncio.Event().wait()


def _renamed(house: RunHouse) -> Any:
    """Return what a restore does to the identity of a store."""
    unit = house.house.db.unit()
    unit.execute("UPDATE meta SET value = 'store-restored' WHERE key = 'store_id'")
    return unit
