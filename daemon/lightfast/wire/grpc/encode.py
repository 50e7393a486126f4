"""The serialized form of batches, made once and shared by all watchers of a filter."""

from __future__ import annotations

from lightfast.api.v1 import context_pb2
from lightfast.context.watch import Batch
from lightfast.wire.grpc.convert import put_event


def encode(batch: Batch, store_id: str, *, previous: bool) -> bytes:
    """Return *batch* as the bytes of a `WatchResponse`; *previous* fills in the entries before the change.

    A merged batch is joined from the bytes of its parts: in protobuf, messages one after the other
    are one message, in which lists are joined and the last of a field wins.
    """
    key = "grpc+previous" if previous else "grpc"
    encoded: bytes | None = batch.encoded.get(key)
    if encoded is None:
        if batch.parts:
            encoded = b"".join([encode(part, store_id, previous=previous) for part in batch.parts])
        else:
            encoded = _serialize(batch, store_id, previous=previous)
        batch.encoded[key] = encoded
    return encoded


def _serialize(batch: Batch, store_id: str, *, previous: bool) -> bytes:
    message = context_pb2.WatchResponse(
        revision=batch.revision,
        store_id=store_id,
        synced=batch.synced,
        compact_revision=batch.compact_revision,
    )
    add = message.events.add
    for event in batch.events:
        put_event(add(), event, previous=previous)
    return message.SerializeToString()
