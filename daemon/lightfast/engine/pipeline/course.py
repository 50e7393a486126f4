"""The course of each instruction through fetch, decode, execute and write back."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.engine.pipeline.budget import Budget
from lightfast.engine.pipeline.decision import Decision
from lightfast.engine.pipeline.decode import EXPRESSIONS, Decode, arguments_text, checked_outcome
from lightfast.engine.pipeline.effects import (
    Effect,
    Look,
    Note,
    Perform,
    Recover,
    Stop,
)
from lightfast.engine.pipeline.ending import Ending
from lightfast.engine.pipeline.execute import Execute
from lightfast.engine.pipeline.faults import fault_of
from lightfast.engine.pipeline.fetch import MOST_STEPS, Fetch
from lightfast.engine.pipeline.leash import Leash
from lightfast.engine.pipeline.slots import Fault, Slot, Stage, was_begun
from lightfast.engine.pipeline.writeback import WriteBack, step_of
from lightfast.engine.ports import OperationBook
from lightfast.engine.programs.expression import Expression
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.records import Step, StepState
from lightfast.host.guard import guarded
from lightfast.sdk import Effect as Allowed
from lightfast.sdk import Operation, OperationCall, Outcome, World
from lightfast_link.value import Value

WINDOW = 256
"""How many instructions may be fetched and not written back."""
DEADLINE_S = 60.0
"""How long a step may take where neither it nor its operation says, in seconds."""


class Course:
    """What becomes of the instructions of one run: `Pipeline` joins it with the news and the end."""

    def __init__(
        self,
        program: Program,
        operations: OperationBook,
        *,
        run_id: str,
        origin: str,
        world: World,
        project: str = "",
        recorded: Mapping[str, Step] | None = None,
        budget_usd: float = 0.0,
        allowed: Mapping[str, frozenset[Allowed]] | None = None,
        clock: Clock = SYSTEM,
        window: int = WINDOW,
        chance: random.Random | None = None,
    ) -> None:
        self.ending: Ending | None = None
        self._program = program
        self._run_id, self._origin, self._project = run_id, origin, project
        self._world = world
        self._clock = clock
        self._window = window
        self._chance = chance or random.Random(run_id)  # noqa: S311  # spreads retries, keeps no secret
        recorded = recorded or {}
        self._budget = Budget(budget_usd, sum(each.cost_usd for each in recorded.values()), world)
        self._leash = Leash(allowed, world)
        self._begun = {each.step_id for each in recorded.values() if each.state is StepState.STARTED}
        self._fetch = Fetch(program, recorded)
        self._decode = Decode(operations)
        self._execute = Execute()
        self._write = WriteBack()
        self._effects: list[Effect] = []
        self._under_way: dict[Slot, bool] = {}
        self._looking: dict[Slot, Expression | None] = {}
        self._leave = self._finished = False
        self._trail: int = -1
        self._lost: list[str] = []

    def _fill(self) -> bool:
        any_ = False
        while self._comes_to_more() and len(self._write) < self._window and (slot := self._fetch.take()) is not None:
            any_ = True
            self._begun.discard(slot.step_id)
            self._enter(slot)
        return any_

    def _comes_to_more(self) -> bool:
        """Say whether instructions are fetched: after a failure only as far as a former daemon had begun any."""
        if self.ending is None:
            return True
        return bool(self._begun) and self.ending.state == "FAILED" and not self.ending.broken

    def _enter(self, slot: Slot) -> None:
        self._write.enter(slot)
        if slot.opening is not None:
            return
        if slot.recorded is not None and self._taken_up(slot, slot.recorded):
            return
        self._decode.begin(slot)
        if self._fetch.taken > MOST_STEPS:
            slot.fault = Fault("STEPS_TOO_MANY", f"the run has more than {MOST_STEPS} steps: map over fewer items")
        self._execute.enter(slot)
        if slot.fault is not None:
            fault, slot.fault = slot.fault, None
            self._cannot(slot, fault)
        elif not slot.dependencies:
            self._known(slot)

    def _taken_up(self, slot: Slot, step: Step) -> bool:
        """Take over what a former daemon noted of a step; say whether nothing is left to do."""
        slot.attempts, slot.note, slot.start_time = step.attempts, step.note, step.start_time
        if step.state is StepState.STARTED:
            slot.begun = True
            return False
        slot.end_time = step.end_time
        slot.replayed = True
        if step.state is StepState.DONE:
            slot.outcome = Outcome(value=step.result)
            slot.stage = Stage.EXECUTED
            self._settle(slot, step.result)
        elif step.state is StepState.SKIPPED:
            slot.stage = Stage.EXECUTED
            self._settle(slot, None)
        elif step.state is StepState.UNKNOWN:
            slot.begun = True
            self._doubt(slot)
            return True
        else:
            taken_back = "it was taken back: start the run again"
            fault = Fault(step.reason or "STEP_TAKEN_BACK", step.error or taken_back)
            self._fail(slot, fault)
        if slot.control:
            self._fetch.decide(slot, None)
        return True

    def _known(self, slot: Slot) -> None:
        slot.stage = Stage.GUARD
        self._execute.wait(slot)

    def _settle(self, slot: Slot, value: Any) -> None:
        """Give the result of an instruction to those that refer to it."""
        if slot.settled:
            return
        slot.settled, slot.value = True, value
        self._release(slot.at_settle)

    def _release(self, waiting: list[Slot]) -> None:
        for each in waiting:
            each.dependencies -= 1
            if not each.dependencies and each.stage is Stage.FETCHED:
                self._known(each)
        waiting.clear()

    # --- the way of one instruction ----------------------------------------------------------------------------------

    def _go(self, slot: Slot) -> None:
        try:
            if slot.stage is Stage.GUARD:
                condition = self._decode.guard(slot)
                if condition is not None:
                    self._look(slot, condition)
                    return
                self._admit(slot)
                return
            self._perform(slot)
        except LightfastError as error:
            self._cannot(slot, fault_of(error, slot.step_id))

    def _look(self, slot: Slot, expression: Expression) -> None:
        """Evaluate an expression, after reading what it reads."""
        if expression.reads:
            self._looking[slot] = expression
            self._under_way[slot] = True
            self._effects.append(Look(slot, expression.reads))
        else:
            self._evaluate(slot, expression, {})

    def _evaluate(self, slot: Slot, expression: Expression, values: Mapping[str, Value]) -> None:
        if slot.stage is Stage.READY:
            self._computed(slot, values)
        elif self._decode.holds(slot, expression, values.get):
            self._admit(slot)
        else:
            self._executed(slot)
            self._settle(slot, None)
            if slot.control:
                self._fetch.decide(slot, None)

    def _admit(self, slot: Slot) -> None:
        """Go on with an instruction whose condition holds: now it is known what it reads and writes."""
        self._decode.resolve(slot)
        self._execute.declare(slot)
        slot.stage = Stage.READY
        self._execute.wait(slot)

    def _perform(self, slot: Slot) -> None:
        slot.start_time = slot.start_time or self._clock.now_ns()
        if slot.control or slot.instruction.op in EXPRESSIONS:
            expression = None if slot.note else self._decode.computed(slot)
            if expression is None:
                self._computed(slot, {})
            else:
                self._look(slot, expression)
            return
        operation = slot.operation
        spends = Allowed.SPEND in self._leash.of(slot.instruction.id)
        if operation is None or (spends and not self._budget.reserve(slot)):
            return  # it is resolved; it comes again when one that spends has ended
        slot.text = arguments_text(slot.arguments)
        taken_up = slot.begun and slot.recorded is not None and not slot.taken
        slot.taken = True
        if not taken_up:
            slot.attempts += 1
        else:
            self._as_begun(slot)
        try:
            self._leash.check(slot.instruction.id, operation, slot.arguments)
        except FailedPrecondition:
            if not taken_up:
                raise
            self._doubt(slot)  # it may have happened already: a person looks, and nothing is done
            return
        taken_up = taken_up and not self._repeatable(slot)  # if it may, it is the same attempt once more
        call = self._call(slot, operation)
        self._under_way[slot] = True
        slot.stage = Stage.PERFORMING
        if taken_up:
            self._effects.append(Recover(slot, operation, call))
        else:
            self._effects.append(
                Perform(slot, operation, call, step_of(slot, StepState.STARTED) if slot.acts else None)
            )

    @staticmethod
    def _as_begun(slot: Slot) -> None:
        """Go on with the arguments it was begun with: what they were made of may have been read anew, and differ."""
        step = slot.recorded
        if step is None or not step.arguments:
            return
        before = json.loads(step.arguments)
        if before != json.loads(slot.text or "{}"):  # the text may be spaced in another way
            slot.text, slot.arguments = step.arguments, before

    def _call(self, slot: Slot, operation: Operation) -> OperationCall:
        return OperationCall(
            run_id=self._run_id,
            step_id=slot.step_id,
            key=f"{self._run_id}/{slot.step_id}",
            arguments=slot.arguments,
            origin=self._origin,
            group=self._run_id,
            project=self._project,
            note=slot.note,
            attempt=max(1, slot.attempts),
            deadline_s=slot.instruction.timeout or operation.timeout or DEADLINE_S,
            budget_usd=slot.reserved,
            effects=self._leash.of(slot.instruction.id),
        )

    def check_leash(self, slot: Slot) -> None:
        """Raise `FailedPrecondition` (EFFECT_NOT_APPROVED) where a step that was not begun would do more by now."""
        if slot.operation is not None and not slot.begun:
            self._leash.check(slot.instruction.id, slot.operation, slot.arguments)

    def _repeatable(self, slot: Slot) -> bool:
        operation = slot.operation
        if operation is None or operation.pure or not operation.acts:
            return True
        return guarded(operation.repeatable, slot.arguments, self._world).value is True

    def _computed(self, slot: Slot, values: Mapping[str, Value]) -> None:
        """Take what an expression came to; a branch or a map is decided by it."""
        if not slot.control:
            slot.attempts = 1
            slot.text = arguments_text(slot.arguments)
            outcome = checked_outcome(Outcome(value=self._decode.compute(slot, values.get)), slot.instruction.op)
            if isinstance(outcome, Fault):
                self._fail(slot, outcome)
                return
            self._done(slot, outcome)
            return
        decision = self._decode.decide(slot, values.get)
        if slot.begun:
            self._decided(slot, decision)
            return
        slot.note = decision.text()
        slot.text = slot.text or arguments_text(slot.arguments)
        slot.attempts = 1
        slot.stage = Stage.PERFORMING
        self._under_way[slot] = True
        self._effects.append(Note(slot, step_of(slot, StepState.STARTED)))

    def _decided(self, slot: Slot, decision: Decision) -> None:
        slot.outcome = Outcome()
        slot.sticky = False  # how it was decided is on the disk
        self._executed(slot)
        self._settle(slot, None)
        self._fetch.decide(slot, decision)

    def _executed(self, slot: Slot) -> None:
        slot.stage = Stage.EXECUTED
        slot.end_time = self._clock.now_ns()
        self._under_way.pop(slot, None)
        self._execute.executed(slot)
        for each in self._budget.release(slot):
            self._execute.wait(each)

    def _done(self, slot: Slot, outcome: Outcome) -> None:
        slot.outcome = outcome
        operation = slot.operation
        slot.sticky = operation is None or not slot.acts or (not operation.keyed and self._repeatable(slot))
        self._budget.spent += outcome.cost_usd
        self._executed(slot)
        if not outcome.changes:
            self._settle(slot, outcome.value)

    def _cannot(self, slot: Slot, fault: Fault) -> None:
        """Fail a step that cannot go on; of one that a former daemon began it is not known what became."""
        if slot.begun and slot.recorded is not None and not slot.taken and not slot.control:
            slot.fault = fault
            self._doubt(slot)
        else:
            self._fail(slot, fault)

    def _fail(self, slot: Slot, fault: Fault) -> None:
        """End a step with a fault; unless its program goes on regardless, so does the run."""
        slot.fault = fault
        slot.outcome = None
        self._executed(slot)
        if slot.control and self._fetch.waiting is slot:
            self._fetch.decide(slot, None)
        self._stop_at(slot)

    def _stop_at(self, slot: Slot) -> None:
        if not slot.stops:
            self._settle(slot, None)
            return
        if slot.order < self._execute.barrier:
            self._execute.barrier = slot.order
            if slot.fault is not None and (self.ending is None or self.ending.state == "FAILED"):
                self.ending = Ending("FAILED", slot.fault.message, slot.fault.reason, slot)
            self._stop(slot.order)

    def _stop(self, after: int) -> None:
        """End what is under way and later than *after*.

        After a failure, what a former daemon had begun goes on: it may have happened, and only its end tells that.
        """
        for each in self._under_way:
            if each.order > after and not (each.control and each.stage is Stage.PERFORMING):
                if after >= 0 and was_begun(each):
                    continue
                self._effects.append(Stop(each))

    def _doubt(self, slot: Slot) -> None:
        slot.unknown = True
        self._under_way.pop(slot, None)
        slot.stage = Stage.EXECUTED
        self._execute.doubt = min(self._execute.doubt, slot.order)
        for each in self._budget.release(slot):
            self._execute.wait(each)

    def _retire(self) -> bool:
        any_ = False
        while (slot := self._write.retire()) is not None:
            any_ = True
            self._execute.retired(slot)
            if slot.fault is None and slot.outcome is not None:
                self._settle(slot, None if slot.control else slot.outcome.value)
            self._settle(slot, None)
            self._release(slot.at_retire)
        return any_
