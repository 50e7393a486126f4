"""Growth: one write with 1 to 1,000 watchers, and reads and writes with 1 thousand to 1 million entries."""

from __future__ import annotations

import asyncio
import statistics
import time

import psutil
from tests.bench.measure import Row, Watch, single
from tests.bench.world import World

from lightfast.client import AsyncClient, mutations


async def delays(client: AsyncClient, path: str, number: int = 50) -> float:
    """Return the median seconds of a durable write of one value."""
    found = []
    for index in range(number):
        began = time.perf_counter()
        await client.set(path, float(index))
        found.append(time.perf_counter() - began)
    return statistics.median(found)


async def watchers(world: World) -> list[Row]:
    """Write while 1, 10, 100 and 1,000 watchers of other paths, and of this one, look on."""
    rows = []
    async with AsyncClient(home=str(world.home), timeout=30) as client:
        for number in (1, 10, 100, 1000):
            synced = asyncio.Semaphore(0)

            async def one(index: int, synced: asyncio.Semaphore = synced) -> None:
                async for batch in client.watch(f"/other/{index}/*", include_snapshot=True, resume=False):
                    if batch.synced:
                        synced.release()

            tasks = [asyncio.create_task(one(index)) for index in range(number)]
            for _ in range(number):
                await asyncio.wait_for(synced.acquire(), 60)
            watch = Watch(world.pid)
            median = await delays(client, "/growth/watched")
            rows.append(
                single(
                    f"durable write with {number:,} watchers of other paths, median",
                    median * 1e6,
                    "µs",
                    note=f"server CPU {watch.cpu_used() / 50 * 1e6:.0f} µs a write",
                )
            )
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return rows


async def audience(world: World) -> list[Row]:
    """Write to a path that 1, 10, 100 and 1,000 watchers look at; until the last of them has it."""
    rows = []
    async with AsyncClient(home=str(world.home), timeout=30) as client:
        for number in (1, 10, 100, 1000):
            synced, heard = asyncio.Semaphore(0), asyncio.Semaphore(0)

            async def one(synced: asyncio.Semaphore = synced, heard: asyncio.Semaphore = heard) -> None:
                async for batch in client.watch("/growth/stage", include_snapshot=True, resume=False):
                    (synced if batch.synced else heard).release()

            tasks = [asyncio.create_task(one()) for _ in range(number)]
            for _ in range(number):
                await asyncio.wait_for(synced.acquire(), 60)
            found = []
            watch = Watch(world.pid)
            for index in range(20):
                began = time.perf_counter()
                await client.set("/growth/stage", float(index))
                for _ in range(number):
                    await asyncio.wait_for(heard.acquire(), 60)
                found.append(time.perf_counter() - began)
            rows.append(
                single(
                    f"durable write until the last of {number:,} watchers of it has it, median",
                    statistics.median(found) * 1e6,
                    "µs",
                    note=f"server CPU {watch.cpu_used() / 20 * 1e6:.0f} µs a write; all on one connection",
                )
            )
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return rows


async def entries(world: World) -> list[Row]:
    """Write and read one value with 1 k, 10 k, 100 k and 1 M entries in the store."""
    rows = []
    async with AsyncClient(home=str(world.home), timeout=120) as client:
        there = 0
        for wanted in (1_000, 10_000, 100_000, 1_000_000):
            began = time.perf_counter()
            filled = wanted - there
            while there < wanted:
                size = min(5_000, wanted - there)
                changes = [
                    mutations.set_value(f"/many/{index // 1000}/{index % 1000}", float(index))
                    for index in range(there, there + size)
                ]
                await client.apply(changes)
                there += size
            rate = filled / (time.perf_counter() - began)
            write = await delays(client, "/many/0/0")
            reads = []
            for index in range(50):
                began = time.perf_counter()
                await client.get(f"/many/0/{index}")
                reads.append(time.perf_counter() - began)
            memory = psutil.Process(world.pid).memory_info().rss / 1e6
            rows.append(
                single(
                    f"durable write among {wanted:,} entries, median",
                    write * 1e6,
                    "µs",
                    note=f"read {statistics.median(reads) * 1e6:.0f} µs, RSS {memory:.0f} MB, "
                    f"filled at {rate:,.0f} entries/s",
                )
            )
    return rows


async def run(world: World, pairs: int) -> list[Row]:
    """Measure both ladders."""
    return await watchers(world) + await audience(world) + await entries(world)
