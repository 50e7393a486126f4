"""What workflows become, and what their programs do: order, loops, calls, approvals, what is taken back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.flows import BOSS, LOCAL, Flows, flows, until

from lightfast.context.entry import Set
from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.engine.programs.program import Program
from lightfast.engine.programs.program import program as made
from lightfast.engine.programs.text import parse, to_yaml
from lightfast.engine.runs.records import RunAsk, RunState
from lightfast.engine.workflows.compiling import compile_workflow
from lightfast.engine.workflows.form import read_workflow
from lightfast.engine.workflows.naming import renamed_expression


def program(text: str, **parameters: Any) -> Program:
    workflow, problems = read_workflow(text, "x.yaml", name="x")
    assert workflow is not None, problems
    return compile_workflow(workflow, parameters)


async def ran(house: Flows, text: str, **parameters: Any) -> Any:
    house.write("x", text)
    await house.workflows.read()
    return await house.run("x", parameters)


def test_steps_stand_after_what_they_need_else_as_in_the_file() -> None:
    found = program("""
steps:
  - {id: d, op: a.b, arguments: {x: "${c}"}}
  - {id: a, op: a.b}
  - {id: c, op: a.b, needs: [b]}
  - {id: b, op: a.b, when: a == null}
""")
    assert [each.id for each in found.instructions] == ["a", "b", "c", "d"]


def test_a_loop_that_ends_is_unrolled_under_names_of_its_own() -> None:
    found = program("""
steps:
  - id: turn_1
    op: a.b
  - id: turn
    while: value("/n") < 2
    most: 2
    approve: Shall it?
    steps:
      - {id: inner, op: a.b, arguments: {x: "${turn_1}"}}
      - {id: out, op: a.b, arguments: {x: "${inner.y}"}, when: 'inner.y != "inner"'}
  - {id: end, op: a.b, arguments: {x: "${turn}"}}
""")
    ids = [each.id for each in found.walk()]
    assert len(ids) == len(set(ids))
    assert parse(to_yaml(found)).digest() == found.digest()
    outs = [each for each in found.walk() if each.id.startswith("out")]
    assert [(each.arguments["x"], each.when) for each in outs] == [
        ("${inner_1.y}", 'inner_1.y != "inner"'),
        ("${inner_2.y}", 'inner_2.y != "inner"'),
    ]
    assert {each.arguments["x"] for each in found.walk() if each.id.startswith("inner_")} == {"${turn_1}"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a", "z"),
        ("a.a", "z.a"),
        ("len(a) + aa", "len(z) + aa"),
        ("a-b", "z-b"),
        ("${a-b.x} == 'a'", "${q.x} == 'a'"),
        ("b", "${y-1}"),
        ('value("/a")', 'value("/a")'),
    ],
    ids=range(7),
)
def test_names_in_expressions_are_changed_and_nothing_else(text: str, wanted: str) -> None:
    assert renamed_expression(text, {"a": "z", "a-b": "q", "b": "y-1"} if text != "a-b" else {"a": "z"}) == wanted


def test_loops_run(tmp_path: Path) -> None:
    text = """
parameters: {times: {type: integer, default: 3}}
steps:
  - {id: zero, op: context.set, arguments: {path: /n, value: 0}}
  - id: count
    needs: [zero]
    while: value("/n") < 3
    most: 6
    steps:
      - {id: more, op: value.compute, arguments: {expression: 'value("/n") + 1'}}
      - {id: put, op: context.set, arguments: {path: /n, value: "${more}"}}
  - id: many
    repeat: ${params.times}
    op: context.set
    arguments: {path: "/many/${item}", value: "${index}"}
  - id: bounded
    while: "true"
    most: 2
    op: value.compute
    arguments: {expression: "1"}
  - {id: both, op: value.compute, arguments: {expression: "[count, bounded]"}}
returns: ${both}
"""

    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            run = await ran(house, text)
            assert run.state is RunState.SUCCEEDED, run.reason
            assert run.result == [3, 2]
            assert house.value("/n") == 3
            assert [house.value(f"/many/{number}") for number in range(3)] == [0, 1, 2]

    asyncio.run(main())


CALLED = """
name: called
parameters: {who: string, many: {type: integer, default: 2}, note: {type: string, default: "${who} $${x}"}}
steps:
  - {id: put, op: context.set, when: params.many > 1, arguments: {path: "/called/${params.who}", value: "${params.many}"}}
  - {id: kept, op: context.set, arguments: {path: /called/note, value: "${params.note}"}}
  - {id: sum, op: value.compute, needs: [put], arguments: {expression: params.many * 2}}
returns: ${sum}
"""


def test_a_workflow_calls_others_and_gets_what_they_return(tmp_path: Path) -> None:
    text = """
