"""Assets that nothing reaches: neither an entry of any time, nor a scene, memory, frame, link, operation, recording."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable

import msgspec

from lightfast.context.upkeep.collect_records import DAY_NS, Action, Budget, Candidate, Limits, Reached
from lightfast.context.upkeep.references import HISTORY
from lightfast.core.clock import Clock
from lightfast.storage.blob_removal import remove
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database

_BATCH = 1000


class AssetRoom:
    """Deletes assets that were of no use for long, and that nothing reaches."""

    kind = "assets"

    def __init__(self, db: Database, blobs: BlobStore, clock: Clock, limits: Callable[[], Limits]) -> None:
        self._db = db
        self._blobs = blobs
        self._clock = clock
        self._limits = limits
        self._seen = 0

    async def candidates(self, reached: Reached, kept: Counter[str]) -> AsyncIterator[Candidate]:
        """Yield unreached assets, the longest unused first."""
        days = self._limits().asset_days
        if not days:
            return
        if reached.closed:
            kept[reached.closed] += 1
            return
        await self._blobs.uses.write()
        ((self._seen,),) = await self._db.query("SELECT coalesce(max(row), 0) FROM history")
        now = self._clock.now_ns()
        rows = await self._db.query(
            "SELECT sha256, size, max(create_time, use_time) AS used, provenance FROM assets ORDER BY used"
        )
        alive = self._with_sources(reached, [(sha256, provenance) for sha256, _, _, provenance in rows])
        for sha256, size, used, _ in rows:
            if used >= now - int(days * DAY_NS):
                return
            if sha256 in alive:
                kept[alive[sha256]] += 1
                continue
            reason = f"of no use for {(now - used) // DAY_NS} days, and nothing refers to it"
            yield Candidate(self.kind, sha256, Action.DELETE, size, reason)

    @staticmethod
    def _with_sources(reached: Reached, rows: list[tuple[str, str]]) -> dict[str, str]:
        """Return what is reached, with the assets that those were made of."""
        sources = {sha256: msgspec.json.decode(text).get("sources", ()) for sha256, text in rows}
        alive = dict(reached.assets)
        waiting = [sha256 for sha256 in alive if sha256 in sources]
        while waiting:
            for source in sources.get(waiting.pop(), ()):
                if source not in alive:
                    alive[source] = "source"
                    waiting.append(source)
        return alive

    async def collect(self, candidate: Candidate, budget: Budget) -> int:
        """Delete it, unless somebody has come upon it since the candidates were chosen."""
        sha256 = candidate.ident
        found = await self._db.query(
            f"SELECT max(create_time, use_time) FROM assets WHERE sha256 = ? AND NOT EXISTS"  # noqa: S608
            f" (SELECT 1 FROM {HISTORY} WHERE row > ? AND instr(entry, sha256))",
            (sha256, self._seen),
        )
        days = self._limits().asset_days
        if not found or sha256 in self._blobs.uses or found[0][0] >= self._clock.now_ns() - int(days * DAY_NS):
            return -1
        async with asyncio.timeout(60):
            await remove(self._blobs, sha256)
        return candidate.size
