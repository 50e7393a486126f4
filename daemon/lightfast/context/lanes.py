"""One watcher's queue: states kept in order and bounded, signals conflated."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from lightfast.context.entry import Entry, Event
from lightfast.context.watch_batch import MAX_BATCH_SIZE, Batch, merged
from lightfast.core.errors import Exhausted, LightfastError

if TYPE_CHECKING:
    from lightfast.context.watch_bus import Bus

MAX_QUEUED_EVENTS = 20_000
"""How many events may wait for one watcher."""
MAX_QUEUED_SIZE = 8 << 20
"""The same, in roughly the bytes of the serialized form."""


class Subscription:
    """What waits for one watcher.

    State batches wait in order, up to a bound; a watcher that falls behind it is cut off and told the
    revision to resume from. Signals that cannot go at once wait in one dictionary, the latest value of
    a path wins, and a later state event of the same path takes the signal's place.
    """

    __slots__ = (
        "_bus",
        "_due",
        "_end",
        "_interval",
        "_max_events",
        "_max_size",
        "_queue",
        "_queued_events",
        "_queued_size",
        "_signals",
        "_waiter",
        "close",
        "revision",
    )

    def __init__(
        self,
        bus: Bus,
        revision: int,
        *,
        max_rate_hz: float = 0.0,
        max_events: int = MAX_QUEUED_EVENTS,
        max_size: int = MAX_QUEUED_SIZE,
    ) -> None:
        """Begin after *revision*; *close* is set by the bus that holds the subscription."""
        self.revision = revision
        self.close: Callable[[], None] = _nothing
        self._bus = bus
        self._interval = 1.0 / max_rate_hz if max_rate_hz > 0 else 0.0
        self._max_events = max_events
        self._max_size = max_size
        self._queue: deque[Batch] = deque()
        self._queued_events = 0
        self._queued_size = 0
        self._signals: dict[str, Event] = {}
        self._due = 0.0
        self._end: LightfastError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def idle(self) -> bool:
        """Say whether nothing waits."""
        return not self._queue and not self._signals

    def offer(self, batch: Batch, states: Batch | None, signals: tuple[Event, ...], now: float) -> None:
        """Take a tick's *batch*, which is *states* and *signals* together; called by the bus.

        An idle watcher gets the shared batch; one that is behind keeps the states in order and the
        signals conflated.
        """
        if self._end is not None:
            return
        if self.idle and (not signals or now >= self._due):
            self._put(batch)
        else:
            if states is not None:
                if self._signals:
                    supersede(self._signals, states.events)
                self._put(states)
            if signals and self._end is None:
                self._conflate(signals)
        self._wake()

    def end(self, error: LightfastError) -> None:
        """Let the watcher's next wait raise *error*; what still waits is dropped."""
        if self._end is None:
            self._end = error
            self._queue.clear()
            self._signals.clear()
            self._wake()

    async def next(self) -> Batch:
        """Wait for the next batch; raise what ended the subscription."""
        loop = asyncio.get_running_loop()
        while True:
            if self._end is not None:
                raise self._end
            now = loop.time()
            if (batch := self._take(now)) is not None:
                self.revision = batch.revision
                if batch.has_signals:
                    self._due = now + self._interval
                return batch
            self._waiter = loop.create_future()
            alarm = loop.call_at(self._due, self._wake) if self._signals else None
            try:
                await self._waiter
            finally:
                self._waiter = None
                if alarm is not None:
                    alarm.cancel()

    def _put(self, batch: Batch) -> None:
        events = self._queued_events + len(batch.events)
        size = self._queued_size + batch.size
        # One transaction that is larger than the bound still passes when nothing else waits:
        # cutting the watcher would only bring it back to the same transaction.
        if self._queue and (events > self._max_events or size > self._max_size):
            self.end(
                Exhausted(
                    f"the watcher is too slow: {events} events wait for it; "
                    f"watch again from revision {self.revision}, with fewer patterns or a faster reader",
                    reason="WATCHER_TOO_SLOW",
                    metadata={"revision": str(self.revision)},
                )
            )
            self.close()
            return
        self._queue.append(batch)
        self._queued_events = events
        self._queued_size = size

    def _conflate(self, signals: tuple[Event, ...]) -> None:
        waiting = self._signals
        for event in signals:
            path = event.entry.path
            earlier = waiting.get(path)
            waiting[path] = event if earlier is None else after(earlier.previous, event)
        while len(waiting) > self._max_events:
            # The oldest go; they come again as state once they settle.
            del waiting[next(iter(waiting))]

    def _take(self, now: float) -> Batch | None:
        queue = self._queue
        due = bool(self._signals) and now >= self._due
        if not queue:
            return self._take_signals() if due else None
        parts: list[Batch] = []
        size = 0
        while queue and size < MAX_BATCH_SIZE:
            batch = queue.popleft()
            parts.append(batch)
            size += batch.size
            self._queued_events -= len(batch.events)
            self._queued_size -= batch.size
        if due and not queue:
            # They go along with the last states, or a steady stream of states would hold them back.
            parts.append(self._take_signals())
        return parts[0] if len(parts) == 1 else merged(parts)

    def _take_signals(self) -> Batch:
        events = tuple(self._signals.values())
        self._signals.clear()
        return Batch(events, max(self.revision, self._bus.revision), has_signals=True)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def supersede(signals: dict[str, Event], events: Iterable[Event]) -> None:
    """Take out of *signals* what the committed *events* replace.

    A signal that went on while an older value of it settled is newer than what was committed, and stays.
    """
    for event in events:
        path = event.entry.path
        waiting = signals.get(path)
        if waiting is not None and waiting.entry.version <= event.entry.version:
            del signals[path]
        if event.source:
            signals.pop(event.source, None)


def after(previous: Entry | None, event: Event) -> Event:
    """Return *event* as one who was last told *previous* is to hear of it, or nothing of its path."""
    return Event(event.type, event.entry, previous, event.source)


def _nothing() -> None:
    pass
