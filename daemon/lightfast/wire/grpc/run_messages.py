"""Runs, their steps and events as messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.values import to_message
from lightfast.core.errors import InvalidArgument
from lightfast.core.redaction import hide, hide_in
from lightfast.engine.ports import Asker
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.records import Run, RunEvent, RunState, Step, StepState
from lightfast.wire.grpc.convert import put_time
from lightfast.wire.grpc.services import Caller

MOST_ARGUMENTS = 4_000
"""Longer arguments are cut, in characters."""
MOST_BYTES = 24 << 20
"""How large one answer becomes before arguments and results are left out of it, in bytes."""
NO_BOUND_USD = -1.0
_LEFT_OUT = "its arguments and its result do not fit into this answer"
_RUN_STATES = {state: pb.RunState.Value(f"RUN_STATE_{state}") for state in RunState}
_STEP_STATES = {state: pb.StepState.Value(f"STEP_STATE_{state}") for state in StepState}
_STATES_IN: dict[int, RunState] = {number: state for state, number in _RUN_STATES.items()}
_RESOLUTIONS: dict[int, str] = {
    pb.RESOLUTION_HAPPENED: "HAPPENED",
    pb.RESOLUTION_REPEAT: "REPEAT",
    pb.RESOLUTION_SKIP: "SKIP",
    pb.RESOLUTION_GIVE_UP: "GIVE_UP",
}


def asker_of(caller: Caller) -> Asker:
    """Return who asks: a session whose name begins with `mcp` speaks for an MCP client, where nobody approves."""
    session = caller.origin.partition("#")[2]
    via = "mcp" if session.startswith("mcp") else "grpc"
    principal = caller.principal
    return Asker(principal.origin, caller.origin, frozenset(str(scope) for scope in principal.scopes), via)


def run_states(numbers: list[int]) -> tuple[RunState, ...]:
    """Return the states; raises `InvalidArgument` for one that is none."""
    try:
        return tuple(_STATES_IN[number] for number in numbers)
    except KeyError:
        raise InvalidArgument("one of the states is unspecified or unknown", field="states") from None


def resolution(number: int) -> str:
    """Return what is said of a step; raises `InvalidArgument`."""
    if number not in _RESOLUTIONS:
        raise InvalidArgument("say what became of the step", reason="RESOLUTION_UNKNOWN", field="resolution")
    return _RESOLUTIONS[number]


def put_list(response: pb.ListRunsResponse, runs: Sequence[Run]) -> None:
    """Write *runs* into an empty *response*, without their programs; results only while there is room."""
    left = MOST_BYTES
    for run in runs:
        added = response.runs.add()
        put_run(added, run, listed=True)
        if added.ByteSize() > left:
            added.ClearField("result")
            added.ClearField("approval_reasons")
        left -= added.ByteSize()


def put_run(message: pb.EngineRun, run: Run, *, listed: bool = False) -> None:
    """Write *run* into an empty *message*; of one that is *listed* without its program.

    From the first step on that would make the message too large, steps are without arguments and results.
    """
    message.run_id, message.state = run.run_id, _RUN_STATES[run.state]
    message.intent, message.digest = hide(run.intent), run.digest
    if not listed:
        message.yaml = _yaml(run.digest, _Held(run.program))
    message.requester, message.approver, message.reason = run.requester, run.approver, hide(run.reason)
    message.steps_done, message.steps_known = run.steps_done, run.steps_known
    message.cost_usd, message.project = run.cost_usd, run.project
    message.next_steps.extend(run.next_steps)
    message.approval_reasons.extend(map(hide, run.approval_reasons))
    message.max_cost_usd = NO_BOUND_USD if run.max_cost_usd is None else run.max_cost_usd
    put_time(message.create_time, run.create_time)
    put_time(message.end_time, run.end_time)
    if run.result is not None:
        to_message(hide_in(run.result), message.result)
    left = MOST_BYTES - message.ByteSize() if run.steps else 0
    for step in run.steps:
        added = message.steps.add()
        if left > 0:
            put_step(added, step)
            left -= added.ByteSize()
        if left <= 0 and (step.arguments or step.result is not None):
            added.Clear()
            put_step(added, replace(step, arguments="", result=None, message=step.message or _LEFT_OUT))
        elif left <= 0:
            added.Clear()
            put_step(added, step)


def put_step(message: pb.RunStep, step: Step) -> None:
    """Write *step* into an empty *message*."""
    message.step_id, message.operation, message.state = step.step_id, step.operation, _STEP_STATES[step.state]
    message.arguments = hide(step.arguments)[:MOST_ARGUMENTS]
    message.error = hide(step.stuck if step.state in (StepState.STUCK, StepState.UNDONE) else step.error)
    message.revision, message.attempts = step.revision, step.attempts
    message.fraction, message.message, message.cost_usd = step.fraction, hide(step.message), step.cost_usd
    put_time(message.start_time, step.start_time)
    put_time(message.end_time, step.end_time)
    if step.result is not None:
        to_message(hide_in(step.result), message.result)


def put_event(message: pb.RunEvent, event: RunEvent) -> None:
    """Write *event* into an empty *message*."""
    message.sequence = event.sequence
    put_time(message.time, event.time)
    if isinstance(event.kind, Run):
        put_run(message.run, event.kind)
    else:
        put_step(message.step, event.kind)


class _Held:
    """A program that a cache does not look at: its digest says which it is."""

    __slots__ = ("program",)

    def __init__(self, program: Program) -> None:
        self.program = program

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=64)
def _yaml(digest: str, held: _Held) -> str:
    """Return the YAML of a program; *digest* is not that of a program that was purged, which is empty."""
    from lightfast.engine.programs.text import to_yaml  # loads a parser of YAML

    return hide(to_yaml(held.program)) if held.program.instructions else ""
