"""Planning by models: a sensible plan, repairs, the next model, the grammar last, and bounds on time and money."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.planning import PlanningEmulator, answer, asker, planning

from lightfast.core.errors import InvalidArgument
from lightfast.engine.planner.model import read_answer
from lightfast.engine.planner.settings import GRAMMAR
from lightfast.sdk import Effect
from lightfast_providers.openai.provider import OpenAI

MODEL = "openai/gpt-6-luna"
WISH = "set the tempo to 128 and add a red cube"
CUBE = (
    "app.command",
    {"app": "/blender", "command": "create_object", "arguments": {"kind": "cube", "color": [1, 0, 0]}},
)
TEMPO = ("context.set", {"path": "/ableton/song/tempo", "value": 128})
GOOD = answer(TEMPO, CUBE)


def _texts(asked: Any) -> str:
    return json.dumps(asked["input"]) + str(asked.get("instructions", ""))


async def test_a_sensible_plan_is_checked_and_returned(tmp_path: Path) -> None:
    async with PlanningEmulator(GOOD) as emulator, planning(tmp_path, chain=(MODEL,)) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        plan = await room.planner.plan(WISH, asker())
    assert (plan.planner, plan.attempts, plan.message) == (MODEL, (), "As you wish.")
    assert [each.op for each in plan.program.instructions] == ["context.set", "app.command"]
    assert not plan.checked.mistakes
    assert not plan.checked.needs_approval
    assert plan.checked.effects["s2"] == {Effect.REVERSIBLE}
    (tempo,) = [change for change in plan.checked.changes if change.instruction == "s1"]
    assert (tempo.path, tempo.before, tempo.after) == ("/ableton/song/tempo", 120.0, 128)
    assert plan.confidence == pytest.approx(0.9)
    assert 0.0 < plan.complexity < 0.3
    assert not plan.program.untrusted
    told = _texts(emulator.asked[0])
    for word in ("create_object", "context.set {path, value}", "studio/image", WISH):
        assert word in told, "the commands and operations that there are are told"
    form = emulator.asked[0]["text"]["format"]
    assert form["type"] == "json_schema"
    assert len(json.dumps(form["schema"])) < 12_000


async def test_what_is_wrong_is_told_back_and_repaired(tmp_path: Path) -> None:
    wrong = answer(("context.set", {"path": "/ableton/song/tempoo", "value": 128}), ("app.command", {"app": "/blender", "command": "make_cube"}))  # fmt: skip
    async with PlanningEmulator(wrong, GOOD) as emulator, planning(tmp_path, chain=(MODEL,)) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        plan = await room.planner.plan(WISH, asker())
        assert len(emulator.asked) == 2
    assert plan.planner == MODEL
    assert not plan.checked.mistakes
    assert plan.confidence == pytest.approx(0.75)
    told = _texts(emulator.asked[1])
    assert "was refused" in told
    assert "make_cube" in told
    assert "COMMAND_UNKNOWN" in told


async def test_nonsense_is_refused_with_its_reason_and_the_grammar_is_last(tmp_path: Path) -> None:
    nonsense = answer(("context.set", {"path": "qzx", "value": "zz"}), ("app.command", {"app": "/b", "command": "x"}))
    async with PlanningEmulator(nonsense) as emulator, planning(tmp_path, chain=(MODEL,), repairs=1) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        plan = await room.planner.plan(WISH, asker())
        assert len(emulator.asked) == 2, "it is told its mistakes once, and no more"
    assert plan.planner == GRAMMAR
    (attempt,) = plan.attempts
    assert attempt.startswith(f"{MODEL}: PLAN_REFUSED: after 1 repairs: ")
    assert "APP_UNKNOWN" in attempt
    assert [each.op for each in plan.program.instructions] == ["context.set", "app.command"]


async def test_a_provider_that_dies_in_mid_plan_is_followed_by_the_next(tmp_path: Path) -> None:
    second = "second/gpt-6-luna"
    async with (
        PlanningEmulator(GOOD) as dying,
        PlanningEmulator(GOOD) as living,
        planning(tmp_path, chain=(MODEL, second)) as room,
    ):
        room.house.gateway.register(OpenAI(base_url=dying.base_url), "openai")
        other = OpenAI(base_url=living.base_url)
        other.name = "second"
        room.house.gateway.register(other, "second")
        for _ in range(8):
            dying.next("disconnect-mid", on="/responses")
        plan = await room.planner.plan(WISH, asker())
        assert living.asked
    assert plan.planner == second
    assert [each.split(":")[0] for each in plan.attempts] == [MODEL]
    assert plan.confidence == pytest.approx(0.8)
    assert not plan.checked.mistakes


async def test_all_models_away_leave_the_grammar_with_every_reason(tmp_path: Path) -> None:
    async with PlanningEmulator(GOOD) as emulator, planning(tmp_path, chain=("nobody/nothing", MODEL)) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        for _ in range(8):
            emulator.next("401", on="/responses")
        plan = await room.planner.plan("mute track 2", asker())
    assert plan.planner == GRAMMAR
    assert [each.split(":")[0] for each in plan.attempts] == ["nobody/nothing", MODEL]
    assert plan.program.instructions[0].arguments == {"path": "/ableton/tracks/1/mute", "value": True}
    assert emulator.key not in str(plan)


async def test_a_model_that_asks_back_plans_nothing(tmp_path: Path) -> None:
    async with PlanningEmulator(answer(message="Which cube?")) as emulator, planning(tmp_path, chain=(MODEL,)) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        plan = await room.planner.plan("do the thing with the stuff", asker())
    assert plan.attempts == (f"{MODEL}: NOTHING_PLANNED: Which cube?",)
    assert plan.checked.mistakes
    assert plan.message.startswith("I did not understand")


@pytest.mark.parametrize("what", ["time", "money"])
async def test_time_and_money_are_bounded(tmp_path: Path, what: str) -> None:
    bounds: dict[str, Any] = {"deadline_s": 0.1} if what == "time" else {"max_cost_usd": 0.0}
    async with PlanningEmulator(GOOD) as emulator, planning(tmp_path, chain=(MODEL, MODEL), **bounds) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        plan = await room.planner.plan("play", asker())
        assert not emulator.asked
    wanted = "PLAN_DEADLINE" if what == "time" else "PLAN_BUDGET"
    assert [each.split(": ")[1] for each in plan.attempts] == [wanted, wanted]
    assert (plan.planner, plan.program.instructions[0].op) == (GRAMMAR, "transport.play")


async def test_the_specialist_of_a_type_is_asked_before_the_others(tmp_path: Path) -> None:
    how: dict[str, Any] = {"chain": (MODEL,), "specialists": {"fix": "nobody/mends"}}
    async with PlanningEmulator(GOOD) as emulator, planning(tmp_path, **how) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        mending = await room.planner.plan(WISH, asker(), intent_type="fix")
        making = await room.planner.plan(WISH, asker(), intent_type="create")
    assert [each.split(":")[0] for each in mending.attempts] == ["nobody/mends"]
    assert (mending.planner, making.planner, making.attempts) == (MODEL, MODEL, ())


async def test_the_model_of_the_call_wins_and_grammar_asks_none(tmp_path: Path) -> None:
    async with PlanningEmulator(GOOD) as emulator, planning(tmp_path, chain=("nobody/nothing",)) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        assert (await room.planner.plan(WISH, asker(), model=MODEL)).planner == MODEL
        asked = len(emulator.asked)
        plan = await room.planner.plan(WISH, asker(), model=GRAMMAR)
        assert (plan.planner, plan.attempts, len(emulator.asked)) == (GRAMMAR, (), asked)


async def test_what_follows_a_wait_waits(tmp_path: Path) -> None:
    steps = answer(("wait.seconds", {"seconds": 4}), ("context.set", {"path": "/ableton/tracks/1/mute", "value": True}))
    async with PlanningEmulator(steps) as emulator, planning(tmp_path, chain=(MODEL,)) as room:
        room.house.gateway.register(OpenAI(base_url=emulator.base_url), "openai")
        plan = await room.planner.plan("mute track 2 after four seconds", asker())
    mutes = [each for each in plan.program.instructions if each.op == "context.set"]
    assert [each.after for each in mutes] == [("s1",)], plan.attempts


async def test_a_given_program_is_prepared(tmp_path: Path) -> None:
    from lightfast.engine.programs.text import parse

    async with planning(tmp_path) as room:
        plan = await room.planner.prepare(parse("context.set path=/show/level value=9"), asker())
        assert not plan.checked.mistakes, plan.checked.problems
        (change,) = plan.checked.changes
        assert (change.path, change.before, change.after) == ("/show/level", 3, 9)
        assert plan.planner == ""
        wrong = await room.planner.prepare(parse("no.such path=/show/level"), asker())
        assert [each.reason for each in wrong.checked.mistakes] == ["OPERATION_UNKNOWN"]


@pytest.mark.parametrize(("intent", "reason"), [("  ", "INTENT_EMPTY"), ("x" * 5000, "INTENT_TOO_LONG")])
async def test_what_is_no_intent_is_refused(tmp_path: Path, intent: str, reason: str) -> None:
    async with planning(tmp_path) as room:
        with pytest.raises(InvalidArgument) as caught:
            await room.planner.plan(intent, asker())
    assert caught.value.reason == reason


@pytest.mark.parametrize("after", [None, "s1", "s1, s0", 5, ["s1"]], ids=["none", "text", "texts", "number", "list"])
def test_an_answer_says_what_it_waits_for_in_any_form(after: Any) -> None:
    wait = {"id": "s1", "op": "wait.seconds", "arguments": {"seconds": 1}}
    then = {"id": "s2", "op": "context.get", "arguments": {"path": "/a"}, "after": after}
    made, _, problems = read_answer(json.dumps({"instructions": [wait, then]}))
    if after == 5:
        assert [each.reason for each in problems] == ["PROGRAM_MALFORMED"]
        return
    assert made is not None
    assert made.instructions[1].after[-1] == "s1"
    assert set(made.instructions[1].after) <= {"s0", "s1"}


def test_half_a_character_in_an_answer_is_no_error() -> None:
    _, message, _ = read_answer('{"instructions": [], "message": "so \\ud800 it is"}')
    assert message == "so ? it is"
