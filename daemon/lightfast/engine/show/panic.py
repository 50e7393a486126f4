"""Panic: everything the machine does by itself stops at once, and stays stopped until it is released."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec
import structlog

from lightfast.core.errors import FailedPrecondition
from lightfast.engine.show.guard import clock_time

log = structlog.get_logger("lightfast.show")

PANIC = "PANIC"


@runtime_checkable
class Holder(Protocol):
    """A room that writes by itself, and can be held. Both methods return at once and never wait."""

    held: str
    """Why it is held; empty while it is not."""

    def hold(self, reason: str) -> None:
        """Stop: nothing is written after this returned; calling it again changes only the reason."""

    def release(self) -> None:
        """Go on with what comes from now on."""


class Stopped(msgspec.Struct, frozen=True):
    """A panic: by whom, since when (in ns since 1970), and what they said."""

    by: str
    since: int
    reason: str = ""

    def __str__(self) -> str:
        said = f" ({self.reason})" if self.reason else ""
        return f"everything was stopped by {self.by} at {clock_time(self.since)}{said}"


class Panic:
    """Holds all rooms that joined. `stopped` is `None` while there is none."""

    def __init__(self) -> None:
        self.stopped: Stopped | None = None
        self._holders: dict[str, Holder] = {}

    @property
    def holders(self) -> tuple[str, ...]:
        """Return the names of the rooms that are held in a panic."""
        return tuple(self._holders)

    def join(self, name: str, room: object) -> bool:
        """Let a room take part, where it can be held; one that joins in a panic is held at once. Say whether."""
        if not isinstance(room, Holder):
            return False
        self._holders[name] = room
        if self.stopped is not None:
            room.hold(str(self.stopped))
        return True

    def hold(self, stopped: Stopped) -> tuple[str, ...]:
        """Hold every room; return the names of those that failed, which does not keep the others."""
        self.stopped = stopped
        reason = str(stopped)
        return tuple([name for name, room in self._holders.items() if not _done(name, lambda r=room: r.hold(reason))])

    def release(self) -> tuple[str, ...]:
        """Let every room go on; return the names of those that failed."""
        self.stopped = None
        return tuple([name for name, room in self._holders.items() if not _done(name, room.release)])

    def check(self, what: str) -> None:
        """Raise `FailedPrecondition` (PANIC) if *what* must not begin now."""
        if self.stopped is not None:
            raise FailedPrecondition(
                f"{what} is refused: {self.stopped}; release it first (lightfast panic --release)",
                reason=PANIC,
                metadata={"stopped_by": self.stopped.by, "what": what},
            )


def _done(name: str, action: object) -> bool:
    try:
        action()  # type: ignore[operator]
    except Exception:
        log.exception("a room could not be held or released", room=name)
        return False
    return True
