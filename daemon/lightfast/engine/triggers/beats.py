"""Tells of beats as the timeline reaches them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from lightfast.engine.workflows.records import TriggerSpec

_EARLY = 1e-3
"""Beats that a timer may come early."""
_LONGEST_S = 3600.0
RATE_HZ = 5.0


class Timeline(Protocol):
    """What is needed of `lightfast.engine.transport.transport.Transport`."""

    def record(self) -> Any:
        """Return the timeline as it is now: `playing`, `beats`, `tempo`."""

    def watch(self, max_rate_hz: float = 10.0) -> AsyncGenerator[Any, None]:
        """Yield the timeline at each change, and now and then while it plays."""


class BeatWatch:
    """Calls *reached* with a trigger, the beat (from 0) and the tempo. `run` runs until it is cancelled."""

    def __init__(
        self, timeline: Timeline, specs: Sequence[TriggerSpec], reached: Callable[[TriggerSpec, float, float], None]
    ) -> None:
        self._timeline = timeline
        self._specs = specs
        self._reached = reached
        self._position: float | None = None

    async def run(self) -> None:
        """Follow the timeline."""
        async with aclosing(self._timeline.watch(RATE_HZ)) as changes:
            waiting: asyncio.Future[Any] = asyncio.ensure_future(anext(changes))
            try:
                while True:
                    self.look(self._timeline.record())
                    await asyncio.wait([waiting], timeout=self.wait(self._timeline.record()))
                    if waiting.done():
                        waiting.result()
                        waiting = asyncio.ensure_future(anext(changes))
            finally:
                waiting.cancel()
                await asyncio.wait([waiting])

    def look(self, record: Any) -> None:
        """Tell of what was passed since the last look; a jump passes nothing."""
        now, before = float(record.beats), self._position
        self._position = now
        if not record.playing:
            self._position = None
            return
        if before is None:
            before = now - 2 * _EARLY  # it begins to play here
        if not 0 <= now - before <= 2 * record.tempo / 60:  # more than two seconds' worth: somebody moved it
            before = now - 2 * _EARLY
        for spec in self._specs:
            beat = _passed(spec, before + _EARLY, now + _EARLY)
            if beat is not None:
                self._reached(spec, beat, float(record.tempo))

    def wait(self, record: Any) -> float:
        """Return the seconds until a trigger is next due; long where nothing plays."""
        if not record.playing or record.tempo <= 0:
            return _LONGEST_S
        now = float(record.beats)
        beats = [_next(spec, now + _EARLY) - now for spec in self._specs]
        return max(0.0, min([_LONGEST_S, *(each * 60.0 / float(record.tempo) for each in beats)]))


def _passed(spec: TriggerSpec, after: float, until: float) -> float | None:
    """Return the last beat of *spec* in (*after*, *until*]."""
    if spec.at >= 0:
        return spec.at if after < spec.at <= until else None
    beat = math.floor(until / spec.every) * spec.every
    return beat if after < beat <= until and beat >= 0 else None


def _next(spec: TriggerSpec, after: float) -> float:
    if spec.at >= 0:
        return spec.at if spec.at > after else math.inf
    return (math.floor(after / spec.every) + 1) * spec.every
