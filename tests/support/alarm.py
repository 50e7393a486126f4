"""A bound for what blocks: an alarm that wakes the main thread, wherever it waits."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class TookTooLong(AssertionError):
    """What was bounded did not come to its end; the traceback says where it waited."""


@contextmanager
def bounded(seconds: float, what: str) -> Iterator[None]:
    """Raise `TookTooLong` where the block stands after *seconds*; without a bound off the main thread, and on Windows."""
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def wake(_: int, __: FrameType | None) -> None:
        raise TookTooLong(f"{what} did not come to its end within {seconds:g} s")

    before = signal.signal(signal.SIGALRM, wake)
    began = time.monotonic()
    outer, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if outer:  # one bound within another: that goes on
            signal.setitimer(signal.ITIMER_REAL, max(outer - (time.monotonic() - began), 0.001))
