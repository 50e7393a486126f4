"""Stand-ins for the rooms behind the front desk: a queue, a planner, runs, workspaces and workflows in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightfast.context.memory.twin import MemoryTwin
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import AlreadyExists, LightfastError, NotFound, Unavailable
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.engine.desk.desk import Desk
from lightfast.engine.events.log import EventLog
from lightfast.engine.jobs.records import Job, JobState, NewJob
from lightfast.engine.ports import Asker
from lightfast.engine.programs.checked import Checked, Plan, Problem
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.runs.records import Run, RunAsk, RunState
from lightfast.sdk import HARMLESS, JobType
from lightfast.storage.database import Database

ASKER = Asker("client:test", "client:test", frozenset({"operate"}))


def _checked(program: Program) -> Checked:
    return Checked(program, effects={each.id: HARMLESS for each in program.walk()})


class JobsTwin:
    """A queue that does its jobs one after the other, unless it is stopped; `refuses` makes `submit` fail."""

    def __init__(self) -> None:
        self.types: dict[str, JobType] = {}
        self.jobs: dict[str, Job] = {}
        self.requests: dict[str, str] = {}
        self.backlog = 0
        self.why = ""
        self.refuses: Exception | None = None
        self.tasks = TaskGroup("jobs")
        self._pending: asyncio.Queue[str] = asyncio.Queue()
        self._go = asyncio.Event()
        self._go.set()
        self.tasks.start(self._work(), "work")

    def stop(self, why: str) -> None:
        self.why = why
        self._go.clear()

    def go(self) -> None:
        self.why = ""
        self.refuses = None
        self._go.set()

    async def submit(self, new: NewJob, asker: Asker, *, request_id: str = "") -> Job:
        if self.refuses is not None:
            raise self.refuses
        if request_id in self.requests:
            return self.jobs[self.requests[request_id]]
        job_id = new_id("job")
        job = Job(job_id, new.type, JobState.PENDING, new.payload, asker.identity, 1)
        self.jobs[job_id] = job
        self.requests[request_id] = job_id
        self._pending.put_nowait(job_id)
        return job

    async def get(self, job_id: str) -> Job:
        if job_id not in self.jobs:
            raise NotFound(f"no job {job_id}", reason="JOB_UNKNOWN")
        return self.jobs[job_id]

    async def cancel(self, job_id: str) -> Job:
        raise NotImplementedError

    def add_type(self, job_type: JobType, plugin: str = "") -> None:
        if job_type.name in self.types:
            raise AlreadyExists(f"{job_type.name} is there")
        self.types[job_type.name] = job_type

    def remove_type(self, job_type: JobType) -> None:
        del self.types[job_type.name]

    @property
    def waiting(self) -> int:
        return self.backlog + self._pending.qsize()

    @property
    def stopped(self) -> str:
        return self.why

    async def _work(self) -> None:
        while True:
            job_id = await self._pending.get()
            for attempt in range(1, 4):
                await self._go.wait()
                job = self.jobs[job_id]
                try:
                    result = await self.types[job.type].run(job.payload, _Bench(job_id, attempt))
                    self.jobs[job_id] = replace(job, state=JobState.SUCCEEDED, result=result, attempts=attempt)
                    break
                except LightfastError as error:
                    self.jobs[job_id] = replace(job, state=JobState.DEAD, error=error.message, attempts=attempt)


class _Bench:
    def __init__(self, job_id: str, attempt: int) -> None:
        self.job_id, self.attempt, self.requester, self.note = job_id, attempt, "client:test", ""

    def progress(self, fraction: float, message: str = "") -> None:
        pass

    def log(self, text: str) -> None:
        pass

    async def keep(self, note: str) -> None:
        self.note = note


class PlannerTwin:
    """Plans what holds one of its words as one instruction; for everything else it asks back."""

    def __init__(self) -> None:
        self.words: tuple[str, ...] = ("cube", "tempo", "render", "record", "mix", "light", "visuals", "sound")
        self.intents: list[str] = []
        self.types: list[str] = []
        self.error: LightfastError | None = None

    async def plan(self, intent: str, asker: Asker, **how: Any) -> Plan:
        self.intents.append(intent)
        self.types.append(how.get("intent_type", ""))
        if self.error is not None:
            raise self.error
        if any(word in intent.lower() for word in self.words):
            program = Program((Instruction("s1", "context.set", {"path": "/a", "value": 1}),))
            return Plan(_checked(program), intent=intent, planner="grammar", next_steps=("cl:/a",))
        problem = Problem("NOT_UNDERSTOOD", f"nothing can do “{intent}”")
        return Plan(Checked(Program(()), (problem,)), intent=intent, message="what is it to do?")

    async def prepare(self, program: Program, asker: Asker, **how: Any) -> Plan:
        return Plan(_checked(program))


class RunsTwin:
    """Runs that end when they are told to, or at once with `at_once`; each start is kept in the database's events."""

    def __init__(self, db: Database, events: EventLog) -> None:
        self.db, self.events = db, events
        self.runs: dict[str, Run] = {}
        self.requests: dict[str, str] = {}
        self.at_once = True
        self.fails = ""
        self.approval = False

    async def started(self, asker: Asker, request_id: str, asked: str) -> Run | None:
        return self.runs[self.requests[request_id]] if request_id in self.requests else None

    async def start(self, plan: Plan, asker: Asker, ask: RunAsk) -> Run:
        if ask.request_id in self.requests:
            return self.runs[self.requests[ask.request_id]]
        run_id = ask.run_id or f"run-{len(self.runs) + 1}"
        state = RunState.AWAITING_APPROVAL if self.approval else RunState.RUNNING
        run = Run(
            run_id,
            state,
            plan.program,
            asker.identity,
            asker.origin,
            1,
            intent=ask.intent,
            next_steps=ask.next_steps,
            details=ask.details,
        )
        self.runs[run_id] = run
        self.requests[ask.request_id] = run_id
        if self.at_once and not self.approval:
            await self.end(run_id)
            return run
        return run

    async def end(self, run_id: str, state: RunState = RunState.SUCCEEDED, reason: str = "") -> None:
        run = self.runs[run_id]
        if self.fails and self.fails in run.intent:
            state, reason = RunState.FAILED, "it would not"
        self.runs[run_id] = replace(run, state=state, reason=reason, steps_done=1, steps_known=1)
        unit = self.db.unit()
        self.events.add(unit, f"run.{state.lower()}", "run", run_id, {"run_id": run_id, "state": str(state)})
        await self.db.commit(unit)
        self.events.poke()

    def send_away(self) -> None:
        """Nobody watches."""

    async def get(self, run_id: str) -> Run:
        if run_id not in self.runs:
            raise NotFound(f"no run {run_id}", reason="RUN_UNKNOWN")
        return self.runs[run_id]


