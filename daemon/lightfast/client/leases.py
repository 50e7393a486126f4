"""Keeping a lease alive while a block of code runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lightfast.api.v1 import context_pb2
from lightfast.core.errors import LightfastError, Unavailable

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient


@asynccontextmanager
async def hold(client: AsyncClient, ttl: float) -> AsyncIterator[str]:
    """Open a lease, keep it at a third of its time to live, and close it at the end.

    A restart of the daemon is survived. Where the lease ends all the same, because the daemon was
    out of reach for longer than *ttl*, writes under it raise `NotFound` with the reason `LEASE_GONE`.
    """
    from lightfast.core.tasks import TaskGroup

    request = context_pb2.OpenLeaseRequest()
    request.ttl.FromNanoseconds(round(ttl * 1e9))
    opened = await client.call(client.context.OpenLease, request)
    async with TaskGroup("client") as tasks:
        tasks.start(_keep(client, opened.lease_id, opened.ttl.ToNanoseconds() / 3e9), "lease")
        try:
            yield opened.lease_id
        finally:
            await _end(client, opened.lease_id)


async def _keep(client: AsyncClient, lease_id: str, every: float) -> None:
    """Beat until cancelled, over a new stream whenever one breaks, or until the lease is gone."""

    async def beats() -> AsyncIterator[context_pb2.KeepLeaseRequest]:
        while True:
            yield context_pb2.KeepLeaseRequest(lease_id=lease_id)
            await asyncio.sleep(every)

    while True:
        try:
            with client.translated():
                async for _ in client.context.KeepLease(beats(), metadata=client.metadata):
                    pass
        except Unavailable:
            pass
        except LightfastError:
            return  # gone, or no longer allowed: the next write under it says so
        await asyncio.sleep(min(every, 0.2))


async def _end(client: AsyncClient, lease_id: str) -> None:
    try:
        await client.call(client.context.CloseLease, context_pb2.CloseLeaseRequest(lease_id=lease_id))
    except LightfastError as error:
        # A lease that has already ended needs no closing; anything else is the caller's to know.
        if error.reason != "LEASE_GONE":
            raise
