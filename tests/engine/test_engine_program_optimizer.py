"""Rewrites: what a program does stays the same, and what they save is told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from tests.support.program_house import ME, Book, House, run_serially
from tests.support.program_maker import CONTEXTS, programs

from lightfast.engine.programs.checked import Saving
from lightfast.engine.programs.checker import ProgramChecker
from lightfast.engine.programs.optimizer import Optimizer
from lightfast.engine.programs.optimizer.batch import batch
from lightfast.engine.programs.optimizer.dead import remove_dead
from lightfast.engine.programs.optimizer.dedupe import dedupe
from lightfast.engine.programs.optimizer.fold import fold
from lightfast.engine.programs.optimizer.hazards import Hazards
from lightfast.engine.programs.optimizer.reorder import reorder
from lightfast.engine.programs.program import Program
from lightfast.engine.programs.references import returns_template
from lightfast.engine.programs.text import parse, to_lines

Rewrite = Callable[[Program, Hazards], tuple[Program, list[Saving]]]
REWRITES: tuple[Rewrite, ...] = (fold, dedupe, remove_dead, batch, reorder)


def hazards() -> Hazards:
    """Return what rewrites ask."""
    house = House()
    return Hazards(Book(house), house)


def count(program: Program) -> int:
    """Return how many instructions there are."""
    return sum(1 for _ in program.walk())


def check_same(program: Program, made: Program, values: dict[str, Any]) -> None:
    """Check that both programs come to the same where the plain one succeeds."""
    plain = run_serially(program, values)
    if plain.failed:
        return
    ran = run_serially(made, values)
    assert ran.failed == "", to_lines(made)
    assert ran.values == plain.values
    assert ran.returned == plain.returned
    assert ran.by_resource() == plain.by_resource()
    assert ran.calls <= plain.calls
    kept = {each.id for each in made.instructions} & {each.id for each in program.instructions}
    for name in kept:
        if made_op(made, name) == made_op(program, name) != "embed.texts":
            assert ran.results[name] == plain.results[name], name


def made_op(program: Program, name: str) -> str:
    """Return the operation of an instruction at the top."""
    return next(each.op for each in program.instructions if each.id == name)


async def check_sound(made: Program) -> None:
    """Check that a rewritten program has no mistakes."""
    house = House()
    checked = await ProgramChecker(Book(house), house).check(made, ME)
    assert checked.mistakes == (), to_lines(made)


@pytest.mark.parametrize("rewrite", REWRITES, ids=[rewrite.__name__ for rewrite in REWRITES])
def test_each_rewrite_changes_nothing_that_can_be_seen(rewrite: Rewrite) -> None:
    @given(programs(), CONTEXTS)
    @settings(max_examples=80, deadline=None)
    def run(program: Program, values: dict[str, Any]) -> None:
        program = replace(program, returns=returns_template(program.returns))
        made, savings = rewrite(program, hazards())
        assert (made != program) == bool(savings)
        check_same(program, made, values)
        saved = sum(each.instructions_saved for each in savings)
        assert count(program) - count(made) == saved or any("turn by turn" in each.summary for each in savings)

    run()


@given(programs(14), CONTEXTS)
@settings(max_examples=150, deadline=None)
def test_all_rewrites_together_change_nothing_that_can_be_seen(program: Program, values: dict[str, Any]) -> None:
    house = House()
    made, _ = Optimizer(Book(house)).optimize(program, house)
    check_same(program, made, values)
    again, _ = Optimizer(Book(house)).optimize(made, house)
    check_same(program, again, values)


@given(programs(10))
@settings(max_examples=60, deadline=None)
def test_what_must_be_approved_is_neither_dropped_nor_doubled(program: Program) -> None:
    house = House()
    made, _ = Optimizer(Book(house)).optimize(program, house)
    ran, plain = run_serially(made, {}), run_serially(program, {})
    if not plain.failed:
        assert ran.acts.count(("blender", "render")) == plain.acts.count(("blender", "render"))
        assert sorted(ran.acts) == sorted(plain.acts)


def optimized(text: str, values: dict[str, Any] | None = None) -> tuple[str, list[tuple[str, int]]]:
    """Return the lines of the rewritten program, and the savings."""
    house = House(dict(values or {}))
    program = parse(text)
    made, savings = Optimizer(Book(house)).optimize(program, house)
    check_same(program, made, dict(values or {}))
    return to_lines(made), [(each.rewrite, each.instructions_saved) for each in savings]


def test_the_same_is_read_once_as_long_as_nothing_changes_it() -> None:
    lines, savings = optimized(
        "a = context.get /a\nb = context.get /a\nt = text.double text=${b}\nu = text.double text=${a}\n"
        'context.set /x "${t} ${u}"\nc = context.get /a when=(b == 1)\ncontext.set /a 2\nd = context.get /a\n@returns ${d}',
        {"/a": 1},
    )
    assert ("dedupe", 2) in savings
    assert 'context.set /x "${t} ${t}"' in lines
    assert "c = " not in lines  # nobody uses it
    assert "d = context.get /a" in lines


def test_a_map_reads_anew_in_each_turn() -> None:
    text = "a = context.get /a\nm = flow.map [1, 2]\n  b = context.get /a\n  context.set /a ${item}\n  context.set /b ${b}\n@returns ${a}"
    lines, savings = optimized(text, {"/a": 0})
    assert "b = context.get /a" in lines
    assert savings == []


def test_items_of_two_maps_are_not_the_same() -> None:
    text = (
        "m = flow.map [1, 2]\n  a = text.double text=${item}\n  n = flow.map [3]\n    b = text.double text=${item}\n"
        "    context.set /x ${b}\n  context.set /y ${a}"
    )
    assert "b = text.double" in optimized(text)[0]


def test_what_is_known_before_is_folded() -> None:
    lines, savings = optimized(
        "@param n=2\nv = value.compute (params.n * 3)\nb = flow.branch (params.n > 1)\n  then:\n    context.set /a ${v}\n"
        '  else:\n    context.set /a 0\ncontext.set /b "v is ${v}" when=(v == 6) after=b\ncontext.get /c when=(1 > 2)\ncontext.set /d 1'
    )
    changes = ('"/a", "value": 6}', '"/b", "value": "v is 6"}', '"/d", "value": 1}')
    assert all(change in lines for change in changes)
    assert "flow.branch" not in lines
    assert "value.compute" not in lines
    assert "/c" not in lines
    assert ("dead_code", 1) in savings
    assert ("fold", 2) in savings


def test_neighbouring_writes_become_one() -> None:
    lines, savings = optimized(
        'context.set /a 1\nx = context.set /b two\ncontext.merge /m {"k": 1}\ncontext.set /a 3\ncontext.set /n ${x}\n@returns ${x}'
    )
    assert '{"kind": "set", "path": "/a", "value": 1}' in lines
    assert lines.count("context.apply") == 1
    assert "@returns ${s1-to-s2[1]}" in lines
    assert savings == [("batch", 2)]


def test_a_written_out_map_becomes_one_write() -> None:
    lines, savings = optimized("m = flow.map [1, 2, 3]\n  context.set /t/${item} ${index}\nwait.seconds 0 after=m")
    assert lines.count('"kind": "set"') == 3
    assert "after=s1-0-to-s1-2" in lines
    assert [name for name, _ in savings] == ["fold", "batch"]


def test_embeddings_share_one_call() -> None:
    lines, savings = optimized(
        'a = embed.texts ["x", "yy"]\nb = embed.texts ["zzz"]\ncontext.set /v ${b.vectors[0]}\ncontext.set /w ${a.vectors[1][0]}\n@returns done'.replace(
            "@returns done", ""
        )
    )
    assert 'embed.texts ["x", "yy", "zzz"]' in lines
    assert "${a-to-b.vectors[2]}" in lines
    assert "${a-to-b.vectors[1][0]}" in lines
    assert ("batch", 1) in savings


def test_long_calls_begin_earlier_but_never_past_a_hazard() -> None:
    lines, savings = optimized(
        "context.set /a 1\nwait.seconds 0\napp.command /blender count\ng = context.get /a\n"
        "t = generate.text hi model=studio/text\ncontext.set /b ${t.text}\n@returns ${g}"
    )
    order = [line.split(" = ")[1].split(" ")[0] for line in lines.strip().split("\n")[:-1]]
    assert order == ["context.set", "wait.seconds", "generate.text", "app.command", "context.get", "context.set"]
    assert [name for name, _ in savings] == ["reorder"]


def test_a_program_that_only_reads_is_left_to_be_looked_at() -> None:
    assert optimized("context.get /a\ncontext.get /b")[1] == []
    assert optimized("context.get /a\ncontext.set /b 1")[1] == [("dead_code", 1)]


def test_a_program_with_mistakes_stays_as_it_is() -> None:
    house = House()
    for text in ("context.set /a ${x", "context.get /a when=(1 +)", "no.such x=1\ncontext.set /a ${s9}"):
        program = parse(text)
        assert Optimizer(Book(house)).optimize(program, house) == (program, ())


async def test_rewritten_programs_are_sound_and_a_thousand_instructions_take_no_time() -> None:
    text = "\n".join(
        f"a{at} = context.get /a\ncontext.set /b/{at} ${{a{at}}}\ncontext.set /c/{at} 1\ng{at} = generate.text p{at}"
        for at in range(250)
    )
    program = parse(text)
    house = House({"/a": 1})
    start = time.perf_counter()
    made, savings = Optimizer(Book(house)).optimize(program, house)
    print(f"1,000 instructions rewritten in {(time.perf_counter() - start) * 1000:.1f} ms: {count(made)} left")
    assert {each.rewrite for each in savings} >= {"dedupe", "reorder"}
    await check_sound(made)
    check_same(program, made, {"/a": 1})
