"""How a run ends, and what is noted then of steps that were not written back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from lightfast.core.errors import LightfastError
from lightfast.engine.pipeline.effects import Commit, Record
from lightfast.engine.pipeline.ports import RunEnd
from lightfast.engine.pipeline.slots import Scope, Slot, Stage
from lightfast.engine.pipeline.writeback import step_of
from lightfast.engine.programs.program import BLOCKS, Instruction, Program
from lightfast.engine.programs.references import references, resolve
from lightfast.engine.runs.records import Step, StepState
from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class Ending:
    """*state* as in `RunEnd`; *slot* is the step that brought it about; *broken*: no row can be written any more."""

    state: str
    error: str
    reason: str
    slot: Slot | None
    broken: bool = False
    result: Value | None = None

    def end(self, unknown: tuple[str, ...]) -> RunEnd:
        """Return what is told of it."""
        failed = self.slot.step_id if self.slot is not None and self.state == "FAILED" else ""
        return RunEnd(self.state, self.result, self.error, self.reason, failed, unknown)


def result_of(program: Program, scope: Scope) -> Ending:
    """Return the end of a program that is through, with what it gives back."""
    text = program.returns
    if not text:
        return Ending("SUCCEEDED", "", "", None)
    text = text if "${" in text else f"${{{text}}}"
    try:
        value = resolve(text, scope.names(references(text)))
    except LightfastError as error:
        return Ending("FAILED", f"what it gives back is not there: {error.message}", error.reason, None)
    return Ending("SUCCEEDED", "", "", None, result=value)


def trail(
    buffer: Iterable[Slot], opened: Iterable[Slot], never: Iterable[Step], ending: Ending
) -> list[Commit | Record]:
    """Return what is noted of steps that were begun and are not written back, in program order.

    One that acted is done, but what it would have changed in the context is left out; one that was cut off has failed;
    branches and maps in which the run ended have failed with it. Where a person is asked, the run goes on later: then
    what is known is noted, but what has changes of the context is left as begun, for they are not committed yet.
    *never* are the rows of a former daemon that this one did not come to: of those that were begun, nothing is known.
    """
    if ending.state == "PAUSED":
        return []
    found: list[Commit | Record] = []
    doubt = ending.state == "NEEDS_YOU"
    closed: list[Slot] = []
    for slot in buffer:
        acted = slot.begun and slot.acts and slot.stage is Stage.EXECUTED
        if slot.unknown:
            if not slot.replayed:
                error = _UNKNOWN if slot.fault is None else f"{slot.fault.message}: {_UNKNOWN}"
                found.append(Record(slot, step_of(slot, StepState.UNKNOWN, error=error, reason="STEP_UNKNOWN")))
        elif slot.replayed:
            continue
        elif slot.opening is not None:
            closed.append(slot.opening)
        elif slot is ending.slot:
            found.append(Record(slot, step_of(slot, StepState.FAILED)))
        elif slot.begun and slot.stage < Stage.EXECUTED:  # by a former daemon
            if not doubt:
                slot.unknown = not slot.control
                found.append(Record(slot, _abandoned(step_of(slot, StepState.STARTED), ending)))
        elif acted and not doubt:
            found.append(_acted(slot, ending))
        elif acted and slot.fault is not None:
            found.append(Record(slot, step_of(slot, StepState.FAILED)))
        elif acted and slot.outcome is not None and not slot.outcome.changes:
            found.append(Commit(slot, step_of(slot, StepState.DONE), ()))
    if not doubt:
        whole = {slot.order: slot for slot in (*closed, *opened) if slot.begun and not slot.skipped}
        for order in sorted(whole, reverse=True):
            slot = whole[order]
            why = f"the run ended in it: {ending.error or ending.state}"
            found.append(Record(slot, step_of(slot, StepState.FAILED, error=why, reason=ending.reason)))
        for step in never:
            if step.state is StepState.STARTED:
                slot = Slot(-1, step.step_id, Instruction(step.step_id, step.operation), Scope(None, {}))
                found.append(Record(slot, _abandoned(step, ending)))
    return found


def _abandoned(step: Step, ending: Ending) -> Step:
    if step.operation in BLOCKS:
        why = f"the run ended in it: {ending.error or ending.state}"
        return replace(step, state=StepState.FAILED, error=why, reason=ending.reason)
    return replace(step, state=StepState.UNKNOWN, error=_UNKNOWN, reason="STEP_UNKNOWN")


def _acted(slot: Slot, ending: Ending) -> Commit | Record:
    if slot.cut:
        why = (
            f"it was cut off while it worked, and may have been done in part: {ending.error or 'the run was cancelled'}"
        )
        return Record(slot, step_of(slot, StepState.FAILED, error=why, reason="CANCELLED"))
    if slot.fault is not None:
        return Record(slot, step_of(slot, StepState.FAILED))
    left = " What it would have changed in the context is left out." if slot.outcome and slot.outcome.changes else ""
    message = f"It acted before the run ended ({ending.reason or ending.state}).{left}"
    return Commit(slot, step_of(slot, StepState.DONE, message=message), ())


_UNKNOWN = (
    "it was begun when the daemon ended, or would not end, and what became of it cannot be known: look, then say"
    " whether it happened, is to be repeated, or left out"
)
