"""Signals that a client publishes: while the daemon is pressed, the latest value of each path stands for all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from lightfast.api.v1 import context_pb2 as pb
from lightfast.api.v1 import types_pb2
from lightfast.context.flow.flow import Flow
from lightfast.context.flow.records import Lane
from lightfast.core.tasks import TaskGroup

HOLD = 0.05
"""Seconds for which batches are gathered into one while the daemon is pressed."""
MOST = 10_000
"""The most paths of one batch."""
BUSY = "the daemon is busy: newer values of the same paths took the place of older ones"


async def conflated(
    requests: AsyncIterator[pb.PublishRequest], flow: Flow
) -> AsyncIterator[tuple[pb.PublishRequest, int]]:
    """Yield batches, each with how many older values gave way to it.

    As they come while all is calm. While *flow* is pressed, what comes within `HOLD` seconds goes together, and of a
    path only the latest value that is set: so a flood of signals costs as much as there are paths, not values.
    """
    gate = flow.gates[Lane.SIGNAL]
    incoming = aiter(requests)
    reading: asyncio.Task[pb.PublishRequest | None] | None = None
    loop = asyncio.get_running_loop()
    async with TaskGroup("publish") as tasks:
        while True:
            first = await (_next(incoming) if reading is None else reading)
            reading = None
            if first is None:
                return
            flow.pulse.touch()
            if not flow.pressed or len(first.mutations) > MOST:
                yield first, 0
                continue
            batch = _Batch(first)
            until = loop.time() + HOLD
            while (left := until - loop.time()) > 0:
                # Where the time is over, it goes on: a read that is cancelled would end the stream.
                reading = tasks.start(_next(incoming), "read")
                await asyncio.wait((reading,), timeout=left)
                if not reading.done() or not batch.add(reading.result()):
                    break
                reading = None
            gate.refused += batch.superseded
            yield batch.request(), batch.superseded


async def _next(incoming: AsyncIterator[pb.PublishRequest]) -> pb.PublishRequest | None:
    async for request in incoming:
        return request
    return None


class _Batch:
    """Updates that were gathered: of the values that are set, the latest of each path; all else in order."""

    def __init__(self, request: pb.PublishRequest) -> None:
        self.latest: dict[str | int, types_pb2.Mutation] = {}
        self.superseded = 0
        self.add(request)

    def add(self, request: pb.PublishRequest | None) -> bool:
        """Take one more batch, unless there is none, or there would be too much; say whether it was taken."""
        latest = self.latest
        if request is None or len(latest) + len(request.mutations) > MOST:
            return False
        for mutation in request.mutations:
            if not mutation.HasField("set"):
                latest[-len(latest) - 1] = mutation
                continue
            path = mutation.set.path
            if path in latest:
                self.superseded += 1
                del latest[path]  # so that it comes where it came last
            latest[path] = mutation
        return True

    def request(self) -> pb.PublishRequest:
        """Return all as one batch."""
        return pb.PublishRequest(mutations=self.latest.values())
