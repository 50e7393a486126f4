"""A desk with everything that the collector looks at, on real files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from lightfast.app.collecting import build
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.store import MemoryStore
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.context.upkeep.collect_records import Limits
from lightfast.context.upkeep.collector import Report
from lightfast.context.upkeep.references import Private
from lightfast.core.clock import StillClock
from lightfast.core.tasks import TaskGroup
from lightfast.storage.archive.archive import Archive
from lightfast.storage.blobs import BlobStore, Provenance
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests
from lightfast_link.value import Asset

DAY = 86_400


class Desk:
    """The rooms, a clock that stands still, and the collector over them."""

    def __init__(self, folder: Path, rooms: dict[str, Any], clock: StillClock, tasks: TaskGroup) -> None:
        self.db: Database = rooms["db"]
        self.store: Store = rooms["store"]
        self.blobs: BlobStore = rooms["blobs"]
        self.archive: Archive = rooms["archive"]
        self.memory: MemoryStore = rooms["memory"]
        self.scenes: Scenes = rooms["scenes"]
        self.clock = clock
        self.tasks = tasks
        self.made: dict[str, Asset] = {}
        self.scores: dict[str, float] = {}
        self.private = (0, True)

        async def score(frame_id: str) -> float | None:
            return self.scores.get(frame_id)

        async def private() -> Private:
            return Private(*self.private)

        self.collector = build(
            **rooms,
            clock=clock,
            tasks=tasks,
            limits=Limits(),
            score=score,
            private=private,
            recordings=lambda: list(folder.glob("*.lfrec")),
        )

    async def asset(self, text: str, sources: tuple[str, ...] = ()) -> Asset:
        """Store an asset."""
        record = await self.blobs.put(text.encode(), "text/plain", text[:20], Provenance(sources=sources))
        found = Asset(record.uri, record.media_type, record.sha256, record.size)
        self.made[found.sha256] = found
        return found

    async def assets(self) -> int:
        """Return how many assets there are."""
        return int((await self.db.query("SELECT count(*) FROM assets"))[0][0])

    async def collect(self, *kinds: str, **how: Any) -> list[Report]:
        """Run the collector to its end."""
        return [report async for report in self.collector.collect(kinds=kinds, **how)]

    async def collected_references(self) -> None:
        """Wait until what was removed from the archive is forgotten."""
        while len(self.tasks):
            await asyncio.sleep(0.001)


@asynccontextmanager
async def open_desk(folder: Path, clock: StillClock | None = None) -> AsyncIterator[Desk]:
    """Open or create a desk in *folder*."""
    clock = clock or StillClock()
    async with AsyncExitStack() as stack:
        db = await Database.open(folder / "store.db", clock=clock)
        stack.push_async_callback(db.close)
        blobs = await BlobStore.open(folder / "assets", db, 1 << 30, clock)
        stack.push_async_callback(blobs.close)
        archive = await Archive.open(folder / "archive", clock=clock)
        stack.push_async_callback(archive.close)
        store = await Store.open(db, clock=clock, archive=archive, settle_after=60.0)
        stack.push_async_callback(store.close)
        requests = Requests(db, clock)
        await requests.start()
        stack.push_async_callback(requests.close)
        embedders = EmbedderBook("trigram")
        stack.push_async_callback(embedders.close)
        memory = await MemoryStore.open(db, requests, embedders, clock=clock, archive=archive)
        stack.push_async_callback(memory.close)
        tasks = TaskGroup("collecting")
        stack.push_async_callback(tasks.close)
        rooms = {"db": db, "store": store, "blobs": blobs, "archive": archive, "memory": memory}
        yield Desk(folder, {**rooms, "scenes": Scenes(store, db, clock)}, clock, tasks)
