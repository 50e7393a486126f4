"""Runs a plugin's loading off the loop, within a deadline."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lightfast.host.guard import Outcome, guarded
from lightfast.sdk import PluginError

T = TypeVar("T")


async def in_thread(
    function: Callable[..., T],
    *arguments: Any,
    name: str,
    timeout: float,
    late: Callable[[Outcome[T]], None] = lambda _: None,
) -> Outcome[T]:
    """Call *function* under guard in a thread of its own; after *timeout* seconds it is left behind.

    What comes of it after that is for *late*, which is called on the loop. It is a daemon thread: one that never ends
    cannot keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Outcome[T]] = loop.create_future()

    def deliver(outcome: Outcome[T]) -> None:
        if not future.done():
            future.set_result(outcome)
        else:
            late(outcome)

    def run() -> None:
        outcome = guarded(function, *arguments)
        try:
            loop.call_soon_threadsafe(deliver, outcome)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

    threading.Thread(target=run, name=f"lightfast-load-{name}", daemon=True).start()
    try:
        async with asyncio.timeout(timeout):
            return await future
    except TimeoutError:
        if future.done() and not future.cancelled():
            return future.result()  # it came with the deadline, as after a standstill
        return Outcome(error=PluginError(f"it did not finish loading within {timeout:g} s"))
