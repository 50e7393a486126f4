"""What the queue finds on the disk: at a start, about dependencies, and what is old."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.errors import NotFound
from lightfast.engine.jobs import rows, turns
from lightfast.engine.jobs.index import Entry
from lightfast.engine.jobs.records import JOB_ENDED, JobState

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.jobs.queue import Queue
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.engine")

_DAY_NS = 86_400 * 1_000_000_000
_SWEPT = 1_000


async def load(queue: Queue, db: Database, clock: Clock, events: EventLog, chance: Callable[[], float]) -> None:
    """Build the index from the table; what was running is taken again, or is a dead letter."""

    def read(connection: Any) -> tuple[list[Any], int]:
        live = f"SELECT {rows.COLUMNS} FROM jobs WHERE state IN ('PENDING', 'RUNNING', 'RETRYING') ORDER BY number"  # noqa: S608
        ((last,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'jobs'")
        return list(connection.execute(live)), last

    found, queue.number = await db.read(read)
    now = clock.now_ns()
    entries: list[Entry] = []
    unit = db.unit()
    for row in found:
        number, job, asker = rows.read(row)
        if job.state is JobState.RUNNING:
            job = turns.interrupted(job, now, chance())
            unit.execute(rows.CHANGE, rows.change(number, job))
            queue.told(unit, job)
        entries.append(Entry(number, job, asker, len(row[5])))
    # In the order in which they came: a job waits only for earlier ones.
    fate = {entry.job.job_id: entry.job.state for entry in entries}
    others = {other for entry in entries for other in entry.job.after if other not in fate}
    fate |= {job_id: JobState(state) for job_id, state in await _states(db, sorted(others))}
    for entry in entries:
        job = entry.job
        for other in job.after if job.state not in JOB_ENDED else ():
            state = fate.get(other, JobState.SUCCEEDED)  # one that is gone had succeeded, else this were dead
            if state in (JobState.DEAD, JobState.CANCELLED):
                entry.job = turns.dead(job, now, turns.for_want_of(other, state))
                fate[job.job_id] = JobState.DEAD
                unit.execute(rows.CHANGE, rows.change(entry.number, entry.job))
                queue.told(unit, entry.job)
                break
            if state not in JOB_ENDED:
                entry.unmet.add(other)
    await db.commit(unit)
    events.poke()
    for entry in entries:
        if entry.job.state not in JOB_ENDED:
            queue.index.add(entry)
            queue.index.wait(entry)
            queue.occupied.set()
    if entries:
        log.info("jobs were left", live=len(queue.index.entries))


async def dependencies(
    queue: Queue, db: Database, after: Sequence[str], *, strict: bool = False
) -> tuple[set[str], str]:
    """Return the jobs of *after* that have not ended, and why it can never be, where one is dead, cancelled or gone.

    *strict*: one that is not there raises `NotFound` (JOB_UNKNOWN). Nothing is awaited after the last look.
    """
    states: dict[str, JobState] = {}
    while any(states.get(other) not in JOB_ENDED and other not in queue.index.entries for other in after):
        states = {job_id: JobState(state) for job_id, state in await _states(db, after)}
        gone = [other for other in after if other not in states]
        if gone and strict:
            raise NotFound(f"there is no job {gone[0]!r:.80} to wait for", reason="JOB_UNKNOWN", field="after")
        if gone:
            return set(), f"it waited for {gone[0]}, which is gone"
    fallen = [other for other in after if states.get(other) in (JobState.DEAD, JobState.CANCELLED)]
    reason = turns.for_want_of(fallen[0], states[fallen[0]]) if fallen else ""
    return {other for other in after if other in queue.index.entries}, reason


async def sweep(queue: Queue, db: Database, now: int, keep_days: float) -> int:
    """Remove what ended long ago, but for what live jobs name; one with a request id is kept for a day at least."""
    named = {other for entry in queue.index.entries.values() for other in entry.job.after}
    swept = 0
    after = 0
    while True:
        found = await db.query(
            "SELECT number, job_id FROM jobs WHERE end_time <> 0 AND end_time < ? AND number > ?"
            " AND (request_id = '' OR end_time < ?) ORDER BY number LIMIT ?",
            (now - round(keep_days * _DAY_NS), after, now - _DAY_NS, _SWEPT),
        )
        if not found:
            return swept
        after = found[-1][0]
        gone = [(job_id,) for _, job_id in found if job_id not in named]
        unit = db.unit()
        unit.insert("DELETE FROM job_logs WHERE job_id = ?", gone)
        unit.insert("DELETE FROM jobs WHERE job_id = ? AND end_time <> 0", gone)
        await db.commit(unit)
        swept += len(gone)


async def _states(db: Database, job_ids: Sequence[str]) -> list[tuple[str, str]]:
    if not job_ids:
        return []
    found = await db.query(
        "SELECT job_id, state FROM jobs WHERE job_id IN (SELECT value FROM json_each(?))", (json.dumps(job_ids),)
    )
    return [(job_id, state) for job_id, state in found]
