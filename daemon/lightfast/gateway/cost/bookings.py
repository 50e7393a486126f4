"""Bookings on their way to the disk: numbered in the order in which they are committed, and none is lost.

What the disk does not take is kept and tried again with the next one; the row of its hold stays on the disk until then,
so that a start after a crash books its upper bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from lightfast.core.errors import LightfastError
from lightfast.gateway.cost import ledger
from lightfast.gateway.cost.budgets import Key, name_of, span
from lightfast.gateway.cost.ledger import Booking, Rows

log = structlog.get_logger("lightfast.gateway.cost")

MOST_OWED = 100_000
"""How many bookings wait for a disk that takes nothing; more are logged with their figures and let go."""


class Bookings:
    """Writes bookings, and says what was spent as of now, whether it is on the disk yet or not."""

    def __init__(self, db: Rows) -> None:
        self._db = db
        self._next = 1
        self._under_way: dict[int, Booking] = {}
        self._written: set[int] = set()
        self._owed: list[tuple[Booking, str]] = []
        self._loads = 0

    @property
    def owed(self) -> int:
        """How many bookings the disk has not taken."""
        return len(self._owed)

    async def start(self) -> None:
        """Go on after the newest row."""
        self._next = await ledger.last_row(self._db) + 1

    def write(self, booking: Booking, hold_id: str = "") -> asyncio.Future[bool]:
        """Hand a booking to the database, in place of its hold; the future says whether the disk took it."""
        owed, self._owed = self._owed, []
        for earlier, its_hold in owed:
            self._enqueue(earlier, its_hold)
        return self._enqueue(booking, hold_id)

    def _enqueue(self, booking: Booking, hold_id: str) -> asyncio.Future[bool]:
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        row_id, self._next = self._next, self._next + 1
        self._under_way[row_id] = booking
        unit = self._db.unit()
        booking.write(unit, row_id)
        if hold_id:
            unit.execute("DELETE FROM cost_holds WHERE hold_id = ?", (hold_id,))

        def done(error: BaseException | None) -> None:
            if error is None:
                self._on_disk(row_id)
            else:
                self._refused(row_id, booking, hold_id, error)
            if not written.done():
                written.set_result(error is None)

        try:
            self._db.enqueue(unit, done)
        except LightfastError as error:
            done(error)
        return written

    def _on_disk(self, row_id: int) -> None:
        if self._loads:
            self._written.add(row_id)
        else:
            self._under_way.pop(row_id, None)

    def _refused(self, row_id: int, booking: Booking, hold_id: str, error: BaseException) -> None:
        self._under_way.pop(row_id, None)
        kept = len(self._owed) < MOST_OWED
        if kept:
            self._owed.append((booking, hold_id))
        log.error(
            "what an attempt has cost cannot be written now" if kept else "what an attempt has cost is not written",
            operation=booking.operation_id,
            model=booking.model,
            nano_usd=booking.nano,
            reason=str(error),
        )

    async def flush(self) -> None:
        """Wait until everything that was handed over is on the disk, or refused by it."""
        owed, self._owed = self._owed, []
        for booking, hold_id in owed:
            self._enqueue(booking, hold_id)
        await self._db.commit(self._db.unit())

    async def spent(self, key: Key, now: Callable[[], int]) -> tuple[int, int]:
        """Return what was spent for a purse in its period, and the time that it is of; nothing waits after the sum."""
        self._loads += 1
        try:
            while True:
                time = now()
                first = min(self._under_way, default=self._next)
                total, held = await ledger.spent(self._db, key, time, first)
                start, end = span(key[2], now())
                if start <= time < end:
                    break  # else the period has ended meanwhile
            missing = [one for row_id, one in self._under_way.items() if row_id not in held]
            missing += [one for one, _ in self._owed]
            total += sum(one.nano for one in missing if one.time >= start and counted(key, one))
            return total, time
        finally:
            self._loads -= 1
            if not self._loads:
                for row_id in self._written:
                    self._under_way.pop(row_id, None)
                self._written.clear()


def counted(key: Key, booking: Booking) -> bool:
    """Say whether a purse counts a booking."""
    scope, name, _ = key
    return scope == "all" or name_of(booking.payer, scope) == name
