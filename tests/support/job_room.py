"""A room of jobs over a database of its own, and types of jobs that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightfast.core.clock import Clock, StillClock
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import Event, wanted
from lightfast.engine.jobs.jobs import Jobs
from lightfast.engine.ports import Asker
from lightfast.sdk import JobBench, JobType
from lightfast.storage.database import Database
from lightfast_link.value import Value

ME = Asker("me", "client:me", frozenset(("watch", "operate")))


class Told(JobType):
    """Does what the test says; remembers what it was given."""

    name: ClassVar[str] = "told"
    summary: ClassVar[str] = "Does as it is told."
    payload: ClassVar[Mapping[str, Any]] = {"type": "object", "properties": {"n": {"type": "integer"}}}

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, str]] = []
        self.order: list[Any] = []
        self.act: Callable[[Mapping[str, Value], JobBench], Any] = lambda payload, _: payload.get("n")

    async def run(self, payload: Mapping[str, Value], bench: JobBench) -> Value | None:
        self.seen.append((bench.job_id, bench.attempt, bench.note))
        self.order.append(payload.get("n"))
        result = self.act(payload, bench)
        value: Value | None = await result if asyncio.iscoroutine(result) else result
        return value


@dataclass
class Room:
    """What a test works with."""

    db: Database
    clock: Clock
    events: EventLog
    jobs: Jobs
    told: Told

    async def kinds(self, entity_id: str = "") -> list[str]:
        """Return the kinds of all events, in order."""
        return [event.kind for event in await self.all_events(entity_id)]

    async def all_events(self, entity_id: str = "") -> list[Event]:
        return await self.events.page(0, wanted((), entity_id), 10_000)


@asynccontextmanager
async def room(
    folder: Path, clock: Clock | None = None, *, started: bool = True, workers: int = 2, offered: bool = True
) -> AsyncIterator[Room]:
    """Open a room; *offered*: somebody does jobs of the type `told`."""
    clock = clock or StillClock()
    db = await Database.open(folder / "jobs.db", clock=clock)
    events = await EventLog.open(db, clock)
    jobs = await Jobs.open(db, clock, events, workers=workers, chance=lambda: 0.0)
    told = Told()
    if offered:
        jobs.add_type(told)
    if started:
        jobs.start()
    try:
        yield Room(db, clock, events, jobs, told)
    finally:
        await jobs.close()
        await events.close()
        await db.close()


async def until(condition: Callable[[], Any], what: str = "it") -> None:
    """Wait until *condition* holds; the test's own bound ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.002)
