"""The room of jobs: what callers see of the queue and its workers."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, LightfastError, NotFound
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.engine.jobs import loading, rows, turns
from lightfast.engine.jobs.index import Entry
from lightfast.engine.jobs.queue import Queue
from lightfast.engine.jobs.records import JOB_ENDED, Job, JobState, NewJob
from lightfast.engine.jobs.reports import TELL_S
from lightfast.engine.jobs.types import Types
from lightfast.engine.jobs.watching import Watchers
from lightfast.engine.jobs.worker import LocalWorker
from lightfast.sdk import JobType
from lightfast_link.value import check_value

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.ports import Asker
    from lightfast.engine.restored import Restored
    from lightfast.engine.rights import Rights
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.engine")

MOST_PRIORITY = 1_000
MOST_AFTER = 100
MOST_TRIES = 1_000
MOST_TIMEOUT_S = 7 * 86_400.0
_SWEEP_S = 3_600.0


class Jobs:
    """Open one with `await Jobs.open(…)`; a `JobRoom`. It takes jobs from `start` on."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        events: EventLog,
        workers: int,
        keep_days: float,
        chance: Callable[[], float],
        rights: Rights | None = None,
    ) -> None:
        """Use `open`."""
        self.queue = Queue(db, clock, events, chance)
        self.types = Types()
        self._db = db
        self._clock = clock
        self._keep_days = keep_days
        self._worker = LocalWorker(self.queue, self.types.find, clock, workers, rights=rights)
        self._watchers = Watchers()
        self._tasks = TaskGroup("job queue")
        self._asked: dict[tuple[str, str], asyncio.Future[Job]] = {}
        self._retrying: set[str] = set()
        self.queue.on_change.append(self._watchers.tell)
        self.queue.on_cancel = self._worker.cancel

    @classmethod
    async def open(
        cls,
        db: Database,
        clock: Clock,
        events: EventLog,
        *,
        workers: int = 4,
        keep_days: float = 30.0,
        chance: Callable[[], float] = random.random,
        rights: Rights | None = None,
    ) -> Jobs:
        """Go on where the last process ended: what it had under way is taken again.

        *rights* says what who asked may still do when a job begins.
        """
        self = cls(db, clock, events, workers, keep_days, chance, rights)
        await loading.load(self.queue, db, clock, events, chance)
        return self

    def start(self) -> None:
        """Take jobs from now on."""
        self._worker.start()
        self._tasks.start(self._tick(), "tick")
        self._tasks.start(self._keep_house(), "sweep")

    async def close(self) -> None:
        """Take no more; what is under way is cancelled, and taken again at the next start."""
        self.queue.stop("close", "the daemon is stopping")
        await self._worker.close()
        await self._tasks.close()

    # What holds it

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return self.queue.index.waiting

    @property
    def running(self) -> int:
        """How many jobs are under way."""
        return self._worker.busy

    def live(self) -> Counter[tuple[str, str]]:
        """Return how many jobs that have not ended there are, by type and state."""
        return Counter((entry.job.type, entry.job.state.value) for entry in self.queue.index.entries.values())

    def dead(self) -> int:
        """Return how many dead letters are kept."""
        sql = "SELECT count(*) FROM jobs WHERE state = 'DEAD'"
        return int(self._db.read_now(lambda connection: next(iter(connection.execute(sql)))[0]))

    @property
    def stopped(self) -> str:
        """Why no job is taken now; empty while jobs are taken."""
        return self.queue.stopped or self._worker.stuck

    def pause(self, reason: str = "jobs are paused") -> None:
        """Take no more jobs until `resume`; what is under way goes on."""
        self.queue.stop("pause", reason)

    def resume(self) -> None:
        """Take jobs again."""
        self.queue.go("pause")

    def wait_for(self, restored: Restored) -> None:
        """Take no job before what waits in a restored store may go on."""
        if restored.held:
            self.queue.stop("restored", restored.held)
            restored.follow(lambda: self.queue.go("restored"))

    def hold(self, reason: str) -> None:
        """Take no more jobs while there is a panic."""
        self.queue.stop("panic", reason)

    def release(self) -> None:
        """Take jobs again after a panic."""
        self.queue.go("panic")

    # Types

    def add_type(self, job_type: JobType, plugin: str = "") -> None:
        """Offer a type of jobs; raises `AlreadyExists` (JOB_TYPE_TAKEN)."""
        self.types.add(job_type, plugin)
        self.queue.index.know(job_type.name)
        self.queue.wake()

    def remove_type(self, job_type: JobType) -> None:
        """Start no more jobs of this type."""
        if self.types.remove(job_type):
            self.queue.index.forget(job_type.name)

    def list_types(self) -> Iterable[tuple[JobType, str]]:
        """Return the types with the plugins that bring them, ordered by name."""
        return self.types.all()

    # Jobs

    async def submit(self, new: NewJob, asker: Asker, *, request_id: str = "") -> Job:
        """Queue a job, durable when this returns.

        Raises `InvalidArgument` (JOB_TYPE_UNKNOWN, JOB_PAYLOAD), `NotFound` (JOB_UNKNOWN) for a job it is to wait for,
        `AlreadyExists` (REQUEST_ID_REUSED) and `Exhausted` (JOBS_FULL). One whose dependency is dead or cancelled is
        a dead letter at once. The same *request_id* of the same requester brings the same job, for 24 hours at least.
        """
        job = self._made(new, asker)
        if not request_id:
            return await self._add(job, asker)
        if len(request_id) > 128 or not request_id.isprintable():
            raise InvalidArgument("request_id is longer than 128 characters, or unprintable", field="request_id")
        key = (asker.identity, request_id)
        mark = _mark(new)
        while key in self._asked:
            await asyncio.wait((self._asked[key],))
        future: asyncio.Future[Job] = asyncio.get_running_loop().create_future()
        self._asked[key] = future
        try:
            found = self._db.query_now(
                "SELECT job_id, request_hash FROM jobs WHERE requester = ? AND request_id = ? AND request_id <> ''", key
            )
            for job_id, there in found:
                if there != mark:
                    raise AlreadyExists(
                        f"request_id {request_id!r} was used for another job: use a new one",
                        reason="REQUEST_ID_REUSED",
                        field="request_id",
                        metadata={"request_id": request_id, "job_id": job_id},
                    )
                return await self.get(job_id)
            return await self._add(job, asker, (request_id, mark))
        finally:
            del self._asked[key]
            future.cancel()

    async def get(self, job_id: str) -> Job:
        """Return a job with its log; raises `NotFound` (JOB_UNKNOWN)."""

        def read(connection: Any) -> tuple[list[Any], list[Any]]:
            found = list(connection.execute(f"SELECT {rows.COLUMNS} FROM jobs WHERE job_id = ?", (job_id,)))  # noqa: S608
            lines = connection.execute("SELECT time, text FROM job_logs WHERE job_id = ? ORDER BY row", (job_id,))
            return found, list(lines)

        found, lines = await self._db.read(read)
        if not found:
            raise NotFound(
                f"there is no job {job_id!r:.80}: it may have been swept; see 'lightfast jobs list'",
                reason="JOB_UNKNOWN",
                metadata={"job_id": job_id[:80]},
            )
        entry = self.queue.index.entries.get(job_id)
        return rows.read(found[0], [*lines, *(entry.lines if entry else ())])[1]

    async def page(
        self,
        *,
        states: Sequence[JobState] = (),
        type_name: str = "",
        size: int = 0,
        token: str = "",
    ) -> tuple[list[Job], str]:
        """Return a page of jobs without their logs, the newest first, and the token of the next one."""
        query = fingerprint("jobs", sorted(states), type_name)
        count = page_size(size, 100, 1_000)
        before = read_token(token, query).number if token else None
        clauses, params = ["1"], list[Any]()
        if before is not None:
            clauses.append("number < ?")
            params.append(before)
        if states:
            clauses.append(f"state IN ({', '.join('?' * len(states))})")
            params += [state.value for state in states]
        if type_name:
            clauses.append("type = ?")
            params.append(type_name)
        sql = f"SELECT {rows.COLUMNS} FROM jobs WHERE {' AND '.join(clauses)} ORDER BY number DESC LIMIT ?"  # noqa: S608
        found = [rows.read(row) for row in await self._db.query(sql, (*params, count + 1))]
        more = write_token(Token(query, 0, "", found[count - 1][0])) if len(found) > count else ""
        return [job for _, job, _ in found[:count]], more

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that has ended stays as it is. What waits for it becomes a dead letter."""
        await self.queue.cancel(job_id)
        return await self.get(job_id)

    async def retry(self, job_id: str) -> Job:
        """Queue a job again that has ended, with all its attempts; what it kept stays.

        Raises `FailedPrecondition`: JOB_NOT_ENDED, and JOB_DEPENDENCY where one it waits for is dead or gone.
        """
        job = await self.get(job_id)
        if job.state not in JOB_ENDED or job.state is JobState.SUCCEEDED or job_id in self._retrying:
            raise FailedPrecondition(
                f"{job_id} is {job.state.told}: only a dead or cancelled job is tried again", reason="JOB_NOT_ENDED"
            )
        self._retrying.add(job_id)
        try:
            ((number, asker, payload),) = await self._db.query(
                "SELECT number, asker, payload FROM jobs WHERE job_id = ?", (job_id,)
            )
            unmet, fallen = await loading.dependencies(self.queue, self._db, job.after)
            if fallen:
                raise FailedPrecondition(f"{job_id} cannot run: {fallen}; try that one first", reason="JOB_DEPENDENCY")
            fresh = turns.again(replace(job, log=()))
            unit = self._db.unit()
            unit.execute(rows.CHANGE, rows.change(number, fresh))
            self.queue.told(unit, fresh)
            await self.queue.enter(Entry(number, fresh, asker, len(payload), unmet=unmet), unit)
        finally:
            self._retrying.discard(job_id)
        return await self.get(job_id)

    def watch(self, job_ids: Sequence[str] = (), *, until_done: bool = False) -> AsyncIterator[Job]:
        """Yield jobs as they change, those of *job_ids* first as they are now; see `Watchers`."""
        return self._watchers.watch(job_ids, self._without_log, until_done=until_done)

    async def ended(self, job_id: str) -> Job:
        """Wait until a job has ended, and return it; the caller sets the deadline."""
        async for _ in self.watch((job_id,), until_done=True):
            pass
        return await self.get(job_id)

    async def sweep(self) -> int:
        """Remove the jobs that ended longer ago than they are kept; return how many."""
        return await loading.sweep(self.queue, self._db, self._clock.now_ns(), self._keep_days)

    async def _without_log(self, job_id: str) -> Job:
        return replace(await self.get(job_id), log=())

    def check(self, new: NewJob) -> None:
        """Raise what `submit` would raise of the type, the payload and the bounds."""
        self._checked(new)

    def _checked(self, new: NewJob) -> JobType:
        try:
            check_value(dict(new.payload), "payload")
        except ValueError as error:
            raise InvalidArgument(str(error), field="payload", reason="JOB_PAYLOAD") from None
        job_type = self.types.check(new.type, new.payload)
        if abs(new.priority) > MOST_PRIORITY:
            raise InvalidArgument(f"a priority is from -{MOST_PRIORITY} to {MOST_PRIORITY}", field="priority")
        if not 0 <= new.max_attempts <= MOST_TRIES:
            raise InvalidArgument(f"max_attempts is from 1 to {MOST_TRIES}, 0 for the usual", field="max_attempts")
        if not 0 <= new.timeout <= MOST_TIMEOUT_S:
            raise InvalidArgument(f"a timeout is at most {MOST_TIMEOUT_S:g} s, 0 for the usual", field="timeout")
        if len(new.after) > MOST_AFTER:
            raise InvalidArgument(f"a job waits for at most {MOST_AFTER} others", field="after")
        return job_type

    def _made(self, new: NewJob, asker: Asker) -> Job:
        job_type = self._checked(new)
        now = self._clock.now_ns()
        return Job(
            job_id=new_id("job"),
            type=new.type,
            state=JobState.PENDING,
            payload=new.payload,
            requester=asker.identity,
            create_time=now,
            priority=new.priority,
            max_attempts=new.max_attempts or job_type.max_attempts,
            run_time=max(0, new.run_time),
            after=tuple(dict.fromkeys(new.after)),
            schedule=new.schedule,
            timeout=new.timeout or job_type.timeout,
        )

    async def _add(self, job: Job, asker: Asker, request: tuple[str, str] = ("", "")) -> Job:
        unmet, fallen = await loading.dependencies(self.queue, self._db, job.after, strict=True)
        return await self.queue.add(job, rows.packed_asker(asker), unmet, request, fallen)

    async def _tick(self) -> None:
        while True:
            await self.queue.occupied.wait()
            await asyncio.sleep(TELL_S)
            self.queue.tick()

    async def _keep_house(self) -> None:
        while True:
            try:
                await self.sweep()
            except LightfastError as error:  # the disk may be full: what is left is swept later
                log.warning("old jobs could not be swept", reason=error.reason, error=str(error))
            await asyncio.sleep(_SWEEP_S)


def _mark(new: NewJob) -> str:
    what: Mapping[str, Any] = {name: getattr(new, name) for name in new.__slots__ if name != "payload"}
    text = repr(sorted(what.items())) + rows.packed(dict(sorted(new.payload.items())))
    return hashlib.sha256(text.encode()).hexdigest()
