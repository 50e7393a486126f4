"""Takes the steps of a run back, the newest first: the context through the store, the rest by other operations.

Each is noted before and after, so that a killed daemon goes on where it was and takes nothing back twice: the store
refuses to undo what is undone, and an operation that undoes is given the same key again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from lightfast.context.entry import Entry
from lightfast.core.errors import Conflict, FailedPrecondition, LightfastError, NotFound, OutOfRange
from lightfast.engine.programs.allowing import check_effects, effects_now
from lightfast.engine.runs.journal import Journal, mutation
from lightfast.engine.runs.records import Run, Step, StepState
from lightfast.sdk import HARMLESS, Effect, Operation, OperationCall, Outcome, World

if TYPE_CHECKING:
    from lightfast.engine.ports import OperationBook

MOST_NAMED = 5
_BEGUN = "undo:"
"""What the note of a step begins with while it is taken back outside the context; what the operation keeps follows."""
_TAKEN = (StepState.DONE, StepState.STUCK, StepState.UNKNOWN)
_COMMAND = "app.command"
_LATEST_NS = 1_000_000_000
"""So long after an operation of a plugin what applications report may still be of it."""
_NEVER_NS = 1 << 62
_NO_WAY = "the operation names no way to take it back"
_LOST = "it cannot be known whether it was taken back: the daemon ended in between; look at the application"


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of a rollback."""

    undone: int = 0
    stuck: tuple[Step, ...] = ()

    def __str__(self) -> str:
        if not self.undone and not self.stuck:
            return "there was nothing to take back"
        said = f"{self.undone} step{'' if self.undone == 1 else 's'} taken back"
        if self.stuck:
            named = "; ".join(f"{step.step_id}: {step.stuck}" for step in self.stuck[:MOST_NAMED])
            more = f"; and {len(self.stuck) - MOST_NAMED} more" if len(self.stuck) > MOST_NAMED else ""
            said += f", {len(self.stuck)} could not be: {named}{more}"
        return said


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Takes back the steps of one run. *order* are its steps, the last one first; *whole*: all of the run.

    *allowed* is what each instruction may do, by identity: what takes one back must not spend or send more than it did.
    """

    run: Run
    journal: Journal
    operations: OperationBook
    world: World
    allowed: Mapping[str, frozenset[Effect]]
    starts: dict[str, list[int]] = field(default_factory=dict)
    """When commands began, by application; filled when it is first asked for."""

    async def dry(self, order: list[str]) -> AsyncIterator[Step]:
        """Yield each step as it would stand then; nothing is done."""
        for step_id in order:
            step = self.journal.steps[step_id]
            if step.state not in _TAKEN or not self._has_left(step):
                continue
            why = self._cannot(step)
            if step.revision and not why:
                why = await self._undo_context(step, validate_only=True)
            elif not (why or step.undo):
                why = await self._untold(step)
            yield replace(step, state=StepState.STUCK if why else StepState.UNDONE, stuck=why or step.stuck)

    async def go(self, order: list[str], *, whole: bool, told: Callable[[Step], None]) -> Tally:
        """Take the steps back; each that was, or could not be, is *told*."""
        undone, stuck, left = 0, [], []
        for step_id in order:
            step = self.journal.steps[step_id]
            if step.state is StepState.UNDONE:
                undone += 1
                told(step)
                continue
            if step.state not in _TAKEN or not self._has_left(step):
                continue
            await self.journal.open.wait()
            if whole and not (step.revision or step.undo or self._cannot(step)) and not await self._untold(step):
                left.append(step)  # what an application reported of it carries the group of the run
                continue
            step = await self._one(step)
            told(step)
            undone += step.state is StepState.UNDONE
            stuck += [step] if step.state is StepState.STUCK else []
        why = await self._undo_group() if whole else ""
        for step in left:
            done = await self._write(step, why)
            told(done)
            undone += not why
            stuck += [done] if why else []
        return Tally(undone, tuple(stuck))

    def _has_left(self, step: Step) -> bool:
        """Say whether there is something of *step* to take back."""
        if step.revision or step.undo or step.stuck or step.state is StepState.UNKNOWN:
            return True
        return bool(self._effects(step) - {Effect.READ, Effect.NETWORK})

    def _effects(self, step: Step) -> frozenset[Effect]:
        operation = self.operations.find(step.operation)
        if operation is None:
            return frozenset()
        arguments = json.loads(step.arguments) if step.arguments else {}
        return operation.effects(arguments, self.world) if operation.acts else frozenset()

    def _cannot(self, step: Step) -> str:
        """Return why *step* cannot be taken back at all."""
        if step.state is StepState.UNKNOWN:
            return "it is not known whether it happened: look at the application"
        if step.revision or step.undo:
            return ""
        if step.stuck:
            return step.stuck
        if Effect.DESTRUCTIVE in self._effects(step):
            return _NO_WAY
        return ""

    async def _one(self, step: Step) -> Step:
        """Take one step back and write it down."""
        if (why := self._cannot(step)) or not (step.revision or step.undo):
            return await self._write(step, why or await self._untold(step) or _NO_WAY)
        reasons = []
        if step.revision:
            reasons.append(await self._undo_context(step, validate_only=False))
        outcome = Outcome()
        if step.undo is not None:
            step, outcome, why = await self._undo_outside(step, step.undo)
            reasons.append(why)
            if not why:
                step = replace(step, undo=None)
        return await self._write(step, "; ".join(reason for reason in reasons if reason), outcome)

    async def _untold(self, step: Step) -> str:
        """Return why setting back what was reported does not take *step* back: nothing was reported of it."""
        app, given = _app_of(step)
        if not app and not self.operations.plugin(step.operation):
            return ""
        origin = f"app:{app.strip('/')}" if app else ""
        until = (step.end_time or step.start_time) + _LATEST_NS
        if app:  # until it was given the next command, what it reports for the run is of this one, however late
            until = min((start - 1 for start in self._begun(app) if start > step.start_time), default=_NEVER_NS)
        ((told,),) = await self.journal.room.db.query(
            "SELECT EXISTS(SELECT 1 FROM transactions WHERE grp = ?1 AND grp <> '' AND (origin = ?2 OR ?2 = '')"
            " AND undone IS NULL AND record_time BETWEEN ?3 AND ?4)"
            # What was told so long ago that it lies in the archive is not looked for: it is set back with the rest.
            " OR EXISTS(SELECT 1 FROM blocks WHERE last_time >= ?3)",
            (self.run.run_id, origin, step.start_time, until),
        )
        if told:
            return ""
        what = f"{given.get('command', '')} of {app}" if app else step.operation
        return f"needs you: nothing was told of what {what} changed, so nothing was set back; look there"

    def _begun(self, app: str) -> list[int]:
        """Return when commands of *app* began."""
        if not self.starts:
            for each in self.journal.steps.values():
                if each.start_time:
                    self.starts.setdefault(_app_of(each)[0], []).append(each.start_time)
        return self.starts.get(app, []) if app else []

    async def _undo_context(self, step: Step, *, validate_only: bool) -> str:
        """Take the transaction of *step* back; return why that cannot be."""
        store = self.journal.room.store
        return await self._undone(
            lambda: store.undo(revision=step.revision, origin=self.journal.origin, validate_only=validate_only)
        )

    async def _undo_group(self) -> str:
        """Take back what else was written on behalf of the run: what applications reported of its commands."""
        store = self.journal.room.store
        return await self._undone(lambda: store.undo(group=self.run.run_id, origin=self.journal.origin))

    async def _undone(self, undo: Callable[[], Awaitable[Any]]) -> str:
        try:
            done = await undo()
        except FailedPrecondition as error:
            return "" if error.reason == "ALREADY_UNDONE" else error.message
        except NotFound:
            return ""  # there is no such transaction (any more)
        except (Conflict, OutOfRange) as error:
            return error.message
        others = [entry for entry in done.conflicts if entry.origin != self.journal.origin]
        return "" if not others else f"others have written since: {_named(others)}"

    async def _undo_outside(self, step: Step, undo: Mapping[str, Any]) -> tuple[Step, Outcome, str]:
        """Perform what takes *step* back; return it with its note, the outcome, and why that cannot be."""
        operation = self.operations.find(undo["operation"])
        if operation is None:
            return step, Outcome(), f"the operation {undo['operation']} is not there: its plugin may be missing"
        allowed = self._allowed(step, undo)
        try:
            now = effects_now(operation, undo["arguments"], self.world, allowed)
            check_effects(f"{step.step_id}.undo", operation.name, now, allowed)
        except FailedPrecondition as error:
            return step, Outcome(), error.message
        begun = step.note.startswith(_BEGUN)
        if not begun:
            await self._keep(step.step_id, "")
        call = OperationCall(
            self.run.run_id,
            f"{step.step_id}.undo",
            f"{self.run.run_id}/{step.step_id}/undo",
            undo["arguments"],
            origin=self.journal.origin,
            group=self.run.run_id,
            project=self.run.project,
            note=step.note.removeprefix(_BEGUN) if begun else "",
            deadline_s=operation.timeout,
            effects=allowed,
        )
        try:
            async with asyncio.timeout(operation.timeout):
                outcome = await self._perform(operation, call, again=begun)
        except TimeoutError:
            return step, Outcome(), f"{operation.name} did not end within {operation.timeout:g} s"
        except LightfastError as error:
            return step, Outcome(), error.message
        except Exception as error:  # noqa: BLE001  (a plugin's own)
            return step, Outcome(), f"{operation.name} failed: {type(error).__name__}: {error}"
        if outcome is None:
            return step, Outcome(), _LOST
        return step, outcome, ""  # that this in turn cannot be taken back (`stuck`) is nothing to a rollback

    def _allowed(self, step: Step, undo: Mapping[str, Any]) -> frozenset[Effect]:
        """Return what taking *step* back may do: what it did, what is harmless, and deleting what it had made.

        What a plugin says takes its step back must not delete; an application deletes in itself only.
        """
        allowed = self.allowed.get(step.step_id.rpartition(".")[2], HARMLESS) | HARMLESS
        if self.operations.plugin(step.operation):
            return allowed
        given = json.loads(step.arguments) if step.arguments else {}
        if undo["operation"] == _COMMAND and given.get("app") != undo["arguments"].get("app"):
            return allowed
        return allowed | {Effect.DESTRUCTIVE}

    async def _perform(self, operation: Operation, call: OperationCall, *, again: bool) -> Outcome | None:
        bench = _Bench(self, call.step_id.removesuffix(".undo"))
        if again and not operation.repeatable(call.arguments, self.world):
            return await operation.recover(call, bench)
        return await operation.perform(call, bench)

    async def _write(self, step: Step, why: str, outcome: Outcome | None = None) -> Step:
        """Write *step* as it stands now, with the changes of the operation that has taken it back in one unit."""
        room = self.journal.room
        state = StepState.STUCK if why else StepState.UNDONE
        done = replace(self.journal.steps[step.step_id], state=state, stuck=why or step.stuck, undo=step.undo)
        if state is StepState.UNDONE:
            done = replace(done, note="")
        unit = room.db.unit()
        room.rows.step(unit, self.run.run_id, done)
        changes = [mutation(change) for change in outcome.changes] if outcome is not None and not why else []
        if changes:
            label = f"{step.step_id} taken back"
            await room.store.apply(changes, origin=self.journal.origin, group=self.run.run_id, label=label, unit=unit)
            room.rows.poke(self.run.run_id)
        else:
            await room.rows.commit(unit, self.run.run_id)
        self.journal.steps[step.step_id] = done
        return done

    async def _keep(self, step_id: str, note: str) -> None:
        await self.journal.kept(step_id, _BEGUN + note)


@dataclass(frozen=True, slots=True)
class _Bench:
    """What an operation may use while it takes a step back."""

    taking: TakeBack
    step_id: str

    async def read(self, paths: Any = (), pattern: str = "") -> Mapping[str, Any]:
        """Return values of the context."""
        return await self.taking.journal.read(paths, pattern)

    async def keep(self, note: str) -> None:
        """Keep a note of the operation that takes back."""
        await self.taking._keep(self.step_id, note)  # noqa: SLF001  (its own half)

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far it is: a rollback shows whole steps only."""


def _app_of(step: Step) -> tuple[str, Mapping[str, Any]]:
    """Return the application that *step* commands, and what it was given; no application for anything else."""
    if step.operation != _COMMAND:
        return "", {}
    given: Mapping[str, Any] = json.loads(step.arguments) if step.arguments else {}
    app = given.get("app")
    return (app if isinstance(app, str) else ""), given


def _named(entries: list[Entry]) -> str:
    listed = [f"{each.path} by {each.origin} at revision {each.revision}" for each in entries[:MOST_NAMED]]
    more = f" and {len(entries) - MOST_NAMED} more" if len(entries) > MOST_NAMED else ""
    return ", ".join(listed) + more
