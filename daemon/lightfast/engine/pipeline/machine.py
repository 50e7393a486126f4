"""The pipeline: fetch, decode, execute and write back, joined. It does no I/O: it takes news and yields effects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.core.errors import LightfastError
from lightfast.engine.pipeline.course import Course
from lightfast.engine.pipeline.decode import checked_outcome
from lightfast.engine.pipeline.effects import (
    Effect,
    Finish,
    Note,
    Sleep,
)
from lightfast.engine.pipeline.ending import Ending, result_of, trail
from lightfast.engine.pipeline.faults import fault_of
from lightfast.engine.pipeline.slots import Fault, Slot, Stage, was_begun
from lightfast.engine.pipeline.writeback import step_of
from lightfast.engine.runs.records import StepState
from lightfast_link.value import Value

BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0
"""How long the first retry waits, and any: it doubles, and of that a random part between half and all is waited."""


OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
"""The reason of an error that says: it may or may not have happened."""


class Pipeline(Course):
    """One run of a program. After news, `advance` returns what is to be done next."""

    # --- what is done next -------------------------------------------------------------------------------------------

    def advance(self) -> list[Effect]:
        """Return all that is to be done now; empty while nothing is until more news come."""
        moved = not self._finished
        while moved:
            moved = self._fill()
            moved |= self._execute.issue(self._go)
            if self._trail < 0:
                handed = self._write.hand()
                self._effects += handed
                moved |= self._retire() or bool(handed)
        self._finish()
        effects, self._effects = self._effects, []
        return effects

    # --- news --------------------------------------------------------------------------------------------------------

    def performed(self, slot: Slot, outcome: Any) -> None:
        """Hear what an operation returned."""
        if slot.stage is not Stage.PERFORMING or slot not in self._under_way:
            return  # it was given up
        checked = checked_outcome(outcome, slot.instruction.op)
        if isinstance(checked, Fault):
            self._fail(slot, checked)
        else:
            self._done(slot, checked)

    def failed(self, slot: Slot, fault: Fault) -> None:
        """Hear that an operation, or what was read for an expression, failed; it may be tried again."""
        if slot not in self._under_way:
            return
        self._looking.pop(slot, None)
        if fault.reason == OUTCOME_UNKNOWN and slot.acts and slot.begun:
            self._unknown(slot)
            return
        again = slot.attempts <= slot.instruction.retries and slot.order <= self._execute.barrier
        if again and fault.retryable and slot.stage is Stage.PERFORMING and self._repeatable(slot):
            wait = min(LONGEST_BACKOFF_S, BACKOFF_S * 2.0 ** (slot.attempts - 1)) * self._chance.uniform(0.5, 1.0)
            self._effects.append(Sleep(slot, max(wait, fault.retry_after)))
            return
        self._fail(slot, fault)

    def woke(self, slot: Slot) -> None:
        """Hear that the wait before the next attempt is over."""
        if slot not in self._under_way:
            return
        del self._under_way[slot]
        for each in self._budget.release(slot):
            self._execute.wait(each)
        slot.stage = Stage.READY
        self._execute.wait(slot)

    def began(self, slot: Slot) -> None:
        """Hear that a step is about to act: it is being noted on the disk."""
        slot.begun = True

    def kept(self, slot: Slot, note: str) -> None:
        """Hear that an operation has kept a note."""
        slot.note = note

    def lost(self, slot: Slot) -> None:
        """Hear that it cannot be known what became of a step."""
        if slot in self._under_way:
            self._unknown(slot)

    def _unknown(self, slot: Slot) -> None:
        if slot.order <= self._execute.barrier:
            self._doubt(slot)
            return
        slot.cut = slot.unknown = True  # the run has failed or was cancelled meanwhile
        self._executed(slot)

    def stopped(self, slot: Slot, *, late: bool = False) -> None:
        """Hear that a step was ended; *late*: it would not end in time, so what it does is not known."""
        if slot not in self._under_way:
            return
        self._looking.pop(slot, None)
        if slot.order <= self._execute.barrier:  # nobody had asked for it
            if late and slot.acts and slot.begun:
                self._doubt(slot)
            else:
                self._fail(slot, Fault("DEADLINE_EXCEEDED" if late else "CANCELLED", "it gave up, or would not end"))
            return
        slot.cut = True
        slot.unknown = (late and slot.acts and slot.begun) or was_begun(slot)
        self._executed(slot)

    def looked(self, slot: Slot, values: Mapping[str, Value]) -> None:
        """Hear the values that an expression reads."""
        expression = self._looking.pop(slot, None)
        if slot not in self._under_way or expression is None:
            return
        del self._under_way[slot]
        try:
            self._evaluate(slot, expression, values)
        except LightfastError as error:
            self._cannot(slot, fault_of(error, slot.step_id))

    def decided(self, slot: Slot) -> None:
        """Hear that a decision is on the disk."""
        slot.begun = True
        self._decided(slot, self._decode.decide(slot, lambda _: None))

    def committed(self, slot: Slot) -> None:
        """Hear that a step is written."""
        if self._trail > 0:
            self._trail -= 1
            return
        slot.acknowledged = True
        self._retire()

    def refused(self, slot: Slot, fault: Fault) -> None:
        """Hear that a step could not be written, and that nothing after it was tried."""
        if self._trail >= 0 or slot.fault is not None or slot.outcome is None or slot.control:
            self._broken(fault)
            return
        self._write.refused()
        slot.fault = fault
        self._execute.retired(slot)
        self._stop_at(slot)
        for each in [each for each in self._under_way if each.control and each.stage is Stage.PERFORMING]:
            if each.order > self._execute.barrier:
                self.stopped(each)
            else:  # its note was dropped with what came after the step
                self._effects.append(Note(each, step_of(each, StepState.STARTED)))

    def _broken(self, fault: Fault) -> None:
        """End the run, as its rows cannot be written: they stay as they are."""
        self._execute.barrier = -1
        self.ending = Ending("FAILED", fault.message, fault.reason, None, broken=True)
        self._stop(-1)
        for slot in [each for each in self._under_way if each.control and each.stage is Stage.PERFORMING]:
            del self._under_way[slot]

    # --- what others want --------------------------------------------------------------------------------------------

    def pause(self, *, leave: bool = False) -> None:
        """Issue nothing more; *leave*: end as PAUSED when what is under way has ended."""
        self._execute.paused = True
        self._leave = leave

    def resume(self) -> None:
        """Issue again."""
        self._execute.paused = self._leave = False

    def cancel(self, error: str, reason: str = "CANCELLED", state: str = "CANCELLED") -> None:
        """End the run and what is under way."""
        if self._trail >= 0 or (self.ending is not None and self.ending.state != "FAILED"):
            return
        if self.ending is None or self.ending.slot is None or self._write.head is not self.ending.slot:
            self.ending = Ending(state, error, reason, None)
        self._execute.barrier = -1
        self._stop(-1)

    # --- the end -----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        if self._finished or self._under_way or (self._write.handed and not (self.ending and self.ending.broken)):
            return
        if self._trail < 0:
            ending = self._ending()
            if ending is None:
                return
            self.ending = ending
            opened, never = self._fetch.opened(), self._fetch.left.values()
            steps = [] if ending.broken else trail(self._write, opened, never, ending)
            self._trail = len(steps)
            self._lost = [each.step.step_id for each in steps if each.step.state is StepState.UNKNOWN]
            self._effects += steps
        if self.ending is not None and (not self._trail or self.ending.broken):
            self._finished = True
            replayed = [each.step_id for each in self._write if each.unknown and each.replayed]
            unknown = tuple(dict.fromkeys((*replayed, *self._lost)))
            self._effects.append(Finish(self.ending.end(unknown)))

    def _ending(self) -> Ending | None:
        """Return how the run ends, if it does now."""
        head, ending = self._write.head, self.ending
        if head is not None and head.unknown and (ending is None or ending.slot not in (None, head)):
            return Ending("NEEDS_YOU", f"it cannot be known whether {head.step_id} happened", "STEP_UNKNOWN", head)
        if ending is not None:
            return ending if ending.broken or ending.slot is None or ending.slot is head else None
        if head is None and self._fetch.through:
            return result_of(self._program, self._fetch.scope)
        return Ending("PAUSED", "", "", None) if self._execute.paused and self._leave else None
