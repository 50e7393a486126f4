"""Plans as messages."""

from __future__ import annotations

import pytest

from lightfast.api.v1 import engine_pb2
from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.checked import Checked, Plan, PlannedChange, Problem, Saving
from lightfast.engine.programs.text import parse
from lightfast.sdk import Effect
from lightfast.wire.grpc.program_messages import get_program, plan_message


def test_a_plan_has_all_its_fields() -> None:
    program = parse("@untrusted\none = context.set /a 1\ngenerate.text hi")
    checked = Checked(
        program,
        problems=(Problem("PATH_EMPTY", "there is nothing", "one", "arguments.path", 2, warning=True),),
        effects={"one": frozenset((Effect.REVERSIBLE,)), "s1": frozenset((Effect.SPEND, Effect.REVERSIBLE))},
        approval_reasons={"s1": "s1: it costs"},
        max_cost_usd=0.12,
        changes=(PlannedChange("one", "/a", None, 1, "note"), PlannedChange("s1", "/b", {"x": [1.5]}, 1 << 70)),
    )
    plan = Plan(
        checked,
        savings=(Saving("batch", ("one", "s1"), "two in one", 1),),
        planner="grammar",
        attempts=("a: away",),
        review="fine",
        message="done",
        confidence=0.5,
    )
    found = plan_message(plan)
    assert found.digest == program.digest()
    assert parse(found.yaml) == parse(found.lines) == program
    assert found.problems[0].line == 2
    assert found.problems[0].warning
    assert list(found.effects) == [engine_pb2.EFFECT_REVERSIBLE, engine_pb2.EFFECT_SPEND]
    assert found.needs_approval
    assert list(found.approval_reasons) == ["s1: it costs"]
    assert found.max_cost_usd == 0.12
    assert not found.changes[0].HasField("before")
    assert found.changes[0].after.int_value == 1
    assert found.changes[1].before.map_value.fields["x"].list_value.values[0].double_value == 1.5
    assert not found.changes[1].HasField("after")
    assert found.savings[0].rewrite == "batch"
    assert found.untrusted
    assert (found.planner, list(found.attempts), found.review, found.message, found.confidence) == (
        "grammar",
        ["a: away"],
        "fine",
        "done",
        0.5,
    )


def test_no_upper_bound_is_said() -> None:
    assert plan_message(Plan(Checked(parse("context.get /a"), max_cost_usd=None))).max_cost_usd == -1


def test_a_source_is_read_or_refused() -> None:
    assert get_program(engine_pb2.ProgramSource(text="- context.get: {path: /a}")).instructions[0].op == "context.get"
    with pytest.raises(InvalidArgument, match="line 1, column 1"):
        get_program(engine_pb2.ProgramSource(text="do something"))
