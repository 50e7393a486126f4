"""What a run is: one execution of a program, and its steps. Times are ns since 1970."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from lightfast.engine.programs.program import Program
from lightfast_link.value import Value


class RunState(StrEnum):
    """How a run stands."""

    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    NEEDS_YOU = "NEEDS_YOU"
    ROLLED_BACK = "ROLLED_BACK"

    @property
    def told(self) -> str:
        """The state as it is told to a person."""
        return self.value.lower().replace("_", " ")


ENDED = frozenset((RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.ROLLED_BACK))


class StepState(StrEnum):
    """How a step stands."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    DONE = "DONE"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    UNKNOWN = "UNKNOWN"
    UNDONE = "UNDONE"
    STUCK = "STUCK"


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction as it was run; *step_id* is the instruction's with the turns of the loops around it.

    *arguments* are those that were used, as a JSON text; *undo* is what would take it back outside the context.
    """

    step_id: str
    operation: str
    state: StepState = StepState.PENDING
    arguments: str = ""
    result: Value | None = None
    error: str = ""
    reason: str = ""
    revision: int = 0
    attempts: int = 0
    start_time: int = 0
    end_time: int = 0
    fraction: float = -1.0
    message: str = ""
    cost_usd: float = 0.0
    note: str = ""
    undo: Mapping[str, Any] | None = None
    stuck: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. *reason* says why it failed, waits or needs you, and what to do."""

    run_id: str
    state: RunState
    program: Program
    requester: str
    origin: str
    create_time: int
    intent: str = ""
    digest: str = ""
    approver: str = ""
    reason: str = ""
    steps: tuple[Step, ...] = ()
    steps_done: int = 0
    steps_known: int = 0
    end_time: int = 0
    cost_usd: float = 0.0
    project: str = ""
    next_steps: tuple[str, ...] = ()
    result: Value | None = None
    approval_reasons: tuple[str, ...] = ()
    max_cost_usd: float | None = 0.0
    compensate: bool = False
    via: str = ""
    timeout: float = 0.0
    details: Mapping[str, Any] = field(default_factory=dict)
    """What started it: workflow and version, trigger, job, task."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One event of a run: *kind* the run (without steps) or one step; *sequence* from 1 within the run."""

    run_id: str
    sequence: int
    time: int
    kind: Run | Step


@dataclass(frozen=True, slots=True)
class RunAsk:
    """What is asked for: how a checked program is to be run.

    *asked* is a hash of all that was asked for with the request id, before it was planned; empty: of the program.
    *run_id* is what the run is to be called, where that was told before; empty: a new name.
    """

    project: str = ""
    max_cost_usd: float = 0.0
    timeout: float = 0.0
    compensate: bool = False
    request_id: str = ""
    asked: str = ""
    run_id: str = ""
    intent: str = ""
    next_steps: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
