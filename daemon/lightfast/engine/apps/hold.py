"""The hold: nothing goes out to the applications until somebody lets go, and nothing that was wished is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lightfast.context.entry import Entry, Event, EventType
from lightfast.core.errors import Cancelled, FailedPrecondition
from lightfast_link.value import Value

MAX_STRUCTURE = 10_000
"""The most deletions and renames remembered for one application; beyond it, all is compared when the hold ends."""


@dataclass(slots=True)
class Hold:
    """Whether applications are held, and why: one for all of them. An empty *reason* means that they are not."""

    reason: str = ""

    def refuse(self, mount: str, command: str) -> None:
        """Raise `FailedPrecondition` while the applications are held."""
        if self.reason:
            raise FailedPrecondition(
                f"{mount} gets no command, {command!r} neither: {self.reason}; release it first",
                reason="HELD",
                metadata={"mount": mount, "held": self.reason},
            )

    def cancelled(self, mount: str, command: str) -> Cancelled:
        """Return what a command under way ends with when the hold begins."""
        return Cancelled(
            f"{command!r} in {mount} was given up: {self.reason}",
            reason="HELD",
            metadata={"mount": mount, "held": self.reason},
        )


def settles(event: Event) -> bool:
    """Say whether *event* only commits what a signal holds since before: that was told as it was written."""
    return event.entry.signal and event.previous is not None and event.previous.version == event.entry.version


@dataclass(slots=True)
class Waiting:
    """What the context wants of one application while it is held, in bounds.

    Of wishes only the paths are kept, with the revision of the last one: the values are in the tree. Not so those of
    signals, of which the tree shows what the application reports meanwhile. Deletions and renames are kept as they
    came, up to `MAX_STRUCTURE`; beyond it *overflowed* says that only a comparison with the application can tell.
    """

    paths: dict[str, int] = field(default_factory=dict)
    signals: dict[str, Value | None] = field(default_factory=dict)
    structure: list[Event] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)
    overflowed: bool = False

    def take(self, events: Iterable[Event], own: str = "") -> None:
        """Remember *events*, which would have become wishes; those of the application, *own*, only rename some."""
        for event in events:
            entry = event.entry
            if event.type is EventType.MOVE and event.source in self.paths:
                self.paths[entry.path] = self.paths.pop(event.source)
            if event.type is EventType.MOVE and event.source in self.signals:
                self.signals[entry.path] = self.signals.pop(event.source)
            if entry.origin == own:
                continue
            if event.type is not EventType.SET:
                if len(self.structure) < MAX_STRUCTURE:
                    self.structure.append(event)
                else:
                    self.overflowed = True
            elif settles(event):
                continue  # it went out before the hold, or waits here already
            elif entry.signal:
                self.signals.pop(entry.path, None)
                self.signals[entry.path] = entry.value
            else:
                self.paths[entry.path] = entry.revision

    def revision(self, path: str) -> int:
        """Return the revision of the wish that waits for *path*; 0 where none does."""
        return self.paths.get(path, 0)

    def in_order(self, pending: Iterable[Entry]) -> list[Entry]:
        """Return *pending* entries in the order in which they were wished."""
        return sorted(pending, key=lambda entry: self.paths.get(entry.path, entry.revision))
