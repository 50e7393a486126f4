"""Schedules: they queue a job again and again."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import structlog

from lightfast.core.errors import Exhausted, InvalidArgument, LightfastError, NotFound, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.engine.jobs import rows
from lightfast.engine.jobs.records import NewJob
from lightfast.engine.jobs.times import next_time, zone
from lightfast.engine.ports import Asker, JobRoom
from lightfast.engine.rights import Rights
from lightfast_link.value import Value

if TYPE_CHECKING:
    from lightfast.core.clock import Clock
    from lightfast.engine.events.log import EventLog
    from lightfast.engine.restored import Restored
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.engine")

MOST = 1_000
LATE_S = 60.0
"""What is due is queued as long as it is not later than this, in seconds; beyond, it was missed."""
MISSED = ("skip", "once")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:/-]{0,79}")
_LOOK_S = 30.0
_AGAIN_S = 5.0
_SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule; *when* is for `times.next_time`, *missed* of `MISSED`; times in ns since 1970, 0: none."""

    name: str
    when: str
    type: str
    payload: Mapping[str, Value] = field(default_factory=dict)
    time_zone: str = ""
    priority: int = 0
    missed: str = "skip"
    disabled: bool = False
    next_time: int = 0
    last_time: int = 0
    begin: int = 0


