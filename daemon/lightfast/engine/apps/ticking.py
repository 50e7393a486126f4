"""Looks after deadlines as often as it has to; what came while this process stood still is read before it is judged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

STANDSTILL_S = 1.0
"""A look that comes so many seconds late is put off, once: until then what applications said meanwhile is read."""


class Ticker:
    """Calls *look* every so many *seconds* for as long as it is *wanted*; `arm` it when it may be wanted anew."""

    def __init__(self, seconds: float, wanted: Callable[[], bool], look: Callable[[], None]) -> None:
        self._seconds = seconds
        self._wanted = wanted
        self._look = look
        self._timer: asyncio.TimerHandle | None = None
        self._put_off = False

    def arm(self) -> None:
        """Look soon, where that is wanted."""
        if self._timer is None and self._wanted():
            loop = asyncio.get_running_loop()
            due = loop.time() + self._seconds
            self._timer = loop.call_at(due, self._tick, due)

    def stop(self) -> None:
        """Look no more, unless it is armed again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self, due: float) -> None:
        self._timer = None
        self._put_off = asyncio.get_running_loop().time() - due > STANDSTILL_S and not self._put_off
        try:
            if not self._put_off:
                self._look()
        finally:
            self.arm()  # also when a bridge raises in there: its wishes have deadlines all the same
