"""A watch that resumes by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from lightfast.api.v1 import context_pb2
from lightfast.client.resuming import resumed

if TYPE_CHECKING:
    from lightfast.api.v1.context_pb2_grpc import ContextServiceStub

T = TypeVar("T")


async def watch(
    stub: ContextServiceStub,
    metadata: Sequence[tuple[str, str]],
    request: context_pb2.WatchRequest,
    convert: Callable[[context_pb2.WatchResponse], T],
    *,
    resume: bool,
    give_up_after: float,
    is_closed: Callable[[], bool],
) -> AsyncIterator[T]:
    """Yield batches; a broken stream is opened again from the last revision, so nothing is lost or doubled.

    It gives up with `DaemonGone` when nothing answered for *give_up_after* seconds, and raises
    `OutOfRange` when the daemon no longer keeps the revision to resume from. It ends when the
    client is closed.
    """
    messages = resumed(
        lambda: stub.Watch(request, metadata=metadata), is_closed, give_up_after=give_up_after, resume=resume
    )
    async with aclosing(messages):
        async for message in messages:
            yield convert(message)
            if message.synced or not request.include_snapshot:
                # Only a whole snapshot may be resumed from; a torn one is sent again.
                request.include_snapshot = False
                request.start_revision = message.revision
                request.store_id = message.store_id
