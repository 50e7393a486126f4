"""The worker in this process: takes jobs from a source and does them, each in a task of its own.

Nothing a handler does reaches the daemon: what it raises, `SystemExit` included, fails its attempt; where it takes
longer than it may it is cancelled; one that will not end then is left alone, and its attempt counts as failed.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from lightfast.core.errors import LightfastError
from lightfast.core.redaction import hide
from lightfast.core.tasks import TaskGroup
from lightfast.engine.jobs.ports import LEASE_S, JobSource, Lease
from lightfast.engine.planner.bounded import BUSY
from lightfast.engine.rights import Rights
from lightfast.host.guard import failure_of, guarded_await
from lightfast.sdk import JobType, PluginError
from lightfast_link.value import Value, check_value

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.engine.ports import Asker

log = structlog.get_logger("lightfast.engine")

GRACE_S = 5.0
"""How long a cancelled handler has to end, in seconds."""
MOST_HUNG = 16
"""So many handlers may hang; then no more jobs are taken."""
MOST_AHEAD = 64
_SHORT_S = 0.005
"""While handlers take less than this, as many jobs are claimed ahead as fill `_AHEAD_S`: one commit serves them all."""
_AHEAD_S = 0.02
_AGAIN_S = 1.0
_FINAL = frozenset(
    (
        *("INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED"),
        *("FAILED_PRECONDITION", "OUT_OF_RANGE"),
    )
)
"""Errors that come again, however often one tries."""


class Bench:
    """What a handler is given; an `OwnBench`."""

    def __init__(self, source: JobSource, lease: Lease) -> None:
        self._source = source
        self._note = lease.job.note
        self.job_id = lease.job.job_id
        self.attempt = lease.job.attempts
        self.requester = lease.job.requester
        self.asker: Asker = lease.asker

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell how far it is."""
        self._source.report(self.job_id, self.attempt, float(fraction), hide(str(message)))

    def log(self, text: str) -> None:
        """Add a line to the job's log."""
        self._source.log(self.job_id, self.attempt, hide(str(text)))

    async def keep(self, note: str) -> None:
        """Keep *note* on the disk."""
        if await self._source.keep(self.job_id, self.attempt, note):
            self._note = note

    @property
    def note(self) -> str:
        """What was kept last."""
        return self._note


class _Held:
    """An attempt under way."""

    __slots__ = ("began", "deadline", "late", "lease", "left", "task")

    def __init__(self, lease: Lease, began: float) -> None:
        self.lease = lease
        self.began = began
        self.late = False
        self.left = False
        self.deadline: asyncio.TimerHandle | None = None
        self.task: asyncio.Task[None] | None = None