steps:
  - {id: name, op: value.compute, arguments: {expression: '"lena"'}}
  - {id: first, op: workflow.call, arguments: {workflow: called, parameters: {who: "${name}", many: 4}}}
  - {id: second, op: workflow.call, arguments: {workflow: called, parameters: {who: "max"}}}
  - {id: put, op: value.compute, arguments: {expression: first + second}}
returns: ${put}
"""

    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            house.write("called", CALLED)
            run = await ran(house, text)
            assert run.state is RunState.SUCCEEDED, run.reason
            assert run.result == 12
            assert (house.value("/called/lena"), house.value("/called/max")) == (4, 2)
            assert house.value("/called/note") == "${who} $${x}"  # a parameter is no template
            for parameters, reason in (({}, "PARAMETER_MISSING"), ({"who": "a", "b": 1}, "PARAMETER_UNKNOWN")):
                call = {"id": "c", "op": "workflow.call", "arguments": {"workflow": "called", "parameters": parameters}}
                with pytest.raises(InvalidArgument) as told:
                    house.workflows.expand(made({"instructions": [call]}))
                assert told.value.reason == reason

    asyncio.run(main())


def test_a_plain_program_that_calls_a_workflow_is_approved_and_run_with_what_it_calls(tmp_path: Path) -> None:
    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            house.write("called", CALLED)
            await house.workflows.read()
            text = 's1 = workflow.call called parameters={"who": "ann"}\n@returns ${s1}\n'
            plan = await house.planner.prepare(parse(text), LOCAL)
            assert not plan.checked.mistakes
            assert all(each.op != "workflow.call" for each in plan.program.walk())
            (house.folder / "called.yaml").unlink()
            await house.workflows.read()
            run = await house.runs.start(plan, LOCAL, RunAsk())
            assert (await house.ended(run.run_id)).result == 4
            again = await house.planner.prepare(parse(text), LOCAL)
            assert [each.reason for each in again.checked.mistakes] == ["WORKFLOW_UNKNOWN"]

    asyncio.run(main())


def test_workflows_that_call_each_other_are_refused_and_the_circle_shown(tmp_path: Path) -> None:
    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            for name, other in (("ping", "pong"), ("pong", "ping")):
                house.write(name, f"steps: [{{id: c, op: workflow.call, arguments: {{workflow: {other}}}}}]\n")
            await house.workflows.read()
            with pytest.raises(InvalidArgument, match="ping → pong → ping") as told:
                await house.run("ping")
            assert told.value.reason == "PROGRAM_CYCLE"

    asyncio.run(main())


def test_a_failure_takes_back_what_was_done_where_the_file_says_so(tmp_path: Path) -> None:
    text = """
on_failure: compensate
steps:
  - {id: put, op: context.set, arguments: {path: /kept, value: 2}}
  - {id: bad, op: scene.recall, needs: [put], arguments: {name: "${put_name}"}}
  - {id: put_name, op: value.compute, arguments: {expression: '"no-such-scene"'}}
"""

    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            await house.store.apply([Set("/kept", 1)], origin="client:test")
            run = await ran(house, text)
            assert run.state in (RunState.FAILED, RunState.ROLLED_BACK)
            await until(lambda: house.value("/kept") == 1)

    asyncio.run(main())


def test_a_dry_run_shows_the_program_and_tells_mistakes(tmp_path: Path) -> None:
    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            house.write("x", "steps: [{id: a, op: context.set, arguments: {path: /dry, value: 1}}]\n")
            house.write("y", "steps: [{id: a, op: context.sett, arguments: {path: /dry, value: 1}}]\n")
            await house.workflows.read()
            plan = await house.workflows.rehearse("x", {}, LOCAL)
            assert "context.set" in to_yaml(plan.program)
            assert house.value("/dry") is None
            with pytest.raises(InvalidArgument, match=r"context\.set"):
                await house.workflows.rehearse("y", {}, LOCAL)
            with pytest.raises(LightfastError) as told:
                await house.run("y")
            assert told.value.reason == "PROGRAM_INVALID"

    asyncio.run(main())


def test_a_step_that_asks_is_answered_through_the_runs_by_somebody_else(tmp_path: Path) -> None:
    text = """
steps:
  - {id: put, op: context.set, approve: "Really?", arguments: {path: /asked, value: 1}}
"""

    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            house.write("x", text)
            await house.workflows.read()
            run = await house.workflows.start("x", {}, LOCAL)
            await until(lambda: house.asks.waiting(run.run_id))
            with pytest.raises(LightfastError) as told:
                await house.runs.approve(run.run_id, run.digest, LOCAL)
            assert told.value.reason == "APPROVAL_BY_REQUESTER"
            assert house.value("/asked") is None
            await house.runs.approve(run.run_id, run.digest, BOSS)
            assert (await house.ended(run.run_id)).state is RunState.SUCCEEDED
            assert house.value("/asked") == 1

    asyncio.run(main())
