"""Calls into providers that end in time, whatever the provider does with its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from lightfast.core.tasks import TaskGroup
from lightfast.host.guard import Outcome, guarded_await

T = TypeVar("T")


async def within(
    tasks: TaskGroup, seconds: float, name: str, function: Callable[..., Awaitable[T]], *args: Any
) -> Outcome[T]:
    """Return what comes of `await function(*args)`; the error is `TimeoutError` where that takes longer than *seconds*.

    It runs in a task called *name*. One that swallows its cancellation is left behind there: `asyncio.timeout` and
    `asyncio.wait_for` would wait for it for ever.
    """

    async def call() -> T:
        return await function(*args)

    async def contained() -> Outcome[T]:
        return await guarded_await(call())

    try:
        task = tasks.start(contained(), name)
    except RuntimeError as closed:  # the daemon stops
        return Outcome(error=closed)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        late = not task.done()
        if late:
            task.cancel()
    if late:
        return Outcome(error=TimeoutError(f"it took longer than {seconds:g} s"))
    if task.cancelled():  # the daemon stops
        return Outcome(error=asyncio.CancelledError())
    outcome: Outcome[T] = task.result()
    return outcome
