"""What a store of format 4 holds of jobs, schedules and tasks is read as it was written."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.storage.fixtures.engine import ASKER, Paint, add_engine

from lightfast.core.clock import StillClock
from lightfast.engine.events.log import EventLog
from lightfast.engine.jobs.jobs import Jobs
from lightfast.engine.jobs.records import JobState, NewJob
from lightfast.engine.jobs.schedules import Schedules
from lightfast.engine.workspaces.records import TaskState
from lightfast.engine.workspaces.workspaces import Workspaces
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests

FIXTURE = Path(__file__).with_name("fixtures") / "store-v4.db"
NOW = pytest.mark.parametrize("source", ["fixture", "fresh"])


@asynccontextmanager
async def opened(folder: Path, source: str) -> AsyncIterator[tuple[Database, StillClock, EventLog, Requests]]:
    """Open a copy of the fixture, or what is written today."""
    clock = StillClock()
    path = folder / "store.db"
    if source == "fixture":
        shutil.copy(FIXTURE, path)
    db = await Database.open(path, clock=clock)
    requests = Requests(db, clock)
    await requests.start()
    try:
        if source == "fresh":
            await add_engine(db, requests, clock)
        ((written,),) = await db.query("SELECT max(record_time) FROM task_versions")
        clock.advance((written - clock.now_ns()) / 1e9)
        events = await EventLog.open(db, clock)
        yield db, clock, events, requests
        await events.close()
    finally:
        await requests.close()
        await db.close()


@NOW
async def test_jobs_and_schedules(tmp_path: Path, source: str) -> None:
    async with opened(tmp_path, source) as (db, clock, events, _):
        jobs = await Jobs.open(db, clock, events, workers=1, chance=lambda: 0.0)
        waits, under_way, dead, done = (await jobs.page())[0]
        assert [job.state for job in (waits, under_way, dead, done)] == [
            JobState.PENDING,
            JobState.RETRYING,
            JobState.DEAD,
            JobState.SUCCEEDED,
        ]
        assert (done.payload, done.result, done.note) == (
            {"color": (1.0, 0.0, 0.0)},
            {"painted": (1.0, 0.0, 0.0)},
            "primed",
        )
        assert [text for _, text in (await jobs.get(done.job_id)).log] == ["painting"]
        assert "no color" in dead.error
        assert (under_way.attempts, under_way.max_attempts, waits.after) == (1, 3, (under_way.job_id,))
        jobs.add_type(Paint())
        new = NewJob("paint", {"color": (1.0, 0.0, 0.0)}, 5)
        assert (await jobs.submit(new, ASKER, request_id="paint-1")).job_id == done.job_id
        schedules = await Schedules.open(db, clock, jobs, events)
        (schedule,) = schedules.all()
        assert (schedule.name, schedule.when, schedule.time_zone, schedule.missed, schedule.payload) == (
            "morning",
            "0 9 * * 1-5",
            "Europe/Berlin",
            "once",
            {"color": "red"},
        )
        jobs.start()
        assert (await jobs.ended(waits.job_id)).state is JobState.SUCCEEDED
        assert (await jobs.get(under_way.job_id)).attempts == 2
        await jobs.close()


@NOW
async def test_workspaces_and_tasks(tmp_path: Path, source: str) -> None:
    async with opened(tmp_path, source) as (db, clock, events, requests):
        work = await Workspaces.open(db, clock, events, requests)
        assert (await work.workspace("theatre")).metadata == {"seats": 300}
        assert (await work.project("premiere")).workspace_id == "theatre"
        stage = await work.get_task("stage")
        assert (stage.state, stage.version, stage.metadata) == (TaskState.SPLIT, 2, {"lux": 200})
        assert (await work.get_task("stage", at_time=stage.create_time)).state is TaskState.PENDING
        assert [(part.task_id, part.state.value, part.result) for part in await work.tasks.parts("stage")] == [
            ("hang", "DONE", "hung"),
            ("point", "PENDING", ""),
        ]
        assert [task.task_id for task in (await work.tasks.page(query="lamps"))[0]] == ["point", "hang"]
        await work.update_task("point", {"state": "DONE"}, ASKER)
        assert (await work.get_task("stage")).state is TaskState.DONE
