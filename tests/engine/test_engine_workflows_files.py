"""Workflow files: what is wrong is told with its line and column, and what was right before stays in use."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.flows import LOCAL, Flows, flows, until

from lightfast.core.errors import AlreadyExists, InvalidArgument, NotFound
from lightfast.engine.events.records import Wanted
from lightfast.engine.runs.records import RunState
from lightfast.engine.workflows.folder import scan
from lightfast.engine.workflows.form import LARGEST, read_workflow
from lightfast.engine.workflows.parameters import check_parameters, schema_of
from lightfast_link.value import Asset

ONE = """
name: one
steps:
  - {id: put, op: context.set, arguments: {path: /one, value: 1}}
"""


def step(text: str) -> str:
    return f"name: x\nsteps:\n  - {text}\n"


BAD = [
    ("", 1, 1, "WORKFLOW_EMPTY", "empty"),
    ("- a\n", 1, 1, "WORKFLOW_INVALID", "a workflow is a list"),
    ("name: x\nsteps: [\n", 3, 1, "YAML_INVALID", "no YAML"),
    ("name: x\nname: y\n", 2, 1, "YAML_INVALID", "'name' is there twice"),
    ("a: &a [1]\nsteps: *a\n", 1, 4, "YAML_INVALID", "anchors"),
    ("name: !!python/object:os.system x\n", 1, 7, "YAML_INVALID", "tag"),
    ("name: x\nstepss: []\n", 2, 1, "WORKFLOW_KEY_UNKNOWN", "did you mean 'steps'"),
    ("name: X y\nsteps:\n  - {op: context.get}\n", 1, 7, "WORKFLOW_NAME", "is no name"),
    ("name: x\n", 1, 1, "WORKFLOW_INVALID", "needs `steps`"),
    (step("{id: a, op: context.get, whn: x}"), 3, 30, "WORKFLOW_KEY_UNKNOWN", "did you mean 'when'"),
    (step("{id: A, op: context.get}"), 3, 10, "WORKFLOW_INVALID", "is no id"),
    (step("{id: item, op: context.get}"), 3, 10, "WORKFLOW_INVALID", "taken by the language"),
    (step("{id: a}"), 3, 5, "WORKFLOW_INVALID", "needs `op`"),
    (step("{id: a, op: b.c, when: '1 +'}"), 3, 28, "EXPRESSION_INVALID", "position"),
    (step("{id: a, op: b.c, when: 'b.x > 1'}"), 3, 22, "REFERENCE_UNKNOWN", "nothing is named 'b'"),
    (step("{id: a, op: b.c, arguments: {path: '${params.y}'}}"), 3, 34, "PARAMETER_UNKNOWN", "no parameter 'y'"),
    (step("{id: a, op: b.c, arguments: {path: '${y'}}"), 3, 40, "REFERENCE_INVALID", "not closed"),
    (step("{id: a, op: b.c, arguments: {path: '${item}'}}"), 3, 34, "REFERENCE_UNKNOWN", "for_each and repeat"),
    (step("{id: a, op: b.c, needs: [z]}"), 3, 22, "STEP_UNKNOWN", "needs 'z'"),
    (step("{id: a, op: b.c, needs: [a]}"), 3, 5, "PROGRAM_CYCLE", "a → a"),
    (step("{id: a, op: b.c, timeout: soon}"), 3, 31, "WORKFLOW_INVALID", "write seconds"),
    (step("{id: a, op: b.c, timeout: 8d}"), 3, 31, "WORKFLOW_INVALID", "7 days"),
    (step("{id: a, op: b c}"), 3, 17, "WORKFLOW_INVALID", "no name of an operation"),
    (step("{id: a, op: b.c, retries: 99}"), 3, 31, "WORKFLOW_INVALID", "from 0 to 10"),
    (step("{id: a, op: b.c, on_failure: stp}"), 3, 34, "WORKFLOW_INVALID", "did you mean 'stop'"),
    (step("{id: a, op: b.c, repeat: 2000}"), 3, 30, "WORKFLOW_INVALID", "repeat"),
    (step("{id: a, while: 'true', most: 5000, op: b.c}"), 3, 34, "WORKFLOW_INVALID", "from 1 to 100"),
    (step("{id: a, repeat: 2, while: 'true', op: b.c}"), 3, 24, "WORKFLOW_INVALID", "not both"),
    (step("{id: a, op: b.c, most: 3}"), 3, 22, "WORKFLOW_INVALID", "goes with while"),
    ("name: x\nparameters: {n: {type: integr}}\nsteps: [{op: b.c}]\n", 2, 24, "WORKFLOW_INVALID", "'integer'"),
    ("name: x\nparameters: {n: {type: integer, default: x}}\nsteps: [{op: b.c}]\n", 2, 42, "PARAMETER_TYPE", "whole"),
    ("name: x\nparameters: {N: string}\nsteps: [{op: b.c}]\n", 2, 14, "WORKFLOW_INVALID", "no name of a parameter"),
    ("name: x\nsteps: [{op: b.c}]\nreturns: ${zz}\n", 3, 10, "REFERENCE_UNKNOWN", "nothing is named 'zz'"),
    ("name: x\nsteps: [{op: b.c}]\ntriggers: [{on: pth}]\n", 3, 17, "WORKFLOW_INVALID", "did you mean 'path'"),
    ("name: x\nsteps: [{op: b.c}]\ntriggers: [{on: path}]\n", 3, 12, "WORKFLOW_INVALID", "needs a pattern"),
    (
        "name: x\nsteps: [{op: b.c}]\ntriggers: [{on: path, pattern: /a, when: valu > 1}]\n",
        3,
        42,
        "REFERENCE_UNKNOWN",
        "",
    ),
    ("name: x\nsteps: [{op: b.c}]\ntriggers: [{on: schedule, every: 10ms}]\n", 3, 34, "WORKFLOW_INVALID", "shorter"),
    (
        "name: x\nsteps: [{op: b.c}]\ntriggers: [{on: schedule, cron: '61 * * * *'}]\n",
        3,
        33,
        "WORKFLOW_INVALID",
        "minute",
    ),
    ("name: x\nsteps: [{op: b.c}]\ntriggers: [{on: file, folder: in}]\n", 3, 31, "WORKFLOW_INVALID", "from ~ on"),
    ("name: x\nsteps: [{op: b.c}]\ntriggers: [{on: beat, every: 4}]\n", 3, 30, "WORKFLOW_INVALID", "4 beats"),
    (
        "name: x\nparameters: {n: string}\nsteps: [{op: b.c}]\ntriggers: [{on: app, app: a}]\n",
        *(4, 12, "PARAMETER_MISSING", "gives no n"),
    ),
]


@pytest.mark.parametrize(("text", "line", "column", "reason", "said"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_told_with_its_place(text: str, line: int, column: int, reason: str, said: str) -> None:
    workflow, problems = read_workflow(text, "x.yaml")
    assert workflow is None
    places = [(each.line, each.column, each.reason) for each in problems]
    assert (line, column, reason) in places, [f"{each.reason} {each}" for each in problems]
    assert said in "".join(each.message for each in problems)


def test_a_file_too_large_is_not_read() -> None:
    _, problems = read_workflow(ONE + "#" * LARGEST, "x.yaml")
    assert problems[0].reason == "WORKFLOW_TOO_LARGE"


def test_all_mistakes_are_told_at_once_and_not_without_end() -> None:
    lines = "\n".join(f"  - {{id: s{number}, op: b.c, when: '1 +'}}" for number in range(200))
    _, problems = read_workflow(f"name: x\nsteps:\n{lines}\n", "x.yaml")
    assert len(problems) == 50


def test_parameters_are_checked_and_described() -> None:
    text = """
