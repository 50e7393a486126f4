"""How the rooms of the meta-computer meet: who asks, and what each room does for the others.

The rooms are joined in `lightfast.app.meta`; each is built and tested alone against these.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lightfast.engine.jobs.records import Job, NewJob
from lightfast.engine.programs.checked import Checked, Plan, Saving
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.records import Run, RunAsk, RunEvent
from lightfast.sdk import JobType, Operation, World
from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks for something: *identity* is the token or the user, *origin* what is stamped on writes.

    *scopes* are those of the token; *via* the door: grpc, desk, mcp, workflow, trigger, schedule; *untrusted*: what
    is asked came out of text that nobody vouches for.
    """

    identity: str
    origin: str
    scopes: frozenset[str]
    via: str = "grpc"
    untrusted: bool = False


class OperationBook(Protocol):
    """All operations there are: the built-in ones, and those of plugins."""

    def find(self, name: str) -> Operation | None:
        """Return one, or `None`."""

    def names(self) -> Sequence[str]:
        """Return the names, in order."""

    def plugin(self, name: str) -> str:
        """Return the plugin that brought it; empty: built in."""


class Checker(Protocol):
    """Says what is wrong with a program, and what it would do; runs nothing and writes nothing."""

    async def check(self, program: Program, asker: Asker, *, project: str = "", budget_usd: float = 0.0) -> Checked:
        """Check types, paths, commands, references, cycles, scopes and the budget; find effects, cost and changes."""


class Rewriter(Protocol):
    """Makes a program smaller without changing what it does."""

    def optimize(self, program: Program, world: World) -> tuple[Program, tuple[Saving, ...]]:
        """Return the program after all rewrites, and what each saved."""

    async def gently(self, program: Program, world: World) -> tuple[Program, tuple[Saving, ...]]:
        """Return what `optimize` does, and let others have the loop meanwhile."""


class PlannerRoom(Protocol):
    """Makes programs of intents."""

    async def plan(
        self,
        intent: str,
        asker: Asker,
        *,
        model: str = "",
        project: str = "",
        quoted: Sequence[str] = (),
        optimize: bool = True,
        intent_type: str = "",
    ) -> Plan:
        """Plan *intent*; a plan with mistakes tells what was not understood, and may not run.

        *model* `grammar` asks no model; *quoted* is text of others, which can ask for nothing; *intent_type* may have
        a model of its own.
        """

    async def prepare(
        self, program: Program, asker: Asker, *, project: str = "", budget_usd: float = 0.0, optimize: bool = True
    ) -> Plan:
        """Check and optimize a program that was given."""


class RunRoom(Protocol):
    """Runs checked programs, durably."""

    async def start(self, plan: Plan, asker: Asker, ask: RunAsk) -> Run:
        """Start a run, durable when this returns; it waits for an approval where one is needed.

        Raises `InvalidArgument` (PROGRAM_INVALID) for a plan with mistakes, `Exhausted` where too many run, and
        `AlreadyExists` for a request id with another program.
        """

    async def started(self, asker: Asker, request_id: str, asked: str) -> Run | None:
        """Return the run that a request has started before; raises `AlreadyExists` where it *asked* for another."""

    async def get(self, run_id: str) -> Run:
        """Return a run with its steps; raises `NotFound` (RUN_UNKNOWN)."""

    async def page(self, *, states: Sequence[str] = (), size: int = 0, token: str = "") -> tuple[list[Run], str]:
        """Return a page of runs without their steps, the newest first, and the token of the next one."""

    def watch(self, run_id: str, after: int = 0) -> AsyncIterator[RunEvent]:
        """Yield the events of a run after the one numbered *after*, until it has ended."""

    async def pause(self, run_id: str) -> Run:
        """Start no further step."""

    async def resume(self, run_id: str) -> Run:
        """Go on."""

    async def cancel(self, run_id: str, reason: str = "") -> Run:
        """End it; what is under way is cancelled."""

    async def approve(
        self, run_id: str, digest: str, approver: Asker, *, refuse: bool = False, comment: str = ""
    ) -> Run:
        """Approve exactly the program of *digest*, or refuse it.

        Raises `Denied`: no scope approve (APPROVAL_SCOPE), the requester's own (APPROVAL_BY_REQUESTER), through a door
        where nobody approves (APPROVAL_DOOR); `FailedPrecondition`: another program (DIGEST_CHANGED), nothing to
        approve (NOTHING_TO_APPROVE).
        """

    async def resolve(self, run_id: str, step_id: str, resolution: str, asker: Asker) -> Run:
        """Say what became of an unknown step: `HAPPENED`, `REPEAT`, `SKIP` or `GIVE_UP`."""

    def rollback(self, run_id: str, asker: Asker, *, dry_run: bool = False) -> AsyncIterator[Any]:
        """Take a run back, newest step first: yields each `Step` as it stands then, and last the `Run`."""


