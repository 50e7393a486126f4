"""Following jobs: what happens while one is being read is not lost."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from lightfast.engine.jobs.records import Job, JobState
from lightfast.engine.jobs.watching import Watchers

RUNNING = Job("job-1", "test", JobState.RUNNING, {}, "me", 1)
DEAD = replace(RUNNING, state=JobState.DEAD)


@pytest.mark.parametrize("read", [RUNNING, DEAD], ids=["before", "after"])
async def test_an_end_that_comes_while_the_job_is_read_ends_the_watch(read: Job) -> None:
    watchers = Watchers()

    async def get(job_id: str) -> Job:
        found = read
        await asyncio.sleep(0)
        watchers.tell(DEAD)  # as the worker does, in the middle of the look
        await asyncio.sleep(0)
        return found

    async with asyncio.timeout(60):
        seen = [job.state async for job in watchers.watch(("job-1",), get, until_done=True)]
    assert seen == ([JobState.RUNNING, JobState.DEAD] if read is RUNNING else [JobState.DEAD])
