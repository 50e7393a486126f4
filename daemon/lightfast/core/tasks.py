"""Tasks that are held, named and never fail in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

import structlog

log = structlog.get_logger("lightfast.tasks")

AGAIN_S = 0.5
"""How long a task that did not end has after its second cancellation."""


class TaskGroup:
    """Holds the background tasks of one owner; `close` cancels them and waits, within a budget.

    A task that raises is logged with its name and its traceback; the others go on.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._tasks: set[asyncio.Task[Any]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run *coroutine* as a task called *name*; after `close` it is refused with `RuntimeError`."""
        if self._closed:
            coroutine.close()
            raise RuntimeError(f"{self.name} is closed")
        task = asyncio.get_running_loop().create_task(coroutine, name=f"{self.name}:{name}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", task=task.get_name(), exc_info=error)

    async def close(self, budget: float = 5.0) -> None:
        """Cancel what runs and wait at most *budget* seconds; what has not ended by then is logged and cancelled again.

        The first cancellation may have been lost: `asyncio.wait_for` of Python 3.11 swallows one that comes just as its
        wait ends, and so do libraries. The second is not sent earlier: it would cut short what a task does at its end.
        """
        self._closed = True
        current = asyncio.current_task()
        late = {task for task in self._tasks if task is not current}
        for patience in (budget, AGAIN_S):
            for task in late:
                task.cancel()
            if late:
                _, late = await asyncio.wait(late, timeout=patience)
            for task in late:
                log.error("task did not end in time", task=task.get_name(), budget_s=patience)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
