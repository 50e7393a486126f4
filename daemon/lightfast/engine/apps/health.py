"""The health of one joined application: when it was heard, and what it did wrong so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from lightfast.engine.apps.records import Vitals
from lightfast.engine.apps.wishes import Flight
from lightfast.sdk import AppChannel

log = structlog.get_logger("lightfast.apps")

NO_ANSWER = "it does not answer"
"""The reason of an application that neither answers wishes nor reports when asked to."""
LEFT_OUT = "a report was left out: "
"""How the reason of an application begins that reports what the context cannot hold."""
TELL_EVERY = 1.0
MOST_TOLD = 5
"""The most mistakes that are told within so many seconds: a flood of them is counted."""


class Health:
    """Counts what goes wrong; *degraded* is told of it, within bounds. Times are monotonic."""

    def __init__(self, mount: str, now: float, degraded: Callable[[str], None]) -> None:
        self._mount = mount
        self._degraded = degraded
        self._heard = now
        self._window = now
        self._told = 0
        self.malformed = 0
        self._refused = 0

    def heard(self, now: float) -> None:
        """Note that something came."""
        self._heard = now

    def left_out(self, now: float, reason: str) -> None:
        """Count a report that the context cannot hold."""
        self.malformed += 1
        self._tell(now, LEFT_OUT + reason)

    def refused(self, now: float, what: str, reason: str) -> None:
        """Count a change that the store refused."""
        self._refused += 1
        self._tell(now, f"a change was left out: {reason}: {what}")

    def _tell(self, now: float, reason: str) -> None:
        if now >= self._window + TELL_EVERY:
            self._window, self._told = now, 0
        self._told += 1
        if self._told <= MOST_TOLD:
            so_far = self.malformed + self._refused
            log.warning("an application reports what cannot be taken", mount=self._mount, reason=reason, so_far=so_far)
            self._degraded(reason)

    def vitals(self, now: float, flights: Sequence[Flight], channel: AppChannel, *, calls: int, backlog: int) -> Vitals:
        """Return the state of health; a *channel* may know when it heard of the application, and what it dropped."""
        # A link answers pings for the application: hearing one is hearing it.
        heard, bad_frames, dropped = getattr(channel, "signs", (self._heard, 0, 0))
        return Vitals(
            silent_s=max(0.0, now - max(heard, self._heard)),
            under_way=len(flights),
            oldest_s=now - min([flight.sent for flight in flights]) if flights else 0.0,
            calls=calls,
            backlog=backlog,
            malformed=self.malformed,
            refused=self._refused,
            bad_frames=bad_frames,
            dropped_signals=dropped,
        )
