"""Statistics of signals, for who asks: smallest, largest, mean and rate of what arrived in the last seconds.

To ask is to write `/statistics/NAME`, a map with the `pattern` of the signals and the `window_s` in seconds; to take
the request back is to delete it. The answer stands at `/lightfast/signals/NAME`, a map by path, brought up to date
once a second for as long as samples come. Without a request nothing is counted.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import structlog

from lightfast.context.entry import Delete, Entry, Mutation, Set
from lightfast.context.flow.flow import Flow
from lightfast.context.flow.processors import Pool
from lightfast.context.store import Store
from lightfast.context.watch import Batch, bus_of
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast_link.path import compile_pattern

log = structlog.get_logger("lightfast.statistics")

ASKED = "/statistics"
ANSWERED = "/lightfast/signals"
ORIGIN = "daemon"
INTERVAL = 1.0
"""Seconds between two answers."""
WINDOW = 10.0
MOST_WINDOW = 3600.0
MOST_REQUESTS = 32
MOST_PATHS = 100
MOST_SAMPLES = 20_000
"""Of one path in one window; of more, the oldest are left out."""

Samples = dict[str, list[tuple[float, float]]]


def measured(samples: Samples, window: float) -> dict[str, Any]:
    """Return the statistics of *samples*, (seconds, value) by path, which came in *window* seconds."""
    found: dict[str, Any] = {}
    for path, pairs in sorted(samples.items()):
        values = [value for _, value in pairs]
        span = pairs[-1][0] - pairs[0][0]
        found[path] = {
            "count": len(values),
            "min": min(values),
            "max": max(values),
            "mean": sum(values) / len(values),
            "rate_hz": (len(values) - 1) / span if span > 0 else len(values) / window,
        }
    return found


class _Request:
    """One request: what it listens to, and what came."""

    def __init__(self, pattern: str, window: float, clock: Callable[[], float]) -> None:
        self.pattern = pattern
        self.window = window
        self.samples: dict[str, deque[tuple[float, float]]] = {}
        self.news = False
        self.leave: Callable[[], None] = lambda: None
        self._clock = clock

    def hear(self, batch: Batch) -> None:
        """Take the numbers of a batch."""
        now = self._clock()
        for event in batch.events:
            entry = event.entry
            value = entry.value if entry.reported is None else entry.reported
            if not entry.signal or entry.revision or type(value) not in {int, float}:
                continue
            known = self.samples.get(entry.path)
            if known is None:
                if len(self.samples) >= MOST_PATHS:
                    continue
                known = self.samples[entry.path] = deque(maxlen=MOST_SAMPLES)
            known.append((now, float(value)))  # type: ignore[arg-type]  # a number
            self.news = True

    def take(self) -> Samples:
        """Return what lies in the window, and forget what is older."""
        begin = self._clock() - self.window
        for path in list(self.samples):
            known = self.samples[path]
            while known and known[0][0] < begin:
                known.popleft()
            if not known:
                del self.samples[path]
        self.news = False
        return {path: list(known) for path, known in self.samples.items()}


class Statistics:
    """Answers requests; `start` begins with those that stand in the tree."""

    def __init__(self, store: Store, pool: Pool, flow: Flow, *, interval: float = INTERVAL) -> None:
        """*interval* in seconds lies between two answers."""
        self._store = store
        self._bus = bus_of(store)
        self._pool = pool
        self._flow = flow
        self._interval = interval
        self._requests: dict[str, _Request] = {}
        self._tasks = TaskGroup("statistics")
        self._asked = asyncio.Event()
        self._gone: list[str] = []
        self._stop: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Listen for requests."""
        self._stop = self._bus.listen([ASKED + "/*"], self._on_request)
        self._look(self._store.select(ASKED + "/*"))
        self._tasks.start(self._run(), "answer")

    async def close(self) -> None:
        """Leave the answers as they are."""
        self._stop()
        for request in self._requests.values():
            request.leave()
        await self._tasks.close()

    def _on_request(self, batch: Batch) -> None:
        for event in batch.events:
            for path in {event.entry.path, event.source} - {""}:
                entry = self._store.get(path) if compile_pattern(ASKED + "/*").matches(path) else None
                if entry is None:
                    self._end(path.rpartition("/")[2])
                else:
                    self._look([entry])

    def _look(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            name = entry.path.rpartition("/")[2]
            self._end(name)
            body = entry.value if isinstance(entry.value, dict) else {}
            pattern, window = body.get("pattern"), body.get("window_s", WINDOW)
            try:
                compile_pattern(pattern if isinstance(pattern, str) else "")
            except ValueError as error:
                log.warning("a request for statistics is no pattern", path=entry.path, error=str(error))
                continue
            if not isinstance(window, (int, float)) or not 0 < window <= MOST_WINDOW:
                log.warning("a request for statistics has no window", path=entry.path, most=MOST_WINDOW)
                continue
            if len(self._requests) >= MOST_REQUESTS:
                log.warning("there are too many requests for statistics", path=entry.path, most=MOST_REQUESTS)
                continue
            request = _Request(str(pattern), float(window), asyncio.get_running_loop().time)
            request.leave = self._bus.listen([request.pattern], request.hear)
            self._requests[name] = request
            self._gone = [each for each in self._gone if each != name]
            self._asked.set()

    def _end(self, name: str) -> None:
        request = self._requests.pop(name, None)
        if request is not None:
            request.leave()
            self._gone.append(name)
            self._asked.set()

    async def _run(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            while self._requests or self._gone:
                changes: list[Mutation] = [Delete(f"{ANSWERED}/{name}") for name in self._gone]
                self._gone = []
                fresh = [(name, request) for name, request in self._requests.items() if request.news]
                try:
                    async with self._flow.background(name="statistics"):
                        await self._answer(changes, fresh)
                except LightfastError as error:
                    log.warning("statistics could not be published", reason=error.message)
                await asyncio.sleep(self._interval)

    async def _answer(self, changes: list[Mutation], fresh: Sequence[tuple[str, _Request]]) -> None:
        for name, request in fresh:
            found = await self._pool.run(measured, request.take(), request.window)
            if self._requests.get(name) is request:
                changes.append(Set(f"{ANSWERED}/{name}", found))
        if changes:
            await self._store.apply(changes, origin=ORIGIN, label="statistics", trusted=True)
