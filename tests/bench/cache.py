"""The bounded cache of values: memory and reads with ten times the data it may hold, and its hits where some are loved.

LIGHTFAST_BENCH_CACHE_MB sets the bound.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import time
import urllib.request

import psutil
from tests.bench.measure import Row, single
from tests.bench.world import World

from lightfast.client import AsyncClient, mutations

MEGABYTES = int(os.environ.get("LIGHTFAST_BENCH_CACHE_MB", "32"))
BOUND = MEGABYTES << 20
LENGTH = 8000
READS = 10_000
SETTINGS = (f"cache.size={MEGABYTES} MiB",)


def numbers(world: World) -> dict[str, float]:
    """Return what the daemon says of its cache."""
    request = urllib.request.Request(
        f"http://{world.endpoints['http']}/metrics", headers={"authorization": f"Bearer {world.token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        lines = response.read().decode().splitlines()
    found = {}
    for line in lines:
        if line.startswith("lightfast_cache"):
            name, _, value = line.removeprefix("lightfast_").rpartition(" ")
            found[name.replace('cache_total{outcome="', "").replace('"}', "")] = float(value)
    return found


def memory(pid: int) -> float:
    """Return the resident memory in MB."""
    return float(psutil.Process(pid).memory_info().rss / 1e6)


def document(number: int) -> str:
    """Return a text of `LENGTH` characters that is like no other."""
    return f"document {number} " + random.Random(number).randbytes(LENGTH // 2 - 10).hex()


def loved(count: int, reads: int) -> list[int]:
    """Return which documents are read: the n-th most loved one as often as 1/n says (Zipf), shuffled over all."""
    chance = random.Random(1)
    order = list(range(count))
    chance.shuffle(order)
    weights = [1.0 / rank for rank in range(1, count + 1)]
    return [order[rank] for rank in chance.choices(range(count), weights, k=reads)]


async def fill(client: AsyncClient, begin: int, end: int) -> None:
    """Write documents."""
    for start in range(begin, end, 50):
        await client.apply([mutations.set_value(f"/docs/{n}", document(n)) for n in range(start, min(end, start + 50))])


async def timed(client: AsyncClient, which: list[int]) -> float:
    """Return the median seconds of a read."""
    found = []
    for number in which:
        began = time.perf_counter()
        entry = await client.get(f"/docs/{number}")
        found.append(time.perf_counter() - began)
        assert entry is not None
    return statistics.median(found)


async def run(world: World, pairs: int) -> list[Row]:
    """Measure: filled to the bound, to ten times it, then started again."""
    whole = BOUND // (LENGTH + 700)
    rows = []
    async with AsyncClient(home=str(world.home), timeout=120) as client:
        empty = memory(world.pid)
        await fill(client, 0, whole)
        once = memory(world.pid)
        await fill(client, whole, 10 * whole)
        ten = memory(world.pid)
        said = numbers(world)
        rows.append(
            single(
                f"RSS with 10 times the bound of {BOUND >> 20} MB",
                ten,
                "MB",
                note=f"empty {empty:.0f} MB, at the bound {once:.0f} MB; {10 * whole} documents of {LENGTH} characters, "
                f"{said['cache_bytes'] / 1e6:.0f} MB counted, {said['cache_cold_entries']:.0f} on the disk alone",
            )
        )
        cold = random.Random(2).sample(range(10 * whole), 300)
        await client.get("/docs/0")
        disk = await timed(client, cold)
        warm = await timed(client, cold[-100:])
        rows.append(
            Row(
                "a read that is not in memory, against one that is",
                disk * 1e6,
                warm * 1e6,
                "µs",
                disk / warm,
                "—",
                None,
            )
        )
        before = numbers(world)
        for number in loved(10 * whole, READS):
            await client.get(f"/docs/{number}")
        after = numbers(world)
        hits, misses = (after[name] - before[name] for name in ("hit", "disk"))
        best = sum(1.0 / rank for rank in range(1, whole + 1)) / sum(1.0 / rank for rank in range(1, 10 * whole + 1))
        rows.append(
            single(
                "hit ratio, Zipf over ten times the bound",
                hits / (hits + misses),
                "of 1",
                note=f"{READS} reads; if it always held the most loved tenth: {best:.2f}; "
                f"{after['waited'] - before['waited']:.0f} reads made the loop wait",
            )
        )
    world.process.terminate()
    await asyncio.to_thread(world.process.wait, 60)
    began = time.perf_counter()
    world.process = await asyncio.to_thread(world.stage.daemon, *SETTINGS)
    took = time.perf_counter() - began
    rows.append(single("start over ten times the bound", took, "s", note=f"RSS {memory(world.pid):.0f} MB then"))
    return rows
