"""Calls of the driver, which may block, outside the loop and within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from lightfast.sdk import BridgeError

PATIENCE_S = 20.0
"""Seconds that a driver may take for anything; the process that holds the ports has bounds of its own, below."""
P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(what: str, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what *call* does; raise `BridgeError` naming *what*, where it fails or hangs.

    The thread does not keep the process alive. What it opens after the time was up is closed.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()

    def deliver(result: R | None, error: Exception | None) -> None:
        if future.done():  # nobody waits any more
            close = getattr(result, "close", None)
            if close is not None:
                threading.Thread(target=close, daemon=True).start()
        elif error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where R is

    def run() -> None:
        result, failed = None, None
        try:
            result = call(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  # each driver has errors of its own
            failed = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(deliver, result, failed)

    threading.Thread(target=run, name="midi-call", daemon=True).start()
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await future
    except TimeoutError:
        raise BridgeError(f"{what} did not answer within {PATIENCE_S:g} s") from None
    except BridgeError:
        raise
    except Exception as error:
        raise BridgeError(f"{what} failed: {error}") from error
