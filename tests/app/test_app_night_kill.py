"""kill -9 at any moment under everything at once: what was acknowledged was done once, and all that is told is true.

`LIGHTFAST_CRASHES=N` kills N times instead of two.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest
from tests.support.joined import daemon_with
from tests.support.night import Load, Rig, furnish, until
from tests.support.night_audit import OVER, Audit

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import AsyncClient

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "2"))
_OPEN = (pb.RUN_STATE_RUNNING, pb.RUN_STATE_PAUSED, pb.RUN_STATE_NEEDS_YOU, pb.RUN_STATE_AWAITING_APPROVAL)


async def settle(home: Path, audit: Audit, rigs: tuple[Rig, ...]) -> None:
    """Answer for the steps of which nobody knows, and wait until nothing is under way."""

    async def look() -> bool:
        async with AsyncClient(home=str(home)) as client:
            under_way = await client.runs(states=_OPEN, limit=1000)
            for each in under_way:
                if each.state == pb.RUN_STATE_NEEDS_YOU:
                    run = await client.get_run(each.run_id)
                    for step in run.steps:
                        if step.state == pb.STEP_STATE_UNKNOWN:
                            tag = step.arguments.rpartition('"tag"')[2].strip(' :"}')
                            happened = any(rig.did[tag] for rig in rigs)
                            await client.resolve_step(run.run_id, step.step_id, "happened" if happened else "repeat")
            live = await client.jobs(states=("PENDING", "RUNNING", "RETRYING"), limit=5)
            waiting = audit.rows(f"SELECT count(*) FROM desk_lines WHERE state NOT IN {OVER}")[0][0]
            return not under_way and not live and not waiting

    await until(look, "everything is over", 60.0 + 10 * CRASHES)


@pytest.mark.limit(150 + 20 * CRASHES)
async def test_kill_9_under_everything_at_once(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "stage"
    furnish(home, folder)
    house = daemon_with(home, "")
    house.flags.append("jobs.workers=8")
    await asyncio.to_thread(house.start)
    rigs = (Rig(home, "keyed", keyed=True), Rig(home, "plain", keyed=False))
    load, chance, audit = Load(home), random.Random(int(os.environ.get("LIGHTFAST_SEED", "6"))), Audit(home, folder)
    work: list[asyncio.Task[Any]] = []
    try:
        async with AsyncClient(home=str(home)) as client:
            await until(lambda: _there(client), "the applications and the workflow are there")
            await client.set_schedule("ticking", "every 1s", "stage_count", {"n": 0})
        watching = asyncio.create_task(load.watcher())
        begin = [
            *(load.sayer(f"s{n}") for n in range(2)),
            *(load.runner(f"r{n}") for n in range(2)),
            load.queuer(),
            load.puller(),
        ]
        work = [asyncio.create_task(each) for each in begin]
        for _ in range(CRASHES):
            before = len(load.said) + len(load.runs)
            await until(lambda least=before + 6: _more(load, least), "clients go on")  # type: ignore[misc]
            await asyncio.sleep(chance.uniform(0.0, 1.0))  # at any moment: no condition is waited for
            house.kill()
            await asyncio.to_thread(house.start)
        before = len(load.said) + len(load.runs)
        await until(lambda: _more(load, before + 6), "clients go on")
        assert await asyncio.to_thread(house.stop) == 0, house.log()[-4_000:]
        await asyncio.to_thread(house.start)
        before = len(load.said) + len(load.runs)
        await until(lambda: _more(load, before + 6), "clients go on")
        load.ending = True
        await asyncio.gather(*work)
        async with AsyncClient(home=str(home)) as client:
            await client.delete_schedule("ticking")
        await settle(home, audit, rigs)
        newest = audit.rows("SELECT max(sequence) FROM engine_events")[0][0]
        await until(lambda: _seen(load, newest), "the watcher has seen all")
        watching.cancel()
        await asyncio.gather(watching)
        assert await asyncio.to_thread(house.stop) == 0
        wrong = audit.all(load, *rigs)
        assert not wrong, "\n".join(wrong)
        assert len(load.runs) >= 2
        assert len(load.jobs) >= 2
    finally:
        for task in work:
            task.cancel()
        house.kill()
        for rig in rigs:
            await asyncio.to_thread(rig.close)


async def _there(client: AsyncClient) -> bool:
    mounts = {app.mount for app in await client.list_apps() if app.state == APP_STATE_LIVE}
    names = {each.name for each in await client.workflows()}
    return {"/keyed", "/plain"} <= mounts and "pulse" in names


async def _more(load: Load, least: int) -> bool:
    return len(load.said) + len(load.runs) >= least


async def _seen(load: Load, newest: int) -> bool:
    return bool(load.seen) and load.seen[-1] >= newest
