"""The traces of triggers: why each fired or did not, in a bounded table."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError
from lightfast.engine.triggers.records import Counts, Firing

if TYPE_CHECKING:
    from lightfast.engine.events.log import EventLog
    from lightfast.storage.database import Database

MOST_WAITING = 2_000
"""How many may wait to be written; more of them are only counted."""
_COLUMNS = "name, workflow, time, fired, code, reason, times, run_id, cause"
LONGEST = 1_000

_Row = tuple[int, Firing]
"""The number of a row, and what it holds."""


class Traces:
    """Keeps traces and counts. What did not fire for the same reason again in a row is one trace that counts."""

    def __init__(
        self, db: Database, events: EventLog, clock: Clock, counts: dict[str, Counts], kept: int, newest: int
    ) -> None:
        """Use `open`."""
        self.counts = counts
        self._db = db
        self._events = events
        self._clock = clock
        self._kept = kept
        self._newest = newest
        """The number of the newest row; numbers are given here, so that what is being written can be counted on."""
        self._new: list[Firing] = []
        self._last: dict[str, _Row] = {}
        """The newest row of each trigger, on the disk or on its way there."""
        self._again: dict[str, _Row] = {}
        """Rows of `_last` that are to be written again, for they count more."""
        self._touched: set[str] = set()
        self._since_trim = 0
        self._writing = asyncio.Lock()

    @classmethod
    async def open(cls, db: Database, events: EventLog, clock: Clock, kept: int) -> Traces:
        """Go on with the counts that were kept; *kept* traces stay, the oldest go first."""
        rows = await db.query("SELECT name, fired, held_back, last_time, due_time FROM trigger_states")
        ((newest,),) = await db.query("SELECT max(seq) FROM sqlite_sequence WHERE name = 'trigger_firings'")
        return cls(db, events, clock, {name: Counts(*rest) for name, *rest in rows}, kept, newest or 0)

    def of(self, trigger: str) -> Counts:
        """Return the counts of one trigger."""
        return self.counts.setdefault(trigger, Counts())

    def touch(self, trigger: str) -> None:
        """Write the counts of a trigger with the next flush."""
        self._touched.add(trigger)

    @property
    def waiting(self) -> bool:
        """Say whether there is something to write."""
        return bool(self._new or self._again or self._touched)

    def add(
        self,
        trigger: str,
        workflow: str,
        code: str,
        reason: str,
        *,
        fired: bool = False,
        run_id: str = "",
        cause: int = 0,
    ) -> None:
        """Take one trace; `flush` writes it."""
        now = self._clock.now_ns()
        counts = self.of(trigger)
        if fired:
            counts.fired += 1
            counts.last_time = now
        else:
            counts.held_back += 1
        self._touched.add(trigger)
        firing = Firing(trigger, workflow, now, fired, code, reason[:LONGEST], 1, run_id, cause)
        for index in range(len(self._new) - 1, -1, -1):
            before = self._new[index]
            if before.trigger == trigger:
                if not fired and before.code == code:
                    self._new[index] = replace(firing, times=before.times + 1)
                    return
                break
        else:
            known = self._again.get(trigger) or self._last.get(trigger)
            if not fired and known is not None and known[1].code == code:
                self._again[trigger] = known[0], replace(firing, times=known[1].times + 1)
                return
        if len(self._new) < MOST_WAITING:
            self._new.append(firing)

    async def flush(self) -> None:
        """Write what waits, as one transaction."""
        async with self._writing:
            if self.waiting:
                await self._flush()

    async def _flush(self) -> None:
        new, again, touched = self._new, self._again, self._touched
        self._new, self._again, self._touched = [], {}, set()
        unit = self._db.unit()
        for name, (number, each) in again.items():  # before what is new: both may be of one trigger
            self._last[name] = number, each  # what comes while this is written counts on from here
            unit.execute(
                "UPDATE trigger_firings SET time = ?, reason = ?, times = ?, cause = ? WHERE id = ?",
                (each.time, each.reason, each.times, each.cause, number),
            )
        before = {each.trigger: self._last.get(each.trigger) for each in new}
        for each in new:
            self._newest += 1
            self._last[each.trigger] = self._newest, each
            unit.execute(
                f"INSERT INTO trigger_firings(id, {_COLUMNS}) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (self._newest, *_row(each)),
            )
            kind = "trigger.fired" if each.fired else "trigger.held_back"
            payload = {"workflow": each.workflow, "code": each.code, "run_id": each.run_id}
            self._events.add(unit, kind, "trigger", each.trigger, payload)
        for name in touched:
            counts = self.counts[name]
            unit.execute(
                "INSERT OR REPLACE INTO trigger_states VALUES(?, ?, ?, ?, ?)",
                (name, counts.fired, counts.held_back, counts.last_time, counts.due_time),
            )
        self._since_trim += len(new)
        if self._since_trim >= self._kept // 10:
            self._since_trim = 0
            unit.execute(
                "DELETE FROM trigger_firings WHERE id <= (SELECT max(id) FROM trigger_firings) - ?", (self._kept,)
            )
        written = {name: self._last[name] for name in before}

        def told(error: BaseException | None) -> None:
            if error is None:  # also where who asked for the traces has gone away meanwhile
                self._events.poke()

        try:
            await self._db.commit(unit, told)
        except LightfastError:  # the disk may be full: they are written when it is not
            for name, known in before.items():
                self._not_written(name, new, written[name][0], known)
            self._new, self._again = [*new, *self._new][:MOST_WAITING], again | self._again
            self._touched |= touched
            raise

    def _not_written(self, name: str, new: list[Firing], number: int, before: _Row | None) -> None:
        """Let the latest of *new* of a trigger, which was to be row *number*, wait with what came on top of it."""
        if (again := self._again.get(name)) is not None and again[0] == number:
            del self._again[name]
            at = max(index for index, each in enumerate(new) if each.trigger == name)
            new[at] = again[1]
        if (last := self._last.get(name)) is not None and last[0] == number:
            if before is None:
                del self._last[name]
            else:
                self._last[name] = before

    async def page(self, trigger: str = "", limit: int = 50) -> list[Firing]:
        """Return the newest traces first, of one trigger or of all."""
        await self.flush()
        where, params = ("WHERE name = ?", (trigger,)) if trigger else ("", ())
        rows = await self._db.query(
            f"SELECT {_COLUMNS} FROM trigger_firings {where} ORDER BY id DESC LIMIT ?",  # noqa: S608  (constants)
            (*params, limit),
        )
        return [Firing(row[0], row[1], row[2], bool(row[3]), *row[4:]) for row in rows]

    async def runs(self, trigger: str, most: int) -> list[str]:
        """Return the latest runs that a trigger started."""
        rows = await self._db.query(
            "SELECT run_id FROM trigger_firings WHERE name = ? AND run_id <> '' ORDER BY id DESC LIMIT ?",
            (trigger, most),
        )
        return [run_id for (run_id,) in rows]

    def forget(self, names: Mapping[str, object]) -> None:
        """Let go of what is kept in memory of triggers that are not in *names*; their rows stay."""
        for name in set(self._last) - set(names):
            self._last.pop(name)
            self._again.pop(name, None)


def _row(each: Firing) -> tuple[object, ...]:
    return (
        *(each.trigger, each.workflow, each.time, int(each.fired), each.code, each.reason, each.times),
        *(each.run_id, each.cause),
    )
