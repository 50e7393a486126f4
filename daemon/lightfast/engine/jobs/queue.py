"""The durable queue: what happens to jobs, in memory and on the disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from lightfast.core.errors import Exhausted, LightfastError, Unavailable
from lightfast.core.histogram import Histogram
from lightfast.engine.jobs import rows, turns
from lightfast.engine.jobs.index import Entry, Phase
from lightfast.engine.jobs.ports import LEASE_S, Lease
from lightfast.engine.jobs.records import JOB_ENDED, Job, JobState
from lightfast.engine.jobs.reports import MOST_ERROR, TELL_S, Reports
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.engine.events.log import EventLog
    from lightfast.storage.database import Database, Unit

log = structlog.get_logger("lightfast.engine")

MOST_LIVE = 100_000
MOST_SIZE = 64 << 20
"""Bounds of what is queued, in jobs and in characters of payload; more is refused."""
_WRITE_AGAIN_S = 1.0
WAITS = (0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0)

Change = tuple[Entry, Job]
Done = Callable[[BaseException | None], None]


class Queue(Reports):
    """The live jobs; a `JobSource`. Everything runs on the loop.

    What is shown of a job is what is on the disk: memory changes when the commit has returned.
    """

    def __init__(
        self, db: Database, clock: Clock, events: EventLog, chance: Callable[[], float] = random.random
    ) -> None:
        super().__init__(db, clock, events)
        self.on_cancel: Callable[[str], None] = lambda _: None
        self.occupied = asyncio.Event()
        self.number = 0
        self.waits = Histogram(WAITS)
        """How long jobs waited that were taken, in seconds from when they might have been."""
        self._chance = chance
        self._news = asyncio.Event()
        self._reasons: dict[str, str] = {}
        self._calm: dict[str, asyncio.Event] = {}

    @property
    def stopped(self) -> str:
        """Why no job is taken now; empty while jobs are taken."""
        return next(iter(self._reasons.values()), "")

    def stop(self, who: str, reason: str) -> None:
        """Let no job be taken until *who* says `go`; what is under way goes on."""
        self._reasons[who] = reason

    def go(self, who: str) -> None:
        """Let jobs be taken, where nobody else stops that."""
        self._reasons.pop(who, None)
        self._news.set()

    def wake(self) -> None:
        """Look again whether something can be taken."""
        self._news.set()

    # What callers want

    async def add(
        self, job: Job, asker: str, unmet: set[str], request: tuple[str, str] = ("", ""), fallen: str = ""
    ) -> Job:
        """Queue a job; *fallen* says why it is dead from the beginning. Durable when this returns."""
        payload = rows.packed(dict(job.payload))
        if len(self.index.entries) >= MOST_LIVE or self.index.size + len(payload) > MOST_SIZE:
            raise Exhausted(
                f"{len(self.index.entries)} jobs are queued, which is the most: wait, or cancel some",
                reason="JOBS_FULL",
                retry_after=5.0,
            )
        self.number += 1
        entry = Entry(self.number, job, asker, len(payload), unmet=unmet)
        unit = self._db.unit()
        unit.execute(rows.INSERT, rows.row(entry.number, job, asker, *request))
        self.told(unit, job)
        if fallen:
            dead = turns.dead(job, self._clock.now_ns(), fallen)
            unit.execute(rows.CHANGE, rows.change(entry.number, dead))
            self.told(unit, dead)
            await self._db.commit(unit)
            self._events.poke()
            self._tell(dead)
            return dead
        await self.enter(entry, unit)
        return job

    async def enter(self, entry: Entry, unit: Unit) -> None:
        """Take in a job that *unit* writes, when that is done."""
        self.index.add(entry)
        self.occupied.set()

        def written(error: BaseException | None) -> None:
            if error is not None:
                self._let_go(entry)
            elif entry.job.job_id in self.index.entries and entry.job.state not in JOB_ENDED:
                self.index.wait(entry)
                self._settled(entry)
                self._tell(entry.job)

        try:
            await self._db.commit(unit, written)
        except LightfastError:
            self._let_go(entry)
            raise
        self._news.set()

    async def cancel(self, job_id: str) -> None:
        """Cancel a live job, whatever it is at; durable when this returns."""
        while (entry := self.index.entries.get(job_id)) is not None:
            if entry.phase is Phase.BUSY:
                await self._calm.setdefault(job_id, asyncio.Event()).wait()
                continue
            before = entry.phase
            self.index.leave(entry)
            changes = self._with_fallen([(entry, turns.cancelled(self._now(entry), self._clock.now_ns()))])

            def written(error: BaseException | None, changes: list[Change] = changes, was: Phase = before) -> None:
                if error is None:
                    self._apply(changes)
                    if was is Phase.TAKEN:  # not before: a handler that goes on is better than none
                        self.on_cancel(job_id)
                else:
                    self._restore(changes, was)

            try:
                await self._db.commit(self._unit(changes), written)
            except LightfastError:
                self._restore(changes, before)
                raise

    # JobSource

    async def claim(self, most: int) -> Sequence[Lease]:
        """Take at most *most* jobs, the first in turn first; when this returns, that is on the disk."""
        if self._reasons:
            return ()
        now = self._clock.now_ns()
        changes: list[Change] = []
        while len(changes) < most and (entry := self.index.pop(now)) is not None:
            changes.append((entry, turns.taken(entry.job, now)))
        if not changes:
            return ()
        unwanted = False

        def written(error: BaseException | None) -> None:
            if error is not None:
                for entry, _ in changes:
                    self.index.wait(entry)
                    self._settled(entry)
                return
            self._apply(changes)
            for _, job in changes:
                self.waits.add(max(0, now - max(job.create_time, job.run_time)) / 1e9)
            for entry, job in changes if unwanted else ():
                self.give_back(entry.job.job_id, job.attempts)

        try:
            await self._db.commit(self._unit(changes), written)
        except asyncio.CancelledError:
            unwanted = True
            raise
        return [Lease(job, rows.unpacked_asker(entry.asker)) for entry, job in changes if entry.phase is Phase.TAKEN]

    async def arrive(self) -> None:
        """Wait until there may be something to claim."""
        while True:
            self._news.clear()
            now = self._clock.now_ns()
            if not self._reasons and self.index.may_have(now):
                return
            due = self.index.next_time
            # The wall clock may be set: what waits for a time looks again every second.
            wait = min(1.0, max(0.0, (due - now) / 1e9)) if due and not self._reasons else None
            try:
                async with asyncio.timeout(wait):
                    await self._news.wait()
            except TimeoutError:
                continue

    def succeed(self, job_id: str, attempt: int, result: Value | None) -> bool:
        """End it well. Until that is on the disk, the job counts as running."""
        entry = self._held(job_id, attempt)
        if entry is None:
            return False
        self._end([(entry, turns.succeeded(self._now(entry), self._clock.now_ns(), result))])
        return True

    def fail(self, job_id: str, attempt: int, error: str, *, again: bool, retry_after: float = 0.0) -> bool:
        """End this attempt; *again*: it may be tried again, if an attempt is left."""
        entry = self._held(job_id, attempt)
        if entry is None:
            return False
        pause = max(retry_after, turns.pause_s(attempt, self._chance()))
        failed = turns.failed(self._now(entry), self._clock.now_ns(), error[:MOST_ERROR], again=again, pause=pause)
        self._end(self._with_fallen([(entry, failed)]))
        return True

    def give_back(self, job_id: str, attempt: int, pause: float = 0.0) -> bool:
        """Put it back as if it had never been taken; it is not taken again for *pause* seconds."""
        entry = self._held(job_id, attempt)
        if entry is None:
            return False
        run_time = self._clock.now_ns() + round(pause * 1e9) if pause > 0 else 0
        self._end([(entry, turns.given_back(entry.job, run_time))])
        return True

    def tick(self) -> None:
        """Take away what no worker was heard of for too long, and write down what was told since."""
        now = self._clock.monotonic()
        for entry in [each for each in self.index.entries.values() if each.phase is Phase.TAKEN]:
            if now - entry.beat > LEASE_S:
                self.on_cancel(entry.job.job_id)
                error = f"nothing was heard of its worker for {LEASE_S:g} s"
                self.fail(entry.job.job_id, entry.job.attempts, error, again=True)
            elif entry.dirty and now - entry.told >= TELL_S:
                self._flush(entry)
        if not self.index.entries:
            self.occupied.clear()

    # Within

    def _with_fallen(self, changes: list[Change]) -> list[Change]:
        """Add the jobs that can never run, because one they wait for is dead or cancelled in *changes*."""
        now = self._clock.now_ns()
        found = list(changes)
        seen = {entry.job.job_id for entry, _ in changes}
        for _, job in found:  # it grows as it is walked through
            if job.state not in (JobState.DEAD, JobState.CANCELLED):
                continue
            for entry in self.index.dependents(job.job_id):
                if entry.job.job_id not in seen:
                    seen.add(entry.job.job_id)
                    self.index.leave(entry)
                    found.append((entry, turns.dead(entry.job, now, turns.for_want_of(job.job_id, job.state))))
        return found

    def _unit(self, changes: Sequence[Change]) -> Unit:
        unit = self._db.unit()
        unit.insert(rows.CHANGE, [rows.change(entry.number, job) for entry, job in changes])
        for entry, job in changes:
            self._write_lines(unit, entry)
            self.told(unit, job)
        return unit

    def _end(self, changes: list[Change]) -> None:
        """Write what came of attempts, for as long as it takes: nobody is there to be told that it failed."""
        for entry, _ in changes:
            self.index.leave(entry)
        self._insist(changes, self._unit(changes))

    def _insist(self, changes: list[Change], unit: Unit) -> None:
        def done(error: BaseException | None) -> None:
            if error is None:
                self._apply(changes)
                return
            log.warning("the end of jobs could not be written, and is tried again", jobs=len(changes), error=str(error))
            asyncio.get_running_loop().call_later(_WRITE_AGAIN_S, self._insist, changes, unit)

        try:
            self._db.enqueue(unit, done)
        except Exhausted as error:
            done(error)
        except Unavailable as error:  # the store is closed: these are taken again at the next start
            log.info("jobs end with the daemon", jobs=len(changes), reason=error.reason)

    def _apply(self, changes: Sequence[Change]) -> None:
        """Take over what is on the disk now."""
        wake = False
        for entry, job in changes:
            entry.job = job
            if job.state is JobState.RUNNING:
                entry.phase, entry.beat = Phase.TAKEN, self._clock.monotonic()
                entry.fraction, entry.message, entry.dirty, entry.told = -1.0, "", False, entry.beat - TELL_S
            elif job.state in JOB_ENDED:
                self.index.drop(entry)
                wake = (job.state is JobState.SUCCEEDED and self.index.met(job.job_id)) or wake
            else:
                self.index.wait(entry)
                wake = True
            self._settled(entry)
            self._tell(job)
        self._events.poke()
        if wake:
            self._news.set()

    def _restore(self, changes: Sequence[Change], first: Phase) -> None:
        for place, (entry, _) in enumerate(changes):
            if entry.phase is Phase.BUSY:
                if place or first is Phase.WAITING:
                    self.index.wait(entry)
                else:
                    entry.phase = first
                self._settled(entry)

    def _let_go(self, entry: Entry) -> None:
        self.index.drop(entry)
        self._settled(entry)

    def _settled(self, entry: Entry) -> None:
        waiting = self._calm.pop(entry.job.job_id, None)
        if waiting is not None:
            waiting.set()
