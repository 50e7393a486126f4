"""The back stopped, drowned or refusing; the disk failing; the daemon killed: what was acknowledged is done all the same."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
from tests.support.children import watched
from tests.support.desk_back import ASKER, DeskHouse, away, desk_house

from lightfast.core.errors import Exhausted, InvalidArgument, LightfastError
from lightfast.engine.desk import answering
from lightfast.engine.desk.coded import Fault, TaskReady, parse_event
from lightfast.engine.desk.pump import Pump
from lightfast.engine.desk.records import Ack, Line, LineState, Told
from lightfast.engine.runs.records import RunState

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "2"))


async def say(house: DeskHouse, line: str) -> Ack:
    return await house.desk.say(line, ASKER, "client:test")


async def test_a_stopped_back_is_said_and_what_was_queued_is_done_later(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.jobs.stop("the show is locked")
        acks = [await say(house, f"tc:add cube {number}") for number in range(5)]
        assert all(isinstance(parse_event(ack.line), TaskReady) for ack in acks)
        assert "the back is stopped: the show is locked" in acks[0].text
        assert re.search(r"queued behind [345]; the back is stopped", acks[4].text)
        assert not house.workspaces.tasks
        house.jobs.go()
        await house.told("desk.complete", count=5)
        assert [task.title for task in house.workspaces.tasks.values()] == [f"add cube {n}" for n in range(5)]
        assert "queued" not in (await say(house, "tc:add one more cube")).text


async def test_a_drowned_back_is_said(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.jobs.backlog = 99
        assert "queued" not in (await say(house, "tc:add a cube")).text
        house.jobs.backlog = 500
        ack = await say(house, "ms:a|b")
        assert "queued behind 50" in ack.text
        assert (await say(house, "hello")).text == "Hello. What shall be done?"
        await house.told("desk.remembered")


async def test_a_pump_in_trouble_ends_though_it_is_woken_at_that_moment() -> None:
    class Full:
        def opened(self) -> int:
            return 0

        async def open(self, limit: int) -> list[Line]:
            raise Exhausted("the disk is full", reason="DISK_FULL")

    async def refused(line: Line, error: LightfastError) -> None:
        raise AssertionError(line)

    for ticks in range(6):
        pump = Pump(cast("Any", Full()), cast("Any", None), lambda *_: None, refused)
        await pump.start()
        while not pump.trouble:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        pump.wake()
        for _ in range(ticks):
            await asyncio.sleep(0)
        with structlog.testing.capture_logs() as said:
            await pump.close()
        assert said == []  # else its task did not end when it was cancelled


async def test_a_queue_that_refuses_keeps_nobody_waiting(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.jobs.refuses = away("the queue is full")
        first = await say(house, "tc:add a cube")
        await house.until(lambda: bool(house.desk._pump.trouble))
        second = await say(house, "tc:add a light")
        assert "the back is stopped: the queue is full" in second.text
        assert {line.state for line in await house.desk.lines.newest("", 10)} == {LineState.OPEN}
        house.jobs.go()
        done = await house.told("desk.complete", count=2)
        assert {each["job"] for each in done} == {first.job, second.job}
        house.jobs.refuses = InvalidArgument("no such type", reason="JOB_TYPE_UNKNOWN")
        await say(house, "tc:add a third cube")
        (failed,) = await house.told("desk.failed")
        assert parse_event(failed["line"]).code == "JOB_TYPE_UNKNOWN"  # type: ignore[union-attr]


async def test_a_queue_that_breaks_fails_the_line_and_carries_the_next(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.jobs.refuses = TypeError("a mistake of ours")
        broken = await say(house, "tc:add a cube")
        (failed,) = await house.told("desk.failed")
        assert failed["job"] == broken.job
        assert parse_event(failed["line"]).code == "INTERNAL"  # type: ignore[union-attr]
        house.jobs.go()
        await say(house, "tc:add a light")
        await house.told("desk.complete")


async def test_a_full_desk_refuses_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.engine.desk.desk.MOST_OPEN", 3)
    assert answering.MOST_OPEN == 10_000
    async with desk_house(tmp_path) as house:
        house.jobs.refuses = away()
        for number in range(3):
            assert (await say(house, f"tc:{number}")).line_id
        refused = await say(house, "tc:one too many")
        fault = parse_event(refused.line)
        assert isinstance(fault, Fault)
        assert (fault.code, refused.line_id) == ("DESK_FULL", "")
        assert (await say(house, "hello")).line == "su:desk|ready|1"


async def test_a_line_that_is_counted_while_it_is_written_counts_once(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.jobs.refuses = away()
        add, pump = house.desk.lines.add, house.desk._pump

        async def counted_meanwhile(line: Line, told: Told) -> Ack:
            ack = await add(line, told)
            before = pump.counted
            pump.wake()
            await house.until(lambda: pump.counted > before)
            return ack

        house.desk.lines.add = counted_meanwhile  # type: ignore[method-assign]
        for number in range(1, 4):
            await say(house, f"tc:{number}")
            assert pump.waiting == number


async def test_nothing_is_acknowledged_that_the_disk_did_not_take(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        commit = house.db.commit

        async def full(unit: object) -> None:
            raise away("the disk is full")

        house.db.commit = full  # type: ignore[method-assign, assignment]
        with pytest.raises(LightfastError):
            await say(house, "tc:add a cube")
        conversation = house.desk.converse(ASKER, "client:test")
        await conversation.hear("tc:add a cube", "one")
        conversation.finish()
        replies = [reply async for reply in conversation.replies()]
        await conversation.close()
        assert parse_event(replies[0].line).code == "UNAVAILABLE"  # type: ignore[union-attr]
        house.db.commit = commit  # type: ignore[method-assign]
        assert await house.db.query("SELECT * FROM desk_lines") == []
        assert list(house.desk.recent.newest("client:test")) == []


async def test_a_restart_takes_up_what_was_open_running_and_split(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.runs.at_once = False
        running = await say(house, "tc:add a cube")
        split = await say(house, "ts:auto|0.3|a show with light and sound")
        await house.told("desk.started", count=2)
        house.jobs.stop("until the next one")
        waiting = await say(house, "ms:k|v")
        left = house.runs.runs, house.runs.requests, house.workspaces.tasks
    async with desk_house(tmp_path, start=False) as house:
        house.runs.runs, house.runs.requests, house.workspaces.tasks = left
        house.runs.at_once = False
        await house.desk.start()
        # What ended while nobody looked is found by asking; nothing told of it.
        for run_id in list(house.runs.runs):
            await house.runs.end(run_id)
        assert waiting.line_id in {each["line_id"] for each in await house.told("desk.remembered")}
        await house.told("desk.started", count=3)
        await house.runs.end("run-3")
        done: set[str] = set()
        while not {running.job, split.job} <= done:
            done = {each["job"] for each in await house.told("desk.complete", count=len(done) or 1)}
            await asyncio.sleep(0.01)
        assert house.workspaces.tasks[split.job].state == "DONE"
        assert [run.intent for run in house.runs.runs.values()] == ["add a cube", "A show: light", "A show: sound"]


async def test_a_run_that_ended_unseen_is_found_at_the_start(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.runs.at_once = False
        ack = await say(house, "tc:add a cube")
        await house.told("desk.started")
        left = house.runs.runs
    async with desk_house(tmp_path, start=False) as house:
        house.runs.runs = left
        await house.workspaces.create_task({"task_id": ack.job, "title": "add a cube"}, ASKER)
        await house.runs.end("run-1", RunState.FAILED, "the lamp broke")  # before the desk follows
        await house.desk.start()
        (failed,) = await house.told("desk.failed")
        assert failed["job"] == ack.job
        assert "the lamp broke" in failed["text"]


@pytest.mark.limit(600)  # some hundreds of syncs, one after the other
@pytest.mark.parametrize("crash", range(CRASHES))
async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, crash: int) -> None:
    command = [sys.executable, "-m", "tests.engine.desk_writer", str(tmp_path)]
    root = Path(__file__).parents[2]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    acknowledged = []
    try:
        with watched(process, "the desk"):
            for _ in range(150 + 40 * crash):
                acknowledged.append(process.stdout.readline().split()[0])
    finally:
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
        process.stdout.close()
        process.wait(30)
    acknowledged += [line.split()[0] for line in rest.splitlines(keepends=True) if line.endswith("\n")]
    async with desk_house(tmp_path) as house:
        there = {line.line_id for line in await house.desk.lines.newest("", 100_000)}
        assert set(acknowledged) <= there
        assert len(set(acknowledged)) == len(acknowledged)

        async def over() -> bool:
            rows = await house.db.query("SELECT count(*) FROM desk_lines WHERE state IN ('OPEN', 'TAKEN')")
            return bool(rows[0][0] == 0)

        while not await over():
            await asyncio.sleep(0.02)
        rows = await house.db.query("SELECT state, count(*) FROM desk_lines GROUP BY state")
        assert {state for state, _ in rows} == {"DONE"}


async def test_a_line_whose_run_was_begun_before_a_kill_is_not_planned_anew(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.runs.at_once = False
        ack = await say(house, "tc:add a cube|create")
        await house.told("desk.started")
        assert house.planner.types == ["create"]
        line = await house.desk.lines.get(ack.line_id)
        assert line is not None
        await house.desk.lines.change(line, state=LineState.TAKEN, run_id="")  # as if killed before this was written
        house.planner.words = ("nothing",)  # what it did has changed the world: the same words are nothing now
        assert await house.desk.backend.perform(ack.line_id) == LineState.RUNNING
        assert len(house.planner.intents) == len(house.runs.runs) == 1
        await house.runs.end("run-1")
        await house.told("desk.complete")
