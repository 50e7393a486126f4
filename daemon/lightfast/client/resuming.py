"""A stream that is opened again when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from lightfast.client.errors import DaemonGone, stream
from lightfast.core.errors import Cancelled, Exhausted, Unavailable

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0


async def resumed(
    start: Callable[[], Any], is_closed: Callable[[], bool], *, give_up_after: float, resume: bool = True
) -> AsyncGenerator[Any, None]:
    """Yield the messages of the call that *start* makes, and of those it makes after that one broke.

    Where they begin is the caller's: the request is changed after each message. It gives up with the last error when
    nothing answered for *give_up_after* seconds, without *resume* at once; it ends when the client is closed.
    """
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE
    down_since: float | None = None
    while True:
        try:
            async with aclosing(stream(start, is_closed)) as messages:
                async for message in messages:
                    down_since, pause = None, _FIRST_PAUSE
                    yield message
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
