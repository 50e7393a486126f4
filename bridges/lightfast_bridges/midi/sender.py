"""The thread that sends: each message in its turn, and clock and timecode when they are due.

The loop is no place for that: it is busy for milliseconds at a time. This thread sleeps until the next tick is due; how
late it then is, is measured. Messages wait in a bounded queue: of what waits for one controller the newest goes; all
else is taken or refused, never dropped.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from lightfast_bridges.midi.schedule import Schedule

MAX_WAITING = 1024
"""Messages that may wait for the port."""
END_S = 2.0
SAMPLES = 4096
"""Ticks and quarter frames over which lateness is measured: 40 seconds and more."""
Send = Callable[[bytes], None]
Done = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lateness:
    """How late ticks and quarter frames left, in seconds: the mean, the deviation, 99 of 100, and the worst."""

    count: int = 0
    mean: float = 0.0
    deviation: float = 0.0
    most: float = 0.0
    worst: float = 0.0


@dataclass(slots=True)
class _Waiting:
    messages: tuple[bytes, ...]
    done: Done | None
    key: object = None


class Sender:
    """Sends through *send*, which may block and raise `OSError`; *failed* is told, from the thread, when it does."""

    def __init__(self, send: Send, schedule: Schedule, failed: Done) -> None:
        self._send = send
        self._schedule = schedule
        self._failed = failed
        self._waiting: deque[_Waiting] = deque()
        self._keyed: dict[object, _Waiting] = {}
        self._wake = threading.Condition()
        self._closed = False
        self._late: deque[float] = deque(maxlen=SAMPLES)
        self.sent = 0
        self.skipped = 0
        self.began = 0.0
        """When the message began to be sent that `done` is called for; for the sender's thread alone."""
        self._thread = threading.Thread(target=self._run, name="midi-out", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Send what waits, and end; a driver that hangs is left to itself after two seconds."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join(END_S)

    def post(self, *messages: bytes, done: Done | None = None, key: object = None) -> bool:
        """Queue *messages*, which are one; they take the place of those with the same *key*.

        Return false where there is no room. *done* is called, from the thread, with an empty text when they were
        sent, else with why they were not.
        """
        with self._wake:
            if self._closed:
                return False
            old = self._keyed.get(key) if key is not None else None
            if old is not None:
                old.messages = messages
                return True
            if len(self._waiting) >= MAX_WAITING:
                return False
            waiting = _Waiting(messages, done, key)
            self._waiting.append(waiting)
            if key is not None:
                self._keyed[key] = waiting
            self._wake.notify()
            return True

    def steer(self, action: Callable[[Schedule, float], list[bytes]]) -> None:
        """Change the timeline; what that says at once goes before everything that waits."""
        with self._wake:
            for message in reversed(action(self._schedule, time.monotonic())):
                self._waiting.appendleft(_Waiting((message,), None))
            self._wake.notify()

    def place(self, now: float) -> tuple[bool, float, float, float]:
        """Return whether it plays, seconds, beats and the tempo, at *now*."""
        with self._wake:
            schedule = self._schedule
            return schedule.playing, schedule.seconds(now), schedule.beats(now), schedule.tempo

    def lateness(self) -> Lateness:
        """Return how late the last ticks and quarter frames were."""
        with self._wake:
            late = sorted(self._late)
        if not late:
            return Lateness()
        mean = sum(late) / len(late)
        deviation = math.sqrt(sum((one - mean) ** 2 for one in late) / len(late))
        return Lateness(len(late), mean, deviation, late[min(len(late) - 1, len(late) * 99 // 100)], late[-1])

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closed and not self._is_due():
                    due = self._schedule.next_time()
                    self._wake.wait(None if due is None else max(0.0, due - time.monotonic()))
                if self._closed and not self._waiting:
                    return
                timed = () if self._closed else self._take_due()
                waiting = self._waiting.popleft() if self._waiting and not timed else None
                if waiting is not None and waiting.key is not None:
                    self._keyed.pop(waiting.key, None)
            for message in timed:
                self._put((message,), None)
            if waiting is not None:
                self._put(waiting.messages, waiting.done)

    def _is_due(self) -> bool:
        due = self._schedule.next_time()
        return due is not None and due <= time.monotonic()

    def _take_due(self) -> tuple[bytes, ...]:
        now = time.monotonic()
        place = self._schedule.catch_up(now)
        if place is not None:
            self.skipped += 1
        due = self._schedule.take(now)
        if due is None:
            return tuple(place or ())
        self._late.append(max(0.0, now - due.time))
        return (*(place or ()), *due.messages)

    def _put(self, messages: tuple[bytes, ...], done: Done | None) -> None:
        """Send messages that are one: what follows one that did not go would be half a value."""
        reason = ""
        for message in messages:
            self.began = time.monotonic()
            try:
                self._send(message)
            except Exception as error:  # noqa: BLE001  # each driver has errors of its own, and the thread must go on
                reason = f"the port does not take it: {error}"
                self._failed(reason)
                break
            self.sent += 1
        if done is not None:
            done(reason)
