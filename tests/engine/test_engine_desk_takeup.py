"""A line whose attempt died after its run was started takes up that run, and starts and plans nothing again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.desk_back import ASKER, DeskHouse, desk_house

from lightfast.engine.desk.pump import JOB_TYPE
from lightfast.engine.desk.records import LineState
from lightfast.engine.jobs.records import Job, JobState
from lightfast.engine.programs.checked import Checked, Plan
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.records import RunAsk


async def started_before(house: DeskHouse, line_id: str) -> str:
    """Start a run for a line, as an attempt does that dies right after."""
    program = Program((Instruction("s1", "context.set", {"path": "/a", "value": 2}),))
    house.runs.at_once = False
    run = await house.runs.start(Plan(Checked(program)), ASKER, RunAsk(request_id=line_id, intent="set the light"))
    unit = house.db.unit()
    unit.execute(
        "INSERT INTO requests(client, method, request_id, payload_hash, response, create_time) VALUES(?, ?, ?, ?, ?, ?)",
        (ASKER.identity, "Run", line_id, "another plan", run.run_id, 1),
    )
    await house.db.commit(unit)
    return run.run_id


async def test_a_second_attempt_takes_up_the_run_of_the_first(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.jobs.stop("not yet")
        ack = await house.desk.say("set the light to 2", ASKER, "client")
        run_id = await started_before(house, ack.line_id)
        house.jobs.go()
        await house.told("desk.started")
        await house.runs.end(run_id)
        await house.told("desk.complete")
        line = await house.desk.lines.get(ack.line_id)
        assert line is not None
        assert (line.state, line.run_id) == (LineState.DONE, run_id)
        assert house.planner.intents == []
        assert list(house.runs.runs) == [run_id]


async def test_a_line_whose_job_died_goes_on_with_its_run(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.jobs.stop("not yet")
        ack = await house.desk.say("set the light to 2", ASKER, "client")
        run_id = await started_before(house, ack.line_id)
        await house.desk.backend.job_over(ack.line_id, "the daemon ended in attempt 3 of 3")
        await house.runs.end(run_id)
        await house.told("desk.complete")
        assert [each["kind"] for each in await house.told("desk.failed", count=0)] == []


async def test_a_job_that_dies_as_its_line_is_looked_at_after_a_start_is_told(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.jobs.stop("not yet")
        ack = await house.desk.say("tc:add a cube", ASKER, "client")
        while not (taken := await house.desk.lines.under_way(10)):
            await asyncio.sleep(0.01)
    async with desk_house(tmp_path, start=False) as house:

        async def dying(job_id: str) -> Job:
            running = Job(job_id, JOB_TYPE, JobState.RUNNING, {}, ASKER.identity, 1)
            unit = house.db.unit()
            house.events.add(unit, "job.dead", "job", job_id, {"error": "the daemon ended in attempt 10 of 10"})
            await house.db.commit(unit)
            house.events.poke()
            await house.until(lambda: bool(house.desk.board.changes))  # the desk has heard of it
            return running

        house.jobs.get = dying  # type: ignore[method-assign]
        await house.desk.start()
        (told,) = await house.told("desk.failed")
        assert [line.line_id for line in taken] == [told["line_id"]] == [ack.line_id]
        assert "attempt 10 of 10" in told["text"]
        await house.desk.close()
