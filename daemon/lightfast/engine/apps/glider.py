"""The way of a parameter from one value to another, for one application: see `glides`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightfast.engine.apps.glides import Glides
from lightfast.engine.apps.join import Join
from lightfast.engine.apps.outgoing import Outgoing
from lightfast_link.value import Value


class Glider:
    """Sends what is on its way. What was wished last is what counts, and that is wished as ever."""

    def __init__(
        self,
        outgoing: Outgoing,
        glides: Glides,
        join: Join,
        read_back: Callable[[], None],
        arm: Callable[[], None],
    ) -> None:
        self._outgoing = outgoing
        self._glides = glides
        self._join = join
        self._read_back = read_back
        self._arm = arm

    def send(self, values: Sequence[tuple[str, Value]], now: float) -> bool:
        """Send values, by absolute path, at the monotonic time *now*; nobody answers them, and nothing records them.

        What the application reports of these paths is no change of its own as long as it lies between what was sent;
        one for which it reports something else gets nothing more: its user has their hand on it.
        Returns false where it takes nothing now: it is not in step, or held.
        """
        if not self._join.flowing:
            return False
        free = [each for each in values if not self._glides.taken(each[0])]
        try:
            for path, value in free:
                self._glides.sent(path, value, now)  # before the channel: some report before that returns
            return self._outgoing.on_the_way(free)
        finally:
            self._arm()

    def end(self, paths: Sequence[str], *, read_back: bool) -> None:
        """End the way of *paths*; with *read_back* the application is asked where that leaves it."""
        for path in paths:
            self._glides.end(path)
        if read_back and self._join.flowing:
            self._read_back()
        self._arm()
