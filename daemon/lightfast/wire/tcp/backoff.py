"""Patience with those who come with a wrong key: each further one of a source waits longer."""

from __future__ import annotations

from collections import OrderedDict

from lightfast.core.clock import Clock

FREE = 3
"""Wrong keys that cost nothing: a stale key file is an honest mistake."""
FIRST = 0.1
LONGEST = 2.0
"""Seconds; less than a client waits for a greeting, so that an honest one behind a guesser still gets in."""
FORGIVEN = 30.0
"""Seconds without a wrong key after which a source starts afresh."""
MAX_SOURCES = 1024


class Backoff:
    """Counts wrong keys by source; remembers at most `MAX_SOURCES`, the latest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def failed(self, source: str) -> None:
        """Note a wrong key."""
        self._sources[source] = (self._count(source) + 1, self._clock.monotonic())
        self._sources.move_to_end(source)
        while len(self._sources) > MAX_SOURCES:
            self._sources.popitem(last=False)

    def delay(self, source: str) -> float:
        """Return how many seconds a new connection of *source* waits before it is listened to."""
        extra = self._count(source) - FREE
        return min(FIRST * 2.0 ** min(extra, 16), LONGEST) if extra >= 0 else 0.0

    def _count(self, source: str) -> int:
        count, last = self._sources.get(source, (0, 0.0))
        if count and self._clock.monotonic() - last > FORGIVEN:
            del self._sources[source]
            return 0
        return count
