"""Runs on a real store, with operations that act on a counting service, and a runner that does one step at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tests.support.store import House, open_store

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import Cancelled, LightfastError, Unavailable
from lightfast.engine.events.log import EventLog
from lightfast.engine.pipeline import runner as pipeline
from lightfast.engine.pipeline.control import Control
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.ports import RunEnd, RunJournal
from lightfast.engine.ports import Asker
from lightfast.engine.programs.checked import Checked, Plan
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.limits import RunLimits
from lightfast.engine.runs.records import ENDED, Run, RunAsk, RunState, Step, StepState
from lightfast.engine.runs.runs import Runs
from lightfast.sdk import HARMLESS, ContextChange, Effect, Operation, OperationCall, Outcome
from lightfast.sdk.operation import Undoing

ALL = frozenset(("watch", "operate", "approve", "admin"))
LOCAL = Asker("local", "local", ALL)
OWNER = Asker("client:owner", "client:owner", ALL)


class Service:
    """What the operations act on; *done* has each act in order, *doubled* those whose key came twice."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.keys: dict[str, str] = {}
        self.refused: set[str] = set()
        self.gates: dict[str, asyncio.Event] = {}
        self.begun: list[str] = []

    def act(self, what: str, key: str = "") -> None:
        """Do *what*; with a *key* once."""
        if key and key in self.keys:
            return
        self.done.append(what)
        self.keys[key or f"none-{len(self.keys)}"] = what

    async def pass_gate(self, what: str) -> None:
        """Wait where a test has put a gate."""
        self.begun.append(what)
        if what in self.gates:
            await self.gates[what].wait()


class _Act(Operation):
    summary = "Acts."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}
    possible_effects: ClassVar[frozenset[Effect]] = frozenset((Effect.REVERSIBLE,))
    pool = "application"

    def __init__(self, service: Service) -> None:
        self.service = service

    def writes(self, arguments: Mapping[str, Any], world: Any = None) -> Sequence[str]:
        """Return the one place there is."""
        return (f"/outside/{arguments.get('what', '')}",)

    async def perform(self, call: OperationCall, bench: Any) -> Outcome:
        """Do it, with a way back."""
        what = call.arguments["what"]
        await self.service.pass_gate(what)
        if what in self.service.refused:
            raise Unavailable(f"{what} is refused", reason="REFUSED")
        self.service.act(what, call.key if self.keyed else "")
        if self.name.endswith(".undo"):
            return Outcome(what)
        if what.startswith("forever"):
            return Outcome(what, stuck="it cannot be unmade")
        return Outcome(what, undo=Undoing("act.undo", {"what": f"un{what}"}))


class Keyed(_Act):
    """Honors keys."""

    name = "act.keyed"
    keyed = True


class Undo(_Act):
    """Takes back."""

    name = "act.undo"
    keyed = True


class Plain(_Act):
    """Honors none, and finds out what happened."""

    name = "act.plain"

    async def recover(self, call: OperationCall, bench: Any) -> Outcome | None:
        """Look at the service."""
        what = call.arguments["what"]
        if what in self.service.done:
            return Outcome(what, undo=Undoing("act.undo", {"what": f"un{what}"}))
        return await self.perform(call, bench)


class Mystery(_Act):
    """Honors none, and cannot know."""

    name = "act.mystery"


class Put(Operation):
    """Sets a path."""

    name = "put"
    summary = "Sets."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}
    possible_effects: ClassVar[frozenset[Effect]] = frozenset((Effect.REVERSIBLE,))
    idempotent = True
    acts = False

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return the path."""
        return (arguments["path"],)

    async def perform(self, call: OperationCall, bench: Any) -> Outcome:
        """Change it, or delete it."""
        path = call.arguments["path"]
        if "value" not in call.arguments:
            return Outcome(None, (ContextChange("delete", path),))
        return Outcome(call.arguments["value"], (ContextChange("set", path, call.arguments["value"]),))


class Book:
    """A book of operations."""

    def __init__(self, *operations: Operation) -> None:
        self.kinds = {each.name: each for each in operations}

    def find(self, name: str) -> Operation | None:
        """Return one."""
        return self.kinds.get(name)

    def names(self) -> Sequence[str]:
        """Return the names."""
        return sorted(self.kinds)

    def plugin(self, name: str) -> str:
        """Return nothing: all are the test's."""
        return ""


