"""Carries lines that were acknowledged to the back: at once while it takes jobs, later where it does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.desk.lines import Lines
from lightfast.engine.desk.records import Line
from lightfast.engine.jobs.records import NewJob

if TYPE_CHECKING:
    from lightfast.engine.ports import JobRoom

log = structlog.get_logger("lightfast.engine")

AT_ONCE = 100
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0
JOB_TYPE = "desk_line"
AGAIN = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "ABORTED", "CANCELLED"})
"""The statuses of errors after which it is tried again."""


class Pump:
    """Reads open lines and queues a job for each, under the line's identity: twice is once.

    *waiting* is how many lines are open. Only one pump may be at work on a database.
    """

    def __init__(
        self,
        lines: Lines,
        jobs: JobRoom,
        taken: Callable[[Line, str], None],
        refused: Callable[[Line, LightfastError], Awaitable[None]],
    ) -> None:
        self.waiting = 0
        self.counted = 0
        """How often they were counted."""
        self.trouble = ""
        """Why the back does not take lines; empty while it does."""
        self._lines, self._jobs, self._taken, self._refused = lines, jobs, taken, refused
        self._tasks = TaskGroup("desk")
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Count what is open, and begin."""
        self._count()
        self._tasks.start(self._run(), "pump")
        self._wake.set()

    async def close(self) -> None:
        """Stop; what is open stays so."""
        await self._tasks.close()

    def wake(self) -> None:
        """There is something new. Never waits."""
        self._wake.set()

    def came(self, counted: int) -> None:
        """Take in that a line was written, which began when they had been *counted* so often. Never waits."""
        if counted == self.counted:
            self.waiting += 1
        else:  # they were counted meanwhile, with it or without
            try:
                self._count()
            except LightfastError:
                self.waiting += 1
        self.wake()

    def _count(self) -> None:
        self.waiting = self._lines.opened()
        self.counted += 1

    async def _run(self) -> None:
        wait = FIRST_WAIT_S
        while True:
            if self.trouble:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                    await asyncio.sleep(wait / 2)  # who says much now must not have us try in vain each time
                wait = min(LONGEST_WAIT_S, wait * 2)
            else:
                await self._wake.wait()
                wait = FIRST_WAIT_S
            self._wake.clear()
            try:
                await self._carry()
                self.trouble = ""
            except LightfastError as error:
                if not self.trouble:
                    log.warning("lines wait: the back does not take them", reason=error.reason, error=error.message)
                self.trouble = error.message
            except Exception:  # whatever it is, the lines that come after it must be carried, too
                log.exception("lines could not be carried to the back")
                self.trouble = "the back failed: see the log of the daemon"

    async def _carry(self) -> None:
        while True:
            found = await self._lines.open(AT_ONCE)
            answers = await asyncio.gather(*(self._submit(line) for line in found), return_exceptions=True)
            pairs: list[tuple[str, str]] = []
            trouble: LightfastError | None = None
            for line, answer in zip(found, answers, strict=True):
                if isinstance(answer, str):
                    pairs.append((line.line_id, answer))
                elif isinstance(answer, LightfastError) and answer.status in AGAIN:
                    trouble = answer
                elif isinstance(answer, LightfastError):
                    await self._refused(line, answer)  # the others need not wait for it
                else:
                    log.error("a line could not be handed to the back", line=line.line_id, exc_info=answer)
                    await self._refused(line, LightfastError("the back failed over it: see the log of the daemon"))
            if pairs:
                await self._lines.take(pairs)
            self._count()
            if trouble is not None:
                raise trouble
            if len(found) < AT_ONCE:  # those that came since have woken this again
                return

    async def _submit(self, line: Line) -> str:
        new = NewJob(JOB_TYPE, {"line": line.line_id})
        job = await self._jobs.submit(new, line.asker, request_id=line.line_id)
        self.waiting = max(0, self.waiting - 1)  # it waits there now
        self._taken(line, job.job_id)
        return job.job_id
