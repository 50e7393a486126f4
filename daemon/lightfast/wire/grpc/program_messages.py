"""Checked programs and plans as messages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from lightfast.api.v1 import engine_pb2, types_pb2
from lightfast.api.values import to_message
from lightfast.engine.programs.checked import Checked, Plan, PlannedChange, Problem, Saving
from lightfast.engine.programs.program import Program
from lightfast.engine.programs.text import parse, to_lines, to_yaml
from lightfast.sdk import Effect
from lightfast_link.value import Value, check_value

_EFFECTS = {
    Effect.READ: engine_pb2.EFFECT_READ,
    Effect.REVERSIBLE: engine_pb2.EFFECT_REVERSIBLE,
    Effect.DESTRUCTIVE: engine_pb2.EFFECT_DESTRUCTIVE,
    Effect.SPEND: engine_pb2.EFFECT_SPEND,
    Effect.NETWORK: engine_pb2.EFFECT_NETWORK,
}
LONG = 4_000
"""A text of more characters takes longer to read than others should wait."""
NO_BOUND_USD = -1.0
"""What stands in `max_cost_usd` of a program that nobody can bound."""


def get_program(message: engine_pb2.ProgramSource) -> Program:
    """Return the program of a source; raises `InvalidArgument` with its line and column."""
    return parse(message.text)


async def read_program(message: engine_pb2.ProgramSource) -> Program:
    """Return the program of a source, as `get_program` does; a long one is read in a thread."""
    long = len(message.text) > LONG
    return await asyncio.to_thread(get_program, message) if long else get_program(message)


def effect_values(effects: Iterable[Effect]) -> list[engine_pb2.Effect.ValueType]:
    """Return effects in the order of the enum, each once."""
    return sorted({_EFFECTS[effect] for effect in effects})


def plan_message(plan: Plan) -> engine_pb2.Plan:
    """Return a plan as a message; `max_cost_usd` is -1 where nothing bounds the cost."""
    message = checked_message(plan.checked)
    message.savings.extend(saving_message(each) for each in plan.savings)
    message.planner = plan.planner
    message.attempts.extend(plan.attempts)
    message.review = plan.review
    message.message = plan.message
    message.confidence = plan.confidence
    return message


def checked_message(checked: Checked) -> engine_pb2.Plan:
    """Return a checked program as a plan that nobody planned."""
    program = checked.program
    return engine_pb2.Plan(
        digest=checked.digest,
        yaml=to_yaml(program),
        lines=to_lines(program),
        problems=[problem_message(each) for each in checked.problems],
        changes=[change_message(each) for each in checked.changes],
        effects=effect_values(effect for effects in checked.effects.values() for effect in effects),
        needs_approval=checked.needs_approval,
        approval_reasons=list(checked.approval_reasons.values()),
        max_cost_usd=NO_BOUND_USD if checked.max_cost_usd is None else checked.max_cost_usd,
        untrusted=program.untrusted,
        confidence=1.0,
    )


def problem_message(problem: Problem) -> engine_pb2.Problem:
    """Return a problem as a message."""
    return engine_pb2.Problem(
        reason=problem.reason,
        message=problem.message,
        instruction=problem.instruction,
        field=problem.field,
        line=problem.line,
        warning=problem.warning,
    )


def change_message(change: PlannedChange) -> engine_pb2.PlannedChange:
    """Return a planned change as a message; a value that the context cannot hold is left out."""
    message = engine_pb2.PlannedChange(instruction=change.instruction, path=change.path, note=change.note)
    for name, value in (("before", change.before), ("after", change.after)):
        if value is not None:
            _put(getattr(message, name), value)
    return message


def saving_message(saving: Saving) -> engine_pb2.Saving:
    """Return a saving as a message."""
    return engine_pb2.Saving(
        rewrite=saving.rewrite,
        instructions=list(saving.instructions),
        summary=saving.summary,
        instructions_saved=saving.instructions_saved,
    )


def _put(message: types_pb2.Value, value: Value) -> None:
    try:
        check_value(value)
    except ValueError:
        return
    to_message(value, message)
