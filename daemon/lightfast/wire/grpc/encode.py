"""The serialized form of batches, made once and shared by all watchers of a filter."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from lightfast.api.v1 import context_pb2
from lightfast.context.entry import Event
from lightfast.context.watch import Batch
from lightfast.wire.grpc.convert import put_event

SLICE = 500
"""After so many events the loop gets its turn."""


async def encoded(batch: Batch, store_id: str, *, previous: bool) -> bytes:
    """Return *batch* as the bytes of a `WatchResponse`; *previous* fills in the entries before the change.

    It is joined from the bytes of its parts, or of slices: in protobuf, messages one after the other are one message,
    in which lists are joined and the last of a field wins.
    """
    key = "grpc+previous" if previous else "grpc"
    found: bytes | None = batch.encoded.get(key)
    if found is None:
        if batch.parts:
            found = b"".join([await encoded(part, store_id, previous=previous) for part in batch.parts])
        elif len(batch.events) <= SLICE:
            found = _events(batch.events, previous=previous) + _rest(batch, store_id)
        else:
            # Whoever comes while it is made waits for it.
            async with batch.encoded.setdefault(key + " lock", asyncio.Lock()):
                found = batch.encoded.get(key) or await _in_slices(batch, store_id, previous=previous)
                batch.encoded[key] = found
        batch.encoded[key] = found
    return found


async def _in_slices(batch: Batch, store_id: str, *, previous: bool) -> bytes:
    pieces = []
    for start in range(0, len(batch.events), SLICE):
        pieces.append(_events(batch.events[start : start + SLICE], previous=previous))
        await asyncio.sleep(0)
    return b"".join([*pieces, _rest(batch, store_id)])


def _events(events: Sequence[Event], *, previous: bool) -> bytes:
    message = context_pb2.WatchResponse()
    add = message.events.add
    for event in events:
        put_event(add(), event, previous=previous)
    return message.SerializeToString()


def _rest(batch: Batch, store_id: str) -> bytes:
    return context_pb2.WatchResponse(
        revision=batch.revision,
        store_id=store_id,
        synced=batch.synced,
        compact_revision=batch.compact_revision,
    ).SerializeToString()
