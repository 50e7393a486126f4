"""A daemon that is killed in mid-job loses no job and does none twice in the queue."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path

from tests.support.job_process import Long
from tests.support.job_room import ME, room

from lightfast.core.clock import SYSTEM
from lightfast.engine.jobs.records import JobState, NewJob

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "3"))
JOBS = 150
ROOT = Path(__file__).parents[2]


async def test_kill_in_mid_job(tmp_path: Path) -> None:
    async with room(tmp_path, SYSTEM, started=False, offered=False) as it:
        it.jobs.add_type(Long(tmp_path))
        before = [await it.jobs.submit(NewJob("long", {"n": n}, priority=n % 3), ME) for n in range(JOBS)]
    chance = random.Random(6)
    interrupted = 0
    for _ in range(CRASHES):
        process = await asyncio.to_thread(
            subprocess.Popen, [sys.executable, "-m", "tests.support.job_process", str(tmp_path)], cwd=ROOT
        )
        try:
            while not (tmp_path / f"ready-{process.pid}").exists() and process.poll() is None:
                await asyncio.sleep(0.005)
            await asyncio.sleep(chance.uniform(0.005, 0.05))  # at any moment: no condition is waited for
        finally:
            interrupted += process.poll() is None
            process.kill()
            process.wait(10)
    process = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-m", "tests.support.job_process", str(tmp_path)], cwd=ROOT
    )
    try:
        assert await asyncio.to_thread(process.wait, 150) == 0
    finally:
        process.kill()
    async with room(tmp_path, SYSTEM, started=False) as it:
        after = list(reversed((await it.jobs.page(size=1000))[0]))
        assert [job.job_id for job in after] == [job.job_id for job in before]
        assert {job.state for job in after} == {JobState.SUCCEEDED}
        assert [job.result for job in after] == list(range(JOBS))
        lines = [line.split(" ", 2) for line in (tmp_path / "done").read_text().splitlines()]
        done = {int(n) for n, _, _ in lines}
        assert done == set(range(JOBS))
        for job in after:
            attempts = [int(attempt) for n, attempt, _ in lines if int(n) == job.result]
            assert attempts == sorted(set(attempts))  # no attempt was made twice
            assert attempts[-1] == job.attempts  # and nothing after the one that is on record
            kinds = await it.kinds(job.job_id)
            assert kinds.count("job.succeeded") == 1
            assert kinds.count("job.started") == job.attempts
        for n, attempt, note in lines:
            if int(attempt) > 1:
                assert note in ("-", f"half of {n}")
        again = sum(job.attempts - 1 for job in after)
        assert again <= interrupted * 100
