"""The hold: nothing goes out to the applications until somebody lets go, and nothing that was wished is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from lightfast.context.entry import Entry, Event, EventType
from lightfast.core.errors import Cancelled, FailedPrecondition

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


@dataclass(slots=True)
class Waiting:
    """What the context wants of one application while it is held, in bounds.

    Of wishes only the paths are kept, with the revision of the last one: the values are in the tree. Deletions
    and renames are kept as they came, up to `MAX_STRUCTURE`; beyond it *overflowed* says that only a comparison
    with the application can tell.
    """

    paths: dict[str, int] = field(default_factory=dict)
    signals: dict[str, None] = field(default_factory=dict)
    structure: list[Event] = field(default_factory=list)
    later: list[Callable[[], None]] = field(default_factory=list)
    overflowed: bool = False

    def take(self, events: Iterable[Event]) -> None:
        """Remember *events*, which would have become wishes."""
        for event in events:
            entry = event.entry
            if event.type is not EventType.SET:
                if len(self.structure) < MAX_STRUCTURE:
                    self.structure.append(event)
                else:
                    self.overflowed = True
            elif entry.signal:
                self.signals.pop(entry.path, None)
                self.signals[entry.path] = None
            else:
                self.paths[entry.path] = entry.revision

    def revision(self, path: str) -> int:
        """Return the revision of the wish that waits for *path*; 0 where none does."""
        return self.paths.get(path, 0)

    def in_order(self, pending: Iterable[Entry]) -> list[Entry]:
        """Return *pending* entries in the order in which they were wished."""
        return sorted(pending, key=lambda entry: self.paths.get(entry.path, entry.revision))
