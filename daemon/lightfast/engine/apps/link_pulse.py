"""Whether the other side of a link is alive: greeted in time, pinged, silent, dead."""

from __future__ import annotations

from enum import Enum

GREETING = 5.0
"""Seconds that an application has to prove itself and say `hello`."""
PING_EVERY = 2.0
SILENT_AFTER = 4.0
"""Seconds of silence after which it is shown as degraded: a ping went unanswered."""
DEAD_AFTER = 6.0
"""Seconds of silence after which the application is taken for lost."""
LOOK = 1.0
"""Seconds of silence that one look adds at most. Looks come four times a second: where one is later than this, the
daemon stood still, and what the application said meanwhile is still to be read."""


class Due(Enum):
    """What is to be done about the other side."""

    NOTHING = 0
    LATE = 1
    """It has not said hello in time."""
    SILENT = 2
    """It does not answer pings; said once."""
    DEAD = 3


class Pulse:
    """The signs of life of one connection; times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        self.heard = now
        self._accepted = self._pinged = self._looked = now
        self._quiet = now  # since when it is silent, without the time in which nobody could hear it
        self._silent = False

    def beat(self, now: float) -> bool:
        """Note that something came; say whether it had been silent until now."""
        self.heard = self._quiet = now
        was_silent, self._silent = self._silent, False
        return was_silent

    def due(self, now: float, *, joined: bool) -> Due:
        """Return what is to be done at *now*; it is a look."""
        stood = max(0.0, now - self._looked - LOOK)
        self._looked = now
        self._accepted += stood
        self._quiet = min(self._quiet + stood, now)
        if not joined:
            return Due.LATE if now - self._accepted >= GREETING else Due.NOTHING
        if now - self._quiet >= DEAD_AFTER:
            return Due.DEAD
        if now - self._quiet >= SILENT_AFTER and not self._silent:
            self._silent = True
            return Due.SILENT
        return Due.NOTHING

    def ping_due(self, now: float) -> bool:
        """Say whether it is time for a ping; then it counts as sent."""
        if now - self._pinged < PING_EVERY:
            return False
        self._pinged = now
        return True
