"""Who waits for a place: in turn for each model, and no limit is taken away from who came first.

The head of each model's queue is tried in the order of arrival. One that does not fit holds the limits that it waits
for: those who came later and need one of them wait, too, so that small requests cannot starve a large one.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from lightfast.core.errors import Exhausted, LightfastError
from lightfast.gateway.calls import ModelRecord
from lightfast.gateway.limits.lane import Need
from lightfast.gateway.limits.meter import Meter, Places
from lightfast.gateway.ports import Load
from lightfast.gateway.sessions.reservation import Place

MOST_WAITING = 1000
"""How many may wait for one model; one more is refused (`QUEUE_FULL`)."""
_SOON = 0.001

Held = set[Meter | Places]


@dataclass(slots=True, eq=False)
class Waiter:
    """One who waits; *deadline* on the monotonic clock. *account* is the only one it can go to, where it names one."""

    record: ModelRecord
    load: Load
    need: Need
    deadline: float
    account: str
    future: asyncio.Future[Place]
    ticket: int = 0


@dataclass(slots=True)
class Verdict:
    """What is about one who waits: a *place*, an *error*, or to wait for *seconds* at least (infinite: for news)."""

    place: Place | None = None
    error: LightfastError | None = None
    seconds: float = math.inf
    blockers: Held = field(default_factory=set)


Try = Callable[[Waiter, float, Held], Verdict]
Late = Callable[[Waiter], LightfastError]


class Waiting:
    """The queues of one provider. *attempt* tries to let one go, *late* says what to tell one that waited too long."""

    def __init__(self, attempt: Try, late: Late, now: Callable[[], float], most: int = MOST_WAITING) -> None:
        self._attempt, self._late, self._now, self._most = attempt, late, now, most
        self._queues: dict[str, deque[Waiter]] = {}
        self._deadlines: list[tuple[float, int, Waiter]] = []
        self._tickets = 0
        self._timer: asyncio.TimerHandle | None = None
        self._pumping = False

    def __bool__(self) -> bool:
        return bool(self._queues)

    def ahead(self, model: str) -> list[Waiter]:
        """Return who waits for *model*."""
        return [waiter for waiter in self._queues.get(model, ()) if not waiter.future.done()]

    def join(self, waiter: Waiter) -> None:
        """Take a place at the end of the queue; raise `Exhausted` (QUEUE_FULL)."""
        model = waiter.record.name
        queue = self._queues.get(model)
        if queue is not None and len(queue) >= self._most:
            raise Exhausted(
                f"{len(queue)} requests wait for {model} already: try again when some are done",
                reason="QUEUE_FULL",
                retry_after=5.0,
                metadata={"model": model},
            )
        self._tickets += 1
        waiter.ticket = self._tickets
        self._queues.setdefault(model, deque()).append(waiter)
        heapq.heappush(self._deadlines, (waiter.deadline, waiter.ticket, waiter))

    def leave(self, waiter: Waiter) -> None:
        """Take back a place in the queue."""
        queue = self._queues.get(waiter.record.name)
        if queue is not None and waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._queues[waiter.record.name]
        self.pump()

    def pump(self) -> None:
        """Let go who may go now, and look again when the next may."""
        if self._pumping or not self._queues:
            return
        self._pumping = True
        try:
            self._expire()
            self._schedule(self._serve())
        finally:
            self._pumping = False

    def _expire(self) -> None:
        now = self._now()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][2].future.done()):
            waiter = heapq.heappop(self._deadlines)[2]
            if not waiter.future.done():
                waiter.future.set_exception(self._late(waiter))

    def _serve(self) -> float:
        """Try the heads in the order of their arrival; return when to look again at the latest."""
        now = self._now()
        held: Held = set()
        soonest = math.inf
        heads = [(queue[0].ticket, model) for model, queue in self._queues.items()]
        heapq.heapify(heads)
        while heads:
            _, model = heapq.heappop(heads)
            queue = self._queues[model]
            waiter = queue[0]
            if not waiter.future.done():
                verdict = self._attempt(waiter, now, held)
                if verdict.place is not None:
                    waiter.future.set_result(verdict.place)
                elif verdict.error is not None:
                    waiter.future.set_exception(verdict.error)
                else:
                    held |= verdict.blockers
                    soonest = min(soonest, now + verdict.seconds)
                    continue
            queue.popleft()
            if queue:
                heapq.heappush(heads, (queue[0].ticket, model))
            else:
                del self._queues[model]
        return soonest

    def _schedule(self, soonest: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._queues:
            self._deadlines.clear()
            return
        if self._deadlines:
            soonest = min(soonest, self._deadlines[0][0])
        if math.isfinite(soonest):
            delay = max(_SOON, soonest - self._now())
            self._timer = asyncio.get_running_loop().call_later(delay, self.pump)

    def close(self, error: LightfastError) -> None:
        """Let everybody go with *error*."""
        if self._timer is not None:
            self._timer.cancel()
        queues, self._queues = self._queues, {}
        self._deadlines.clear()
        for queue in queues.values():
            for waiter in queue:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
