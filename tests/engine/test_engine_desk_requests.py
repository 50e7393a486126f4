"""Labelled requests: the right command comes out of plain words, with and without a model; and routing goes its way."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from tests.engine.desk_requests import OBLIQUE, REQUESTS, WORKFLOWS
from tests.support.desk_back import ASKER, desk_house

from lightfast.core.clock import SYSTEM
from lightfast.engine.desk.answering import Answering, Back
from lightfast.engine.desk.classify import SURE, classify
from lightfast.engine.desk.coded import (
    ContextLoad,
    MemoryStore,
    TaskCreate,
    TaskSplit,
    WorkflowStart,
    format_line,
    parse_command,
)
from lightfast.engine.desk.front import proposal
from lightfast.engine.desk.judge import History, clauses, judge
from lightfast.engine.desk.parts import parts_of
from lightfast.engine.desk.suggest import Suggester

HELD_OUT = REQUESTS[1::2]


def figures(requests: tuple[tuple[str, str], ...]) -> dict[str, tuple[int, int]]:
    """Return how many of each kind were right, and how many there are."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for said, wanted in requests:
        found[wanted][0] += classify(said, WORKFLOWS).letters == wanted
        found[wanted][1] += 1
    return {kind: (right, count) for kind, (right, count) in found.items()}


def test_the_right_command_comes_out_of_requests_that_nothing_was_tuned_on() -> None:
    assert len(REQUESTS) >= 150
    found = figures(HELD_OUT)
    print(found)
    right, count = (sum(each[place] for each in found.values()) for place in (0, 1))
    assert right / count >= 0.95
    assert all(right / count >= 0.8 for right, count in found.values())


def test_what_is_understood_is_in_order_and_always_the_same() -> None:
    for said, _ in REQUESTS:
        one, two = classify(said, WORKFLOWS), classify(said, WORKFLOWS)
        assert one == two
        if one.command is not None:
            assert parse_command(format_line(one.command)) == one.command
            assert SURE <= one.confidence <= 1.0


@pytest.mark.parametrize(
    ("said", "command"),
    [
        ("please add a red cube!", TaskCreate("Add a red cube", "create", "low")),
        ("fix the typo in the credits", TaskCreate("Fix the typo in the credits", "fix", "low")),
        ("split task-abc123 into smaller steps", TaskSplit("task-abc123", 0.9, "Split task-abc123 into smaller steps")),
        ("run the nightly render workflow", WorkflowStart("nightly_render")),
        ("run project planning for MyApp", WorkflowStart("project_planning", {"name": "MyApp"})),
        ("start publish_album with title='High Tides' tracks=9", WorkflowStart("publish_album", {"title": "High Tides", "tracks": 9})),
        ("what is the status of task-abc123?", ContextLoad("task-abc123")),
        ("what did we talk about yesterday?", ContextLoad("conversation_yesterday")),
        ("show me everything in /stage/rig", ContextLoad("/stage/rig", "full")),
        ("remember that the client prefers warm light", MemoryStore("client_prefers_warm_light", "the client prefers warm light")),
        ("from now on use 25 frames per second", MemoryStore("use_25_frames_per", "use 25 frames per second", "procedural")),
    ],
)  # fmt: skip
def test_the_fields_are_taken_from_the_words(said: str, command: object) -> None:
    assert classify(said, WORKFLOWS).command == command


ROUTED = (
    ("add a red cube", "one_shot"),
    ("set the tempo to 128, add a red cube and render it", "one_shot"),
    ("rename track 2 to vocals and color it red", "one_shot"),
    ("fix the broken login button", "one_shot"),
    ("export the mix as a wav file", "one_shot"),
    ("set /blender/objects/Cube/location to 0 0 2", "one_shot"),
    ("create auth system", "one_shot"),
    ("build complete app", "split"),
    ("develop the whole website end to end", "split"),
    ("create a complete game with levels, enemies and music", "split"),
    ("record the drums, record the bass, record the keys, mix it, master the song and export the album", "split"),
    ("write an entire novel about the lighthouse keeper", "split"),
)


@pytest.mark.parametrize(("said", "routing"), ROUTED)
def test_requests_are_routed_by_complexity_and_confidence(said: str, routing: str) -> None:
    assert judge(said).routing == routing


