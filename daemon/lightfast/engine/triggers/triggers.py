"""The room of triggers: starts workflows when something happens, and keeps why it did or did not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.rights import Rights

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.ports import RunRoom
    from lightfast.engine.restored import Restored
    from lightfast.engine.triggers.beats import Timeline
    from lightfast.engine.triggers.records import Firing, TriggerStatus
    from lightfast.engine.triggers.work import Work
    from lightfast.engine.workflows.workflows import Workflows
    from lightfast.storage.blobs import BlobStore
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.engine")

KEPT = 10_000
"""How many traces are kept."""


class Triggers:
    """Open one with `await Triggers.open(db, store, workflows, runs, events)`, then `start`.

    While no workflow has a trigger and nobody asks, nothing of it is loaded but this.
    """

    def __init__(
        self,
        db: Database,
        store: Store,
        workflows: Workflows,
        runs: RunRoom,
        events: EventLog,
        *,
        transport: Timeline | None,
        blobs: BlobStore | None,
        clock: Clock,
        kept: int,
        rights: Rights,
        restored: Restored | None,
    ) -> None:
        """Use `open`."""
        self._rights, self._restored = rights, restored
        self._db, self._store, self._workflows, self._runs, self._events = db, store, workflows, runs, events
        self._transport, self._blobs, self._clock, self._kept = transport, blobs, clock, kept
        self._tasks = TaskGroup("triggers")
        self._making = asyncio.Lock()
        self._work: Work | None = None
        self._started = False
        self._working = False
        self._beginning = 0

    @classmethod
    async def open(
        cls,
        db: Database,
        store: Store,
        workflows: Workflows,
        runs: RunRoom,
        events: EventLog,
        *,
        transport: Timeline | None = None,
        blobs: BlobStore | None = None,
        clock: Clock = SYSTEM,
        kept: int = KEPT,
        rights: Rights | None = None,
        restored: Restored | None = None,
    ) -> Triggers:
        """Make the room. Nothing fires until `start`, nor while what waits in a *restored* store waits.

        *rights* says what who saved a workflow may still do when it fires.
        """
        return cls(
            db,
            store,
            workflows,
            runs,
            events,
            transport=transport,
            blobs=blobs,
            clock=clock,
            kept=kept,
            rights=rights or Rights(),
            restored=restored,
        )

    async def start(self) -> None:
        """Begin, when the workflows have been read and the plugins are there."""
        self._started = True
        self._workflows.follow(self._on_workflows)
        if self._workflows.triggers():
            await self._begin()

    async def close(self) -> None:
        """Fire no more; what is traced is written."""
        self._started = False
        await self._tasks.close()
        if self._work is not None:
            await self._work.close()

    async def listed(self) -> list[TriggerStatus]:
        """Return all triggers in the order of their names; those of examples are switched off."""
        await self._workflows.ready()
        return (await self._made()).listed()

    async def firings(self, trigger: str = "", limit: int = 50) -> list[Firing]:
        """Return why triggers fired or did not, the newest first."""
        return await (await self._made()).firings(trigger, limit)

    @property
    def idle(self) -> bool:
        """Say whether nothing waits to be looked at, but for debounces and schedules."""
        return not self._beginning and (self._work is None or self._work.idle)

    async def step(self) -> None:
        """Look at all that waits, and at the clock, now."""
        await (await self._made()).step()

    async def forget(self) -> None:
        """Write what waits, and keep no reason in memory."""
        if self._work is not None:
            await self._work.traces.flush()
            self._work.traces.forget({})

    def totals(self) -> tuple[int, int]:
        """Return how often all triggers fired, and were held back, as far as that was counted since the first one."""
        counts = [] if self._work is None else list(self._work.traces.counts.values())
        return sum(each.fired for each in counts), sum(each.held_back for each in counts)

    def _on_workflows(self) -> None:
        if self._working and self._work is not None:
            self._work.changed()
        elif self._started and self._workflows.triggers():
            self._beginning += 1
            self._tasks.start(self._begin_late(), "begin")

    async def _begin_late(self) -> None:
        try:
            await self._begin()
        except LightfastError as error:
            log.error("no trigger fires: the room could not begin", reason=error.reason, why=error.message)  # noqa: TRY400
        finally:
            self._beginning -= 1

    async def _begin(self) -> None:
        work = await self._made()
        if self._working:
            work.changed()
            return
        self._working = True
        await work.start()

    async def _made(self) -> Work:
        async with self._making:
            if self._work is None:
                from lightfast.engine.triggers.traces import Traces
                from lightfast.engine.triggers.work import Work

                traces = await Traces.open(self._db, self._events, self._clock, self._kept)
                self._work = Work(
                    self._store,
                    self._workflows,
                    self._runs,
                    self._events,
                    traces,
                    transport=self._transport,
                    blobs=self._blobs,
                    clock=self._clock,
                    rights=self._rights,
                    restored=self._restored,
                )
            return self._work
