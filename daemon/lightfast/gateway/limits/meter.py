"""Meters: one limit each, counted so that no window of its length ever holds more.

A `Meter` keeps a log of what was taken and when (a sliding log): at any time t the amounts taken in (t - window, t]
are at most its number. Amounts that were taken within a `GRAIN`th of the window are kept together in one slot, which
leaves with its newest amount: memory is bounded by `GRAIN` + 1 slots, and the meter errs only towards waiting, by at
most window / `GRAIN`. `Places` count what is under way at once.

Amounts are whole numbers: requests, tokens, or millionths of a US dollar.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

from lightfast.gateway.limits.rules import KINDS

GRAIN = 600
KEPT_FROM = 3600.0
"""Windows of so many seconds and more are kept over a restart."""


class Slot:
    """What was taken within one grain of time; *end* is when it was taken last, on the monotonic clock.

    *written* is what the disk holds of it at least (see `gateway.limits.stored`), *number* its name there.
    """

    __slots__ = ("alive", "amount", "begin", "end", "number", "written")

    def __init__(self, begin: float, amount: int = 0) -> None:
        self.begin = self.end = begin
        self.amount = amount
        self.alive = True
        self.written = 0
        self.number = 0


class Meter:
    """One limit over a window: *number* may be taken in any *window* seconds.

    *key* names it on the disk and *source* says where the limit is from: `settings`, `service` or `shipped`.
    """

    __slots__ = (
        *("_alien", "_alien_end", "_grain", "_slots", "_total"),
        *("changed", "index", "key", "kind", "number", "source", "window"),
    )

    def __init__(self, kind: str, window: float, number: float, *, key: str = "", source: str = "settings") -> None:
        self.kind, self.window, self.number, self.key, self.source = kind, window, number, key, source
        self.index = KINDS.index(kind)
        self.changed: Callable[[Meter, Slot], None] | None = None
        """Set where the meter is kept on the disk: told of a slot whose amount went down."""
        self._grain = window / GRAIN
        self._slots: deque[Slot] = deque()
        self._total = 0
        self._alien = 0
        self._alien_end = 0.0

    def _expire(self, now: float) -> None:
        slots = self._slots
        while slots and now - slots[0].end >= self.window:
            slot = slots.popleft()
            slot.alive = False
            self._total -= slot.amount
        if self._alien and now >= self._alien_end:
            self._alien = 0

    def used(self, now: float) -> int:
        """Return what is taken of the window that ends now."""
        self._expire(now)
        return self._total + self._alien

    def fits(self, now: float, amount: int) -> bool:
        """Say whether *amount* may be taken now."""
        slots = self._slots
        if (slots and now - slots[0].end >= self.window) or self._alien:
            self._expire(now)
        return self._total + self._alien + amount <= self.number

    def wait(self, now: float, amount: int) -> float:
        """Return in how many seconds *amount* may be taken if nothing else is taken or given back; infinite: never."""
        if amount > self.number:
            return math.inf
        over = self.used(now) + amount - self.number
        if over <= 0:
            return 0.0
        ends = [(slot.end + self.window, slot.amount) for slot in self._slots]
        if self._alien:
            ends = sorted([*ends, (self._alien_end, self._alien)])
        for end, gone in ends:
            over -= gone
            if over <= 0:
                return max(0.0, end - now)
        return math.inf

    def take(self, now: float, amount: int) -> Slot:
        """Count *amount* from now on; what is given back later is given back to the slot that is returned."""
        slots = self._slots
        if slots and now - slots[-1].begin < self._grain:
            slot = slots[-1]
            slot.end = now
        else:
            slot = Slot(now)
            slots.append(slot)
        slot.amount += amount
        self._total += amount
        return slot

    def give(self, slot: Slot, amount: int) -> None:
        """Give back *amount* of what was taken in *slot*; a negative one was used beyond what was taken."""
        slot.amount -= amount
        if slot.alive:
            self._total -= amount
            if self.changed is not None and amount:
                self.changed(self, slot)

    def restore(self, slot: Slot) -> None:
        """Count a slot of before the start; called before anything is taken, the oldest first."""
        self._slots.append(slot)
        self._total += slot.amount

    def copy(self, other: Meter, now: float) -> None:
        """Count what *other* counts, a meter of the same kind and window that this one takes over from."""
        other._expire(now)
        for old in other._slots:
            slot = Slot(old.begin, old.amount)
            slot.end = old.end
            self.restore(slot)

    def told(self, now: float, used: float, reset_after: float) -> None:
        """Take in how much the service says is used of this window, and when it is whole again (negative: unknown).

        Where it has counted more than we have (another program uses the same key), the difference is counted here
        until the reset; each message replaces the one before.
        """
        self._expire(now)
        self._alien = max(0, math.ceil(used) - self._total)
        self._alien_end = now + (min(reset_after, self.window) if reset_after >= 0 else self.window)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """What is counted, the oldest first."""
        return tuple(self._slots)


class Busy(Protocol):
    """Something that counts what is under way."""

    inflight: int


class Places:
    """How much *owner* may have under way at once: *number* places."""

    __slots__ = ("_owner", "kind", "number", "source", "window")

    def __init__(self, owner: Busy, number: float, source: str = "settings") -> None:
        self.kind, self.window, self.number, self.source = "concurrency", 0.0, number, source
        self._owner = owner

    def used(self, now: float) -> int:
        """Return how many places are taken."""
        del now
        return self._owner.inflight

    def free(self) -> bool:
        """Say whether there is one more."""
        return self._owner.inflight + 1 <= self.number