@dataclass
class TaskTwin:
    task_id: str
    title: str
    fields: dict[str, Any]
    parent_task_id: str = ""
    state: str = "PENDING"

    @property
    def description(self) -> str:
        return str(self.fields.get("description", ""))


class WorkspacesTwin:
    """Tasks in memory."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskTwin] = {}
        self.created = 0

    async def create_task(self, fields: Mapping[str, Any], asker: Asker, *, request_id: str = "") -> TaskTwin:
        task_id = fields["task_id"]
        if task_id not in self.tasks:
            self.created += 1
            self.tasks[task_id] = TaskTwin(task_id, fields["title"], dict(fields))
        return self.tasks[task_id]

    async def get_task(self, task_id: str, *, at_time: int = 0) -> TaskTwin:
        if task_id not in self.tasks:
            raise NotFound(f"there is no task {task_id}: see what there is", reason="TASK_UNKNOWN")
        return self.tasks[task_id]

    async def update_task(self, task_id: str, changes: Mapping[str, Any], asker: Asker, *, etag: str = "") -> TaskTwin:
        task = await self.get_task(task_id)
        task.fields.update(changes)
        task.state = changes.get("state", task.state)
        return task

    async def split_task(
        self, task_id: str, parts: Sequence[Mapping[str, Any]], asker: Asker, **how: Any
    ) -> tuple[TaskTwin, list[TaskTwin]]:
        task = await self.get_task(task_id)
        if not parts:
            raise LightfastError("no parts were given", reason="NO_PARTS")
        made = []
        for number, part in enumerate(parts, 1):
            child = TaskTwin(f"{task_id}-{number}", part["title"], dict(part), task_id)
            self.tasks[child.task_id] = child
            made.append(child)
        task.state = "SPLIT"
        return task, made


class WorkflowsTwin:
    """Workflows by name; one starts a run."""

    def __init__(self, runs: RunsTwin, names: Sequence[str]) -> None:
        self.runs, self._names = runs, tuple(names)
        self.started: list[tuple[str, dict[str, Any]]] = []

    def names(self) -> Sequence[str]:
        return self._names

    def describe(self, name: str) -> Mapping[str, Any]:
        return {"summary": f"does {name}", "steps": ["one", "two"], "version": "1", "parameters_schema": "{}"}

    def program(self, name: str, parameters: Mapping[str, Any]) -> Program:
        return Program((Instruction("s1", "value.compute", {"expression": "1"}),))

    async def start(self, name: str, parameters: Mapping[str, Any], asker: Asker, **how: Any) -> Run:
        if name not in self._names:
            raise NotFound(f"there is no workflow {name}", reason="WORKFLOW_UNKNOWN")
        self.started.append((name, dict(parameters)))
        told = {"details": how.get("details") or {}, "run_id": how.get("run_id", "")}
        ask = RunAsk(request_id=how["request_id"], intent=f"workflow {name}", **told)
        return await self.runs.start(Plan(_checked(self.program(name, {}))), asker, ask)


@dataclass
class DeskHouse:
    """A desk with everything behind it."""

    db: Database
    events: EventLog
    desk: Desk
    jobs: JobsTwin
    planner: PlannerTwin
    runs: RunsTwin
    workspaces: WorkspacesTwin
    workflows: WorkflowsTwin
    memory: MemoryTwin

    async def told(self, kind: str = "desk.", *, count: int = 1) -> list[dict[str, Any]]:
        """Wait until *count* events of a kind are there, and watchers were told of all, and return those of the kind."""
        while True:
            rows = await self.db.query("SELECT kind, payload, sequence FROM engine_events ORDER BY sequence")
            found = [{"kind": row[0], **json.loads(row[1])} for row in rows if row[0].startswith(kind)]
            if len(found) >= count and rows[-1][2] <= self.events.newest:
                return found
            await asyncio.sleep(0.01)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def desk_house(
    folder: Path,
    *,
    clock: Clock = SYSTEM,
    workflows: Sequence[str] = ("project_planning", "nightly_render"),
    start: bool = True,
    **rooms: Any,
) -> AsyncIterator[DeskHouse]:
    """Open a desk in *folder*; *rooms* are passed on to it."""
    db = await Database.open(folder / "store.db", clock=clock)
    try:
        events = await EventLog.open(db, clock)
        jobs, planner, workspaces = JobsTwin(), PlannerTwin(), WorkspacesTwin()
        runs = RunsTwin(db, events)
        flows = WorkflowsTwin(runs, workflows)
        memory = MemoryTwin(clock)
        desk = Desk(db, events, clock, jobs, planner, runs, workspaces, flows, memory=memory, **rooms)  # type: ignore[arg-type]
        try:
            if start:
                await desk.start()
            yield DeskHouse(db, events, desk, jobs, planner, runs, workspaces, flows, memory)
        finally:
            await jobs.tasks.close()
            if start:
                await desk.close()
            await events.close()
    finally:
        await db.close()


def away(message: str = "the back is away") -> Unavailable:
    """Return the error of a room that is away."""
    return Unavailable(message)
