"""Time travel: reads at a time on one path with very many revisions, from the history and from the archive.

100,000 revisions; `LIGHTFAST_BENCH_REVISIONS=1000000` for the million of the goal. Every read is at another time, and
no result is kept. A second part measures what the index by event time costs a write.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.bench.measure import Row, compare, single
from tests.bench.world import World

from lightfast.context.entry import Set
from lightfast.context.store import Store
from lightfast.context.tiers.tiers import TierOptions
from lightfast.core.clock import StillClock
from lightfast.storage.archive.archive import Archive
from lightfast.storage.database import Database

REVISIONS = int(os.environ.get("LIGHTFAST_BENCH_REVISIONS", "100000"))
READS = 400
STEP_S = 1 / 60
PATH = "/ableton/tracks/0/volume"


class Silent:
    """Takes the news."""

    def publish(self, transaction: Any) -> None:
        """Take it."""

    def signals(self, events: Any) -> None:
        """Take them."""


class House:
    """A store with *count* revisions of one path, a sixtieth of a second apart."""

    def __init__(self, db: Database, archive: Archive, store: Store, clock: StillClock, begin: int) -> None:
        self.db, self.archive, self.store, self.clock, self.begin = db, archive, store, clock, begin

    @classmethod
    async def open(cls, folder: Path, name: str = "store.db") -> House:
        """Open it."""
        clock = StillClock()
        db = await Database.open(folder / name, clock=clock)
        archive = await Archive.open(folder / "archive")
        options = TierOptions(prefetch=False, cache_size=32 << 20)
        store = await Store.open(db, clock=clock, bus=Silent(), archive=archive, tiers=options)
        return cls(db, archive, store, clock, clock.now_ns())

    async def fill(self, count: int) -> float:
        """Write; return the writes per second."""
        began = time.perf_counter()
        chance = random.Random(1)

        async def write(number: int) -> None:
            self.clock.advance(STEP_S)
            late = self.clock.now_ns() - chance.randrange(20_000_000)  # it happened up to 20 ms before
            await self.store.apply([Set(PATH, number / 7, event_time=late)], origin="app:ableton")

        for start in range(0, count, 1000):
            await asyncio.gather(*[write(number) for number in range(start, min(count, start + 1000))])
        return count / (time.perf_counter() - began)

    async def close(self) -> None:
        """Close it."""
        await self.store.close()
        await self.archive.close()
        await self.db.close()

    def moment(self, chance: random.Random, count: int) -> int:
        """Return a time within the first *count* revisions."""
        return self.begin + round(chance.uniform(2, count - 1) * STEP_S * 1e9)


async def delays(count: int, read: Callable[[], Awaitable[Any]]) -> list[float]:
    """Return the seconds of *count* reads, one after the other, ordered."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        await read()
        found.append(time.perf_counter() - began)
    return sorted(found)


def rows(name: str, found: list[float], goal_ms: float, note: str = "") -> list[Row]:
    """Return the middle and the 99th of 100."""
    p99 = found[len(found) * 99 // 100] * 1e3
    return [
        single(f"{name}, p50", statistics.median(found) * 1e3, "ms"),
        single(f"{name}, p99", p99, "ms", most=goal_ms, note=note),
    ]


async def travel(folder: Path) -> list[Row]:
    """Measure reads at a time, first from SQLite, then from the archive."""
    house = await House.open(folder)
    chance = random.Random(2)
    store, found = house.store, []
    try:
        rate = await house.fill(REVISIONS)
        found.append(single(f"writes of one path, {REVISIONS:,} in all", rate, "1/s"))

        def reading(count: int, *, event: bool, cold: bool = False) -> Callable[[], Awaitable[Any]]:
            async def read() -> None:
                if cold:
                    store.tiers.forget()
                page = await store.read([PATH], at_time=house.moment(chance, count), event_axis=event)
                assert page.entries

            return read

        what = f"read at a time, {REVISIONS:,} revisions"
        found += rows(f"{what}, from SQLite", await delays(READS, reading(REVISIONS, event=False)), 5)
        found += rows(f"{what}, by event time", await delays(READS, reading(REVISIONS, event=True)), 5)
        began = time.perf_counter()
        moved = await store.tiers.demote(REVISIONS - 10)
        seconds = time.perf_counter() - began
        found.append(
            single(
                "moved to the archive", moved.rows / seconds, "rows/s", note=f"{moved.blocks} blocks, {seconds:.1f} s"
            )
        )
        count = REVISIONS - 100
        found += rows(
            f"{what}, from the archive, nothing cached", await delays(READS, reading(count, event=False, cold=True)), 50
        )
        found += rows(
            f"{what}, by event time, from the archive, nothing cached",
            await delays(READS, reading(count, event=True, cold=True)),
            50,
        )
        found += rows(f"{what}, from the archive, blocks cached", await delays(READS, reading(count, event=False)), 50)
        page = await delays(50, lambda: store.history(PATH, until=chance.randrange(200, count), page_size=100))
        found += rows("a page of 100 changes from the archive", page, 50)
    finally:
        await house.close()
    return found


async def index_cost(folder: Path, pairs: int) -> Row:
    """Measure the processor time of a write with the index by event time against without."""
    with_index = await House.open(folder, "with.db")
    without = await House.open(folder, "without.db")
    unit = without.db.unit()
    unit.execute("DROP INDEX history_event")
    await without.db.commit(unit)
    try:
        found = []
        for number in range(pairs):
            both = [with_index, without] if number % 2 else [without, with_index]
            cost: dict[House, float] = {}
            for house in both:
                began = time.process_time()  # all threads: the writer's, too
                await house.fill(5000)
                cost[house] = (time.process_time() - began) / 5000 * 1e6
            found.append((cost[with_index], cost[without]))
    finally:
        await with_index.close()
        await without.close()
    return compare("processor time of a write with the index by event time, against without", found, "µs")


async def run(world: World, pairs: int) -> list[Row]:
    """Measure both parts, each in a folder of its own."""
    del world
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as folder:
        found = await travel(Path(folder))
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as folder:
        found.append(await index_cost(Path(folder), pairs))
    return found