name: x
parameters:
  title: string
  count: {type: integer, default: 2, minimum: 1, maximum: 5, summary: How many.}
  look: {type: string, default: a, choices: [a, b]}
  place: {type: path, default: /a}
  picture: {type: asset, default: "asset:%s"}
steps: [{op: context.get}]
""" % ("a" * 64)
    workflow, problems = read_workflow(text, "x.yaml")
    assert workflow is not None, problems
    schema = schema_of(workflow.parameters)
    assert schema["required"] == ["title"]
    assert schema["properties"]["count"] == {
        "type": "integer",
        "description": "How many.",
        "default": 2,
        "minimum": 1,
        "maximum": 5,
    }
    picture = Asset("asset:" + "b" * 64, "image/png", "b" * 64, 3)
    given = check_parameters(workflow.parameters, {"title": "t", "count": 3.0, "picture": picture}, "x")
    assert given == {"title": "t", "count": 3, "look": "a", "place": "/a", "picture": "asset:" + "b" * 64}
    for wrong, reason in (
        ({}, "PARAMETER_MISSING"),
        ({"title": "t", "cont": 3}, "PARAMETER_UNKNOWN"),
        ({"title": 3}, "PARAMETER_TYPE"),
        ({"title": "t", "count": True}, "PARAMETER_TYPE"),
        ({"title": "t", "count": 6}, "PARAMETER_RANGE"),
        ({"title": "t", "look": "c"}, "PARAMETER_CHOICE"),
        ({"title": "t", "place": "a"}, "PARAMETER_TYPE"),
        ({"title": "t", "picture": "file:x"}, "PARAMETER_TYPE"),
    ):
        with pytest.raises(InvalidArgument) as told:
            check_parameters(workflow.parameters, wrong, "x")  # type: ignore[arg-type]
        assert told.value.reason == reason


def version(house: Flows, name: str) -> str:
    try:
        return house.workflows.find(name).version
    except NotFound:
        return ""


def test_a_file_is_taken_as_it_changes_and_a_run_keeps_its_version(tmp_path: Path) -> None:
    text = """
