"""Follows the event log: what runs and jobs come to, and how everything stands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from lightfast.core.errors import LightfastError, NotFound, OutOfRange
from lightfast.core.tasks import TaskGroup
from lightfast.engine.desk.backend import Backend
from lightfast.engine.desk.lines import Lines
from lightfast.engine.desk.outcome import Outcomes
from lightfast.engine.desk.records import Line, LineState
from lightfast.engine.desk.status import Board
from lightfast.engine.events.records import Event, Wanted
from lightfast.engine.jobs.records import JOB_ENDED, JobState

if TYPE_CHECKING:
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.ports import JobRoom

log = structlog.get_logger("lightfast.engine")

MOST_UNDER_WAY = 10_000
RUN_OVER = frozenset({"run.succeeded", "run.failed", "run.cancelled", "run.rolled_back"})
_JOB_OVER = frozenset({"job.dead", "job.cancelled"})
AT_ONCE = 32
"""So many ends are taken in at a time: each takes syncs, which all of them share."""
_AGAIN_S = 1.0


class Follower:
    """Keeps the board, and ends lines whose run or job has ended."""

    def __init__(
        self,
        events: EventLog,
        board: Board,
        lines: Lines,
        outcomes: Outcomes,
        backend: Backend,
        jobs: JobRoom,
    ) -> None:
        self._events, self._board, self._lines = events, board, lines
        self._outcomes, self._backend, self._jobs = outcomes, backend, jobs
        self._tasks = TaskGroup("desk follower")
        self._room = asyncio.Semaphore(AT_ONCE)
        self._line_of: dict[str, str] = {}
        """The lines that jobs have, by job; the oldest go where there are too many, and are found at the next start."""

    async def start(self) -> None:
        """Follow from now on, and look at what ended while nobody did."""
        position = self._events.newest
        self._tasks.start(self._follow(position), "follow")
        self._tasks.start(self._reconcile(), "reconcile")

    async def close(self) -> None:
        """Stop."""
        await self._tasks.close()

    def taken(self, line: Line, job_id: str) -> None:
        """Take in which job has a line."""
        self._line_of[job_id] = line.line_id
        if len(self._line_of) > MOST_UNDER_WAY:
            del self._line_of[next(iter(self._line_of))]

    async def _follow(self, position: int) -> None:
        while True:
            try:
                async for batch, at in self._events.watch(Wanted(), position):
                    for event in batch:
                        await self._take(event)
                    position = at
                return  # the log was closed
            except LightfastError as error:  # whatever it is, what comes then must be followed
                log.warning("the desk begins anew with the events", reason=error.reason)
                position = self._events.newest if isinstance(error, OutOfRange) else position
            await asyncio.sleep(_AGAIN_S)
            await self._reconcile()

    async def _take(self, event: Event) -> None:
        self._board.take(event)
        if event.kind in RUN_OVER:
            await self._room.acquire()
            self._tasks.start(self._look(event, self._outcomes.look_at, event.entity_id), "run over")
        elif event.kind in _JOB_OVER and (line_id := self._line_of.pop(event.entity_id, "")):
            await self._room.acquire()
            error = str(event.payload.get("error", ""))
            self._tasks.start(self._look(event, self._backend.job_over, line_id, error), "job over")
        elif event.kind == "job.succeeded":
            self._line_of.pop(event.entity_id, None)

    async def _look(self, event: Event, work: Callable[..., Awaitable[None]], *about: str) -> None:
        try:
            await work(*about)  # made here: a task that is ended before it begins leaves none behind
        except LightfastError as error:
            log.warning("what an event tells of could not be looked at", kind=event.kind, error=error.message)
        except Exception:  # the next event must be looked at all the same
            log.exception("what an event tells of could not be looked at", kind=event.kind)
        finally:
            self._room.release()

    async def _reconcile(self) -> None:
        """Look at all that is under way once."""
        for line in await self._lines.under_way(MOST_UNDER_WAY):
            try:
                if line.state is LineState.RUNNING:
                    await self._outcomes.look_at(line.run_id)
                elif line.state is LineState.WAITING:
                    if not line.parent:
                        await self._outcomes.part_over(line.line_id)
                else:
                    await self._look_at_job(line)
            except LightfastError as error:
                log.warning("a line could not be looked at", line=line.line_id, error=error.message)

    async def _look_at_job(self, line: Line) -> None:
        self.taken(line, line.job_id)  # first: an end that is told while it is looked at is heard
        try:
            job = await self._jobs.get(line.job_id)
        except NotFound:
            self._line_of.pop(line.job_id, None)
            await self._backend.reopen(line)  # it was acknowledged, so it is done
            return
        if job.state is JobState.DEAD or (job.state in JOB_ENDED and job.state is not JobState.SUCCEEDED):
            self._line_of.pop(line.job_id, None)
            await self._backend.job_over(line.line_id, job.error)