class StepAsks(Protocol):
    """The steps that wait in mid-run for a person; see `lightfast.engine.workflows.approval`."""

    def waiting(self, run_id: str) -> Sequence[str]:
        """Return why the steps of a run wait; none: no step waits."""

    def answer(self, run_id: str, approver: str, *, refuse: bool = False, comment: str = "") -> bool:
        """Let them go on, or fail with APPROVAL_REFUSED; `False`: none waits."""


class JobRoom(Protocol):
    """The durable queue."""

    async def submit(self, new: NewJob, asker: Asker, *, request_id: str = "") -> Job:
        """Queue a job, durable when this returns; raises `InvalidArgument` (JOB_TYPE_UNKNOWN, JOB_PAYLOAD)."""

    def check(self, new: NewJob) -> None:
        """Raise what `submit` would raise of the type and the payload."""

    async def get(self, job_id: str) -> Job:
        """Return a job with its log; raises `NotFound` (JOB_UNKNOWN)."""

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that has ended stays as it is."""

    def add_type(self, job_type: JobType, plugin: str = "") -> None:
        """Offer a type of jobs; raises `AlreadyExists`."""

    def remove_type(self, job_type: JobType) -> None:
        """Start no more jobs of this type."""

    @property
    def waiting(self) -> int:
        """How many jobs wait."""

    @property
    def stopped(self) -> str:
        """Why no job is taken now; empty while jobs are taken."""


class WorkflowRoom(Protocol):
    """The workflows, from their files."""

    def names(self) -> Sequence[str]:
        """Return the names of those that can be run."""

    def describe(self, name: str) -> Mapping[str, Any]:
        """Return `summary`, `parameters_schema`, `version`, `steps`; raises `NotFound` (WORKFLOW_UNKNOWN)."""

    def program(self, name: str, parameters: Mapping[str, Value]) -> Program:
        """Return the program of a workflow with its parameters; raises `NotFound`, `InvalidArgument`."""

    def expand(self, program: Program) -> Program:
        """Return *program* with what each `workflow.call` calls in its place; raises `NotFound`, `InvalidArgument`."""

    def authors(self, name: str) -> Sequence[str]:
        """Return the identities of those who saved a workflow and those that it calls, who saved it last at the end."""

    async def start(
        self,
        name: str,
        parameters: Mapping[str, Value],
        asker: Asker,
        *,
        project: str = "",
        request_id: str = "",
        details: Mapping[str, Any] | None = None,
        run_id: str = "",
    ) -> Run:
        """Start one as a run, in the version that is there now, and under *run_id*, where that was told before."""


class WorkspaceRoom(Protocol):
    """Workspaces, projects and tasks; see `lightfast.engine.workspaces`."""

    async def create_task(self, fields: Mapping[str, Any], asker: Asker, *, request_id: str = "") -> Any:
        """Create a task of *fields*, named like those of `lightfast.engine.workspaces.records.Task`."""

    async def get_task(self, task_id: str, *, at_time: int = 0) -> Any:
        """Return a task; raises `NotFound` (TASK_UNKNOWN)."""

    async def update_task(self, task_id: str, changes: Mapping[str, Any], asker: Asker, *, etag: str = "") -> Any:
        """Change a task; the former version stays on record."""

    async def split_task(
        self,
        task_id: str,
        parts: Sequence[Mapping[str, Any]],
        asker: Asker,
        *,
        in_order: bool = False,
        reason: str = "",
        confidence: float = 0.0,
    ) -> Any:
        """Split a task; returns it and its parts."""


Listener = Callable[[Any], None]
"""Is told of an event after it was committed; must not wait."""
Ready = Callable[[], Awaitable[None]]
"""Waits until the plugins are loaded."""
