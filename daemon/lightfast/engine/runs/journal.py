"""The journal of one run: every step on the disk before it acts, and when it is done together with what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from lightfast.context.entry import Delete, Merge, Move, Mutation, Set
from lightfast.core.clock import Clock
from lightfast.core.errors import Exhausted, InvalidArgument, LightfastError
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.order import Places
from lightfast.engine.runs.records import Step, StepState
from lightfast.engine.runs.rows import RunRows
from lightfast.sdk import ContextChange
from lightfast_link.value import Value, check_value

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.runs")

MOST_READ = 10_000
"""How many values a pattern may bring to one instruction."""
PROGRESS_S = 0.25
"""How often, in seconds, the progress of one step is told."""


@dataclass(slots=True)
class Room:
    """What all journals share."""

    db: Database
    store: Store
    rows: RunRows
    clock: Clock


@dataclass(slots=True)
class Told:
    """What was last told of a step's progress, and when."""

    at: float = -1e9
    fraction: float = -1.0
    message: str = ""


@dataclass(slots=True)
class Journal:
    """Implements `lightfast.engine.pipeline.ports.RunJournal` for the run *run_id*.

    While *open* is not set, nothing begins and nothing is committed: a paused or stopped show stays as it is.
    *steps* are the rows as they stand.
    """

    room: Room
    run_id: str
    origin: str
    open: asyncio.Event
    program: Program
    steps: dict[str, Step] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)

    async def started(self, step: Step) -> None:
        """Write the row of a step that is about to act."""
        await self.open.wait()
        before = self.steps.get(step.step_id)
        note = step.note or ("" if before is None else before.note)
        await self._write(replace(step, state=StepState.STARTED, start_time=step.start_time or self._now(), note=note))

    async def kept(self, step_id: str, note: str) -> None:
        """Write a note into the row of a step."""
        room = self.room
        unit = room.db.unit()
        room.rows.note(unit, self.run_id, step_id, note)
        await room.db.commit(unit)
        if step_id in self.steps:
            self.steps[step_id] = replace(self.steps[step_id], note=note)

    async def committed(self, step: Step, changes: Sequence[ContextChange]) -> int:
        """Commit the changes and the row in one unit of work; returns the revision, 0 where nothing changed."""
        await self.open.wait()
        room = self.room
        done = replace(step, state=StepState.DONE, end_time=step.end_time or self._now(), result=_result(step))
        mutations = [mutation(change) for change in changes]
        label = label_of(step)
        unit = room.db.unit()
        room.rows.step(unit, self.run_id, done, done=True, label=label if mutations else "")
        if mutations:
            applied = await room.store.apply(mutations, origin=self.origin, group=self.run_id, label=label, unit=unit)
            if any(entry.revision == applied.revision for entry in applied.entries):
                revision = applied.revision
            else:  # it deleted, or there was nothing to delete
                revision = await room.rows.revision(self.run_id, step.step_id)
            room.rows.poke(self.run_id)
        else:
            await room.rows.commit(unit, self.run_id)
            revision = step.revision
        self.steps[step.step_id] = replace(done, revision=max(revision, step.revision))
        self.told.pop(step.step_id, None)
        return revision

    async def ended(self, step: Step) -> None:
        """Write the row of a step that failed, was skipped, or is unknown."""
        await self._write(replace(step, end_time=step.end_time or self._now(), result=_result(step)))
        self.told.pop(step.step_id, None)

    def progressed(self, step_id: str, fraction: float, message: str) -> None:
        """Tell how far a step is, at most so often; it may be lost."""
        told = self.told.setdefault(step_id, Told())
        told.fraction, told.message = fraction, message[:200]
        step = self.steps.get(step_id)
        now = self.room.clock.monotonic()
        if now - told.at < PROGRESS_S:
            return
        if step is None:  # one that only waits or computes has no row before it is done
            step = Step(step_id, Places(self.program).operation(step_id), StepState.STARTED)
        if step.state is not StepState.STARTED:
            return
        told.at = now
        unit = self.room.db.unit()
        self.room.rows.progress(unit, self.run_id, replace(step, fraction=fraction, message=told.message))
        try:
            self.room.db.enqueue(unit, self._told)
        except LightfastError as error:
            log.debug("progress was not written", run=self.run_id, step=step_id, reason=error.reason)

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        """Return values of the context as they are committed now."""
        store = self.room.store
        found = {path: entry.value for path in paths if (entry := store.get(path)) is not None}
        if pattern:
            entries = await store.entries(pattern, MOST_READ + 1)
            if len(entries) > MOST_READ:
                raise Exhausted(
                    f"{pattern} matches more than {MOST_READ} values: read less at once", reason="READ_TOO_LARGE"
                )
            found |= {entry.path: entry.value for entry in entries}
        return {path: value for path, value in found.items() if value is not None}

    async def _write(self, step: Step) -> None:
        room = self.room
        unit = room.db.unit()
        room.rows.step(unit, self.run_id, step)
        await room.rows.commit(unit, self.run_id)
        self.steps[step.step_id] = step

    def _told(self, error: BaseException | None) -> None:
        if error is not None:
            log.debug("progress was not written", run=self.run_id, error=str(error))
        self.room.rows.poke(self.run_id)

    def _now(self) -> int:
        return self.room.clock.now_ns()


def label_of(step: Step) -> str:
    """Return the label of a step's transaction: no other one of the run has it."""
    return f"{step.step_id}: {step.operation}"[:900]


def mutation(change: ContextChange) -> Mutation:
    """Return what the store is asked for; raises `InvalidArgument` for a change that is none."""
    if change.kind == "delete":
        return Delete(change.path)
    if change.kind == "move":
        return Move(change.source, change.path)
    if change.value is not None and change.kind == "set":
        return Set(change.path, change.value)
    if isinstance(change.value, dict) and change.kind == "merge":
        return Merge(change.path, change.value)
    raise InvalidArgument(
        f"a change of {change.path} is malformed: {change.kind} with {type(change.value).__name__}",
        reason="CHANGE_INVALID",
        metadata={"path": change.path},
    )


def _result(step: Step) -> Value | None:
    """Return the result of a step where it is a value: one of a careless plugin must not undo what happened."""
    try:
        return None if step.result is None else check_value(step.result)
    except (ValueError, RecursionError) as error:
        log.warning("a result is no value and was left out", operation=step.operation, error=str(error))
        return None
