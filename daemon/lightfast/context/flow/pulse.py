"""The pulse: how late the loop is, which is what every interactive call waits for before anything else."""

from __future__ import annotations

import asyncio

from lightfast.core.clock import SYSTEM

INTERVAL = 0.01
"""Seconds between two beats."""
GRAIN = 0.001
"""Seconds that a timer may come late on an idle loop: uvloop counts milliseconds."""
AFTERGLOW = 1.0
"""Seconds that it beats on after `touch`."""
_UP, _DOWN = 0.5, 0.1
"""How much of a beat counts: trouble is believed quickly, and calm slowly."""


class Pulse:
    """Beats only while somebody holds it (`join`, `leave`), or touched it lately: an idle daemon is not woken."""

    __slots__ = ("_due", "_holders", "_timer", "_until", "lag", "target")

    def __init__(self, target: float) -> None:
        """*target* is the lateness, in seconds, from which the loop is `pressed`."""
        self.target = target
        self.lag = 0.0
        self._due = 0.0
        self._holders = 0
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def pressed(self) -> bool:
        """Say whether interactive work waits for longer than its target."""
        return self.lag > self.target

    def join(self) -> None:
        """Begin to measure, once for each `leave`."""
        self._holders += 1
        self._begin()

    def leave(self) -> None:
        """Stop when nobody is left."""
        self._holders -= 1

    def touch(self) -> None:
        """Measure for a second."""
        self._until = SYSTEM.monotonic() + AFTERGLOW
        self._begin()

    def _begin(self) -> None:
        if self._timer is None:
            self.lag = 0.0
            self._arm()

    def _arm(self) -> None:
        self._due = SYSTEM.monotonic() + INTERVAL
        self._timer = asyncio.get_running_loop().call_later(INTERVAL, self._beat)

    def _beat(self) -> None:
        now = SYSTEM.monotonic()
        late = max(0.0, now - self._due - GRAIN)
        self.lag += (late - self.lag) * (_UP if late > self.lag else _DOWN)
        if self._holders or now < self._until:
            self._arm()
        else:
            self._timer = None
            self.lag = 0.0
