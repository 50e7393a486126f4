"""What happens at once to runs: several who follow or ask, rows in between, and a house that fails."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.runs import LOCAL, RunHouse, SerialRunner, Service, open_runs, program

from lightfast.core.errors import Exhausted
from lightfast.engine.runs.limits import RunLimits
from lightfast.engine.runs.records import Run, RunState, Step, StepState

THREE = program(("act.keyed", {"what": "lamp"}), ("put", {"path": "/a", "value": 2}), ("act.keyed", {"what": "fan"}))


async def taken(house: RunHouse, run: Run) -> list[str]:
    return [each.step_id async for each in house.runs.rollback(run.run_id, LOCAL) if isinstance(each, Step)]


async def test_who_reads_a_rollback_slowly_misses_no_step(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(THREE)
        following = house.runs.rollback(run.run_id, LOCAL)
        first = await anext(following)
        await house.until(run.run_id, RunState.ROLLED_BACK)
        rest = [each async for each in following]
        assert [each.step_id for each in (first, *rest) if isinstance(each, Step)] == ["s3", "s2", "s1"]


async def test_one_who_follows_a_rollback_does_not_take_the_news_of_another(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(THREE)
        gate = house.service.gates["unlamp"] = asyncio.Event()
        slow, quick = house.runs.rollback(run.run_id, LOCAL), house.runs.rollback(run.run_id, LOCAL)
        assert isinstance(await anext(slow), Step)
        assert [(await anext(quick)).step_id for _ in range(2)] == ["s3", "s2"]  # type: ignore[union-attr]
        waiting = asyncio.ensure_future(anext(quick))
        while "unlamp" not in house.service.begun:
            await asyncio.sleep(0.002)
        async with asyncio.timeout(60):
            second = await anext(slow)
        assert isinstance(second, Step)
        assert second.step_id == "s2"
        gate.set()
        assert isinstance(await waiting, Step)
        assert [type(each) async for each in slow] == [Step, Run]


async def test_two_who_ask_for_a_rollback_at_once_take_nothing_back_twice(tmp_path: Path) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(THREE)
        found = await asyncio.gather(*(taken(house, run) for _ in range(4)))
        assert found == [["s3", "s2", "s1"]] * 4
        events = [each async for each in house.runs.watch(run.run_id)]
        undone = [each.kind.step_id for each in events if isinstance(each.kind, Step) and each.kind.state == "UNDONE"]
        assert undone == ["s3", "s2", "s1"]


async def test_a_step_that_was_to_be_repeated_and_never_was_is_nothing_to_take_back(tmp_path: Path) -> None:
    made = program(("act.keyed", {"what": "lamp"}), ("act.keyed", {"what": "fan"}))
    service = Service()
    async with open_runs(tmp_path, service) as house:
        run = await house.done(made)
        unit = house.house.db.unit()
        house.runs._room.rows.step(unit, run.run_id, Step("s2", "act.keyed", StepState.PENDING))
        await house.runs._room.rows.commit(unit, run.run_id)
        rehearsed = [each async for each in house.runs.rollback(run.run_id, LOCAL, dry_run=True)]
        assert [each.step_id for each in rehearsed if isinstance(each, Step)] == ["s1"]
        async with asyncio.timeout(60):
            assert await taken(house, run) == ["s1"]
        assert (await house.runs.get(run.run_id)).state is RunState.ROLLED_BACK


async def test_a_run_whose_daemon_errs_ends_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_runs(tmp_path) as house:
        run = await house.done(THREE)

        async def broken(*_: Any) -> list[str]:
            raise KeyError("a mistake of ours")

        monkeypatch.setattr(house.runs._room.rows, "done_last", broken)
        async with asyncio.timeout(60):
            assert await taken(house, run) == []
        after = await house.runs.get(run.run_id)
        assert (after.state, "KeyError" in after.reason) == (RunState.FAILED, True)
        assert not house.runs._drive.lives


async def test_the_oldest_ended_runs_go_while_the_daemon_runs(tmp_path: Path) -> None:
    async with open_runs(tmp_path, runner=SerialRunner, limits=RunLimits(keep=2)) as house:
        runs = [await house.done(program(("put", {"path": "/a", "value": n}))) for n in range(4)]
        await house.runs.sweep()
        kept, _ = await house.runs.page()
        assert [each.run_id for each in kept] == [runs[3].run_id, runs[2].run_id]


async def test_a_full_disk_does_not_end_the_watch_over_approvals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_runs(tmp_path, limits=RunLimits(approval_hours=0.2 / 3600)) as house:
        tries = 0
        sweep = house.runs.sweep

        async def full() -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                raise Exhausted("the disk is full", reason="DISK_FULL")
            await sweep()

        monkeypatch.setattr(house.runs, "sweep", full)
        run = await house.start(THREE, approve="x")
        async with asyncio.timeout(60):
            await house.until(run.run_id, RunState.CANCELLED)
        assert tries > 1
