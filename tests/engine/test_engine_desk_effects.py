"""Every command at the front desk: its acknowledgement, its effect behind the desk, and the events that tell of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.desk_back import ASKER, DeskHouse, away, desk_house

from lightfast.core.errors import AlreadyExists
from lightfast.engine.desk.coded import (
    ContextLoaded,
    Fault,
    StatusUpdate,
    TaskComplete,
    TaskReady,
    parse_event,
)
from lightfast.engine.desk.records import Ack, LineState
from lightfast.engine.runs.records import RunState


async def say(house: DeskHouse, line: str, **how: str) -> Ack:
    return await house.desk.say(line, ASKER, "client:test", **how)


async def state_of(house: DeskHouse, line_id: str) -> LineState:
    line = await house.desk.lines.get(line_id)
    assert line is not None
    return line.state


async def test_a_task_is_created_done_and_complete(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        ack = await say(house, "tc:Add a red cube|create|low")
        ready = parse_event(ack.line)
        assert isinstance(ready, TaskReady)
        assert (ready.routing, ack.job, ack.command, ack.confidence) == ("one_shot", ready.task, "", 1.0)
        told = await house.told("desk.", count=3)
        assert [each["kind"] for each in told] == ["desk.queued", "desk.started", "desk.complete"]
        assert parse_event(told[1]["line"]) == StatusUpdate(ready.task, "in_progress")
        assert parse_event(told[2]["line"]) == TaskComplete(ready.task, "success", {"next": ["cl:/a"]})
        task = house.workspaces.tasks[ready.task]
        assert (task.title, task.state, task.fields["run_id"]) == ("Add a red cube", "DONE", "run-1")
        assert task.fields["intent_type"] == "create"
        assert task.fields["intent_source"] == "desk"
        assert 0.1 < task.fields["complexity"] < 0.3
        assert task.fields["confidence"] == ready.confidence
        assert task.fields["routing_decision"] == "one_shot"
        assert house.planner.intents == ["Add a red cube"]
        assert house.runs.runs["run-1"].details == {"task": ready.task, "line": ack.line_id}
        assert await state_of(house, ack.line_id) is LineState.DONE


async def test_plain_words_are_planned_as_they_were_said(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        ack = await say(house, "please add a red cube, then render it")
        assert ack.command == "tc:Add a red cube, then render it|create|low"
        assert ack.confidence > 0.7
        await house.told("desk.complete")
        assert house.planner.intents == ["please add a red cube, then render it"]


async def test_what_no_program_can_do_is_left_to_a_person(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        ack = await say(house, "tc:Order new strings")
        (told,) = await house.told("desk.ready")
        assert parse_event(told["line"]) == StatusUpdate(ack.job, "ready")
        assert "what is it to do?" in told["text"]
        assert house.workspaces.tasks[ack.job].state == "READY"
        assert not house.runs.runs


async def test_a_failed_run_is_told_with_code_and_recovery(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.runs.fails = "cube"
        ack = await say(house, "tc:Add a cube")
        (told,) = await house.told("desk.failed")
        fault = parse_event(told["line"])
        assert isinstance(fault, Fault)
        assert (fault.code, fault.message) == ("RUN_FAILED", "it would not")
        assert fault.recovery
        assert house.workspaces.tasks[ack.job].state == "FAILED"
        assert await state_of(house, ack.line_id) is LineState.FAILED


async def test_a_run_that_waits_for_an_approval_says_so(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.runs.approval = True
        ack = await say(house, "tc:Render the film")
        (told,) = await house.told("desk.started")
        assert parse_event(told["line"]) == StatusUpdate(ack.job, "awaiting_approval")
        assert "lightfast approve run-1" in told["text"]
        await house.runs.end("run-1", RunState.CANCELLED, "refused by local")
        (told,) = await house.told("desk.failed")
        assert parse_event(told["line"]).code == "RUN_CANCELLED"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("line", "titles"),
    [
        ("ts:auto|0.3|a show with lights, visuals and sound", ["A show: lights", "A show: visuals", "A show: sound"]),
        ("ts:auto|0.2|record the drums, then mix the record", ["Record the drums", "Mix the record"]),
    ],
    ids=["things", "steps"],
)
async def test_a_task_is_split_and_its_parts_are_done_in_order(tmp_path: Path, line: str, titles: list[str]) -> None:
    async with desk_house(tmp_path) as house:
        ack = await say(house, line)
        ready = parse_event(ack.line)
        assert isinstance(ready, TaskReady)
        assert ready.routing == "split"
        assert ready.confidence == float(line.split("|")[1])
        while True:
            told = await house.told("desk.complete")
            if told[-1]["job"] == ready.task:
                break
            told = await house.told("desk.complete", count=len(told) + 1)
        parts = [task for task in house.workspaces.tasks.values() if task.parent_task_id == ready.task]
        assert [part.title for part in parts] == titles
        assert house.planner.intents == titles
        assert {part.state for part in parts} == {"DONE"}
        assert house.workspaces.tasks[ready.task].state == "DONE"
        split = (await house.told("desk.split"))[0]
        assert split["parts"] == [part.task_id for part in parts]
        shares = [parse_event(each["line"]).progress for each in await house.told("desk.progress")]  # type: ignore[union-attr]
        assert shares == [pytest.approx(n / len(titles), abs=1e-6) for n in range(1, len(titles))]


async def test_a_part_that_fails_ends_the_whole_and_begins_no_other(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.runs.fails = "Mix"
        ack = await say(house, "ts:auto|0.2|record the drums, mix the record, render the cover")
        while (told := (await house.told("desk.failed"))[-1])["job"] != ack.job:
            await house.told("desk.failed", count=2)
        assert parse_event(told["line"]).code == "PART_FAILED"  # type: ignore[union-attr]
        assert house.planner.intents == ["Record the drums", "Mix the record"]
        assert house.workspaces.tasks[ack.job].state == "FAILED"
        assert house.workspaces.tasks[f"{ack.job}-3"].state == "PENDING"


async def test_a_given_task_is_split_and_one_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        first = await say(house, "tc:Tidy the studio")
        await house.told("desk.ready")
        ack = await say(house, f"ts:{first.job}|0.4|record it and mix it")
        assert ack.job == first.job
        await house.told("desk.split")
        bad = await say(house, "ts:task_123|0.5|why not")
        (told,) = await house.told("desk.failed")
        fault = parse_event(told["line"])
        assert (fault.code, told["job"]) == ("TASK_UNKNOWN", bad.job)  # type: ignore[union-attr]


async def test_something_large_without_parts_is_left_to_a_person(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        await say(house, "ts:auto|0.3|Complex multi-component system")
        (told,) = await house.told("desk.ready")
        assert "say its parts" in told["text"]


async def test_a_workflow_is_started_with_its_parameters(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        ack = await say(house, "wf:project_planning|{name:'MyApp',scope:'web,mobile'}")
        assert ack.job.startswith("run-")
        assert parse_event(ack.line) == StatusUpdate(ack.job, "queued")
        told = await house.told("desk.", count=3)
        assert parse_event(told[1]["line"]) == StatusUpdate(ack.job, "started")
        assert parse_event(told[2]["line"]).task == ack.job  # type: ignore[union-attr]
        assert house.workflows.started == [("project_planning", {"name": "MyApp", "scope": "web,mobile"})]
        assert not house.workspaces.tasks
        wrong = await say(house, "wf:projct_planning")
        fault = parse_event(wrong.line)
        assert isinstance(fault, Fault)
        assert (fault.code, wrong.line_id) == ("WORKFLOW_UNKNOWN", "")
        assert "Did you mean project_planning?" in fault.recovery


async def test_it_remembers_and_loads_what_it_remembered(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        ack = await say(house, "ms:user_preference|{theme:'dark',size:2}|semantic")
        assert parse_event(ack.line) == StatusUpdate("user_preference", "queued")
        (told,) = await house.told("desk.remembered")
        found = (await house.memory.get("user_preference")).versions[0]
        assert (found.text, found.tags) == ("user_preference: theme = dark, size = 2", ("semantic",))
        assert found.metadata == {"theme": "dark", "size": 2}
        assert parse_event(told["line"]) == StatusUpdate(found.memory_id, "remembered", 1.0)
        ack = await say(house, "cl:user_preference")
        assert parse_event(ack.line) == StatusUpdate("user_preference", "loading")
        (told,) = await house.told("desk.loaded")
        assert parse_event(told["line"]) == ContextLoaded("user_preference", found.text)


async def test_it_loads_conversations_runs_and_workflows_and_refuses_what_is_unknown(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        await say(house, "tc:Add a cube")
        await house.told("desk.complete")
        for count, (context, part) in enumerate(
            [("conversation", "tc:Add a cube"), ("run-1", "succeeded"), ("nightly_render", "Steps: one, two")], 1
        ):
            await say(house, f"cl:{context}|full")
            told = await house.told("desk.loaded", count=count)
            loaded = parse_event(told[-1]["line"])
            assert isinstance(loaded, ContextLoaded)
            assert part in loaded.summary
        for context in ("nothing_of_the_sort", "task-nowhere", "conversation_2026-02-31"):
            count = len([each for each in await house.told("desk.") if each["kind"] == "desk.failed"])
            await say(house, f"cl:{context}")
            told = await house.told("desk.failed", count=count + 1)
            assert parse_event(told[-1]["line"]).code == "CONTEXT_UNKNOWN"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("", "EMPTY_LINE"),
        ("  \n ", "EMPTY_LINE"),
        ("2;tc:x", "VERSION_UNKNOWN"),
        ("xx:what", "COMMAND_UNKNOWN"),
        ("TC:what", "COMMAND_UNKNOWN"),
        ("tc:", "FIELD_MISSING"),
        ("tc:a|b|c|d", "FIELDS_TOO_MANY"),
        ("do it", "UNCLEAR"),
    ],
)
async def test_a_bad_line_is_answered_and_nothing_is_kept(tmp_path: Path, line: str, code: str) -> None:
    async with desk_house(tmp_path) as house:
        ack = await say(house, line)
        fault = parse_event(ack.line)
        assert isinstance(fault, Fault)
        assert (fault.code, ack.line_id, ack.confidence) == (code, "", 0.0)
        assert fault.recovery
        assert await house.db.query("SELECT * FROM desk_lines") == []


async def test_talk_is_answered_without_work(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        ack = await say(house, "thanks a lot")
        assert (ack.line, ack.text, ack.line_id) == ("su:desk|ready|1", "Gladly.", "")
        assert not house.jobs.jobs


async def test_a_request_id_is_answered_once(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        first = await say(house, "tc:Add a cube", request_id="one")
        assert await say(house, "tc:Add a cube", request_id="one") == first
        with pytest.raises(AlreadyExists) as caught:
            await say(house, "tc:Add a tempo", request_id="one")
        assert caught.value.reason == "REQUEST_ID_REUSED"
        await house.told("desk.complete")
        assert len(house.jobs.jobs) == house.workspaces.created == 1


async def test_an_error_that_passes_is_tried_again_and_one_that_stays_is_told(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        house.planner.error = away("the planner is away")
        ack = await say(house, "tc:Add a cube")
        (told,) = await house.told("desk.failed")
        fault = parse_event(told["line"])
        assert isinstance(fault, Fault)
        assert (fault.code, fault.message) == ("UNAVAILABLE", "the planner is away")
        assert len(house.planner.intents) == 3
        assert house.workspaces.created == 1
        assert await state_of(house, ack.line_id) is LineState.FAILED
