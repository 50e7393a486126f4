"""Write back: the reorder buffer. Whatever order instructions end in, they are committed in that of the program."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from lightfast.engine.pipeline.decode import close
from lightfast.engine.pipeline.effects import Commit, Record
from lightfast.engine.pipeline.slots import Slot, Stage
from lightfast.engine.runs.records import Step, StepState


class WriteBack:
    """All instructions that were fetched and are not written back, in program order."""

    def __init__(self) -> None:
        self._buffer: deque[Slot] = deque()
        self._handed = 0

    def __len__(self) -> int:
        return len(self._buffer)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._buffer)

    @property
    def head(self) -> Slot | None:
        """Return the first one."""
        return self._buffer[0] if self._buffer else None

    @property
    def handed(self) -> int:
        """Return how many were handed out to be written and are not yet."""
        return self._handed

    def enter(self, slot: Slot) -> None:
        """Take an instruction in."""
        self._buffer.append(slot)

    def hand(self) -> list[Commit | Record]:
        """Return what can be written now: all that ended, up to the first that did not, or that fails the run."""
        found: list[Commit | Record] = []
        while self._handed < len(self._buffer):
            slot = self._buffer[self._handed]
            if slot.opening is not None and slot.stage < Stage.EXECUTED:
                if self._handed:  # what its block brought is not all there
                    break
                slot.outcome = close(slot)
                slot.stage = Stage.EXECUTED
            if slot.stage is not Stage.EXECUTED or slot.stops or slot.unknown or slot.cut:
                break
            slot.handed = True
            self._handed += 1
            if slot.replayed or (slot.control and not slot.skipped and slot.fault is None):
                slot.acknowledged = True
            elif slot.outcome is not None and slot.fault is None:
                found.append(Commit(slot, step_of(slot, StepState.DONE), slot.outcome.changes))
            else:
                found.append(Record(slot, step_of(slot, StepState.SKIPPED if slot.skipped else StepState.FAILED)))
        return found

    def retire(self) -> Slot | None:
        """Return the first one and forget it, if it is written."""
        if not self._buffer or not self._buffer[0].acknowledged:
            return None
        self._handed -= 1
        slot = self._buffer.popleft()
        slot.stage = Stage.RETIRED
        return slot

    def refused(self) -> None:
        """Hear that the first one could not be written, so that none after it was."""
        for slot in self._buffer:
            if not slot.handed:
                break
            slot.handed = slot.acknowledged = False
        self._handed = 0


def step_of(slot: Slot, state: StepState, **changes: Any) -> Step:
    """Return the row of an instruction as it is now."""
    outcome, fault = slot.outcome, slot.fault
    plain: dict[str, Any] = {
        "step_id": slot.step_id,
        "operation": slot.instruction.op,
        "state": state,
        "arguments": slot.text,
        "attempts": slot.attempts,
        "start_time": slot.start_time,
        "end_time": slot.end_time,
        "note": slot.note,
    }
    if outcome is not None:
        plain["cost_usd"] = outcome.cost_usd
        plain["stuck"] = outcome.stuck
        plain["revision"] = outcome.revision
        if outcome.undo is not None:
            plain["undo"] = {"operation": outcome.undo.operation, "arguments": dict(outcome.undo.arguments)}
        if fault is None:
            plain["result"] = outcome.value
    if fault is not None:
        plain["error"], plain["reason"] = fault.message, fault.reason
    plain.update(changes)
    return Step(**plain)
