"""A daemon that stops cancels, without a word, the calls that come to it just then: no client takes that for its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import aio

from lightfast.api.v1 import context_pb2 as pb
from lightfast.client import AsyncClient, DaemonGone

TIMES = 2


class Stopping:
    """Cancels each kind of call the first times, as one that stops, and then serves, as the one that follows it."""

    def __init__(self) -> None:
        self.came: dict[str, int] = {}
        self.kept = asyncio.Event()

    async def _turn_away(self, name: str, context: Any) -> None:
        self.came[name] = self.came.get(name, 0) + 1
        if self.came[name] <= TIMES:
            await context.abort(grpc.StatusCode.CANCELLED)

    async def watch(self, request: pb.WatchRequest, context: Any) -> AsyncIterator[pb.WatchResponse]:
        await self._turn_away("watch", context)
        yield pb.WatchResponse(revision=1, store_id="store", synced=True)

    async def open(self, request: pb.OpenLeaseRequest, context: Any) -> pb.OpenLeaseResponse:
        return pb.OpenLeaseResponse(lease_id="lease", ttl=Duration(seconds=1))

    async def keep(
        self, requests: AsyncIterator[pb.KeepLeaseRequest], context: Any
    ) -> AsyncIterator[pb.KeepLeaseResponse]:
        await self._turn_away("keep", context)
        async for _ in requests:
            self.kept.set()
            yield pb.KeepLeaseResponse()

    async def close(self, request: pb.CloseLeaseRequest, context: Any) -> pb.CloseLeaseResponse:
        return pb.CloseLeaseResponse()

    async def get(self, request: pb.GetRequest, context: Any) -> pb.GetResponse:
        await self._turn_away("get", context)
        return pb.GetResponse()

    def handlers(self) -> dict[str, Any]:
        """Return what answers, by the names of the methods."""
        unary, streamed = grpc.unary_unary_rpc_method_handler, grpc.unary_stream_rpc_method_handler
        return {
            "Watch": streamed(self.watch, pb.WatchRequest.FromString, pb.WatchResponse.SerializeToString),
            "OpenLease": unary(self.open, pb.OpenLeaseRequest.FromString, pb.OpenLeaseResponse.SerializeToString),
            "KeepLease": grpc.stream_stream_rpc_method_handler(
                self.keep, pb.KeepLeaseRequest.FromString, pb.KeepLeaseResponse.SerializeToString
            ),
            "CloseLease": unary(self.close, pb.CloseLeaseRequest.FromString, pb.CloseLeaseResponse.SerializeToString),
            "Get": unary(self.get, pb.GetRequest.FromString, pb.GetResponse.SerializeToString),
        }


@asynccontextmanager
async def stopping() -> AsyncIterator[tuple[Stopping, AsyncClient]]:
    room, server = Stopping(), aio.server()
    name = pb.DESCRIPTOR.services_by_name["ContextService"].full_name
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, room.handlers()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with AsyncClient(f"127.0.0.1:{port}", token="any") as client:
            yield room, client
    finally:
        await server.stop(1)


async def test_a_watch_goes_on() -> None:
    async with stopping() as (room, client):
        batches = client.watch("//", give_up_after=120)
        assert (await anext(batches)).synced
        assert room.came["watch"] == TIMES + 1


async def test_a_lease_is_kept() -> None:
    async with stopping() as (room, client), client.lease(ttl=1):
        async with asyncio.timeout(60):
            await room.kept.wait()
        assert room.came["keep"] == TIMES + 1


async def test_who_calls_is_told_that_the_daemon_is_gone() -> None:
    async with stopping() as (_, client):
        with pytest.raises(DaemonGone, match="the connection to the daemon broke"):
            await client.get("/a")


async def test_a_closed_client_still_says_so() -> None:
    async with stopping() as (_, client):
        await client.close()
        batches = client.watch("//")
        assert [batch async for batch in batches] == []
