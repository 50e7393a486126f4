"""The beat that goes out, and the tempo that is tapped in."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import deque
from contextlib import suppress
from typing import Any, Protocol

from lightfast.core.clock import Clock
from lightfast.engine.transport.playhead import MAX_TEMPO, MIN_TEMPO, Playhead

PREFIX = "/lightfast/transport"
"""Where the outgoing addresses begin."""
MAX_WAIT_S = 4.0
"""The longest time between two taps of one tempo: less than 20 beats a minute are none."""
MAX_TAPS = 9
MIN_TAPS = 3
_EARLY = 1e-4
"""Seconds that a timer may come early."""


class BeatOut(Protocol):
    """Where the beat goes; the edge implements it."""

    def send(self, address: str, *arguments: Any) -> None:
        """Send one message to all who are listed; never waits or raises."""


class Beats:
    """Sends `playing` (0 or 1), `tempo`, `beat` (a whole number) and `position` (seconds) at each beat.

    They go out once more when it starts, stops, is sought or takes another tempo. `run` runs while it plays.
    """

    def __init__(self, head: Playhead, clock: Clock, out: BeatOut) -> None:
        self._head = head
        self._clock = clock
        self._out = out
        self._course = asyncio.Event()
        self._last = 0
        self.silent = False
        """Whether nothing is sent for now."""

    def changed(self) -> None:
        """Take note that it was started, stopped, sought, or has another tempo."""
        self._last = math.floor(self._head.beats(self._clock.monotonic()) + 1e-6)
        self._course.set()
        self.send(self._last)

    async def run(self) -> None:
        """Send each beat after that of the last `changed`, until it stops."""
        while self._head.playing:
            self._course.clear()
            wait = self._head.beat_in(self._last + 1, self._clock.monotonic())
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, wait)):
                    await self._course.wait()
            # It may have been sought, too, at the very moment the beat was due, or the leader slowed down meanwhile.
            if self._course.is_set() or self._head.beat_in(self._last + 1, self._clock.monotonic()) > _EARLY:
                continue
            self._last += 1
            self.send(self._last)

    def send(self, beat: int) -> None:
        """Send what holds now."""
        if self.silent:
            return
        now = self._clock.monotonic()
        self._out.send(PREFIX + "/playing", int(self._head.playing))
        self._out.send(PREFIX + "/tempo", self._head.tempo)
        self._out.send(PREFIX + "/position", self._head.seconds(now))
        self._out.send(PREFIX + "/beat", beat)


class Taps:
    """Finds the tempo of taps: the median of the times between the last ones."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=MAX_TAPS)

    def tap(self, time: float) -> float | None:
        """Take a tap at *time*, in seconds; return the tempo, from the third tap on."""
        if self._times and not 0 < time - self._times[-1] <= MAX_WAIT_S:
            self._times.clear()
        self._times.append(time)
        if len(self._times) < MIN_TAPS:
            return None
        from statistics import median  # with the first taps

        times = list(self._times)
        tempo = 60.0 / median([after - before for before, after in itertools.pairwise(times)])
        return round(tempo, 2) if MIN_TEMPO <= tempo <= MAX_TEMPO else None
