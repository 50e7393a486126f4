"""What assets are like: found out when they arrive, by the media processor, and kept with them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from lightfast.context.flow.flow import Flow
from lightfast.context.flow.probe import Facts, is_medium, probe
from lightfast.context.flow.processors import Pool
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.storage.blobs import AssetRecord, BlobStore
from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.media")

MOST_WAITING = 10_000
"""How many assets may wait; of more, the newest are found out about when the daemon starts again."""


class Media:
    """Looks at each asset once, in the background; `start` also looks for those that were not looked at yet."""

    def __init__(self, db: Database, blobs: BlobStore, pool: Pool, flow: Flow) -> None:
        self._db = db
        self._blobs = blobs
        self._pool = pool
        self._flow = flow
        self._tasks = TaskGroup("media")
        self._queue: asyncio.Queue[AssetRecord] = asyncio.Queue(MOST_WAITING)
        self._waiting: dict[str, asyncio.Event] = {}

    def start(self) -> None:
        """Look at what arrives from now on, and at what has arrived before."""
        self._blobs.on_adopted.append(self.arrived)
        self._tasks.start(self._run(), "probe")

    async def close(self) -> None:
        """Leave what waits for the next start."""
        await self._tasks.close()

    def arrived(self, record: AssetRecord) -> None:
        """Take note of an asset; never waits."""
        if is_medium(record.media_type) and record.sha256 not in self._waiting and not self._queue.full():
            self._waiting[record.sha256] = asyncio.Event()
            self._queue.put_nowait(record)

    async def settled(self, sha256: str, timeout: float) -> None:
        """Wait until an asset that arrived was looked at, at most *timeout* seconds."""
        event = self._waiting.get(sha256)
        if event is not None:
            try:
                async with asyncio.timeout(timeout):
                    await event.wait()
            except TimeoutError:
                return

    async def of(self, hashes: Sequence[str]) -> Mapping[str, Facts]:
        """Return what is known of assets, by SHA-256."""
        rows = await self._db.query(
            "SELECT sha256, facts FROM asset_media WHERE sha256 IN (SELECT value FROM json_each(?))",
            (msgspec.json.encode(list(hashes)).decode(),),
        )
        return {sha256: msgspec.json.decode(facts, type=Facts) for sha256, facts in rows}

    async def _run(self) -> None:
        for record in await self._unknown():
            self.arrived(record)
        while True:
            record = await self._queue.get()
            try:
                async with self._flow.background(name="media"):
                    await self._look(record)
            except LightfastError as error:
                log.warning("an asset could not be looked at", sha256=record.sha256, reason=error.message)
            except Exception:  # whatever it is, those that come after it must be looked at
                log.exception("an asset could not be looked at", sha256=record.sha256)
            finally:
                self._waiting.pop(record.sha256).set()

    async def _look(self, record: AssetRecord) -> None:
        facts = await self._pool.run(probe, record.path, record.media_type)
        unit = self._db.unit()
        unit.execute(
            "INSERT OR REPLACE INTO asset_media SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM assets WHERE sha256 = ?1)",
            (record.sha256, msgspec.json.encode(facts or Facts()).decode()),
        )
        await self._db.commit(unit)

    async def _unknown(self) -> list[AssetRecord]:
        rows = await self._db.query(
            "SELECT sha256 FROM assets WHERE sha256 NOT IN (SELECT sha256 FROM asset_media) AND (media_type LIKE"
            " 'image/%' OR media_type LIKE 'audio/%' OR media_type LIKE 'video/%') ORDER BY seq DESC LIMIT ?",
            (MOST_WAITING,),
        )
        found = []
        for (sha256,) in rows:
            try:
                found.append(await self._blobs.get(sha256))
            except LightfastError as error:
                log.debug("an asset went away before it was looked at", sha256=sha256, reason=error.reason)
        return found