class NoWorld:
    """Knows nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: ()


def book(service: Service) -> Book:
    """Return a book of the operations above."""
    return Book(Keyed(service), Plain(service), Mystery(service), Undo(service), Put())


@dataclass
class SerialControl:
    """Steers a `SerialRunner`."""

    paused: bool = False
    left: bool = False
    cancelled: str | None = None
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[Any] | None = None

    @property
    def over(self) -> bool:
        """Say whether it was cancelled."""
        return self.cancelled is not None

    def pause(self, *, leave: bool = False) -> None:
        """Stop."""
        self.paused, self.left = True, leave

    def resume(self) -> None:
        """Go on."""
        self.paused = False
        self.news.set()

    def refuse(self, error: str, reason: str) -> None:
        raise AssertionError((error, reason))

    def cancel(self, reason: str) -> None:
        """End."""
        self.cancelled = reason
        self.news.set()
        if self.task is not None:
            self.task.cancel()


class _Bench:
    def __init__(self, journal: RunJournal, step_id: str) -> None:
        self.journal, self.step_id = journal, step_id

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Any]:
        return await self.journal.read(paths, pattern)

    async def keep(self, note: str) -> None:
        await self.journal.kept(self.step_id, note)

    def progress(self, fraction: float, message: str = "") -> None:
        self.journal.progressed(self.step_id, fraction, message)


class SerialRunner:
    """One instruction after the other, no blocks and no references: what the runs are tested with alone."""

    def __init__(self, operations: Book) -> None:
        self.operations = operations

    def control(self) -> SerialControl:
        """Return what steers it."""
        return SerialControl()

    async def run(
        self, program: Program, journal: RunJournal, *, recorded: Mapping[str, Step], control: Any, **how: Any
    ) -> RunEnd:
        """Run it."""
        unknown: list[str] = []
        result: Any = None
        for each in program.instructions:
            step = recorded.get(each.id)
            if step is not None and step.state in (StepState.DONE, StepState.SKIPPED):
                result = step.result
                continue
            while control.paused and not control.over:
                if control.left:
                    return RunEnd("PAUSED")
                control.news.clear()
                await control.news.wait()
            if control.over:
                return RunEnd("CANCELLED", error=control.cancelled or "", reason="CANCELLED")
            try:
                done = await self._one(each, step, journal, control, how["run_id"])
            except LightfastError as error:
                if control.over:
                    return RunEnd("CANCELLED", error=control.cancelled or "", reason="CANCELLED")
                return RunEnd("FAILED", error=error.message, reason=error.reason, failed_step=each.id)
            if done is None:
                unknown.append(each.id)
                return RunEnd("NEEDS_YOU", unknown=tuple(unknown))
            result = done.result
        return RunEnd("SUCCEEDED", result=result)

    async def _one(
        self, each: Instruction, found: Step | None, journal: RunJournal, control: SerialControl, run_id: str
    ) -> Step | None:
        operation = self.operations.find(each.op)
        assert operation is not None
        step = found or Step(each.id, each.op, arguments=json.dumps(each.arguments))
        again = step.state is StepState.STARTED
        if step.state is StepState.UNKNOWN:
            return None
        step = replace(step, attempts=step.attempts + 1)
        if operation.acts:
            await journal.started(step)
        call = OperationCall(run_id, each.id, f"{run_id}/{each.id}", each.arguments, note=step.note)
        bench = _Bench(journal, each.id)
        work = operation.perform
        if again and not operation.repeatable(each.arguments, NoWorld()):
            work = operation.recover  # type: ignore[assignment]
        control.task = asyncio.ensure_future(work(call, bench))
        try:
            outcome = await control.task
        except asyncio.CancelledError:
            if control.cancelled is None:
                control.task.cancel()
                raise
            await journal.ended(replace(step, state=StepState.FAILED, error="cancelled", reason="CANCELLED"))
            raise Cancelled("cancelled") from None
        except LightfastError as error:
            await journal.ended(replace(step, state=StepState.FAILED, error=error.message, reason=error.reason))
            raise
        if outcome is None:
            await journal.ended(replace(step, state=StepState.UNKNOWN))
            return None
        undo = (
            None if outcome.undo is None else {"operation": outcome.undo.operation, "arguments": outcome.undo.arguments}
        )
        step = replace(step, result=outcome.value, undo=undo, stuck=outcome.stuck, cost_usd=outcome.cost_usd)
        try:
            revision = await journal.committed(step, outcome.changes)
        except LightfastError as error:
            await journal.ended(replace(step, state=StepState.FAILED, error=error.message, reason=error.reason))
            raise
        return replace(step, revision=revision, state=StepState.DONE)


class PipelineRunner:
    """The pipeline as the runner of runs."""

    def __init__(self, operations: Book, world: Any, pools: Pools, clock: Clock) -> None:
        self.operations, self.world, self.pools, self.clock = operations, world, pools, clock

    def control(self) -> Control:
        """Return what steers the next run."""
        return Control()

    async def run(self, made: Program, journal: RunJournal, **how: Any) -> RunEnd:
        """Run it."""
        return await pipeline.run(made, self.operations, journal, self.pools, world=self.world, clock=self.clock, **how)


def program(*steps: tuple[str, Mapping[str, Any]], **how: Any) -> Program:
    """Return a program of operations with their arguments; the steps are s1, s2…, each after the one before."""
    made = [
        Instruction(f"s{i}", op, arguments, after=(f"s{i - 1}",) if i > 1 else ())
        for i, (op, arguments) in enumerate(steps, 1)
    ]
    return Program(tuple(made), **how)


def plan(made: Program, *, approve: str = "", **how: Any) -> Plan:
    """Return a checked plan; *approve* is why a person must approve it."""
    reasons = {made.instructions[0].id: approve} if approve else {}
    effects = {each.id: HARMLESS for each in made.walk()}
    return Plan(Checked(made, effects=effects, approval_reasons=reasons), **how)


@dataclass
class RunHouse:
    """Runs with what they stand on."""

    house: House
    runs: Runs
    service: Service
    events: EventLog
    operations: Book

    async def start(self, made: Program, asker: Asker = LOCAL, *, approve: str = "", **ask: Any) -> Run:
        """Start a program."""
        return await self.runs.start(plan(made, approve=approve), asker, RunAsk(**ask))

    async def until(self, run_id: str, *states: RunState) -> Run:
        """Wait until a run has one of *states*, or has ended."""
        wanted = states or tuple(ENDED)
        while True:
            ((state, reason),) = await self.house.db.query("SELECT state, reason FROM runs WHERE run_id = ?", (run_id,))
            if state in wanted:
                return await self.runs.get(run_id)
            assert state not in ENDED or RunState.ROLLED_BACK in wanted, (state, reason)
            await asyncio.sleep(0.002)

    async def done(self, made: Program, asker: Asker = LOCAL, **ask: Any) -> Run:
        """Run a program to its end."""
        return await self.until((await self.start(made, asker, **ask)).run_id)


async def at_once() -> None:
    """Is settled already."""


@asynccontextmanager
async def open_runs(
    folder: Path,
    service: Service | None = None,
    *,
    clock: Clock = SYSTEM,
    limits: RunLimits | None = None,
    runner: Any = None,
    **how: Any,
) -> AsyncIterator[RunHouse]:
    """Open runs on the store in *folder*; *runner* makes one of a book."""
    folder.mkdir(parents=True, exist_ok=True)
    service = service or Service()
    operations = book(service)
    async with open_store(folder, clock=clock) as house:
        events = await EventLog.open(house.db, clock)
        pools = Pools()
        world = how.pop("world", NoWorld())
        made: Any = PipelineRunner(operations, world, pools, clock) if runner is None else runner(operations)
        runs = await Runs.open(
            house.db,
            house.store,
            events,
            operations,
            world,
            made,
            settled=how.pop("settled", at_once),
            clock=clock,
            limits=limits,
            **how,
        )
        runs.begin()
        try:
            yield RunHouse(house, runs, service, events, operations)
        finally:
            await runs.close()
            await events.close()
