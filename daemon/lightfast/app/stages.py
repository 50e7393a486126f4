"""The stop, stage by stage: each floor has a budget, and one that overruns does not keep the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import structlog

from lightfast.core.tasks import TaskGroup

log = structlog.get_logger("lightfast.daemon")

WIRES_S = 5.0
APPS_S = 5.0
CONTEXT_S = 10.0
STORAGE_S = 15.0


class Stages:
    """Registers what has to be stopped, on the exit stack of the daemon.

    The budget of a stage is shared by all that belong to it. `clean` turns false when one overran, or was
    cut by a second signal.
    """

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._left: dict[str, float] = {"wires": WIRES_S, "apps": APPS_S, "context": CONTEXT_S, "storage": STORAGE_S}
        self.clean = True
        self._stopping: asyncio.Task[object] | None = None

    def cut(self) -> None:
        """Give up what is being stopped now, and go on with the next; nothing happens before the stop."""
        if self._stopping is not None:
            self._stopping.cancel()

    def leave(self, stage: str, name: str, stop: Callable[[], Awaitable[object]]) -> None:
        """Call *stop* when the daemon leaves *stage*, for as long as its budget lasts."""
        self._stack.push_async_callback(self._stop, stage, name, stop)

    def group(self, name: str) -> TaskGroup:
        """Return a group of tasks that end before all that is left so far: what the start goes on with by itself.

        It uses the rooms, and begins some: after their stop that would be an error, or keep them alive.
        """
        tasks = TaskGroup(name)
        self.leave("wires", name, partial(tasks.close, WIRES_S / 2))
        return tasks

    async def _stop(self, stage: str, name: str, stop: Callable[[], Awaitable[object]]) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        self._stopping = asyncio.current_task()
        try:
            async with asyncio.timeout(max(self._left[stage], 0.1)):
                await stop()
        except asyncio.CancelledError:
            # A second signal: whoever sent it will not wait for this stage, but the store still closes.
            if self._stopping is not None:
                self._stopping.uncancel()
            self.clean = False
            log.warning("a stage of the stop was cut by a second signal", stage=stage, part=name)
        except TimeoutError:
            self.clean = False
            log.error("a stage of the stop took too long and was cut", stage=stage, part=name)  # noqa: TRY400  # a cut, no crash
        finally:
            self._stopping = None
            took = loop.time() - begin
            self._left[stage] -= took
            log.debug("stopped", stage=stage, part=name, took_s=round(took, 3))
