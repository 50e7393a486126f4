"""What the pipeline asks of whoever keeps the run: a journal on the disk, and the commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lightfast.engine.runs.records import Step
from lightfast.sdk import ContextChange
from lightfast_link.value import Value


class RunJournal(Protocol):
    """Keeps one run. Every call but `progressed` returns when it is on the disk."""

    async def started(self, step: Step) -> None:
        """Note that a step is about to act, its arguments resolved: from here on it may have happened."""

    async def kept(self, step_id: str, note: str) -> None:
        """Keep a note of a step for whoever takes it up again."""

    async def committed(self, step: Step, changes: Sequence[ContextChange]) -> int:
        """Commit the changes of a step that is done as one transaction, the run as origin, with its row in one unit.

        Called in program order: with changes when all before it is on the disk, without changes maybe together with
        others that have none, begun in that order. Returns the revision, 0 where nothing changed. Raises what the
        store refuses: then the step has failed.
        """

    async def ended(self, step: Step) -> None:
        """Note that a step failed, was skipped, or is unknown."""

    def progressed(self, step_id: str, fraction: float, message: str) -> None:
        """Tell how far a step is. Never waits; it may be lost."""

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        """Return values of the context as they are committed now; a path that holds nothing is left out."""


@dataclass(frozen=True, slots=True)
class RunEnd:
    """How the pipeline ended: *state* is SUCCEEDED, FAILED, CANCELLED, PAUSED or NEEDS_YOU of `RunState`.

    *unknown* are the steps of which it cannot be known whether they happened.
    """

    state: str
    result: Value | None = None
    error: str = ""
    reason: str = ""
    failed_step: str = ""
    unknown: tuple[str, ...] = ()