def test_what_was_declared_counts_and_so_does_the_past() -> None:
    assert judge("user authentication system", declared=0.8).routing == "split"
    assert judge("user authentication system", declared=0.2).routing == "one_shot"
    assert judge("add a cube", sure=0.3).routing == "split"
    plain = judge("render the poster of the band")
    history = History()
    for _ in range(12):
        history.add("render the poster of the crew", succeeded=False)
    bad = judge("render the poster of the band", history=history)
    assert bad.similar == 12
    assert bad.confidence < plain.confidence
    for _ in range(500):
        history.add("render the poster of the crew", succeeded=True)
    good = judge("render the poster of the band", history=history)
    assert good.confidence > plain.confidence
    assert judge("mute the bass", history=history).similar == 0


def test_steps_and_parts() -> None:
    assert clauses("set the tempo to 1.5, add a cube and a light, then render it") == [
        "set the tempo to 1.5",
        "add a cube and a light",
        "render it",
    ]
    assert parts_of("break it down: a film with script, music and cut") == [
        "A film: script",
        "A film: music",
        "A film: cut",
    ]
    assert parts_of("record it, then mix it") == ["Record it", "Mix it"]
    assert parts_of("Complex multi-component system") == []


def answered(said: str) -> tuple[str, ...]:
    """Return the letters of what is done at once: those of the command, `none` or `unclear`."""
    desk = Answering(SYSTEM, History(), Suggester(), lambda: WORKFLOWS, lambda *_: None)
    answer = desk.answer(said, ASKER, "client:test", Back())
    if answer.line is not None:
        return (answer.line.letters,)
    return ("unclear" if answer.ack.line.startswith("er:UNCLEAR") else "none",)


EXAMPLES = {"tc": "tc:{0}", "ts": "ts:auto|0.3|{0}", "cl": "cl:{0}", "ms": "ms:thing|{0}", "wf": "wf:nightly_render"}


@pytest.mark.parametrize("kind", ["right", "wrong", "garbage", "silent", "unsure"])
def test_a_model_is_never_worse_than_code(kind: str) -> None:
    """A model is asked only where code asked back, and starts nothing: what is done at once stays as it was."""
    at_once = with_model = 0
    requests = (*HELD_OUT, *OBLIQUE)
    for number, (said, wanted) in enumerate(requests):
        (letters,) = answered(said)
        at_once += letters == wanted
        reply = {
            "right": json.dumps({"command": EXAMPLES.get(wanted, "").format(said), "confidence": 0.9}),
            "wrong": json.dumps({"command": list(EXAMPLES.values())[number % 5].format("else"), "confidence": 0.99}),
            "garbage": "{" * (number + 1),
            "silent": "",
            "unsure": json.dumps({"command": EXAMPLES.get(wanted, "").format(said), "confidence": 0.2}),
        }[kind]
        proposed = proposal(reply, said, WORKFLOWS) if letters == "unclear" else None
        with_model += letters == wanted or (proposed is not None and format_line(proposed)[:2] == wanted)
    print(kind, at_once / len(requests), with_model / len(requests))
    assert with_model >= at_once
    if kind in {"wrong", "garbage", "silent", "unsure"}:
        assert with_model == at_once
    else:
        assert with_model > at_once


def test_a_proposal_counts_only_where_it_is_grounded() -> None:
    good = json.dumps({"command": "tc:Paint the fence", "confidence": 0.8})
    assert proposal(good, "the fence, blue", WORKFLOWS) == TaskCreate("Paint the fence")
    for reply, said in (
        (good, "something nicer"),
        (json.dumps({"command": "wf:rm_everything", "confidence": 1.0}), "rm everything"),
        (json.dumps({"command": "tc:", "confidence": 1.0}), "the fence"),
        (json.dumps({"command": 7, "confidence": 1.0}), "the fence"),
        (json.dumps(["tc:Paint the fence"]), "the fence"),
    ):
        assert proposal(reply, said, WORKFLOWS) is None


async def test_tasks_of_the_past_are_read_at_the_start(tmp_path: Path) -> None:
    async with desk_house(tmp_path) as house:
        unit = house.db.unit()
        for number in range(20):
            unit.execute(
                "INSERT INTO task_versions(task_id, version, number, state, workspace_id, project_id, parent_task_id,"
                " title, description, intent_type, business_goal, body, create_time, record_time, superseded_time,"
                " valid_from, valid_to) VALUES(?, 1, ?, 'FAILED', '', '', '', 'bake the terrain', '', '', '', '{}',"
                " 1, 1, 0, 1, 1)",
                (f"task-{number}", number),
            )
        await house.db.commit(unit)
    async with desk_house(tmp_path) as house:
        ack = await house.desk.say("tc:Bake the terrain", ASKER, "client:test")
        line = await house.desk.lines.get(ack.line_id)
        assert line is not None
        assert line.confidence < judge("Bake the terrain").confidence - 0.1