class Schedules:
    """Open one with `await Schedules.open(…)`; it queues from `start` on.

    The next time of each is on the disk. The job of one time is queued under a request id made of both, so that a
    daemon that dies between queueing and moving on queues it once.
    """

    def __init__(
        self, db: Database, clock: Clock, jobs: JobRoom, events: EventLog, rights: Rights, restored: Restored | None
    ) -> None:
        """Use `open`."""
        self._rights = rights
        self._restored = restored
        self._db = db
        self._clock = clock
        self._jobs = jobs
        self._events = events
        self._known: dict[str, tuple[Schedule, Asker]] = {}
        self._again: dict[str, int] = {}
        self._seen = 1 << 62
        """What the wall clock said last; before the first look, what is due may have been set by a clock gone wrong."""
        self._tasks = TaskGroup("schedules")
        self._changed = asyncio.Event()
        self._turn = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        db: Database,
        clock: Clock,
        jobs: JobRoom,
        events: EventLog,
        *,
        rights: Rights | None = None,
        restored: Restored | None = None,
    ) -> Schedules:
        """Take up what was set; nothing is queued while what waits in a *restored* store waits.

        *rights* says what who set a schedule may still do when it is due.
        """
        self = cls(db, clock, jobs, events, rights or Rights(), restored)
        if restored is not None:
            restored.follow(self._changed.set)
        for name, body, due, last in await db.query("SELECT name, body, next_time, last_time FROM job_schedules"):
            self._known[name] = _read(name, body, due, last)
        return self

    def start(self) -> None:
        """Queue what is due from now on."""
        self._tasks.start(self._run(), "run")

    async def close(self) -> None:
        """Queue no more."""
        await self._tasks.close()

    def all(self) -> Sequence[Schedule]:
        """Return all, ordered by name."""
        return [self._known[name][0] for name in sorted(self._known)]

    def get(self, name: str) -> Schedule:
        """Return one; raises `NotFound` (SCHEDULE_UNKNOWN)."""
        if name not in self._known:
            raise NotFound(
                f"there is no schedule {name!r:.80}: see 'lightfast jobs schedules'", reason="SCHEDULE_UNKNOWN"
            )
        return self._known[name][0]

    async def set(self, wanted: Schedule, asker: Asker) -> Schedule:
        """Create or replace a schedule; its jobs are queued in the name of *asker*. Durable when this returns.

        Raises `InvalidArgument`: SCHEDULE_INVALID, JOB_TYPE_UNKNOWN, JOB_PAYLOAD; `Exhausted` (TOO_MANY_SCHEDULES).
        """
        if not _NAME.fullmatch(wanted.name):
            raise InvalidArgument(f"{wanted.name!r:.80} is no name of a schedule: use letters and digits", field="name")
        missed = wanted.missed or "skip"
        if missed not in MISSED:
            raise InvalidArgument(f"missed is {missed!r:.20}: use one of {', '.join(MISSED)}", field="missed")
        self._jobs.check(NewJob(wanted.type, wanted.payload, wanted.priority))
        zone(wanted.time_zone)
        now = self._clock.now_ns()
        due = next_time(wanted.when, wanted.time_zone, now, now)
        async with self._turn:
            if wanted.name not in self._known and len(self._known) >= MOST:
                raise Exhausted(f"{MOST} schedules are the most: delete one", reason="TOO_MANY_SCHEDULES")
            before = self._known.get(wanted.name)
            schedule = replace(
                wanted, missed=missed, next_time=due, begin=now, last_time=before[0].last_time if before else 0
            )
            asker = replace(asker, via="schedule")
            unit = self._db.unit()
            unit.execute(
                "INSERT OR REPLACE INTO job_schedules VALUES(?, ?, ?, ?)",
                (schedule.name, _body(schedule, asker), schedule.next_time, schedule.last_time),
            )
            await self._db.commit(unit)
            self._known[schedule.name] = (schedule, asker)
        self._again.pop(schedule.name, None)
        self._changed.set()
        return schedule

    async def delete(self, name: str) -> None:
        """Delete a schedule; the jobs it has queued stay. Raises `NotFound`."""
        async with self._turn:
            self.get(name)
            unit = self._db.unit()
            unit.execute("DELETE FROM job_schedules WHERE name = ?", (name,))
            await self._db.commit(unit)
            del self._known[name]
        self._changed.set()

    async def fire(self) -> int:
        """Queue what is due now; return how many jobs that were."""
        fired = 0
        if self._held:
            return 0
        now = self._clock.now_ns()
        set_back, self._seen = now < self._seen - LATE_S * _SECOND, now
        for name in sorted(self._known):
            async with self._turn:
                if name not in self._known:
                    continue
                if set_back:
                    await self._bring_back(name, now)
                schedule, asker = self._known[name]
                if not schedule.disabled and max(schedule.next_time, self._again.get(name, 0)) <= now:
                    fired += await self._fire(schedule, asker, now)
        return fired

    @property
    def _held(self) -> bool:
        return self._restored is not None and bool(self._restored.held)

    async def _bring_back(self, name: str, now: int) -> None:
        """Have a schedule follow a wall clock that was set back: else it would be silent until it is that late again.

        An interval begins anew; a time of day that comes again is not queued again, since its job has been.
        """
        schedule, asker = self._known[name]
        begin = min(schedule.begin, now)
        due = next_time(schedule.when, schedule.time_zone, now, begin)
        if due >= schedule.next_time and begin == schedule.begin:
            return
        moved = replace(schedule, next_time=due, begin=begin)
        unit = self._db.unit()
        unit.execute(
            "UPDATE job_schedules SET body = ?, next_time = ? WHERE name = ?", (_body(moved, asker), due, name)
        )
        await self._db.commit(unit)
        self._known[name] = (moved, asker)
        self._again.pop(name, None)

    def forget(self, names: Sequence[str]) -> None:
        """Let go of schedules whose rows were purged."""
        for name in names:
            self._known.pop(name, None)

    async def _fire(self, schedule: Schedule, asker: Asker, now: int) -> bool:
        due = schedule.next_time
        late = now - due > LATE_S * _SECOND
        queued, refused = False, ""
        if not late or schedule.missed == "once":
            new = NewJob(schedule.type, schedule.payload, schedule.priority, schedule=schedule.name)
            try:
                asker_now = self._rights.now(asker, "set the schedule anew with a token that may")
                await self._jobs.submit(new, asker_now, request_id=f"schedule:{schedule.name}:{due}")
                queued = True
            except (Exhausted, Unavailable) as error:
                log.warning("a scheduled job could not be queued yet", schedule=schedule.name, reason=error.reason)
                self._again[schedule.name] = now + round(_AGAIN_S * _SECOND)
                return False
            except LightfastError as error:
                refused = f"{error.reason}: {error.message}"
                self._failed(schedule, error)
        following = next_time(schedule.when, schedule.time_zone, now, schedule.begin or due)
        moved = replace(schedule, next_time=following, last_time=due if queued else schedule.last_time)
        unit = self._db.unit()
        unit.execute(
            "UPDATE job_schedules SET next_time = ?, last_time = ? WHERE name = ?",
            (moved.next_time, moved.last_time, moved.name),
        )
        if not queued:
            why = "refused" if refused else "missed"
            told = {"due": due, "next_time": following, "why": why, "type": schedule.type}
            if refused:
                told["error"] = refused
            self._events.add(unit, "schedule.skipped", "schedule", schedule.name, told)
        await self._db.commit(unit)
        self._events.poke()
        self._again.pop(schedule.name, None)
        self._known[schedule.name] = (moved, asker)
        return queued

    def _failed(self, schedule: Schedule, error: LightfastError) -> None:
        log.warning(
            "a scheduled job was refused",
            schedule=schedule.name,
            type=schedule.type,
            reason=error.reason,
            error=error.message,
        )

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                await self.fire()
            except LightfastError as error:  # the disk may be full: what is due stays due
                log.warning("schedules could not be followed", reason=error.reason, error=str(error))
                await asyncio.sleep(_AGAIN_S)
                continue
            try:
                async with asyncio.timeout(self._pause()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def _pause(self) -> float | None:
        """Return the seconds until the next is due, at most `_LOOK_S`: the wall clock may be set."""
        due = [
            max(schedule.next_time, self._again.get(name, 0))
            for name, (schedule, _) in self._known.items()
            if not schedule.disabled
        ]
        if not due or self._held:
            return None
        return min(_LOOK_S, max(0.01, (min(due) - self._clock.now_ns()) / _SECOND))


def _body(schedule: Schedule, asker: Asker) -> str:
    return json.dumps(
        {
            "when": schedule.when,
            "time_zone": schedule.time_zone,
            "type": schedule.type,
            "payload": rows.packed(dict(schedule.payload)),
            "priority": schedule.priority,
            "missed": schedule.missed,
            "disabled": schedule.disabled,
            "begin": schedule.begin,
            "asker": rows.packed_asker(asker),
        }
    )


def _read(name: str, body: str, due: int, last: int) -> tuple[Schedule, Asker]:
    fields = json.loads(body)
    payload = rows.unpacked(fields.pop("payload"))
    asker = rows.unpacked_asker(fields.pop("asker"))
    schedule = Schedule(
        name, payload=payload if isinstance(payload, dict) else {}, next_time=due, last_time=last, **fields
    )
    return schedule, asker
