"""Long windows outlast a restart: what daily meters count is on the disk before it is used.

A slot is written with some headroom, so that most reservations find themselves covered and wait for nothing; one that
is not covered waits for the write. What is given back, and the headroom of slots that have ended, follows in batches:
a crash leaves as much as was used, or more, never less.
"""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import structlog

from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.limits.meter import GRAIN, KEPT_FROM, Meter, Slot

log = structlog.get_logger("lightfast.gateway")

HEADROOM = 0.01
"""The part of a limit that is written ahead of its use."""
LATER = 5.0
"""After how many seconds what was given back is written."""


class Rows(Protocol):
    """The part of the database used here."""

    def unit(self) -> Any:
        """Return an empty unit of work."""

    async def commit(self, unit: Any) -> None:
        """Commit it."""

    async def query(self, sql: str, params: Any = ()) -> list[tuple[Any, ...]]:
        """Read rows."""


class Stored:
    """Keeps the slots of meters with long windows in the table `limit_use`.

    Without *db* nothing is kept.
    """

    def __init__(self, db: Rows | None, clock: Clock, tasks: TaskGroup) -> None:
        self._db, self._clock, self._tasks = db, clock, tasks
        self._rows: dict[str, list[tuple[int, int, int]]] = {}
        self._meters: dict[str, Meter] = {}
        self._dirty: dict[Slot, Meter] = {}
        self._flushing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0
        self._closed = False

    async def start(self) -> None:
        """Read what is still within its window."""
        if self._db is None:
            return
        rows = await self._db.query(
            "SELECT meter, slot, amount, expire_time FROM limit_use WHERE expire_time > ? ORDER BY expire_time",
            (self._clock.now_ns(),),
        )
        for key, number, amount, expires in rows:
            self._rows.setdefault(key, []).append((number, amount, expires))

    def keep(self, meter: Meter) -> Meter:
        """Return *meter* with what it had counted before; from now on it is kept, if its window is long."""
        if self._db is None or meter.window < KEPT_FROM or meter.key in self._meters:
            return meter
        now, wall = self._clock.monotonic(), self._clock.now_ns()
        for number, amount, expires in self._rows.pop(meter.key, ()):
            left = (expires - wall) / 1e9
            slot = Slot(min(now, now + left - meter.window), amount)  # a wall clock that went back leans high
            slot.number, slot.written = number, amount
            self._last = max(self._last, number)
            meter.restore(slot)
        meter.changed = self._given_back
        self._meters[meter.key] = meter
        return meter

    def _given_back(self, meter: Meter, slot: Slot) -> None:
        self._dirty[slot] = meter
        if self._timer is None and not self._closed:
            self._timer = asyncio.get_running_loop().call_later(LATER, self._later)

    def _later(self) -> None:
        self._timer = None
        if not self._closed:
            self._start()

    async def cover(self, meter: Meter, slot: Slot) -> None:
        """Return when the disk holds at least what *slot* counts. Raises as a commit does."""
        while slot.amount > slot.written and meter.changed is not None and slot.alive:
            self._dirty[slot] = meter
            task = self._start()
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.cancelled():
                    raise Unavailable("the daemon is stopping", reason="STOPPING") from None
                raise

    def _start(self) -> asyncio.Task[None]:
        if self._flushing is None or self._flushing.done():
            self._flushing = self._tasks.start(self.flush(), "limits")
        return self._flushing

    async def flush(self, *, exact: bool = False) -> None:
        """Write what changed; *exact*: without headroom."""
        if self._db is None or not self._dirty:
            return
        dirty, self._dirty = self._dirty, {}
        now, wall = self._clock.monotonic(), self._clock.now_ns()
        unit = self._db.unit()
        grown: list[tuple[Slot, int]] = []
        for slot, meter in dirty.items():
            if not slot.alive:
                continue
            grain = meter.window / GRAIN
            open_still = now - slot.begin < grain and not exact
            amount = slot.amount + (int(meter.number * HEADROOM) if open_still and slot.amount > slot.written else 0)
            if not slot.number:
                self._last = slot.number = max(wall, self._last + 1)
            if amount <= slot.written:
                slot.written = amount  # before it is so on the disk: nobody may rely on more
            else:
                grown.append((slot, amount))
            end = slot.begin + grain if open_still else slot.end
            expires = wall + round((end + meter.window - now) * 1e9)
            unit.execute(
                "INSERT OR REPLACE INTO limit_use(meter, slot, amount, expire_time) VALUES(?, ?, ?, ?)",
                (meter.key, slot.number, amount, expires),
            )
        unit.execute("DELETE FROM limit_use WHERE expire_time <= ?", (wall,))
        try:
            await self._db.commit(unit)
        except LightfastError:
            self._dirty = dirty | self._dirty
            raise
        for slot, amount in grown:
            slot.written = amount
        for slot, meter in dirty.items():  # the headroom goes when the slot has ended, with whatever is written then
            if slot.alive and slot.written > slot.amount and not exact:
                self._given_back(meter, slot)

    async def close(self) -> None:
        """Write everything as it is."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        for meter in self._meters.values():
            self._dirty |= {slot: meter for slot in meter.slots if slot.written != slot.amount}
        try:
            await self.flush(exact=True)
        except LightfastError as error:
            log.warning("the counters of limits are not written: they lean high at the next start", why=error.message)
