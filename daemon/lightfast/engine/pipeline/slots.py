"""An instruction under way, and the names it can refer to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from lightfast.engine.programs.program import Instruction
from lightfast.engine.runs.records import Step, StepState
from lightfast.sdk import Operation, Outcome
from lightfast_link.path import Pattern

SLOT_FIELDS = (
    *("order", "step_id", "instruction", "scope", "opening", "operation", "stage", "recorded"),
    *("dependencies", "at_settle", "at_retire", "settled", "value", "arguments", "reads", "writes", "acts"),
    *("attempts", "begun", "note", "outcome", "fault", "start_time", "end_time", "handed", "blocked_at", "reserved"),
    *("unknown", "cut", "last", "replayed", "acknowledged", "text", "taken", "sticky"),
)


class Stage(IntEnum):
    """How far an instruction is."""

    FETCHED = 0
    """It waits for what it refers to."""
    GUARD = 1
    """It waits until what its condition reads is there."""
    READY = 2
    """It waits until nothing it must not overtake is under way."""
    PERFORMING = 3
    EXECUTED = 4
    """Its outcome is known; it waits for its turn to be written back."""
    RETIRED = 5


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a step failed. *retryable*: trying again may help; *retry_after* in seconds, 0 where nobody said."""

    reason: str
    message: str
    retryable: bool = False
    retry_after: float = 0.0


class Scope:
    """The names of one block; those of the blocks around it are seen, too."""

    __slots__ = ("above", "bound", "slots")

    def __init__(self, above: Scope | None, bound: Mapping[str, Any]) -> None:
        self.above = above
        self.bound = bound
        self.slots: dict[str, Slot] = {}

    def find(self, name: str) -> Slot | None:
        """Return the instruction of that name which was fetched last, or `None`."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.slots:
                return scope.slots[name]
            if name in scope.bound:
                return None
            scope = scope.above
        return None

    def names(self, wanted: frozenset[str]) -> dict[str, Any]:
        """Return what the *wanted* names stand for, without those that stand for nothing."""
        found: dict[str, Any] = {}
        for name in wanted:
            scope: Scope | None = self
            while scope is not None:
                if name in scope.slots:
                    found[name] = scope.slots[name].value
                    break
                if name in scope.bound:
                    found[name] = scope.bound[name]
                    break
                scope = scope.above
        return found

    def nearby(self) -> list[str]:
        """Return the names that can be used here."""
        found: dict[str, None] = {}
        scope: Scope | None = self
        while scope is not None:
            found.update(dict.fromkeys((*scope.slots, *scope.bound)))
            scope = scope.above
        return list(found)


class Slot:
    """One instruction from the fetch until it is written back.

    A branch or a map has two: the one that decides, and after its block the one that closes it, whose *opening* is the
    first. *last* holds, for the first, the last instruction of each turn.
    """

    __slots__ = SLOT_FIELDS

    def __init__(self, order: int, step_id: str, instruction: Instruction, scope: Scope) -> None:
        self.order = order
        self.step_id = step_id
        self.instruction = instruction
        self.scope = scope
        self.opening: Slot | None = None
        self.operation: Operation | None = None
        self.stage = Stage.FETCHED
        self.recorded: Step | None = None
        self.dependencies = 0
        self.at_settle: list[Slot] = []
        self.at_retire: list[Slot] = []
        self.settled = False
        self.value: Any = None
        self.arguments: Mapping[str, Any] = instruction.arguments
        self.reads: tuple[Pattern, ...] = ()
        self.writes: tuple[Pattern, ...] = ()
        self.acts = False
        self.attempts = 0
        self.begun = False
        self.note = ""
        self.outcome: Outcome | None = None
        self.fault: Fault | None = None
        self.start_time = 0
        self.end_time = 0
        self.handed = False
        self.blocked_at: list[Slot] = []
        self.reserved = 0.0
        self.unknown = False
        self.cut = False
        self.last: list[Slot | None] = []
        self.replayed = False
        self.acknowledged = False
        self.text = ""
        self.taken = False
        self.sticky = True

    @property
    def control(self) -> bool:
        """Say whether it holds a block, and is the one that decides."""
        return bool(self.instruction.blocks) and self.opening is None

    @property
    def skipped(self) -> bool:
        """Say whether its condition kept it from running."""
        return self.outcome is None and self.fault is None and self.stage >= Stage.EXECUTED

    @property
    def stops(self) -> bool:
        """Say whether it failed so that the run fails."""
        return self.fault is not None and self.instruction.on_failure != "continue"

    def __repr__(self) -> str:
        return f"Slot({self.order}, {self.step_id!r}, {self.stage.name})"


def was_begun(slot: Slot) -> bool:
    """Say whether a former daemon had begun a step that acts."""
    return slot.acts and slot.recorded is not None and slot.recorded.state is StepState.STARTED
