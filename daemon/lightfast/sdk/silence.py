"""For how long an application has been silent: of the time in which it could have been heard here."""

from __future__ import annotations

import asyncio


class Silence:
    """Counts the silence of an application; after `begin`, `look` is called again and again, each time after a pause.

    Where this process stood still, what the application said meanwhile is still to be read, or it stood still as well:
    so a look that comes late adds no more than the pause that was meant.
    """

    __slots__ = ("_looked", "_since")

    def __init__(self) -> None:
        self._looked = self._since = asyncio.get_running_loop().time()

    def begin(self) -> None:
        """Begin to look: from now on what comes late is a standstill."""
        self._looked = asyncio.get_running_loop().time()

    def heard(self) -> None:
        """Take note of a sign of life."""
        self._since = asyncio.get_running_loop().time()

    def look(self, pause: float) -> float:
        """Return for how many seconds it has been silent; the last look was meant to be *pause* seconds ago."""
        now = asyncio.get_running_loop().time()
        late, self._looked = now - self._looked - pause, now
        if late > pause:
            self._since = min(self._since + late, now)
        return now - self._since
