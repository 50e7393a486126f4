"""The composition of the meta-computer: its rooms, joined to each other and to the floors below."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.app.settings import Settings
from lightfast.app.stages import Stages
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import LightfastError
from lightfast.core.paths import Paths
from lightfast.engine.apps.records import AppState
from lightfast.engine.desk.desk import Desk
from lightfast.engine.events.log import EventLog
from lightfast.engine.jobs.job_types.memory_sync import MemorySync
from lightfast.engine.jobs.job_types.task_create import TaskCreate
from lightfast.engine.jobs.job_types.workflow_execute import WorkflowExecute
from lightfast.engine.jobs.jobs import Jobs
from lightfast.engine.jobs.schedules import Schedules
from lightfast.engine.meta import MetaComputer
from lightfast.engine.operations.book import Operations
from lightfast.engine.operations.rooms import OperationRooms
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.planner.bounded import BoundedPlanner
from lightfast.engine.planner.planner import Planner
from lightfast.engine.planner.rooms import PlannerRooms, Surroundings
from lightfast.engine.planner.settings import PlannerSettings
from lightfast.engine.programs.budget import CostsBudget
from lightfast.engine.programs.checker import ProgramChecker
from lightfast.engine.programs.optimizer import Optimizer
from lightfast.engine.restored import Restored
from lightfast.engine.rights import Rights
from lightfast.engine.runs.limits import RunLimits
from lightfast.engine.runs.runs import Runs
from lightfast.engine.triggers.triggers import Triggers
from lightfast.engine.workflows.approval import AskApproval, Asks
from lightfast.engine.workflows.checking import CallingChecker
from lightfast.engine.workflows.workflows import Workflows
from lightfast.engine.workspaces.workspaces import Workspaces
from lightfast.sdk import Effect, JobType, Operation

if TYPE_CHECKING:
    from lightfast.context.memory.port import TemporalMemory
    from lightfast.context.memory.store import MemoryStore
    from lightfast.context.scenes.scenes import Scenes
    from lightfast.context.store import Store
    from lightfast.context.views.views import Views
    from lightfast.core.tasks import TaskGroup
    from lightfast.engine.apps.registry import AppRegistry
    from lightfast.engine.mirror.mirror import Mirror
    from lightfast.engine.pipeline.control import Control
    from lightfast.engine.pipeline.ports import RunEnd, RunJournal
    from lightfast.engine.programs.program import Program
    from lightfast.engine.runs.records import Step
    from lightfast.engine.scenes.recalls import Recalls
    from lightfast.engine.show.show import Show
    from lightfast.engine.transport.transport import Transport
    from lightfast.gateway.cost.costs import Costs
    from lightfast.gateway.router import Gateway
    from lightfast.security.tokens import TokenBook
    from lightfast.storage.blobs import BlobStore
    from lightfast.storage.database import Database
    from lightfast.storage.requests import Requests

log = structlog.get_logger("lightfast.engine")


class PipelineRunner:
    """Runs programs by the pipeline: implements `engine.runs.ports.Runner`."""

    def __init__(self, operations: Operations, pools: Pools) -> None:
        self._operations = operations
        self._pools = pools

    def control(self) -> Control:
        """Return what steers the next run."""
        from lightfast.engine.pipeline.control import Control  # the pipeline is loaded with the first run

        return Control()

    async def run(
        self,
        program: Program,
        journal: RunJournal,
        *,
        run_id: str,
        origin: str,
        project: str,
        recorded: Mapping[str, Step],
        control: Any,
        deadline_s: float,
        budget_usd: float,
        allowed: Mapping[str, frozenset[Effect]],
    ) -> RunEnd:
        """Run it from what is *recorded* on."""
        from lightfast.engine.pipeline import runner as pipeline

        await self._operations.world.ready()
        return await pipeline.run(
            program,
            self._operations,
            journal,
            self._pools,
            run_id=run_id,
            origin=origin,
            world=self._operations.world,
            project=project,
            recorded=recorded,
            control=control,
            deadline_s=deadline_s,
            budget_usd=budget_usd,
            allowed=allowed,
        )


class Work:
    """Takes what plugins bring to do work: implements `joints.WorkSink`."""

    def __init__(self, operations: Operations, jobs: Jobs) -> None:
        self._operations = operations
        self._jobs = jobs

    def add_operation(self, plugin: str, operation: Operation) -> None:
        """Offer an operation."""
        self._operations.add_operation(plugin, operation)

    def remove_operation(self, plugin: str, operation: Operation) -> None:
        """Start it no more."""
        self._operations.remove_operation(plugin, operation)

    def add_job_type(self, plugin: str, job_type: JobType) -> None:
        """Offer a type of jobs."""
        self._jobs.add_type(job_type, plugin)

    def remove_job_type(self, plugin: str, job_type: JobType) -> None:
        """Start no more jobs of this type."""
        self._jobs.remove_type(job_type)


def planner_settings(settings: Settings) -> PlannerSettings:
    """Return what `[engine]` says about planning."""
    engine = settings.engine
    return PlannerSettings(
        chain=engine.planner,
        specialists={name.strip(): model.strip() for name, _, model in (e.partition("=") for e in engine.specialists)},
        reviewer=engine.reviewer,
        review_required=engine.review_required,
        deadline_s=engine.planning_s,
        max_cost_usd=engine.planning_usd,
    )


def workflow_folder(settings: Settings, paths: Paths) -> Path:
    """Return the folder with workflows."""
    return Path(settings.workflows.folder).expanduser() if settings.workflows.folder else paths.config / "workflows"


def mirror_folder(settings: Settings) -> Path | None:
    """Return the folder of the mirror of tasks; `None`: there is to be none."""
    return Path(settings.workspaces.mirror).expanduser() if settings.workspaces.mirror else None


async def join_meta(
    stages: Stages,
    settings: Settings,
    paths: Paths,
    *,
    now: Callable[[], Settings],
    settled: Callable[[], Awaitable[None]],
    db: Database,
    store: Store,
    blobs: BlobStore,
    requests: Requests,
    gateway: Gateway,
    costs: Costs,
    registry: AppRegistry,
    scenes: Scenes,
    recalls: Recalls,
    transport: Transport,
    memory: MemoryStore,
    views: Callable[[], Views],
    show: Show,
    tokens: TokenBook,
) -> MetaComputer:
    """Open the rooms, each to be closed in the stage `apps`; *now* returns the settings of now."""
    rights = Rights(tokens.scopes_of)
    restored = await Restored.open(db)
    events = await EventLog.open(db, SYSTEM)
    stages.leave("apps", "events", events.close)
    rooms = OperationRooms(store, registry, gateway, SYSTEM, scenes, recalls, transport, memory)
    operations = Operations(rooms)
    pools = Pools.of(settings.engine)
    stages.leave("apps", "pools", pools.close)
    world = operations.world

    def there(mount: str) -> bool:
        return any(app.mount == mount and app.state is AppState.LIVE for app in registry.list())

    runs = await Runs.open(
        db,
        store,
        events,
        operations,
        world,
        PipelineRunner(operations, pools),
        settled=settled,
        show=show,
        budgets=costs,
        there=there,
        limits=RunLimits(
            runs=settings.engine.runs,
            approval_hours=settings.engine.approval_hours,
            run_hours=settings.engine.run_hours,
            keep=settings.engine.keep_runs,
        ),
        rights=rights,
    )
    stages.leave("apps", "runs", runs.close)
    asks = Asks()
    operations.add_operation("", AskApproval(asks))
    runs.asks = asks
    workspaces = await Workspaces.open(db, SYSTEM, events, requests)
    mirror: Mirror | None = None
    if (folder := mirror_folder(settings)) is not None:
        from lightfast.engine.mirror.mirror import Mirror

        mirror = Mirror(folder, events, workspaces)
        stages.leave("apps", "mirror", mirror.close)
    workflows = await Workflows.open(db, workflow_folder(settings, paths), events, examples=settings.workflows.examples)
    stages.leave("apps", "workflows", workflows.close)
    rooms.workspaces, rooms.workflows = workspaces, workflows
    planner = Planner(
        PlannerRooms(
            operations,
            CallingChecker(ProgramChecker(operations, world, CostsBudget(costs)), workflows.expand),
            Optimizer(operations),
            world,
            SYSTEM,
            Surroundings(store, registry, world).vocabulary,
            lambda: planner_settings(now()),
            gateway,
            views,
            recalls,
            world.ready,
        )
    )
    workflows.join(operations, planner, runs)
    triggers = await Triggers.open(
        db, store, workflows, runs, events, transport=transport, blobs=blobs, rights=rights, restored=restored
    )
    stages.leave("apps", "triggers", triggers.close)
    jobs = await Jobs.open(
        db, SYSTEM, events, workers=settings.jobs.workers, keep_days=settings.jobs.keep_days, rights=rights
    )
    jobs.wait_for(restored)
    stages.leave("apps", "jobs", jobs.close)
    # Half of the workers are left for what needs no model.
    at_work = BoundedPlanner(planner, settings.jobs.workers // 2)
    memories = semantic_memories(settings, registry, memory)
    for job_type in (TaskCreate(workspaces, at_work), WorkflowExecute(workflows, runs), MemorySync(memories.get)):
        jobs.add_type(job_type)
    schedules = await Schedules.open(db, SYSTEM, jobs, events, rights=rights, restored=restored)
    stages.leave("apps", "schedules", schedules.close)
    desk = Desk(
        db,
        events,
        SYSTEM,
        jobs,
        at_work,
        runs,
        workspaces,
        workflows,
        memory=memory,
        store=store,
        views=views,
        gateway=gateway,
        model=lambda: now().desk.model,
    )
    stages.leave("apps", "desk", desk.close)
    stages.leave("apps", "operations", _stopping(operations))
    show.panic.join("jobs", jobs)
    return MetaComputer(
        events,
        operations,
        planner,
        runs,
        jobs,
        schedules,
        workspaces,
        workflows,
        triggers,
        desk,
        settled,
        restored,
        mirror,
    )


async def begin(meta: MetaComputer, tasks: TaskGroup) -> None:
    """Let the rooms work by themselves, once the plugins are loaded."""

    async def late() -> None:
        await meta.settled()
        for room in (meta.workflows.begin, meta.triggers.start):
            try:
                await room()
            except LightfastError as error:  # jobs and schedules must begin all the same
                log.error("a room could not begin", reason=error.reason, why=error.message)  # noqa: TRY400
        meta.jobs.start()
        meta.schedules.start()

    meta.runs.begin()
    if meta.mirror is not None:
        meta.mirror.start()
    await meta.desk.start()
    tasks.start(late(), "work")


def semantic_memories(settings: Settings, registry: AppRegistry, memory: MemoryStore) -> Mapping[str, TemporalMemory]:
    """Return the memories by name: our own, and those that servers among the applications keep."""
    found: dict[str, TemporalMemory] = {"embedded": memory}
    if settings.memory.servers:
        from lightfast.engine.semantic.graph import GraphMemory
        from lightfast.engine.semantic.server import MountedServer

        for mount in settings.memory.servers:
            found[mount] = GraphMemory(MountedServer(registry, mount), SYSTEM, None)
    return found


def _stopping(operations: Operations) -> Callable[[], Awaitable[None]]:
    async def stop() -> None:
        operations.stop()

    return stop
