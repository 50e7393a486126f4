"""A hundred gRPC watchers: batches of a tick against one message per update, and the idle delay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from tests.bench.measure import Peer, Row, Watch, compare, interleave, single
from tests.bench.world import World

from lightfast.api.v1 import context_pb2
from lightfast.client import AsyncClient, mutations

WATCHERS = 100


async def publish(world: World, batches: int, size: int, pause: float) -> None:
    """Publish *batches* messages of *size* updates each, on as many paths."""

    async def messages() -> AsyncIterator[context_pb2.PublishRequest]:
        for number in range(batches):
            request = context_pb2.PublishRequest()
            for index in range(size):
                mutation = request.mutations.add()
                mutation.set.path = f"/bench/signal/{index}"
                mutation.set.value.double_value = number
            yield request
            await asyncio.sleep(pause)

    async with AsyncClient(home=str(world.home)) as client:
        await client.context.Publish(messages(), metadata=client.metadata)


async def delivered(peer: Peer, wanted: int) -> None:
    """Wait until the watchers have seen *wanted* events in all."""
    deadline = time.monotonic() + 60
    while int(peer.ask("count").split()[0]) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the watchers saw {peer.ask('count')} of {wanted} events")
        await asyncio.sleep(0.02)


async def run(world: World, pairs: int) -> list[Row]:
    """Measure deliveries per second of server CPU both ways."""
    await world.declare_signals("/bench/signal//")
    rows = []
    peer = Peer("watch_clients", world.grpc, world.token, "/bench/signal//", str(WATCHERS))
    try:

        async def rate(batches: int, size: int, pause: float) -> float:
            before = int(peer.ask("count").split()[0])
            watch = Watch(world.pid)
            await publish(world, batches, size, pause)
            wanted = before + batches * size * WATCHERS
            await delivered(peer, wanted)
            return batches * size * WATCHERS / watch.cpu_used()

        found = []
        for one in await interleave(pairs, lambda: rate(20, 100, 0.02), lambda: rate(60, 1, 0.02)):
            found.append(one)
            await asyncio.sleep(0)
        rows.append(
            compare(
                "100 gRPC watchers: tick batches against one message per update",
                found,
                "deliveries/CPU-s",
                least=5,
                note="batches of 100",
            )
        )
    finally:
        peer.close()
    peer = Peer("watch_clients", world.grpc, world.token, "/bench/idle", str(WATCHERS))
    try:
        async with AsyncClient(home=str(world.home)) as client:
            for _ in range(100):
                await client.apply([mutations.set_value("/bench/idle", time.monotonic())])
                await asyncio.sleep(0.05)
        count, median, late = map(float, peer.ask("latency").split())
        rows.append(
            single(
                "idle write to the last of 100 watchers, median",
                median * 1000,
                "ms",
                note=f"99th percentile {late * 1000:.2f} ms over {count:.0f} durable writes",
            )
        )
    finally:
        peer.close()
    return rows
