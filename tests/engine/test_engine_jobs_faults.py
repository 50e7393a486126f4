"""Jobs when the disk is full, when a claim is given up, and when two want the same job."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.job_room import ME, Room, room, until

from lightfast.core.errors import Exhausted
from lightfast.engine.jobs import queue
from lightfast.engine.jobs.records import JobState, NewJob
from lightfast.storage.database import Database


def new(n: int = 0, **how: Any) -> NewJob:
    return NewJob("told", {"n": n}, **how)


class Full:
    """Refuses every unit while *full* is set, as a full disk does: after it was queued."""

    def __init__(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.refused = 0
        self._enqueue = db.enqueue
        monkeypatch.setattr(db, "enqueue", self.enqueue)

    def enqueue(self, unit: Any, done: Any) -> None:
        if not self.full:
            self._enqueue(unit, done)
            return
        self.refused += 1
        asyncio.get_running_loop().call_soon(done, Exhausted("the disk is full", reason="DISK_FULL"))


async def test_a_full_disk_refuses_what_is_new_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_WRITE_AGAIN_S", 0.01)
    async with room(tmp_path) as it:
        disk = Full(it.db, monkeypatch)
        go_on = asyncio.Event()

        async def act(payload: Any, bench: Any) -> Any:
            await go_on.wait()
            bench.progress(0.5, "half")
            return payload["n"]

        it.told.act = act
        job = await it.jobs.submit(new(7), ME)
        waits = await it.jobs.submit(new(8, after=(job.job_id,)), ME)
        await until(lambda: it.told.seen)
        disk.full = True
        with pytest.raises(Exhausted):
            await it.jobs.submit(new(9), ME)
        with pytest.raises(Exhausted):
            await it.jobs.cancel(waits.job_id)
        with pytest.raises(Exhausted):
            await it.jobs.cancel(job.job_id)
        go_on.set()
        await until(lambda: not it.jobs.running)
        await until(lambda: disk.refused > 5)
        assert (await it.jobs.get(job.job_id)).state is JobState.RUNNING
        disk.full = False
        await it.jobs.ended(job.job_id)
        assert (await it.jobs.ended(waits.job_id)).result == 8
        assert len((await it.jobs.page())[0]) == 2
        assert not it.jobs.queue.index.entries


async def test_a_claim_that_the_disk_refuses_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with room(tmp_path, started=False) as it:
        disk = Full(it.db, monkeypatch)
        first, second = await it.jobs.submit(new(1), ME), await it.jobs.submit(new(2), ME)
        disk.full = True
        with pytest.raises(Exhausted):
            await it.jobs.queue.claim(5)
        assert it.jobs.waiting == 2
        disk.full = False
        leases = await it.jobs.queue.claim(5)
        assert [lease.job.job_id for lease in leases] == [first.job_id, second.job_id]
        assert [lease.job.attempts for lease in leases] == [1, 1]


async def states(it: Room) -> list[tuple[str, int]]:
    return [(job.state.value, job.attempts) for job in (await it.jobs.page())[0]]


async def test_a_claim_that_is_given_up_gives_its_jobs_back(tmp_path: Path) -> None:
    async with room(tmp_path, started=False) as it:
        for n in range(3):
            await it.jobs.submit(new(n), ME)
        claim = asyncio.ensure_future(it.jobs.queue.claim(2))
        await asyncio.sleep(0)
        claim.cancel()
        with pytest.raises(asyncio.CancelledError):
            await claim
        while [state for state, _ in await states(it)] != ["PENDING"] * 3 or it.jobs.waiting != 3:
            await asyncio.sleep(0.002)
        assert await states(it) == [("PENDING", 0)] * 3


async def test_a_job_is_cancelled_while_it_is_taken(tmp_path: Path) -> None:
    async with room(tmp_path, started=False) as it:
        jobs = [await it.jobs.submit(new(n), ME) for n in range(20)]
        claims = [asyncio.ensure_future(it.jobs.queue.claim(4)) for _ in range(5)]
        found = await asyncio.gather(*[it.jobs.cancel(job.job_id) for job in jobs])
        assert {job.state for job in found} == {JobState.CANCELLED}
        for lease in [lease for claim in claims for lease in await claim]:
            assert not it.jobs.queue.beat(lease.job.job_id, lease.job.attempts)
            assert not it.jobs.queue.succeed(lease.job.job_id, lease.job.attempts, 1)
        assert {state for state, _ in await states(it)} == {"CANCELLED"}
        assert not it.jobs.queue.index.entries


async def test_cancelling_while_workers_take_and_end(tmp_path: Path) -> None:
    async with room(tmp_path, workers=4) as it:
        jobs = [await it.jobs.submit(new(n, priority=n % 4), ME) for n in range(200)]
        await asyncio.gather(*[it.jobs.cancel(job.job_id) for job in jobs[::2]])
        for job in jobs:
            await it.jobs.ended(job.job_id)
        ended = {job.job_id: job for job in (await it.jobs.page(size=1000))[0]}
        assert {ended[job.job_id].state for job in jobs[1::2]} == {JobState.SUCCEEDED}
        assert {ended[job.job_id].state for job in jobs[::2]} <= {JobState.SUCCEEDED, JobState.CANCELLED}
        for job in jobs:
            ends = [kind for kind in await it.kinds(job.job_id) if kind in ("job.succeeded", "job.cancelled")]
            assert len(ends) == 1
        assert it.jobs.waiting == 0
        assert not it.jobs.queue.index.entries