class LocalWorker:
    """A `Worker` with *slots* jobs at once; *find* returns the handler of a type, or `None`."""

    def __init__(
        self,
        source: JobSource,
        find: Callable[[str], JobType | None],
        clock: Clock,
        slots: int,
        *,
        grace_s: float = GRACE_S,
        rights: Rights | None = None,
    ) -> None:
        self._source = source
        self._rights = rights or Rights()
        self._find = find
        self._clock = clock
        self._slots = slots
        self._grace_s = grace_s
        self._tasks = TaskGroup("jobs")
        self._held: dict[str, _Held] = {}
        self._ahead: list[tuple[int, int, Lease]] = []
        self._came = 0
        self._room = asyncio.Event()
        self._room.set()
        self._usual_s = 1.0
        self._hung = 0
        self._ending = False

    @property
    def busy(self) -> int:
        """How many jobs are under way."""
        return len(self._held)

    @property
    def stuck(self) -> str:
        """Why it takes no more jobs; empty while it does."""
        if self._hung < MOST_HUNG:
            return ""
        return f"{self._hung} handlers of jobs hang and will not end: restart the daemon"

    def start(self) -> None:
        """Begin."""
        self._tasks.start(self._take(), "take")
        self._tasks.start(self._beat(), "beat")

    def cancel(self, job_id: str) -> None:
        """Cancel what is done for this job, if it is done here."""
        held = self._held.get(job_id)
        if held is not None:
            self._stop(held)

    async def close(self) -> None:
        """Take no more, cancel what is under way and give it back."""
        self._ending = True
        for _, _, lease in self._ahead:
            self._source.give_back(lease.job.job_id, lease.job.attempts)
        self._ahead = []
        for held in list(self._held.values()):
            self._source.give_back(held.lease.job.job_id, held.lease.job.attempts)
        await self._tasks.close(self._grace_s)

    async def _take(self) -> None:
        while True:
            await self._room.wait()
            await self._source.arrive()
            ahead = self._may_ahead()
            most = self._slots + ahead - len(self._held) - len(self._ahead)
            if most <= 0 or self.stuck:
                self._room.clear()
                continue
            try:
                leases = await self._source.claim(most)
            except LightfastError as error:  # the disk may be full: what waits is not lost
                log.warning("jobs could not be taken, and are tried again", reason=error.reason, error=str(error))
                await asyncio.sleep(_AGAIN_S)
                continue
            for lease in leases:
                self._came += 1
                heapq.heappush(self._ahead, (-lease.job.priority, self._came, lease))
                if lease.job.attempts > 1:  # it may be what ended the daemon: nothing else is put at stake with it
                    self._usual_s = 1.0
            self._fill()

    def _may_ahead(self) -> int:
        if self._usual_s >= _SHORT_S:
            return 0
        return min(MOST_AHEAD, int(self._slots * _AHEAD_S / max(self._usual_s, 1e-4)))

    def _fill(self) -> None:
        """Start what was claimed, while there are slots."""
        while self._ahead and len(self._held) < self._slots and not self._ending:
            _, _, lease = heapq.heappop(self._ahead)
            if self._source.beat(lease.job.job_id, lease.job.attempts):  # else it was cancelled meanwhile
                self._begin(lease)
        if len(self._held) + len(self._ahead) < self._slots + self._may_ahead():
            self._room.set()

    def _begin(self, lease: Lease) -> None:
        job = lease.job
        job_type = self._find(job.type)
        if job_type is None:
            self._source.give_back(job.job_id, job.attempts)
            return
        held = self._held[job.job_id] = _Held(lease, self._clock.monotonic())
        held.deadline = asyncio.get_running_loop().call_later(job.timeout, self._late, held)
        held.task = self._tasks.start(self._attempt(held, job_type), job.job_id)

    async def _attempt(self, held: _Held, job_type: JobType) -> None:
        job = held.lease.job
        bench = Bench(self._source, held.lease)
        source = self._source
        try:
            outcome = await guarded_await(_call(job_type, dict(job.payload), bench, self._rights))
            if held.left:
                return
            if held.late:
                self._too_late(held)
            elif outcome.error is None:
                source.succeed(job.job_id, job.attempts, outcome.value)
            elif isinstance(outcome.error, LightfastError) and outcome.error.reason == BUSY:
                source.give_back(job.job_id, job.attempts, outcome.error.retry_after or 0.0)
            else:
                again, retry_after = _may_again(outcome.error)
                failure = failure_of(outcome.error)
                if not isinstance(outcome.error, LightfastError | PluginError):
                    source.log(job.job_id, job.attempts, failure.trace)
                source.fail(
                    job.job_id, job.attempts, _said(outcome.error, failure.reason), again=again, retry_after=retry_after
                )
        except asyncio.CancelledError:
            if held.late and not held.left:
                self._too_late(held)
            elif self._ending:
                raise
        finally:
            self._done(held)

    def _too_late(self, held: _Held) -> None:
        job = held.lease.job
        self._source.fail(job.job_id, job.attempts, f"it took longer than its {job.timeout:g} s", again=True)

    def _done(self, held: _Held) -> None:
        if held.deadline is not None:
            held.deadline.cancel()
        if held.left:
            self._hung -= 1
            self._room.set()
            return
        self._usual_s += (self._clock.monotonic() - held.began - self._usual_s) / 8
        self._free(held)

    def _free(self, held: _Held) -> None:
        if self._held.get(held.lease.job.job_id) is held:
            del self._held[held.lease.job.job_id]
        if not self._ending:
            self._fill()

    def _late(self, held: _Held) -> None:
        held.late = True
        self._stop(held)

    def _stop(self, held: _Held) -> None:
        """Cancel a handler, and leave it alone where it does not end."""
        if held.task is None or held.left:
            return
        held.task.cancel()
        if held.deadline is not None:
            held.deadline.cancel()
        held.deadline = asyncio.get_running_loop().call_later(self._grace_s, self._leave, held)

    def _leave(self, held: _Held) -> None:
        job = held.lease.job
        held.left = True
        self._hung += 1
        log.error("the handler of a job hangs and is left alone", job=job.job_id, type=job.type, hung=self._hung)
        error = f"its handler did not end within {self._grace_s:g} s after it was cancelled"
        self._source.fail(job.job_id, job.attempts, error, again=True)
        self._free(held)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            for held in list(self._held.values()):
                if not self._source.beat(held.lease.job.job_id, held.lease.job.attempts):
                    self._stop(held)
            for _, _, lease in self._ahead:
                self._source.beat(lease.job.job_id, lease.job.attempts)


async def _call(job_type: JobType, payload: dict[str, Value], bench: Bench, rights: Rights) -> Value | None:
    bench.asker = rights.now(bench.asker, "submit it anew with a token that may")
    result = await job_type.run(payload, bench)
    try:
        return None if result is None else check_value(result, "result")
    except ValueError as error:
        raise PluginError(f"its result is no value: {error}") from None


def _may_again(error: BaseException) -> tuple[bool, float]:
    """Say whether trying again may help, and not before how many seconds."""
    retryable = getattr(error, "retryable", None)
    if retryable is None:
        retryable = not (isinstance(error, LightfastError) and error.status in _FINAL)
    after = getattr(error, "retry_after", None)
    return bool(retryable), float(after) if isinstance(after, int | float) and after > 0 else 0.0


def _said(error: BaseException, reason: str) -> str:
    return hide(f"{error.reason}: {error.message}") if isinstance(error, LightfastError) else reason
