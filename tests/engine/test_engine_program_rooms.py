"""Programs against the daemon's own operations, models and budgets; and nonsense against the checker and the rewrites."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given, settings
from tests.support.costs import PENNY, asks, costs_in
from tests.support.operations import operation_house
from tests.support.program_house import ME, Book, House
from tests.support.programs import any_programs

from lightfast.core.clock import StillClock
from lightfast.engine.programs.budget import CostsBudget
from lightfast.engine.programs.checker import ProgramChecker
from lightfast.engine.programs.optimizer import Optimizer
from lightfast.engine.programs.program import Program
from lightfast.engine.programs.text import parse, to_lines
from lightfast.gateway.ports import Payer

TEXT = """
@param n=2
a = context.set /desk/a 1
b = context.set /desk/b two
g = context.get /desk/a
h = context.get /desk/a
v = value.compute (g + params.n)
context.set /desk/c ${v}
d = flow.branch (v > 2 and exists("/desk/b"))
  then:
    context.set /desk/d ${h}
  else:
    context.delete /desk/a
m = flow.map [1, 2] as=turn
  context.set /desk/m/${turn} ${turn}
wait.pattern /desk/a .timeout=1 when=(value("/desk/a") == 1)
wait.seconds 0
memory.remember hello
r = memory.recall hello
transport.tempo 120
@returns ${r}
"""


async def test_a_program_of_the_daemons_own_operations_is_sound_before_and_after_rewrites(tmp_path: Path) -> None:
    async with operation_house(tmp_path) as house:
        checker = ProgramChecker(house.book, house.book.world)
        checked = await checker.check(parse(TEXT), ME)
        assert checked.problems == ()
        assert checked.max_cost_usd == 0
        assert not checked.needs_approval
        assert [(each.path, each.after) for each in checked.changes[:2]] == [("/desk/a", 1), ("/desk/b", "two")]
        made, savings = Optimizer(house.book).optimize(checked.program, house.book.world)
        assert {each.rewrite for each in savings} >= {"dedupe", "fold", "batch"}
        assert (await checker.check(made, ME)).mistakes == ()
        assert "context.set /desk/d ${g}" in to_lines(made)
        wrong = await checker.check(
            parse("context.set /lightfast/x 1\napp.command /blender render\ngenerate.image hi"), ME
        )
        assert [each.instruction for each in wrong.mistakes] == ["s1", "s2", "s3"]


async def test_the_budgets_of_the_gateway_count(tmp_path: Path) -> None:
    clock = StillClock()
    async with costs_in(tmp_path, clock) as costs:
        await costs.set_budget("project", "film", 0.10, "month")
        hold = await costs.hold("op", PENNY, asks(PENNY, 0.06), Payer(project="film"), account="")
        port = CostsBudget(costs)
        (room,) = await port.allowances("film", "client:me#1")
        assert room.name == "project:film (month)"
        assert round(room.left_usd, 9) == 0.04
        assert await port.allowances("other", "client:me") == []
        house = House()
        checked = await ProgramChecker(Book(house), house, port).check(
            parse("generate.text hi model=cloud/text"), ME, project="film"
        )
        assert [each.reason for each in checked.mistakes] == ["BUDGET_EXCEEDED"]
        assert "of project:film (month) $0.04 are left" in checked.mistakes[0].message
        await costs.release(hold)


@given(any_programs())
@settings(max_examples=60, deadline=None)
def test_nonsense_is_told_and_left_as_it_is(program: Program) -> None:
    house = House()
    checked = asyncio.run(ProgramChecker(Book(house), house).check(program, ME))
    assert checked.program == program
    assert all(problem.reason and problem.message for problem in checked.problems)
    made, savings = Optimizer(Book(house)).optimize(program, house)
    assert savings or made == program
