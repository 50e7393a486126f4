"""Jobs: order, tries, dependencies, cancelling, what handlers may do, and what is told."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.job_room import ME, Told, room, until

from lightfast.core.clock import SYSTEM, StillClock
from lightfast.core.errors import (
    AlreadyExists,
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    Unavailable,
)
from lightfast.engine.jobs import queue
from lightfast.engine.jobs.records import JobState, NewJob
from lightfast.engine.jobs.worker import LocalWorker
from lightfast.engine.planner.bounded import BUSY


def new(n: int = 0, **how: Any) -> NewJob:
    return NewJob("told", {"n": n}, **how)


async def test_higher_priorities_first_and_first_in_first_out_within_one(tmp_path: Path) -> None:
    async with room(tmp_path, started=False, workers=1) as it:
        for n, priority in enumerate([0, 5, 0, -1, 5, 1000]):
            await it.jobs.submit(new(n, priority=priority), ME)
        assert it.jobs.waiting == 6
        it.jobs.start()
        await until(lambda: not it.jobs.queue.index.entries)
        assert it.told.order == [5, 1, 4, 0, 2, 3]
        assert it.jobs.waiting == 0


async def test_a_job_has_its_result_its_log_and_its_events(tmp_path: Path) -> None:
    async with room(tmp_path) as it:

        async def act(_: Any, bench: Any) -> Any:
            bench.progress(0.5, "half")
            bench.log("first")
            bench.log("second")
            await bench.keep("so far")
            return {"made": [1.0, "two"]}

        it.told.act = act
        job = await it.jobs.submit(new(7), ME)
        assert (job.state, job.requester, job.max_attempts, job.timeout) == (JobState.PENDING, "me", 3, 300.0)
        done = await it.jobs.ended(job.job_id)
        assert (done.state, done.result, done.fraction, done.message) == (
            JobState.SUCCEEDED,
            {"made": [1.0, "two"]},
            1.0,
            "half",
        )
        assert [text for _, text in done.log] == ["first", "second"]
        assert (done.note, done.attempts, done.error) == ("so far", 1, "")
        assert await it.kinds(job.job_id) == ["job.queued", "job.started", "job.progress", "job.succeeded"]
        progress = (await it.all_events(job.job_id))[2]
        assert (progress.payload["fraction"], progress.payload["message"]) == (0.5, "half")


async def test_progress_is_told_at_most_once_a_second(tmp_path: Path) -> None:
    clock = StillClock()
    async with room(tmp_path, clock) as it:
        go_on = asyncio.Event()

        async def act(_: Any, bench: Any) -> None:
            for step in range(100):
                bench.progress(step / 100)
            clock.advance(1.5)
            bench.progress(0.995)
            await go_on.wait()

        it.told.act = act
        job = await it.jobs.submit(new(), ME)
        seen: list[float] = []
        async for each in it.jobs.watch((job.job_id,)):
            seen.append(each.fraction)
            if each.fraction == 0.995:
                break
        go_on.set()
        await it.jobs.ended(job.job_id)
        assert (await it.kinds(job.job_id)).count("job.progress") == 2
        assert len(seen) <= 4


async def test_an_attempt_that_fails_is_tried_again_later_and_then_a_dead_letter(tmp_path: Path) -> None:
    clock = StillClock()
    async with room(tmp_path, clock) as it:

        def act(*_: Any) -> None:
            raise RuntimeError("no luck")

        it.told.act = act
        job = await it.jobs.submit(new(), ME)
        pauses = []
        for attempt in range(1, 4):
            await until(partial(lambda most: len(it.told.seen) == most, attempt))
            await until(lambda: not it.jobs.running)
            await it.db.commit(it.db.unit())
            now = await it.jobs.get(job.job_id)
            if attempt < 3:
                assert now.state is JobState.RETRYING
                pauses.append((now.run_time - clock.now_ns()) / 1e9)
                clock.advance(pauses[-1])
                it.jobs.queue.wake()
        assert pauses == [2.0, 4.0]
        dead = await it.jobs.ended(job.job_id)
        assert dead.state is JobState.DEAD
        assert "RuntimeError: no luck" in dead.error
        assert any("raise RuntimeError" in text for _, text in dead.log)
        it.told.act = lambda *_: "well"
        again = await it.jobs.retry(job.job_id)
        assert (again.state, again.attempts, again.error) == (JobState.PENDING, 0, "")
        assert (await it.jobs.ended(job.job_id)).result == "well"
        with pytest.raises(FailedPrecondition, match="succeeded") as found:
            await it.jobs.retry(job.job_id)
        assert found.value.reason == "JOB_NOT_ENDED"


class Fatal(Exception):
    """Says itself that trying again does not help."""

    retryable = False


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Fatal("never"), JobState.DEAD),
        (InvalidArgument("wrong"), JobState.DEAD),
        (Unavailable("away"), JobState.RETRYING),
        (Unavailable("away", retry_after=99.0), JobState.RETRYING),
        (SystemExit(3), JobState.RETRYING),
        (asyncio.CancelledError(), JobState.RETRYING),
        (StopAsyncIteration(), JobState.RETRYING),
    ],
    ids=["fatal", "invalid", "away", "away for long", "exit", "cancelled itself", "stop"],
)
async def test_what_a_handler_raises_stays_with_its_job(tmp_path: Path, error: BaseException, state: JobState) -> None:
    async with room(tmp_path) as it:

        async def act(*_: Any) -> None:
            raise error

        it.told.act = act
        job = await it.jobs.submit(new(), ME)
        await until(lambda: it.told.seen and not it.jobs.running)
        await it.db.commit(it.db.unit())
        found = await it.jobs.get(job.job_id)
        assert found.state is state
        if isinstance(error, LightfastError) and error.retry_after:
            assert found.run_time - it.clock.now_ns() == 99 * 10**9
        it.told.act = lambda *_: 1
        assert (await it.jobs.ended((await it.jobs.submit(new(), ME)).job_id)).state is JobState.SUCCEEDED


async def test_a_result_that_is_no_value_and_a_handler_that_is_no_coroutine(tmp_path: Path) -> None:
    class Plain(Told):
        name = "plain"

        def run(self, payload: Any, bench: Any) -> Any:
            return 3

    async with room(tmp_path) as it:
        it.jobs.add_type(Plain())
        it.told.act = lambda *_: {"x": {1, 2}}
        for each in (new(max_attempts=1), NewJob("plain", max_attempts=1)):
            job = await it.jobs.ended((await it.jobs.submit(each, ME)).job_id)
            assert job.state is JobState.DEAD
            assert "value" in job.error or "await" in job.error


async def test_an_attempt_that_takes_too_long_is_cancelled(tmp_path: Path) -> None:
    async with room(tmp_path) as it:
        ended = []

        async def act(*_: Any) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.append(True)

        it.told.act = act
        job = await it.jobs.ended((await it.jobs.submit(new(timeout=0.02, max_attempts=1), ME)).job_id)
        assert (job.state, job.error) == (JobState.DEAD, "it took longer than its 0.02 s")
        assert ended == [True]


async def test_a_handler_that_will_not_end_is_left_alone(tmp_path: Path) -> None:
    async with room(tmp_path, workers=1, started=False) as it:
        it.jobs._worker = LocalWorker(it.jobs.queue, it.jobs.types.find, SYSTEM, 1, grace_s=0.02)
        it.jobs.queue.on_cancel = it.jobs._worker.cancel
        it.jobs.start()
        go_on = asyncio.Event()

        async def act(*_: Any) -> str:
            while not go_on.is_set():
                try:
                    await go_on.wait()
                except asyncio.CancelledError:
                    continue
            return "too late"

        it.told.act = act
        try:
            job = await it.jobs.ended((await it.jobs.submit(new(timeout=0.02, max_attempts=1), ME)).job_id)
            assert job.state is JobState.DEAD
            assert "did not end" in job.error
            it.told.act = lambda *_: "next"
            assert (await it.jobs.ended((await it.jobs.submit(new(), ME)).job_id)).result == "next"
        finally:
            go_on.set()  # else nothing ends it, and the loop waits for it
        await until(lambda: not it.jobs._worker._hung)
        assert (await it.jobs.get(job.job_id)).result is None


async def test_cancelling_what_waits_and_what_runs(tmp_path: Path) -> None:
    async with room(tmp_path, workers=1) as it:
        ended = asyncio.Event()

        async def act(*_: Any) -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                ended.set()

        it.told.act = act
        running, waiting = [await it.jobs.submit(new(), ME) for _ in range(2)]
        dependent = await it.jobs.submit(new(after=(running.job_id,)), ME)
        await until(lambda: it.told.seen)
        assert (await it.jobs.cancel(waiting.job_id)).state is JobState.CANCELLED
        found = await asyncio.gather(*[it.jobs.cancel(running.job_id) for _ in range(3)])
        assert {job.state for job in found} == {JobState.CANCELLED}
        await ended.wait()
        fallen = await it.jobs.get(dependent.job_id)
        assert fallen.state is JobState.DEAD
        assert fallen.error == f"it waited for {running.job_id}, which is cancelled"
        assert (await it.jobs.cancel(dependent.job_id)).state is JobState.DEAD
        assert (await it.kinds(running.job_id))[-1] == "job.cancelled"
        with pytest.raises(NotFound) as missing:
            await it.jobs.cancel("job-none")
        assert missing.value.reason == "JOB_UNKNOWN"


async def test_a_job_waits_for_others_and_falls_with_them(tmp_path: Path) -> None:
    async with room(tmp_path, workers=2) as it:
        gate = asyncio.Event()

        async def act(payload: Any, _: Any) -> None:
            if payload["n"] == 1:
                await gate.wait()
            if payload["n"] == 4:
                raise Fatal("four")

        it.told.act = act
        one = await it.jobs.submit(new(1), ME)
        two = await it.jobs.submit(new(2, after=(one.job_id,)), ME)
        three = await it.jobs.submit(new(3, after=(one.job_id, two.job_id)), ME)
        four = await it.jobs.submit(new(4, after=(three.job_id,)), ME)
        five = await it.jobs.submit(new(5, after=(four.job_id,)), ME)
        six = await it.jobs.submit(new(6, after=(five.job_id,)), ME)
        gate.set()
        assert (await it.jobs.ended(six.job_id)).state is JobState.DEAD
        assert it.told.order == [1, 2, 3, 4]
        late = await it.jobs.submit(new(7, after=(four.job_id,)), ME)
        assert (late.state, late.error) == (JobState.DEAD, f"it waited for {four.job_id}, which is dead")
        assert (await it.kinds(late.job_id)) == ["job.queued", "job.dead"]
        fine = await it.jobs.submit(new(8, after=(one.job_id,)), ME)
        assert (await it.jobs.ended(fine.job_id)).state is JobState.SUCCEEDED
        with pytest.raises(FailedPrecondition) as found:
            await it.jobs.retry(five.job_id)
        assert found.value.reason == "JOB_DEPENDENCY"
        with pytest.raises(NotFound):
            await it.jobs.submit(new(9, after=("job-none",)), ME)


async def test_not_before_its_time(tmp_path: Path) -> None:
    clock = StillClock()
    async with room(tmp_path, clock) as it:
        job = await it.jobs.submit(new(1, run_time=clock.now_ns() + 60 * 10**9), ME)
        await it.jobs.ended((await it.jobs.submit(new(2), ME)).job_id)
        assert it.told.order == [2]
        clock.advance(60)
        it.jobs.queue.wake()
        await it.jobs.ended(job.job_id)
        assert it.told.order == [2, 1]


async def test_what_is_malformed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with room(tmp_path, started=False) as it:
        wrong: list[tuple[NewJob, str]] = [
            (NewJob("nobody"), "JOB_TYPE_UNKNOWN"),
            (NewJob("told", {"n": "text"}), "JOB_PAYLOAD"),
            (NewJob("told", {"x": "a" * (300 << 10)}), "JOB_PAYLOAD"),
            (NewJob("told", {"x": object()}), "JOB_PAYLOAD"),  # type: ignore[dict-item]
            (new(priority=1001), "INVALID_ARGUMENT"),
            (new(max_attempts=-1), "INVALID_ARGUMENT"),
            (new(timeout=-1.0), "INVALID_ARGUMENT"),
            (new(after=tuple(map(str, range(101)))), "INVALID_ARGUMENT"),
        ]
        for each, reason in wrong:
            with pytest.raises(InvalidArgument) as found:
                await it.jobs.submit(each, ME)
            assert found.value.reason == reason
        monkeypatch.setattr(queue, "MOST_LIVE", 1)
        await it.jobs.submit(new(), ME)
        with pytest.raises(Exhausted) as full:
            await it.jobs.submit(new(), ME)
        assert full.value.reason == "JOBS_FULL"
        assert await it.kinds() == ["job.queued"]


async def test_the_same_request_is_one_job(tmp_path: Path) -> None:
    async with room(tmp_path) as it:
        found = await asyncio.gather(*[it.jobs.submit(new(1), ME, request_id="once") for _ in range(5)])
        assert len({job.job_id for job in found}) == 1
        await it.jobs.ended(found[0].job_id)
        assert (await it.jobs.submit(new(1), ME, request_id="once")).state is JobState.SUCCEEDED
        with pytest.raises(AlreadyExists):
            await it.jobs.submit(new(2), ME, request_id="once")
        assert it.told.order == [1]


async def test_types_come_and_go(tmp_path: Path) -> None:
    async with room(tmp_path, offered=False) as it:
        told = it.told
        it.jobs.add_type(told, "plug")
        assert [(each.name, plugin) for each, plugin in it.jobs.list_types()] == [("told", "plug")]
        with pytest.raises(AlreadyExists) as found:
            it.jobs.add_type(Told())
        assert found.value.reason == "JOB_TYPE_TAKEN"
        it.jobs.pause()
        job = await it.jobs.submit(new(1), ME)
        it.jobs.remove_type(told)
        it.jobs.resume()
        await asyncio.sleep(0)
        with pytest.raises(InvalidArgument):
            await it.jobs.submit(new(2), ME)
        assert (await it.jobs.get(job.job_id)).state is JobState.PENDING
        it.jobs.add_type(told)
        assert (await it.jobs.ended(job.job_id)).state is JobState.SUCCEEDED


async def test_while_it_is_stopped_nothing_is_taken(tmp_path: Path) -> None:
    async with room(tmp_path) as it:
        it.jobs.pause("for the test")
        it.jobs.hold("panic at noon")
        assert it.jobs.stopped == "for the test"
        job = await it.jobs.submit(new(), ME)
        it.jobs.resume()
        assert it.jobs.stopped == "panic at noon"
        assert (await it.jobs.get(job.job_id)).state is JobState.PENDING
        assert it.jobs.waiting == 1
        it.jobs.release()
        assert it.jobs.stopped == ""
        assert (await it.jobs.ended(job.job_id)).state is JobState.SUCCEEDED


async def test_pages_and_the_sweep(tmp_path: Path) -> None:
    clock = StillClock()
    async with room(tmp_path, clock) as it:
        made = [await it.jobs.submit(new(n), ME) for n in range(5)]
        for job in made:
            await it.jobs.ended(job.job_id)
        seen, token = await it.jobs.page(size=2)
        while token:
            more, token = await it.jobs.page(size=2, token=token)
            seen += more
        assert [job.job_id for job in seen] == [job.job_id for job in reversed(made)]
        assert (await it.jobs.page(states=(JobState.DEAD,)))[0] == []
        assert len((await it.jobs.page(type_name="told", states=(JobState.SUCCEEDED,)))[0]) == 5
        clock.advance(29 * 86_400)
        named = await it.jobs.submit(new(9, after=(made[0].job_id,), run_time=clock.now_ns() + 10**18), ME)
        clock.advance(2 * 86_400)
        assert await it.jobs.sweep() == 4
        assert {job.job_id for job in (await it.jobs.page())[0]} == {made[0].job_id, named.job_id}


async def test_a_lease_runs_out(tmp_path: Path) -> None:
    clock = StillClock()
    async with room(tmp_path, clock, started=False) as it:
        it.jobs.queue.stop("test", "")
        it.jobs.queue.go("test")
        job = await it.jobs.submit(new(), ME)
        (lease,) = await it.jobs.queue.claim(5)
        assert lease.asker == ME
        clock.advance(50)
        assert it.jobs.queue.beat(job.job_id, 1)
        clock.advance(50)
        it.jobs.queue.tick()
        assert (await it.jobs.get(job.job_id)).state is JobState.RUNNING
        clock.advance(20)
        it.jobs.queue.tick()
        await it.db.commit(it.db.unit())
        assert (await it.jobs.get(job.job_id)).state is JobState.RETRYING
        assert not it.jobs.queue.succeed(job.job_id, 1, "too late")
        clock.advance(10)
        ((second),) = await it.jobs.queue.claim(1)
        assert second.job.attempts == 2
        assert not it.jobs.queue.report(job.job_id, 1, 0.5, "of the first")
        assert it.jobs.queue.succeed(job.job_id, 2, 5)


async def test_a_stopped_room_gives_back_what_it_had(tmp_path: Path) -> None:
    async with room(tmp_path) as it:

        async def act(_: Any, bench: Any) -> None:
            await bench.keep("half")
            await asyncio.sleep(3600)

        it.told.act = act
        job = await it.jobs.submit(new(), ME)
        await until(lambda: it.told.seen)
        while not (await it.jobs.get(job.job_id)).note:
            await asyncio.sleep(0.002)
    async with room(tmp_path) as it:
        done = await it.jobs.ended(job.job_id)
        assert (done.state, done.attempts) == (JobState.SUCCEEDED, 1)
        assert it.told.seen == [(job.job_id, 1, "half")]


async def test_a_handler_that_blocks_loses_nothing(tmp_path: Path) -> None:
    async with room(tmp_path, SYSTEM, workers=2) as it:
        it.told.act = lambda *_: time.sleep(0.05)
        jobs = [await it.jobs.submit(new(n), ME) for n in range(4)]
        for job in jobs:
            assert (await it.jobs.ended(job.job_id)).state is JobState.SUCCEEDED
        assert sorted(it.told.order) == [0, 1, 2, 3]


async def test_a_job_that_finds_the_planners_busy_is_given_back_and_no_attempt_is_counted(tmp_path: Path) -> None:
    async with room(tmp_path, SYSTEM) as it:
        tried = 0

        async def act(_: Any, bench: Any) -> None:
            nonlocal tried
            tried += 1
            if tried <= 5:
                raise Unavailable("two plans wait for models", reason=BUSY, retry_after=0.01)

        it.told.act = act
        job = await it.jobs.submit(new(max_attempts=1), ME)
        done = await it.jobs.ended(job.job_id)
        assert (done.state, done.attempts, tried) == (JobState.SUCCEEDED, 1, 6)
