"""The guard: the one place that says what may not be done while a show is locked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import structlog

from lightfast.core.errors import FailedPrecondition

log = structlog.get_logger("lightfast.show")

SHOW_LOCKED = "SHOW_LOCKED"
UNLOCK = "unlock it first (lightfast show unlock)"


class Lock(msgspec.Struct, frozen=True):
    """A show that is locked: by whom, since when (in ns since 1970), and what they said."""

    by: str
    since: int
    reason: str = ""

    def __str__(self) -> str:
        said = f" ({self.reason})" if self.reason else ""
        return f"the show is locked by {self.by} since {clock_time(self.since)}{said}"


class Guard:
    """Asked by every room before it changes what a show stands on; `lock` is `None` while there is none."""

    def __init__(self) -> None:
        self.lock: Lock | None = None
        self._waiting: list[Callable[[], None]] = []

    def check(self, what: str) -> None:
        """Raise `FailedPrecondition` (SHOW_LOCKED) if *what*, for example `a link edit`, has to wait."""
        lock = self.lock
        if lock is not None:
            raise FailedPrecondition(
                f"{what} is refused: {lock}; {UNLOCK}",
                reason=SHOW_LOCKED,
                metadata={"locked_by": lock.by, "locked_since": clock_time(lock.since), "what": what},
            )

    def why_not(self) -> str:
        """Return why nothing may be loaded anew now, or the empty text."""
        return "" if self.lock is None else f"{self.lock}; it follows when it is unlocked"

    def follow(self, action: Callable[[], None]) -> None:
        """Call *action* at every unlock: it does what was put off."""
        self._waiting.append(action)

    def unlocked(self) -> None:
        """Forget the lock, and let everybody do what they put off."""
        self.lock = None
        for action in self._waiting:
            try:
                action()
            except Exception:
                log.exception("what was put off could not be done", action=getattr(action, "__qualname__", ""))


def clock_time(nanoseconds: int) -> str:
    """Return a time as a person reads it: UTC, to the second."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
