"""When assets were asked for last, so that the collector can tell what nobody needs."""

from __future__ import annotations

from lightfast.core.clock import Clock
from lightfast.storage.database import Database

MOST = 10_000
"""So many uses are kept before they are written; of more, the oldest are forgotten: they are the least of a use."""


class Uses:
    """The uses since the last `write`; what a crash loses of them matters to nobody."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock
        self._times: dict[str, int] = {}

    def __contains__(self, sha256: str) -> bool:
        """Say whether the asset was used since the last `write`."""
        return sha256 in self._times

    def note(self, sha256: str) -> None:
        """Note that the asset is used now."""
        self._times.pop(sha256, None)
        self._times[sha256] = self._clock.now_ns()
        if len(self._times) > MOST:
            del self._times[next(iter(self._times))]

    async def write(self) -> None:
        """Write down what was noted."""
        times, self._times = self._times, {}
        if times:
            unit = self._db.unit()
            unit.insert("UPDATE assets SET use_time = ? WHERE sha256 = ?", [(time, one) for one, time in times.items()])
            await self._db.commit(unit)
