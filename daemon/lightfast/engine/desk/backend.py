"""The back of the desk: does what a line asks for, as a durable job, and tells of it.

A line is done at least once: whatever it starts is asked for under the line's own identity, which the other rooms take
as a request id, so that doing it again starts nothing twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from lightfast.context.memory.records import Kind, NewMemory
from lightfast.context.records import RequestKey
from lightfast.core.errors import LightfastError, NotFound, Unavailable
from lightfast.core.turns import Turns
from lightfast.engine.desk.coded import (
    AUTO,
    Command,
    ContextLoad,
    ContextLoaded,
    MemoryStore,
    StatusUpdate,
    TaskCreate,
    TaskSplit,
    WorkflowStart,
    format_line,
    parse_command,
)
from lightfast.engine.desk.grammar import write_map
from lightfast.engine.desk.lines import Lines
from lightfast.engine.desk.loads import Loads
from lightfast.engine.desk.outcome import Outcomes
from lightfast.engine.desk.parts import parts_of
from lightfast.engine.desk.pump import AGAIN, JOB_TYPE
from lightfast.engine.desk.records import Line, LineState, Told
from lightfast.engine.desk.words import short
from lightfast.engine.planner.bounded import BUSY
from lightfast.engine.runs.records import Run, RunAsk, RunState
from lightfast.sdk import JobBench, JobType

if TYPE_CHECKING:
    from lightfast.context.memory.port import TemporalMemory
    from lightfast.engine.ports import PlannerRoom, RunRoom, WorkflowRoom, WorkspaceRoom
    from lightfast_link.value import Value

_TRIES = 3


class DeskLine(JobType):
    """The job of one line."""

    name: ClassVar[str] = JOB_TYPE
    summary: ClassVar[str] = "Does what a line at the front desk asks for."
    payload: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {"line": {"type": "string", "description": "The identity of the line."}},
        "required": ["line"],
        "additionalProperties": False,
    }
    max_attempts: ClassVar[int] = 10
    """A daemon that is killed again and again loses no line; errors that may pass are given `_TRIES` attempts."""
    timeout: ClassVar[float] = 300.0

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def run(self, payload: Mapping[str, Value], bench: JobBench) -> Value | None:
        """Do it; an error that may pass raises, so that it is tried again, but for the last time."""
        return await self._backend.perform(str(payload["line"]), last=bench.attempt >= _TRIES)


class Backend:
    """Does lines. *wake* is called where lines were opened that the back does not have yet."""

    def __init__(
        self,
        lines: Lines,
        loads: Loads,
        outcomes: Outcomes,
        planner: PlannerRoom,
        runs: RunRoom,
        workspaces: WorkspaceRoom,
        workflows: WorkflowRoom,
        memory: TemporalMemory | None,
        wake: Callable[[], None],
    ) -> None:
        self._lines, self._loads, self._outcomes = lines, loads, outcomes
        self._planner, self._runs = planner, runs
        self._workspaces, self._workflows, self._memory = workspaces, workflows, memory
        self._wake = wake
        self._turns = Turns()

    async def perform(self, line_id: str, *, last: bool = True) -> str:
        """Do a line and return how it stands then; what is over already stays as it is."""
        async with self._turns.of(line_id):
            line = await self._lines.get(line_id)
            if line is None:
                raise NotFound(f"there is no line {line_id!r:.80}: it was swept", reason="LINE_UNKNOWN")
            if line.state not in {LineState.OPEN, LineState.TAKEN}:
                return line.state.value
            try:
                if not await self._goes_on(line):
                    await self._do(line, parse_command(line.command))
            except LightfastError as error:
                if error.status in AGAIN and (not last or error.reason == BUSY):
                    raise
                await self._outcomes.failed(line, error.reason, error.message, error)
        found = await self._lines.get(line_id)
        return found.state.value if found is not None else ""

    async def _do(self, line: Line, command: Command) -> None:
        match command:
            case TaskCreate():
                if not line.parent:
                    await self._create(line, command.title, command.intent_type)
                if line.routing == "split" and not line.parent:
                    await self._split(line, _intent(line, command.title))
                else:
                    await self._start(line, _intent(line, command.title), command.intent_type)
            case TaskSplit():
                if command.task == AUTO:
                    await self._create(line, command.reason, "plan")
                    await self._split(line, _intent(line, command.reason))
                else:
                    task = await self._workspaces.get_task(command.task)
                    what = command.reason if parts_of(command.reason) else task.description or task.title
                    await self._split(line, what)
            case WorkflowStart():
                await self._workflow(line, command)
            case ContextLoad():
                text = await self._loads.load(line.client, command.context, command.depth)
                told = Told("desk.loaded", format_line(ContextLoaded(command.context, text)), text, command.context)
                await self._outcomes.over(line, LineState.DONE, told, short(text, 200))
            case MemoryStore():
                await self._remember(line, command)

    async def _create(self, line: Line, title: str, intent_type: str) -> None:
        fields: dict[str, Any] = {
            "task_id": line.task_id,
            "title": title,
            "description": line.said if line.said != line.command else "",
            "intent_type": intent_type,
            "intent_source": "desk",
            "confidence": line.confidence,
            "complexity": line.complexity,
            "routing_decision": line.routing,
            "metadata": {"line": line.line_id, **({"project": line.project} if line.project else {})},
        }
        await self._workspaces.create_task(fields, line.asker, request_id=line.line_id)

    async def _start(self, line: Line, intent: str, intent_type: str) -> None:
        """Plan and start; what no program can be made of is left to a person as a task that is ready."""
        asked = hashlib.sha256(line.command.encode()).hexdigest()
        before = await self._runs.started(line.asker, line.line_id, asked)
        if before is not None:  # begun before the daemon was killed: a new plan might be another, or none
            await self._under_way(line, intent, before, "")
            return
        plan = await self._planner.plan(intent, line.asker, project=line.project, intent_type=intent_type)
        mistakes = plan.checked.mistakes
        if mistakes or not plan.program.instructions:
            why = plan.message or (mistakes[0].message if mistakes else "nothing of it can be done by a program")
            await self._outcomes.left_to_you(line, why)
            return
        ask = RunAsk(
            project=line.project,
            request_id=line.line_id,
            asked=asked,
            intent=intent,
            next_steps=plan.next_steps,
            details={"task": line.task_id, "line": line.line_id},
        )
        await self._under_way(line, intent, await self._runs.start(plan, line.asker, ask), plan.message)

    async def _under_way(self, line: Line, intent: str, run: Run, message: str) -> None:
        await self._workspaces.update_task(line.task_id, {"state": "IN_PROGRESS", "run_id": run.run_id}, line.asker)
        await self._running(line, run, "in_progress", message or f"“{short(intent)}” is under way.")

    async def _workflow(self, line: Line, command: WorkflowStart) -> None:
        run = await self._workflows.start(
            command.workflow,
            dict(command.parameters),
            line.asker,
            project=line.project,
            request_id=line.line_id,
            details={"line": line.line_id},
            run_id=line.ack.job if line.ack is not None else "",
        )
        await self._running(line, run, "started", f"The workflow {command.workflow} was started.")

    async def _running(self, line: Line, run: Run, status: str, text: str) -> None:
        if run.state is RunState.AWAITING_APPROVAL:
            status, text = "awaiting_approval", f"{text} It waits for an approval: lightfast approve {run.run_id}"
        entity = line.task_id or run.run_id
        told = Told(
            "desk.started",
            format_line(StatusUpdate(entity, status)),
            text,
            entity,
            more={"run": run.run_id, "task": line.task_id, "status": status},
        )
        await self._outcomes.started(line, run.run_id, told)
        await self._outcomes.look_at(run.run_id)  # it may have ended before its row knew of it

    async def _split(self, line: Line, what: str) -> None:
        children = await self._lines.children(line.task_id)
        if not children:
            titles = parts_of(what)
            parts = [{"title": title, "description": "", "intent_source": "desk"} for title in titles]
            try:
                _, made = await self._workspaces.split_task(
                    line.task_id, parts, line.asker, in_order=True, reason=short(what, 200), confidence=line.confidence
                )
            except LightfastError as error:
                if error.status in AGAIN or titles:
                    raise
                await self._outcomes.left_to_you(line, f"say its parts: {error.message}")
                return
            children = [(part.task_id, part.title) for part in made]
        await self._outcomes.split(line, children)
        self._wake()

    async def _remember(self, line: Line, command: MemoryStore) -> None:
        if self._memory is None:
            raise Unavailable("the memory is not there: nothing can be remembered", reason="NO_MEMORY")
        is_map = not isinstance(command.value, str)
        new = NewMemory(
            text=_told(command.key, command.value) if is_map else str(command.value),
            kind=Kind.NOTE if command.type == "episodic" else Kind.FACT,
            key=command.key,
            tags=(command.type,),
            metadata=dict(command.value) if isinstance(command.value, Mapping) else {},
            source="desk",
        )
        digest = hashlib.sha256(line.command.encode()).hexdigest()
        request = RequestKey(line.client, "desk", line.line_id, digest)
        done = await self._memory.remember(new, origin=line.asker.origin, request=request)
        memory_id = done.memory.memory_id
        text = f"Remembered as {command.key}: {short(done.memory.text)}"
        told = Told("desk.remembered", format_line(StatusUpdate(memory_id, "remembered", 1.0)), text, memory_id)
        await self._outcomes.over(line, LineState.DONE, told, text)

    async def reopen(self, line: Line) -> None:
        """Have a line carried to the back again: its job is gone."""
        await self._lines.change(line, state=LineState.OPEN, job_id="")
        self._wake()

    async def _goes_on(self, line: Line) -> bool:
        """Take up the run that an earlier attempt has started for a line; say whether there is one.

        It must not be planned again: another plan under the same request id would be refused.
        """
        run_id = await self._lines.run_of(line)
        if not run_id:
            return False
        run = await self._runs.get(run_id)
        if line.task_id:
            with suppress(NotFound):  # it was purged: the run goes on all the same
                await self._workspaces.update_task(line.task_id, {"state": "IN_PROGRESS", "run_id": run_id}, line.asker)
        await self._running(line, run, "in_progress" if line.task_id else "started", f"{run_id} is under way.")
        return True

    async def job_over(self, line_id: str, error: str) -> None:
        """Take in that the job of a line has ended for good; what it has started goes on."""
        line = await self._lines.get(line_id)
        if line is not None and line.state in {LineState.OPEN, LineState.TAKEN} and not await self._goes_on(line):
            await self._outcomes.failed(line, "JOB_DEAD", error or "the job of the line ended without doing it")


def _intent(line: Line, title: str) -> str:
    """Return what is to be planned: the words as they were said, or the title of a coded line or of a part."""
    return title if line.parent or line.said == line.command else line.said


def _told(key: str, value: Any) -> str:
    pairs = (f"{name} = {each if isinstance(each, str) else write_map(each)}" for name, each in value.items())
    return f"{key}: {', '.join(pairs)}"
