"""What the pipeline asks of whoever runs it: the effects it yields.

Each but `Stop` and `Finish` is answered by news: a method of `Pipeline` is called. `Commit`, `Record` and `Note` are
performed in the order they were yielded, and what changes something only when all before it is on the disk; after one
that fails, the rest of them is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightfast.engine.pipeline.ports import RunEnd
from lightfast.engine.pipeline.slots import Slot
from lightfast.engine.runs.records import Step
from lightfast.sdk import ContextChange, Operation, OperationCall


@dataclass(frozen=True, slots=True)
class Perform:
    """Perform an instruction; before that note *step* on the disk, where there is one. News: performed, failed."""

    slot: Slot
    operation: Operation
    call: OperationCall
    step: Step | None


@dataclass(frozen=True, slots=True)
class Recover:
    """Find out what became of an instruction that was begun before. News: performed, failed, lost."""

    slot: Slot
    operation: Operation
    call: OperationCall


@dataclass(frozen=True, slots=True)
class Look:
    """Read the context at *paths*, for an expression. News: looked, failed."""

    slot: Slot
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait before the next attempt. News: woke."""

    slot: Slot
    seconds: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End what is under way for an instruction. News: stopped, or what it came to by itself."""

    slot: Slot


@dataclass(frozen=True, slots=True)
class Commit:
    """Commit what an instruction changes, as one transaction with its row. News: committed, refused."""

    slot: Slot
    step: Step
    changes: tuple[ContextChange, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """Note a step that failed, was skipped or is unknown. News: committed, refused."""

    slot: Slot
    step: Step


@dataclass(frozen=True, slots=True)
class Note:
    """Note how a branch or a map was decided, before its block begins. News: decided, refused."""

    slot: Slot
    step: Step


@dataclass(frozen=True, slots=True)
class Finish:
    """The run has ended so; nothing is under way."""

    end: RunEnd


Effect = Perform | Recover | Look | Sleep | Stop | Commit | Record | Note | Finish
