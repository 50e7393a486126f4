"""The way from the driver's thread to the loop: a bounded queue.

Of what waits for one controller, wheel or pressure the newest counts, and keeps the place of the oldest. Everything
else keeps its order; where there is no room it is counted, and never dropped in silence.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MAX_WAITING = 4096
"""Messages that may wait for the loop: at a wire's full speed, four seconds."""
_CONTROL, _PITCH, _PRESSURE, _POLY = 0xB0, 0xE0, 0xD0, 0xA0
_NOTES = {0x80, 0x90}


@dataclass(slots=True)
class Heard:
    """One message, and the monotonic time at which the driver gave it."""

    message: bytes
    time: float


class Inbox:
    """Takes messages in any thread, and calls *wake* in *loop* when there are some."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None], *, ordered: frozenset[int] = frozenset()
    ) -> None:
        """*ordered* are the controllers of which each value counts, those in pairs."""
        self._loop = loop
        self._wake = wake
        self._ordered = ordered
        self._lock = threading.Lock()
        self._waiting: list[Heard] = []
        self._latest: dict[bytes, Heard] = {}
        self._woken = False
        self._closed = False
        self.dropped_notes = 0
        self.dropped = 0

    def put(self, message: bytes, now: float) -> None:
        """Take one message, which the driver gave at *now*."""
        key = self._key(message)
        with self._lock:
            if self._closed or not message:
                return
            old = self._latest.get(key) if key else None
            if old is not None:
                old.message, old.time = message, now
                return
            if len(self._waiting) >= MAX_WAITING:
                self.dropped += 1
                self.dropped_notes += message[0] & 0xF0 in _NOTES
                return
            heard = Heard(message, now)
            self._waiting.append(heard)
            if key:
                self._latest[key] = heard
            if self._woken:
                return
            self._woken = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop has ended, and with it all interest
            self._closed = True

    def take(self) -> Sequence[Heard]:
        """Return what waits, in the loop."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            self._latest.clear()
            self._woken = False
        return waiting

    def close(self) -> None:
        """Take nothing more."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._latest.clear()

    def _key(self, message: bytes) -> bytes:
        """Return what a later message of the same kind may replace it by; empty where none may."""
        kind = message[0] & 0xF0 if message else 0
        if kind == _CONTROL and len(message) == 3 and message[1] < 120 and message[1] not in self._ordered:
            return message[:2]
        if kind == _POLY:
            return message[:2]
        return message[:1] if kind in {_PITCH, _PRESSURE} else b""
