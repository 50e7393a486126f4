"""What the checker finds wrong, and what it says a program would do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.program_house import ME, Book, House

from lightfast.engine.ports import Asker
from lightfast.engine.programs.budget import Allowance, usd
from lightfast.engine.programs.checked import Checked
from lightfast.engine.programs.checker import ProgramChecker
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.text import parse
from lightfast.sdk import Effect, Mistake, World


async def check(text: str | Program, asker: Asker = ME, house: House | None = None, **how: float) -> Checked:
    """Check a text."""
    house = house or House({"/a": 1})
    program = parse(text) if isinstance(text, str) else text
    return await ProgramChecker(Book(house), house).check(program, asker, **how)  # type: ignore[arg-type]


WRONG = [
    ("context.sett path=/a", "OPERATION_UNKNOWN", "there is no operation 'context.sett': did you mean 'context.set'?"),
    ("context.set /a", "ARGUMENT_MISSING", "context.set needs arguments.value"),
    ("context.set /a 1 valeu=2", "ARGUMENT_UNKNOWN", "context.set takes no argument 'valeu': did you mean 'value'?"),
    ("context.set a 1", "ARGUMENT_INVALID", 'arguments.path: "a" does not match "^/"'),
    (
        "wait.seconds x${params.n}\n@param n=1",
        "ARGUMENT_INVALID",
        'arguments.seconds: "x${params.n}" is not of type "number"',
    ),
    ("context.set /a ${s9}", "REFERENCE_UNKNOWN", "${s9}: there is no instruction 's9': there is none"),
    ("one = context.get /a\ncontext.set /b ${onee}", "REFERENCE_UNKNOWN", "did you mean 'one'?"),
    ("context.set /a ${s2}\ncontext.get /a", "REFERENCE_FORWARD", "${s2}: s2 does not come before it"),
    ("context.set /a ${s1.}", "REFERENCE_INVALID", "the reference at position 1 is malformed"),
    ("context.set /a ${item}", "REFERENCE_UNKNOWN", "item is known inside a flow.map only"),
    (
        "context.set /a ${params.cuont}\n@param count=1",
        "PARAMETER_UNKNOWN",
        "the program has no parameter 'cuont': did you mean 'count'?",
    ),
    (
        'b = flow.branch (exists("/a"))\n  then:\n    x = context.get /a\ncontext.set /b ${x}',
        "REFERENCE_HIDDEN",
        "${x}: x is inside 'then' of b, which may not run: refer to ${b}",
    ),
    ("a = context.get /a\na = context.get /b", "DUPLICATE_ID", "the identity 'a' stands there twice"),
    (
        "a = context.get /a\nm = flow.map [1]\n  a = context.get /b",
        "DUPLICATE_ID",
        "the identity 'a' stands there twice",
    ),
    ("item = context.get /a", "ID_RESERVED", "'item' has a meaning of its own"),
    ("context.get /a when=(1 +)", "EXPRESSION_INVALID", "expression '1 +': invalid syntax, at position 4"),
    ("context.get /a when=(s9 > 1)", "REFERENCE_UNKNOWN", "s9: there is no instruction 's9'"),
    (
        "flow.branch (lenn(1) > 1)\n  then:\n    context.get /a",
        "EXPRESSION_INVALID",
        "unknown function 'lenn': did you mean 'len'?",
    ),
    ("flow.branch (nope)\n  then:\n    context.get /a", "REFERENCE_UNKNOWN", "nope: there is no instruction 'nope'"),
    ("value.compute (x + y)", "REFERENCE_UNKNOWN", "x: there is no instruction 'x'"),
    ("app.command /blender rendr", "COMMAND_UNKNOWN", "/blender has no rendr"),
    ("context.get /a after=s9", "REFERENCE_UNKNOWN", "after=s9: there is no instruction 's9'"),
    ("context.get /a\n@returns ${nope}", "REFERENCE_UNKNOWN", "${nope}: there is no instruction 'nope'"),
    (
        "one = context.get /a\n@returns onee.x",
        "REFERENCE_UNKNOWN",
        "${onee.x}: there is no instruction 'onee': did you mean 'one'?",
    ),
    ("one = context.get /a\n@returns 'all is done'", "REFERENCE_INVALID", "the reference at position 1 is malformed"),
    ("workflow.call nope", "WORKFLOW_UNKNOWN", "there is no workflow 'nope': there is none"),
    ("@name x", "PROGRAM_EMPTY", "the program has no instruction"),
]


@pytest.mark.parametrize(("text", "reason", "message"), WRONG, ids=[f"{row[1]}-{at}" for at, row in enumerate(WRONG)])
async def test_mistakes_are_told_with_reason_and_remedy(text: str, reason: str, message: str) -> None:
    checked = await check(text)
    found = [problem for problem in checked.mistakes if problem.reason == reason]
    assert found, checked.problems
    assert message in found[0].message


async def test_a_mistake_names_instruction_field_and_line() -> None:
    checked = await check("context.get /a\n\ntwo = context.set /a 1 valeu=2")
    (problem,) = checked.mistakes
    assert (problem.instruction, problem.field, problem.line) == ("two", "arguments.valeu", 3)


async def test_a_cycle_is_shown() -> None:
    checked = await check("a = context.get /a after=c\nb = context.get /a after=a\nc = context.set /b ${b}")
    found = [problem for problem in checked.mistakes if problem.reason == "CYCLE"]
    assert [problem.message for problem in found] == [
        "these wait for each other: a → c → b → a: take one of them out of 'after'"
    ]
    alone = await check("a = context.get /a after=a")
    assert [problem.message for problem in alone.mistakes] == [
        "these wait for each other: a → a: take one of them out of 'after'"
    ]


SOUND = [
    "a = context.get /a\ncontext.set /b ${a.x[0]}",
    "a = context.get /a\nflow.map ${a}\n  context.set /t/${index} ${item.name}",
    'flow.map [1, 2] as=turn\n  x = context.set /t ${turn}\n  context.set /u ${x} when=(turn > 1 and value("/a") == 1)',
    'b = flow.branch (exists("/a"))\n  then:\n    x = context.get /a\n  else:\n    y = context.get /b\n@returns ${b}',
    'value.compute (x + params.y) names={"x": 1}\n@param y=2',
    "a-b = context.get /a\nvalue.compute (${a-b} + 1)",
    "wait.seconds ${params.s}\n@param s=1",
    "context.set /a $${no} timeout=3",
]


@pytest.mark.parametrize("text", SOUND, ids=range(len(SOUND)))
async def test_sound_programs_have_no_mistakes(text: str) -> None:
    assert (await check(text)).mistakes == ()


async def test_what_never_runs_is_a_warning() -> None:
    checked = await check(
        "a = context.get /a when=(1 > 2)\ncontext.set /b ${a}\n"
        "flow.branch (true)\n  then:\n    context.get /a\n  else:\n    context.get /b\n"
        "flow.map []\n  context.get /a\nflow.branch (false)"
    )
    assert checked.mistakes == ()
    assert [(each.reason, each.instruction, each.field) for each in checked.problems] == [
        ("UNREACHABLE", "a", "when"),
        ("REFERENCE_NEVER", "s1", "arguments.value"),
        ("UNREACHABLE", "s2", "else"),
        ("UNREACHABLE", "s5", "do"),
        ("BLOCK_EMPTY", "s7", ""),
    ]


async def test_scopes_and_untrusted_programs() -> None:
    watcher = Asker("you", "client:you", frozenset(("watch",)))
    checked = await check("context.get /a\ncontext.set /a 1", watcher)
    assert [(each.reason, each.instruction) for each in checked.mistakes] == [("SCOPE_MISSING", "s2")]
    assert (
        "needs the scope 'operate', and the token has watch: use a token issued with --scope operate"
        in checked.mistakes[0].message
    )
    text = "@untrusted\ncontext.set /a 1\napp.command /blender add_cube\napp.command /blender render\ngenerate.text hi model=cloud/text"
    checked = await check(text)
    assert [(each.reason, each.instruction) for each in checked.mistakes] == [
        ("UNTRUSTED_EFFECT", "s3"),
        ("UNTRUSTED_EFFECT", "s4"),
    ]
    assert (
        "app.command is destructive, and text that nobody vouches for had a part in it" in checked.mistakes[0].message
    )
    by_asker = await check(text.removeprefix("@untrusted\n"), Asker("you", "client:you", ME.scopes, untrusted=True))
    assert [each.reason for each in by_asker.mistakes] == ["UNTRUSTED_EFFECT", "UNTRUSTED_EFFECT"]


async def test_effects_costs_and_reasons_for_an_approval() -> None:
    checked = await check(
        "app.command /blender add_cube\napp.command /blender render\n"
        "flow.map [1, 2, 3]\n  generate.text hi model=cloud/text\ncontext.get /a"
    )
    assert checked.mistakes == ()
    assert checked.effects["s1"] == {Effect.REVERSIBLE}
    assert checked.effects["s5"] == {Effect.READ}
    assert checked.max_cost_usd == pytest.approx(0.36)
    assert checked.needs_approval
    assert dict(checked.approval_reasons) == {
        "s2": "s2: render of /blender (Renders the scene to a file) cannot be taken back",
        "s4": "s4: cloud/text making a text costs up to $0.12, and sends what it is given to another machine",
    }


async def test_costs_of_branches_retries_and_what_nothing_bounds() -> None:
    branch = 'flow.branch (exists("/a"))\n  then:\n    generate.text hi model=cloud/text retries=1\n  else:\n    generate.text hi model=cloud/text'
    assert (await check(branch)).max_cost_usd == pytest.approx(0.24)
    open_map = "a = context.get /a\nflow.map ${a}\n  generate.text hi model=cloud/text"
    assert (await check(open_map)).max_cost_usd is None
    checked = await check("generate.text hi model=odd/text")
    assert [(each.reason, each.warning) for each in checked.problems] == [("COST_UNBOUNDED", True)]


class Purse:
    """A budget with this much left."""

    def __init__(self, left: float) -> None:
        self.left = left

    async def allowances(self, project: str, origin: str) -> list[Allowance]:
        assert (project, origin) == ("film", "client:me")
        return [Allowance("project film (month)", self.left)]


async def test_an_exhausted_budget_is_a_mistake() -> None:
    house = House()
    program = parse("generate.text hi model=cloud/text")
    checked = await ProgramChecker(Book(house), house, Purse(0.05)).check(program, ME, project="film")
    assert [(each.reason, each.message) for each in checked.mistakes] == [
        (
            "BUDGET_EXCEEDED",
            "it costs up to $0.12, and of project film (month) $0.05 are left: raise the budget, choose a cheaper model, or ask for less",
        )
    ]
    assert not (await ProgramChecker(Book(house), house, Purse(0.5)).check(program, ME, project="film")).mistakes
    limited = await ProgramChecker(Book(house), house, Purse(0.5)).check(program, ME, project="film", budget_usd=0.1)
    assert "of what this program may cost $0.10 are left" in limited.mistakes[0].message
    empty = await ProgramChecker(Book(house), house, Purse(0)).check(
        parse("generate.text hi model=odd/text"), ME, project="film"
    )
    assert [each.reason for each in empty.mistakes] == ["BUDGET_EXCEEDED"]
    assert usd(0.0004) == "$0.0004"


async def test_planned_changes_follow_one_another() -> None:
    checked = await check(
        "context.set /a 2\ncontext.set /a 3\ng = context.get /a\ncontext.set /b ${g}\ncontext.set /b 4\n"
        'context.delete /a\ncontext.merge /m {"y": 2}\ncontext.set /c 1 when=(value("/a") == 1)\n'
        "app.command /blender add_cube",
        house=House({"/a": 1, "/m": {"x": 1}}),
    )
    assert [(each.instruction, each.path, each.before, each.after, each.note) for each in checked.changes] == [
        ("s1", "/a", 1, 2, ""),
        ("s2", "/a", 2, 3, ""),
        ("s3", "/b", None, None, "from ${g}"),
        ("s4", "/b", None, 4, ""),
        ("s5", "/a", 3, None, "deleted"),
        ("s6", "/m", {"x": 1}, {"x": 1, "y": 2}, ""),
        ("s7", "/c", None, 1, 'where value("/a") == 1'),
        ("s8", "/blender", None, None, "what add_cube of /blender changes"),
    ]


async def test_workflows_are_checked_with_what_they_call() -> None:
    house = House({"/a": 1})
    house.books = {
        "good": SimpleNamespace(program=parse("context.set /a 2\napp.command /blender render")),
        "bad": SimpleNamespace(program=lambda parameters: parse("context.sett path=/a")),
        "ring": SimpleNamespace(program=parse("workflow.call gnir")),
        "gnir": SimpleNamespace(program=parse("workflow.call ring")),
    }
    good = await check("workflow.call good", house=house)
    assert good.mistakes == ()
    assert good.effects["s1"] == {Effect.READ, Effect.REVERSIBLE, Effect.DESTRUCTIVE}
    assert "workflow good: s2: render of /blender" in good.approval_reasons["s1"]
    assert good.changes[0].path == "/a"
    bad = await check("workflow.call bad", house=house)
    assert [(each.reason, each.instruction) for each in bad.mistakes] == [("OPERATION_UNKNOWN", "s1")]
    ring = await check("workflow.call ring", house=house)
    assert "workflows call each other without end: ring → gnir → ring" in ring.mistakes[0].message


async def test_programs_made_by_hand_are_held_to_the_same_bounds() -> None:
    made = Program((Instruction("A", "context.get", {"path": "/a"}, blocks={"then": ()}),))
    assert {each.reason for each in (await check(made)).mistakes} == {"ID_INVALID", "BLOCK_UNKNOWN"}
    many = Program(tuple(Instruction(f"s{at}", "context.get", {"path": "/a"}) for at in range(10_001)))
    assert [each.reason for each in (await check(many)).mistakes] == ["PROGRAM_TOO_LARGE"]
    inner: tuple[Instruction, ...] = (Instruction("s0", "context.get", {"path": "/a"}),)
    for at in range(1, 11):
        inner = (Instruction(f"s{at}", "flow.map", {"items": [1]}, blocks={"do": inner}),)
    assert "BLOCKS_TOO_DEEP" in {each.reason for each in (await check(Program(inner))).mistakes}


async def test_many_mistakes_are_bounded_and_a_thousand_instructions_take_no_time() -> None:
    wrong = await check("\n".join(f"context.sett path=/a{at} value=${{nope{at}}}" for at in range(1000)))
    assert len(wrong.problems) == 200
    text = "\n".join(
        f"a{at} = context.get /a\ncontext.set /b/{at} ${{a{at}}} when=(a{at} != {at})" for at in range(500)
    )
    program = parse(text)
    start = time.perf_counter()
    checked = await check(program)
    print(f"1,000 instructions checked in {(time.perf_counter() - start) * 1000:.1f} ms")
    assert checked.mistakes == ()


async def test_a_plugin_that_breaks_in_its_check_is_named() -> None:
    house = House()
    book = Book(house)
    operation = book.find("context.get")

    def broken(*_: object) -> object:
        raise RuntimeError("no idea")

    operation.check = broken  # type: ignore[method-assign,union-attr]
    checked = await ProgramChecker(book, house).check(parse("context.get /a"), ME)
    assert [(each.reason, each.message) for each in checked.mistakes] == [
        ("OPERATION_BROKEN", "context.get cannot check its arguments: no idea")
    ]


async def test_a_path_that_the_program_itself_brings_about_is_no_mistake() -> None:
    house = House()
    book = Book(house)
    operation = book.find("context.get")

    def check_path(arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        return () if world.has(arguments["path"]) else (Mistake("PATH_UNKNOWN", "nothing is there", "arguments.path"),)

    operation.check = check_path  # type: ignore[method-assign,union-attr]

    async def found(text: str) -> list[tuple[str, bool]]:
        checked = await ProgramChecker(book, house).check(parse(text), ME)
        return [(each.instruction, each.warning) for each in checked.problems]

    assert await found("a = context.get /a\ncontext.set /a 1") == [("a", False)]
    assert await found("context.set /a 1\na = context.get /a\nb = context.get /b") == [("a", True), ("b", False)]
    assert await found("app.command /blender add_cube\na = context.get /blender/objects/Cube") == [("a", True)]
    assert await found("flow.map [1]\n  context.set /t/${item} 1\na = context.get /t/1") == [("a", True)]
    assert await found("context.set /a 1 when=(1 > 2)\na = context.get /a") == [("s1", True), ("a", False)]


async def test_many_warnings_hide_no_mistake() -> None:
    never = [Instruction(f"s{n}", "context.set", {"path": f"/a/n{n}", "value": 1}, when="false") for n in range(300)]
    house = House()
    checker = ProgramChecker(Book(house), house)
    for wrong in (Instruction("bad", "no.such"), Instruction("bad", "context.set", {"path": "/a", "value": "${who}"})):
        checked = await checker.check(Program((*never, wrong)), ME)
        assert [each.instruction for each in checked.mistakes] == ["bad"]
        assert 200 <= len(checked.problems) <= 201


async def test_names_are_looked_for_only_so_often() -> None:
    made = [Instruction(f"step-{n}", "context.set", {"path": "/a", "value": f"${{stp-{n}x}}"}) for n in range(120)]
    house = House()
    checked = await ProgramChecker(Book(house), house).check(Program(tuple(made)), ME)
    near = ["did you mean" in each.message or "there is " in each.message[40:] for each in checked.mistakes]
    assert len(near) == 120
    assert near[1]
    assert "did you mean" not in checked.mistakes[-1].message
