"""What workers tell of the jobs they have: heartbeats, progress, log lines, notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.engine.jobs import rows
from lightfast.engine.jobs.index import Entry, Index, Phase
from lightfast.engine.jobs.records import Job

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.engine.events.log import EventLog
    from lightfast.storage.database import Database, Unit

log = structlog.get_logger("lightfast.engine")

MOST_LINES = 500
MOST_LINE = 1_000
MOST_NOTE = 65_536
MOST_MESSAGE = 500
MOST_ERROR = 4_000
"""The lines of a log, and the characters of a line, a note, a message and an error; the oldest lines go."""
TELL_S = 1.0
"""Progress is written and told at most so often, in seconds."""


class Reports:
    """The part of the queue that takes what workers tell between the claim and the end."""

    def __init__(self, db: Database, clock: Clock, events: EventLog) -> None:
        self.index = Index()
        self.on_change: list[Callable[[Job], None]] = []
        """Are told of each change after it is on the disk."""
        self._db = db
        self._clock = clock
        self._events = events

    def beat(self, job_id: str, attempt: int) -> bool:
        """Say that somebody still works on it."""
        entry = self._held(job_id, attempt)
        if entry is None:
            return False
        entry.beat = self._clock.monotonic()
        return True

    def report(self, job_id: str, attempt: int, fraction: float, message: str) -> bool:
        """Tell how far it is; a heartbeat, too. Written down at once, and then once in `TELL_S`."""
        entry = self._held(job_id, attempt)
        if entry is None:
            return False
        entry.beat = self._clock.monotonic()
        entry.fraction = min(1.0, max(0.0, fraction)) if fraction >= 0 else -1.0
        entry.message, entry.dirty = message[:MOST_MESSAGE], True
        if entry.beat - entry.told >= TELL_S:
            self._flush(entry)
        return True

    def log(self, job_id: str, attempt: int, text: str) -> bool:
        """Add a line to its log, written with the next progress or the end."""
        entry = self._held(job_id, attempt)
        if entry is None:
            return False
        entry.lines.append((self._clock.now_ns(), text[:MOST_LINE]))
        del entry.lines[:-MOST_LINES]
        entry.dirty = True
        return True

    async def keep(self, job_id: str, attempt: int, note: str) -> bool:
        """Keep a note, `run:ID` for the run it started; when this returns, it is on the disk."""
        if len(note) > MOST_NOTE:
            raise InvalidArgument(f"a note has at most {MOST_NOTE} characters, not {len(note)}", field="note")
        entry = self._held(job_id, attempt)
        if entry is None:
            return False
        run_id = note[4:] if note.startswith("run:") else entry.job.run_id
        unit = self._db.unit()
        unit.execute("UPDATE jobs SET note = ?, run_id = ? WHERE number = ?", (note, run_id, entry.number))
        await self._db.commit(unit)
        entry.job = replace(entry.job, note=note, run_id=run_id)
        self._tell(entry.job)
        return self._held(job_id, attempt) is not None

    def _held(self, job_id: str, attempt: int) -> Entry | None:
        entry = self.index.entries.get(job_id)
        if entry is None or entry.phase is not Phase.TAKEN or entry.job.attempts != attempt:
            return None
        return entry

    def _now(self, entry: Entry) -> Job:
        """Return the job with what its worker told last."""
        if entry.phase is Phase.WAITING or not (entry.message or entry.fraction >= 0):
            return entry.job
        return replace(entry.job, fraction=entry.fraction, message=entry.message)

    def told(self, unit: Unit, job: Job) -> None:
        """Add the event of what became of a job to the unit that writes it."""
        self._events.add(unit, rows.EVENT[job.state], "job", job.job_id, rows.told(job))

    def _write_lines(self, unit: Unit, entry: Entry) -> None:
        if not entry.lines:
            return
        job_id = entry.job.job_id
        unit.insert(
            "INSERT INTO job_logs(job_id, time, text) VALUES(?, ?, ?)",
            [(job_id, time, text) for time, text in entry.lines],
        )
        unit.execute(
            "DELETE FROM job_logs WHERE job_id = ?1 AND row <="
            " (SELECT row FROM job_logs WHERE job_id = ?1 ORDER BY row DESC LIMIT 1 OFFSET ?2)",
            (job_id, MOST_LINES),
        )
        entry.lines = []

    def _flush(self, entry: Entry) -> None:
        """Write down how far a job is; it may be lost."""
        entry.dirty, entry.told = False, self._clock.monotonic()
        job = replace(entry.job, fraction=entry.fraction, message=entry.message)
        unit = self._db.unit()
        unit.execute(
            "UPDATE jobs SET fraction = ?, message = ? WHERE number = ?", (job.fraction, job.message, entry.number)
        )
        self._write_lines(unit, entry)
        self._events.add(unit, "job.progress", "job", job.job_id, rows.told(job))

        def done(error: BaseException | None) -> None:
            if error is not None:
                log.warning("progress of a job could not be written", job=job.job_id, error=str(error))
                return
            self._events.poke()
            if entry.phase is Phase.TAKEN and entry.job.attempts == job.attempts:
                entry.job = replace(entry.job, fraction=job.fraction, message=job.message)
                self._tell(entry.job)

        try:
            self._db.enqueue(unit, done)
        except LightfastError as error:
            done(error)

    def _tell(self, job: Job) -> None:
        for listener in self.on_change:
            listener(job)
