"""What runs for one joined application: its commands, and whatever else a channel begins."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from lightfast.sdk.bridge import AppSession, Call

T = TypeVar("T")
Run = Callable[[AppSession, Call], Coroutine[Any, Any, None]]


async def apart(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* in a task of its own and return what it does; where it is cancelled meanwhile, that ends both.

    Up to Python 3.12 `asyncio.TaskGroup` drops a cancellation that comes while one of its tasks fails: it raises the
    failure alone. Who handles that and goes on, as a bridge that looks for its application again, would never end, and
    who cancelled it waits. What *work* makes of a cancellation is its own affair; here it is always gone on with.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task})
    except asyncio.CancelledError:
        while not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):  # once more: it is handed on as the first one was
                await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # looked at: nobody else will
        raise
    return task.result()


class Running:
    """Tasks in the group of a session, begun by a channel, whose methods must neither wait nor raise.

    *group* is set while the session lives. A group that is about to end takes nothing any more; that is no error.
    """

    def __init__(self) -> None:
        self.group: asyncio.TaskGroup | None = None
        self._calls: dict[int, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        """Say whether a command is under way."""
        return bool(self._calls)

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        """Begin *work*; None where the session is over, or about to be: then it is never begun."""
        try:
            if self.group is not None:
                return self.group.create_task(work)
        except RuntimeError:  # the group is ending
            pass
        work.close()
        return None

    def invoke(self, session: AppSession | None, call: Call, run: Run, gone: str) -> None:
        """Run a command, which answers for itself; fail it with *gone* where the session is over."""
        if session is None:
            return
        task = self.begin(run(session, call))
        if task is None:
            session.fail(call.call_id, gone)
            return
        self._calls[call.call_id] = task
        task.add_done_callback(lambda _: self._calls.pop(call.call_id, None))

    def cancel(self, call_id: int) -> None:
        """Give a command up; unknown ones are let be."""
        if task := self._calls.get(call_id):
            task.cancel()
