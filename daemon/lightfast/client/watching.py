"""A watch that resumes by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from lightfast.api.v1 import context_pb2
from lightfast.client.errors import DaemonGone, stream
from lightfast.core.errors import Cancelled, Exhausted, Unavailable

if TYPE_CHECKING:
    from lightfast.api.v1.context_pb2_grpc import ContextServiceStub

T = TypeVar("T")
_LONGEST_PAUSE = 2.0


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
    loop = asyncio.get_running_loop()
    pause = 0.05
    down_since: float | None = None
    while True:
        try:
            async with aclosing(stream(lambda: stub.Watch(request, metadata=metadata), is_closed)) as messages:
                async for message in messages:
                    down_since, pause = None, 0.05
                    yield convert(message)
                    if message.synced or not request.include_snapshot:
                        # Only a whole snapshot may be resumed from; a torn one is sent again.
                        request.include_snapshot = False
                        request.start_revision = message.revision
                        request.store_id = message.store_id
            error: Exception = DaemonGone("the daemon closed the watch")
        except (Unavailable, Exhausted) as broken:
            error = broken
        except Cancelled:
            if is_closed():
                return
            raise
        if not resume:
            raise error
        now = loop.time()
        down_since = now if down_since is None else down_since
        if now - down_since > give_up_after:
            raise error
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)