name: long
steps:
  - {id: ask, op: ask.approval, arguments: {reason: Go on}}
  - {id: put, op: context.set, needs: [ask], arguments: {path: /said, value: OLD}}
"""

    async def main() -> None:
        async with flows(tmp_path, start=False) as house:
            await until(house.folder.is_dir)
            house.write("long", text)
            await until(lambda: version(house, "long"))
            before = version(house, "long")
            running = await house.workflows.start("long", {}, LOCAL)
            await until(lambda: house.asks.waiting(running.run_id))

            house.write("long", text.replace("OLD", "NEW"))
            await until(lambda: version(house, "long") != before)
            house.asks.answer(running.run_id, "client:boss")
            done = await house.ended(running.run_id)
            assert (done.state, done.details["version"]) == (RunState.SUCCEEDED, before)
            assert house.value("/said") == "OLD"

            after = await house.workflows.start("long", {}, LOCAL)
            await until(lambda: house.asks.waiting(after.run_id))
            house.asks.answer(after.run_id, "client:boss")
            assert (await house.ended(after.run_id)).details["version"] == version(house, "long")
            assert house.value("/said") == "NEW"

            (house.folder / "long.yaml").unlink()
            await until(lambda: not version(house, "long"))

            async def told() -> bool:
                kinds = [each.kind for each in await house.events.page(0, Wanted(("workflow.*",)), 100)]
                return kinds == [
                    *("workflow.changed", "workflow.started", "workflow.changed"),
                    *("workflow.started", "workflow.removed"),
                ]

            await until(told)

    asyncio.run(main())


def test_a_broken_file_leaves_the_last_good_version_in_use_and_a_new_daemon_knows_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            house.write("one", ONE)
            await house.workflows.read()
            good = version(house, "one")
            house.write("one", ONE + "bad: true\n")
            await house.workflows.read()
            (listed,) = [each for each in house.workflows.listed() if not each.example]
            assert listed.workflow is not None
            assert listed.workflow.version == good
            assert [str(each).partition(":")[0] for each in listed.problems] == ["5"]
            assert (await house.run("one")).state is RunState.SUCCEEDED
        async with flows(tmp_path, start=False, watching=False) as house:
            assert version(house, "one") == good
            (listed,) = [each for each in house.workflows.listed() if not each.example]
            assert listed.problems

    asyncio.run(main())


def test_of_two_files_with_one_name_the_first_is_used_and_the_other_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            house.write("a", ONE)
            house.write("b", ONE.replace("value: 1", "value: 2"))
            os.mkfifo(house.folder / "c.yaml")
            (house.folder / "d.yaml").write_bytes(b"\xff\xfe")
            house.write(
                "e", "name: e\nsteps: [{op: context.st, arguments: {}}, {op: context.set, arguments: {pat: 1}}]\n"
            )
            await house.workflows.read()
            assert house.workflows.find("one").file == "a.yaml"
            told = {Path(each.file).stem: [one.reason for one in each.problems] for each in house.workflows.listed()}
            assert told["a"] == []
            assert told["b"] == ["WORKFLOW_NAME_TAKEN"]
            assert told["c"] == ["WORKFLOW_UNREADABLE"]
            assert told["d"] == ["WORKFLOW_UNREADABLE"]
            assert told["e"] == ["OPERATION_UNKNOWN", "ARGUMENT_MISSING", "ARGUMENT_MISSING", "ARGUMENT_UNKNOWN"]
            with pytest.raises(NotFound, match="did you mean 'snapshot'"):
                house.workflows.find("snapshots")

    asyncio.run(main())


def test_of_too_many_files_each_that_is_not_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.engine.workflows.folder.MOST_FILES", 1)
    (tmp_path / "one.yaml").write_text("\ufeff" + ONE.replace("\n", "\r\n"), newline="")
    (tmp_path / "two.yaml").write_text(ONE.replace("one", "two"))
    first, second = scan(tmp_path, {}, {}).values()
    assert first.good is not None
    assert (first.good.name, first.problems) == ("one", ())
    assert second.good is None
    assert "more than 1 files" in second.problems[0].message


def test_a_request_that_comes_again_finds_its_run_though_the_file_has_changed(tmp_path: Path) -> None:
    text = "name: say\nparameters: {what: string}\nsteps:\n  - {id: put, op: context.set, arguments: {path: /said, value: OLD}}\n"

    async def main() -> None:
        async with flows(tmp_path, start=False, watching=False) as house:
            for value in ("OLD", "NEW"):
                house.write("say", text.replace("OLD", value))
                await house.workflows.read()
                run = await house.workflows.start("say", {"what": "a"}, LOCAL, request_id="once")
                await house.ended(run.run_id)
                assert house.value("/said") == "OLD"
            with pytest.raises(AlreadyExists):
                await house.workflows.start("say", {"what": "b"}, LOCAL, request_id="once")
            kinds = [each.kind for each in await house.events.page(0, Wanted(("workflow.started",)), 100)]
            assert len(kinds) == 1

    asyncio.run(main())
