"""How the work in the background gives way: to appends, whose threads need the interpreter at once, and to searches."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lightfast.core.clock import SYSTEM

SLICE = 8
"""Frames that are taken in between two rests: a fifth of a millisecond."""
HOT_S = 0.25
"""Appends are hot for so long after each one; else it rests only for a moment, and after longer slices."""
NEAR, FAR = 65_536, 131_072
"""So many frames that wait are many, and too many: then it rests only for a moment, whatever is appended."""
FEW_SHARE, MANY_SHARE = 49.0, 3.0
"""While appends are hot it rests so many times as long as it worked, while few and while many frames wait: it takes
up 2 or 25 % of the time then, which is some 800 or 10,000 frames a second."""
LONGEST_S = 0.25
LONG_SLICE_S = 0.001
MOMENT_S = 0.00005
"""So long a sleep hands the interpreter over to whoever waits for it."""


class Pace:
    """The pace of one thread in the background. `appended` and `hurry` are called by others."""

    def __init__(self) -> None:
        self._appended_at = float("-inf")
        self._hurried = 0
        self._lock = threading.Lock()
        self._urgent = threading.Event()
        self._stopped = False
        self._slice_began = SYSTEM.monotonic()

    def appended(self) -> None:
        """Note an append."""
        self._appended_at = SYSTEM.monotonic()

    @contextmanager
    def hurry(self) -> Iterator[None]:
        """Let nothing rest meanwhile: somebody waits for the work to be done."""
        with self._lock:
            self._hurried += 1
            self._urgent.set()
        try:
            yield
        finally:
            with self._lock:
                self._hurried -= 1
                if not (self._hurried or self._stopped):
                    self._urgent.clear()

    def stop(self) -> None:
        """Let nothing rest any more."""
        with self._lock:
            self._stopped = True
            self._urgent.set()

    def begin(self) -> None:
        """Note that a slice begins."""
        self._slice_began = SYSTEM.monotonic()

    def rest(self, behind: int = NEAR) -> None:
        """Rest after a slice, while *behind* frames wait to be taken in; the next slice begins when it returns."""
        now = SYSTEM.monotonic()
        worked = now - self._slice_began
        if behind >= FAR or now - self._appended_at >= HOT_S:
            if worked < LONG_SLICE_S:
                return
            self._urgent.wait(MOMENT_S)
        else:
            share = MANY_SHARE if behind >= NEAR else FEW_SHARE
            self._urgent.wait(max(MOMENT_S, min(LONGEST_S, worked * share)))
        self._slice_began = SYSTEM.monotonic()
