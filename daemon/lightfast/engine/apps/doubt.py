"""When the tree and an application may differ without either of them saying so: then all is to be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lightfast.context.entry import Entry
from lightfast.core.clock import Clock
from lightfast.engine.apps.wishes import Wishes


class Doubt:
    """Whether all is to be compared, and since when: as soon as nothing is under way, for until then it may change."""

    def __init__(self, clock: Clock, wishes: Wishes, began: Callable[[], None]) -> None:
        """*began* is told of each doubt: somebody has to ask whether it is due."""
        self._clock = clock
        self._wishes = wishes
        self._began = began
        self._since: float | None = None

    def __bool__(self) -> bool:
        return self._since is not None

    def begin(self) -> None:
        """Note that only a comparison with the application can tell."""
        if self._since is None:
            self._since = self._clock.monotonic()
        self._began()

    def crossed(self, entries: Iterable[Entry], revision: int = 0) -> None:
        """Note that *entries* were renamed or deleted, with *revision*: this may cross wishes that are on their way.

        By their names alone nobody can tell then which of two objects was meant; those with an id say it themselves.
        """
        if not all(entry.object_id for entry in entries) and self._wishes.others(revision):
            self.begin()

    def due(self, now: float, patience: float, *, calm: bool) -> bool:
        """Say, once, whether it is time to compare: all is *calm*, or has not been for *patience* seconds."""
        if self._since is None or not (calm or now - self._since >= patience):
            return False
        self._since = None
        return True
