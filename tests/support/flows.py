"""Workflows and triggers with everything they start: real operations, checks, pipeline and runs, and the studio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.ai_house import ai_house

from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.store import MemoryStore
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.core.clock import SYSTEM, Clock
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.events.log import EventLog
from lightfast.engine.links.links import Links
from lightfast.engine.operations.book import Operations
from lightfast.engine.operations.rooms import OperationRooms
from lightfast.engine.pipeline import runner as pipeline
from lightfast.engine.pipeline.control import Control
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.ports import RunEnd
from lightfast.engine.planner.planner import Planner
from lightfast.engine.planner.rooms import PlannerRooms, Surroundings
from lightfast.engine.ports import Asker
from lightfast.engine.programs.checker import ProgramChecker
from lightfast.engine.programs.optimizer import Optimizer
from lightfast.engine.programs.program import Program
from lightfast.engine.runs.records import ENDED, Run
from lightfast.engine.runs.runs import Runs
from lightfast.engine.scenes.recalls import Recalls
from lightfast.engine.transport.transport import Transport
from lightfast.engine.triggers.triggers import Triggers
from lightfast.engine.triggers.work import Work
from lightfast.engine.workflows.approval import AskApproval, Asks
from lightfast.engine.workflows.checking import CallingChecker
from lightfast.engine.workflows.workflows import Workflows
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database
from lightfast_providers.studio import lightfast_providers

ALL = frozenset(("watch", "operate", "approve", "admin"))
LOCAL = Asker("local", "local", ALL)
BOSS = Asker("client:boss", "client:boss", frozenset(("watch", "approve")))
PATIENCE = 60.0


class PipelineRunner:
    """Runs programs by the pipeline."""

    def __init__(self, operations: Operations, pools: Pools) -> None:
        self._operations, self._pools = operations, pools

    def control(self) -> Any:
        """Return what steers the next run."""
        return Control()

    async def run(self, program: Program, journal: Any, **how: Any) -> RunEnd:
        """Run it."""
        return await pipeline.run(program, self._operations, journal, self._pools, world=self._operations.world, **how)


@dataclass
class Flows:
    """The rooms."""

    folder: Path
    store: Store
    db: Database
    blobs: BlobStore
    events: EventLog
    operations: Operations
    runs: Runs
    workflows: Workflows
    triggers: Triggers
    asks: Asks
    scenes: Scenes
    memory: MemoryStore
    transport: Transport
    planner: Planner

    def write(self, name: str, text: str) -> Path:
        """Write a workflow's file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.yaml"
        path.write_text(text)
        return path

    async def run(self, name: str, parameters: Mapping[str, Any] | None = None, asker: Asker = LOCAL) -> Run:
        """Start a workflow, and return its run when it has ended."""
        run = await self.workflows.start(name, parameters or {}, asker)
        return await self.ended(run.run_id)

    async def ended(self, run_id: str) -> Run:
        """Return a run when it has ended."""
        async with asyncio.timeout(PATIENCE):
            async for _ in self.runs.watch(run_id):
                pass
        run = await self.runs.get(run_id)
        assert run.state in ENDED, run.reason
        return run

    @property
    def work(self) -> Work:
        """The triggers at work; something must have been asked of them."""
        assert self.triggers._work is not None
        return self.triggers._work

    def value(self, path: str) -> Any:
        """Return a value of the context."""
        entry = self.store.get(path)
        return None if entry is None else entry.value


async def until(holds: Callable[[], Any], what: str = "") -> None:
    """Wait until *holds* gives something true."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.01)  # what is waited for happens elsewhere


@asynccontextmanager
async def flows(
    folder: Path, *, clock: Clock = SYSTEM, start: bool = True, examples: bool = True, watching: bool = True
) -> AsyncIterator[Flows]:
    """Open all rooms; with *start* triggers are under way, with *watching* changes of files are followed."""
    async with AsyncExitStack() as stack:
        (studio,) = lightfast_providers({})
        house = await stack.enter_async_context(ai_house(folder, [studio], {"studio": {}}))
        store, db, blobs = house.store, house.db, house.gateway.blobs
        registry = AppRegistry(store, db, SYSTEM, house.tasks, blobs, {})
        await registry.start()
        stack.push_async_callback(registry.close)
        links = Links(store, db)
        await links.start()
        stack.push_async_callback(links.close)
        scenes = Scenes(store, db, SYSTEM)
        recalls = Recalls(store, scenes, registry, links, SYSTEM)
        stack.push_async_callback(recalls.close)
        transport = Transport(store, registry, SYSTEM)
        await transport.start()
        stack.push_async_callback(transport.close)
        embedders = EmbedderBook()
        stack.push_async_callback(embedders.close)
        memory = await MemoryStore.open(db, store.requests, embedders, clock=SYSTEM)
        stack.push_async_callback(memory.close)
        events = await EventLog.open(db, SYSTEM)
        stack.push_async_callback(events.close)
        rooms = OperationRooms(store, registry, house.gateway, SYSTEM, scenes, recalls, transport, memory)
        operations = Operations(rooms)
        asks = Asks()
        operations.add_operation("", AskApproval(asks))
        pools = Pools({})
        stack.push_async_callback(pools.close)

        async def settled() -> None:
            return

        runner = PipelineRunner(operations, pools)
        runs = await Runs.open(db, store, events, operations, operations.world, runner, settled=settled)
        stack.push_async_callback(runs.close)
        runs.asks = asks  # type: ignore[attr-defined,unused-ignore]
        workflows = await Workflows.open(db, folder / "workflows", events, examples=examples, debounce=0.05)
        stack.push_async_callback(workflows.close)
        world = operations.world
        planner = Planner(
            PlannerRooms(
                operations,
                CallingChecker(ProgramChecker(operations, world), workflows.expand),
                Optimizer(operations),
                world,
                SYSTEM,
                Surroundings(store, registry, world).vocabulary,
                ready=world.ready,
            )
        )
        workflows.join(operations, planner, runs)
        runs.begin()
        rooms.workflows = workflows
        triggers = await Triggers.open(
            db, store, workflows, runs, events, transport=transport, blobs=blobs, clock=clock
        )
        stack.push_async_callback(triggers.close)
        if watching:
            await workflows.begin()
        else:
            await workflows.read()
        if start:
            await triggers.start()
        yield Flows(
            folder / "workflows",
            store,
            db,
            blobs,
            events,
            operations,
            runs,
            workflows,
            triggers,
            asks,
            scenes,
            memory,
            transport,
            planner,
        )
