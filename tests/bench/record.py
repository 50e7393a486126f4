"""What a recording costs: signals published while it runs, against the same without one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

from tests.bench.measure import Row, Watch, compare
from tests.bench.osc_links import SETTINGS
from tests.bench.world import World

from lightfast.client import AsyncClient

__all__ = ["SETTINGS", "run"]

BATCHES = 300
TOGETHER = 100


async def run(world: World, pairs: int) -> list[Row]:
    """Publish with and without a recording, in turn; the daemon's processor time for each value is compared."""
    await world.declare_signals("/bench/record/*")
    tick = itertools.count(1)
    names = itertools.count(1)
    async with AsyncClient(home=str(world.home), timeout=60) as client:

        async def batches() -> AsyncIterator[dict[str, float]]:
            for _ in range(BATCHES):
                value = float(next(tick))
                yield {f"/bench/record/{index}": value for index in range(TOGETHER)}

        async def publish() -> float:
            watch = Watch(world.pid)
            answer = await client.publish(batches())
            if answer.accepted != BATCHES * TOGETHER:
                raise RuntimeError(f"{answer.dropped} signals were dropped")
            await asyncio.sleep(0.5)  # what was handed to a thread is written, too
            return watch.cpu_used() / (BATCHES * TOGETHER) * 1e6

        async def recorded() -> float:
            name = f"take{next(names)}"
            await client.show.record(name, ["/bench/record/*"])
            try:
                return await publish()
            finally:
                await client.show.stop_recording()

        await publish()  # the paths are there, and known
        found = []
        for number in range(max(pairs, 1)):
            if number % 2:
                plain = await publish()
                found.append((await recorded(), plain))
            else:
                with_one = await recorded()
                found.append((with_one, await publish()))
    return [compare("Publish while it is recorded, against without", found, "µs of CPU a value")]
