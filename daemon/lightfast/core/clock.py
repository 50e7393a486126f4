"""The one place that reads a clock, so that tests can hold it still."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time and monotonic time."""

    def now_ns(self) -> int:
        """Return the wall time in nanoseconds since 1970, UTC."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""


class SystemClock:
    """The machine's clocks."""

    now_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)


class StillClock:
    """A clock for tests: it moves only by `advance`."""

    def __init__(self, now_ns: int = 1_800_000_000_000_000_000) -> None:
        self._now_ns = now_ns
        self._monotonic = 0.0

    def now_ns(self) -> int:
        """Return the wall time it was set to."""
        return self._now_ns

    def monotonic(self) -> float:
        """Return the seconds it was advanced by."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both times on."""
        self._now_ns += round(seconds * 1e9)
        self._monotonic += seconds

    def set_back(self, seconds: float) -> None:
        """Set the wall time back, as somebody may do with that of a machine."""
        self._now_ns -= round(seconds * 1e9)


SYSTEM = SystemClock()
