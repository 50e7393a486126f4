"""Which entries go with which lease."""

from __future__ import annotations

from collections.abc import Iterable

from lightfast.context.entry import Entry, Event, EventType
from lightfast.context.stub import Held


class Leased:
    """The paths by lease, followed through every event."""

    def __init__(self, entries: Iterable[Held]) -> None:
        """Look at *entries*; those that are not in memory have no lease."""
        self._paths: dict[str, set[str]] = {}
        for entry in entries:
            if type(entry) is Entry and entry.lease:
                self.add(entry)

    def add(self, entry: Entry) -> None:
        """Note that *entry* goes with its lease."""
        self._paths.setdefault(entry.lease, set()).add(entry.path)

    def paths(self, lease: str) -> list[str]:
        """Return the paths of the entries that go with *lease*, ordered."""
        return sorted(self._paths.get(lease, ()))

    def follow(self, events: Iterable[Event]) -> None:
        """Note what *events*, in their order, mean."""
        for event in events:
            previous, entry = event.previous, event.entry
            if previous is not None and previous.lease:
                paths = self._paths.get(previous.lease)
                if paths is not None:
                    paths.discard(previous.path)
                    if not paths:
                        del self._paths[previous.lease]
            if entry.lease and event.type is not EventType.DELETE:
                self.add(entry)
