"""What runs for one joined application: its commands, and whatever else a channel begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from lightfast.sdk.bridge import AppSession, Call

Run = Callable[[AppSession, Call], Coroutine[Any, Any, None]]


class Running:
    """Tasks in the group of a session, begun by a channel, whose methods must neither wait nor raise.

    *group* is set while the session lives. A group that is about to end takes nothing any more; that is no error.
    """

    def __init__(self) -> None:
        self.group: asyncio.TaskGroup | None = None
        self._calls: dict[int, asyncio.Task[None]] = {}

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
