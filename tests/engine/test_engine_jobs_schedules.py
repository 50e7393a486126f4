"""Schedules: times in zones, what was missed, and no time twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.job_room import ME, Room, room

from lightfast.core.clock import SYSTEM, StillClock
from lightfast.core.errors import InvalidArgument, NotFound, Unavailable
from lightfast.engine.jobs.records import Job, NewJob
from lightfast.engine.jobs.schedules import Schedule, Schedules
from lightfast.engine.jobs.times import next_time
from lightfast.engine.ports import Asker

SECOND = 10**9


def stamp(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * SECOND


@pytest.mark.parametrize(
    ("when", "zone", "after", "then"),
    [
        ("0 9 * * 1-5", "Europe/Berlin", "2026-03-27T09:00:00+01:00", "2026-03-30T09:00:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00+02:00", "2026-10-25T02:30:00+02:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T02:10:00+01:00", "2026-10-26T02:30:00+01:00"),
        ("*/20 * * * *", "Europe/Berlin", "2026-10-25T02:50:00+02:00", "2026-10-25T02:00:00+01:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00:00+00:00", "2028-02-29T00:00:00+00:00"),
        ("every 90s", "", "2026-01-01T00:02:00+00:00", "2026-01-01T00:03:00+00:00"),
        ("EVERY 2 h", "", "2026-01-01T00:00:00+00:00", "2026-01-01T02:00:00+00:00"),
    ],
)
def test_the_next_time(when: str, zone: str, after: str, then: str) -> None:
    found = next_time(when, zone, stamp(after), stamp("2026-01-01T00:00:00+00:00"))
    assert (
        datetime.fromtimestamp(found / SECOND, UTC).isoformat()
        == datetime.fromisoformat(then).astimezone(UTC).isoformat()
    )


@pytest.mark.parametrize(
    ("when", "zone"),
    [
        ("", "UTC"),
        ("* * * *", "UTC"),
        ("* * * * * *", "UTC"),
        ("61 * * * *", "UTC"),
        ("0 0 31 2 *", "UTC"),
        ("every 0s", "UTC"),
        ("every 90", "UTC"),
        ("every 999999999d", "UTC"),
        ("0 9 * * *", "Europe/Nowhere"),
        ("0 9 * * *", "../../etc/passwd"),
    ],
)
def test_what_says_no_time(when: str, zone: str) -> None:
    with pytest.raises(InvalidArgument) as found:
        next_time(when, zone, 0, 0)
    assert found.value.field in ("when", "time_zone")


@asynccontextmanager
async def opened(folder: Path, clock: StillClock) -> AsyncIterator[tuple[Room, Schedules]]:
    async with room(folder, clock, started=False) as it:
        schedules = await Schedules.open(it.db, clock, it.jobs, it.events)
        try:
            yield it, schedules
        finally:
            await schedules.close()


def every(name: str = "tick", when: str = "every 60s", **how: object) -> Schedule:
    return Schedule(name, when, "told", {"n": 1}, **how)  # type: ignore[arg-type]


async def test_each_time_queues_one_job(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock) as (it, schedules):
        made = await schedules.set(every(priority=3), ME)
        assert (made.next_time, made.missed) == (clock.now_ns() + 60 * SECOND, "skip")
        assert await schedules.fire() == 0
        for _ in range(3):
            clock.advance(60)
            assert await schedules.fire() == 1
            assert await schedules.fire() == 0
        found = (await it.jobs.page())[0]
        assert [(job.schedule, job.priority, job.requester, dict(job.payload)) for job in found] == [
            ("tick", 3, "me", {"n": 1})
        ] * 3
        now = schedules.get("tick")
        assert (now.last_time, now.next_time) == (clock.now_ns(), clock.now_ns() + 60 * SECOND)
    async with opened(tmp_path, clock) as (it, schedules):
        assert schedules.all() == [now]
        await schedules.delete("tick")
        with pytest.raises(NotFound):
            await schedules.delete("tick")
        clock.advance(600)
        assert await schedules.fire() == 0


@pytest.mark.parametrize(("missed", "jobs"), [("skip", 0), ("once", 1)])
async def test_what_was_missed_while_nobody_was_there(tmp_path: Path, missed: str, jobs: int) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock) as (_, schedules):
        await schedules.set(every(missed=missed), ME)
    clock.advance(3600 + 30)
    async with opened(tmp_path, clock) as (it, schedules):
        assert await schedules.fire() == jobs
        assert len((await it.jobs.page())[0]) == jobs
        assert schedules.get("tick").next_time == clock.now_ns() + 30 * SECOND
        assert ("schedule.skipped" in await it.kinds()) == (missed == "skip")


class Failing:
    """A room that queues the job, and dies before it says so."""

    def __init__(self, it: Room) -> None:
        self._jobs = it.jobs
        self.fails = True

    def check(self, new: NewJob) -> None:
        self._jobs.check(new)

    async def submit(self, new: NewJob, asker: Asker, *, request_id: str = "") -> Job:
        job = await self._jobs.submit(new, asker, request_id=request_id)
        if self.fails:
            raise Unavailable("gone")
        return job


async def test_a_time_that_was_queued_is_not_queued_again(tmp_path: Path) -> None:
    clock = StillClock()
    async with room(tmp_path, clock, started=False) as it:
        failing = Failing(it)
        schedules = await Schedules.open(it.db, clock, failing, it.events)  # type: ignore[arg-type]
        await schedules.set(every(), ME)
        clock.advance(60)
        assert await schedules.fire() == 0
        failing.fails = False
        assert await schedules.fire() == 0  # it waits a little before it tries again
        clock.advance(5)
        assert await schedules.fire() == 1
        assert len((await it.jobs.page())[0]) == 1
        await schedules.close()


async def test_a_type_that_is_gone_and_a_schedule_that_is_off(tmp_path: Path) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock) as (it, schedules):
        await schedules.set(every("off", disabled=True), ME)
        await schedules.set(every("on"), ME)
        it.jobs.remove_type(it.told)
        clock.advance(60)
        assert await schedules.fire() == 0
        (event,) = await it.all_events()
        assert (event.kind, event.entity_id, event.payload["why"]) == ("schedule.skipped", "on", "refused")
        assert schedules.get("on").next_time > clock.now_ns()


async def test_a_schedule_that_is_malformed(tmp_path: Path) -> None:
    async with opened(tmp_path, StillClock()) as (_, schedules):
        for wrong in (
            every(""),
            every("x" * 81),
            every(missed="twice"),
            every(when="soon"),
            every(time_zone="Nowhere"),
            Schedule("x", "every 1s", "nobody"),
            Schedule("x", "every 1s", "told", {"n": "text"}),
        ):
            with pytest.raises(InvalidArgument):
                await schedules.set(wrong, ME)
        assert schedules.all() == []


async def test_it_follows_the_clock_by_itself(tmp_path: Path) -> None:
    async with room(tmp_path, SYSTEM) as it:
        schedules = await Schedules.open(it.db, SYSTEM, it.jobs, it.events)
        schedules.start()
        await schedules.set(every(when="every 1s"), ME)
        while len(it.told.seen) < 2:
            await asyncio.sleep(0.01)
        await schedules.close()


@pytest.mark.parametrize("away", [False, True], ids=["at work", "while it was away"])
@pytest.mark.parametrize("when", ["every 60s", "* * * * *"], ids=["interval", "cron"])
async def test_a_clock_that_is_set_back_silences_nothing(tmp_path: Path, when: str, away: bool) -> None:
    clock = StillClock()
    async with opened(tmp_path, clock) as (it, schedules):
        await schedules.set(every(when=when, time_zone="UTC"), ME)
        clock.advance(60)
        assert await schedules.fire() == 1
        clock.set_back(86_400)
        if not away:
            assert await schedules.fire() == 0
            clock.advance(60)
            assert await schedules.fire() == 1
            assert len((await it.jobs.page())[0]) == 2
            return
    async with opened(tmp_path, clock) as (it, schedules):
        assert await schedules.fire() == 0
        clock.advance(60)
        assert await schedules.fire() == 1
        assert len((await it.jobs.page())[0]) == 2
