"""Unary Apply against a bare echo: server CPU of a signal, throughput of a durable write at 100 clients."""

from __future__ import annotations

import asyncio
import time

from grpc import aio
from tests.bench.measure import Peer, Row, Watch, compare, interleave
from tests.bench.world import World

from lightfast.api.v1 import context_pb2

METHOD = "/lightfast.api.v1.ContextService/Apply"


class Load:
    """So many clients, each on its own connection, each with one call in flight."""

    def __init__(self, address: str, token: str, clients: int, path: str) -> None:
        self.channels = [
            aio.insecure_channel(address, options=(("grpc.use_local_subchannel_pool", 1),)) for _ in range(clients)
        ]
        self.calls = [
            channel.unary_unary(
                METHOD,
                request_serializer=context_pb2.ApplyRequest.SerializeToString,
                response_deserializer=context_pb2.ApplyResponse.FromString,
            )
            for channel in self.channels
        ]
        self.metadata = (("authorization", f"Bearer {token}"), ("lightfast-session", "00000000"))
        self.requests = []
        for number in range(clients):
            request = context_pb2.ApplyRequest()
            mutation = request.mutations.add()
            mutation.set.path = f"{path}/{number}"
            mutation.set.value.double_value = 0.5
            self.requests.append(request)

    async def run(self, each: int) -> float:
        """Make *each* calls per client; return the calls per second."""
        began = time.perf_counter()

        async def client(number: int) -> None:
            call, request = self.calls[number], self.requests[number]
            for index in range(each):
                request.mutations[0].set.value.double_value = index / each
                await call(request, metadata=self.metadata)

        await asyncio.gather(*(client(number) for number in range(len(self.calls))))
        return each * len(self.calls) / (time.perf_counter() - began)

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()


async def run(world: World, pairs: int) -> list[Row]:
    """Measure both."""
    echo = Peer("echo_server", world.token)
    address = f"127.0.0.1:{echo.words[0]}"
    rows = []
    try:
        await world.declare_signals("/bench/signal//")
        ours, bare = Load(world.grpc, world.token, 10, "/bench/signal"), Load(address, world.token, 10, "/bench/signal")

        async def cpu_per_call(load: Load, pid: int, each: int = 600) -> float:
            watch = Watch(pid)
            await load.run(each)
            return watch.cpu_used() / (each * len(load.calls)) * 1e6

        await ours.run(100)
        await bare.run(100)
        found = await interleave(pairs, lambda: cpu_per_call(ours, world.pid), lambda: cpu_per_call(bare, echo.pid))
        rows.append(compare("server CPU per unary Apply of a signal, against a bare echo", found, "µs", most=1.25))
        await ours.close()
        await bare.close()

        ours, bare = Load(world.grpc, world.token, 100, "/bench/state"), Load(address, world.token, 100, "/bench/state")
        await ours.run(5)
        await bare.run(5)
        found = await interleave(pairs, lambda: ours.run(30), lambda: bare.run(30))
        rows.append(compare("durable Apply, 100 clients, against a bare echo", found, "calls/s", least=0.8))
        await ours.close()
        await bare.close()
    finally:
        echo.close()
    return rows
