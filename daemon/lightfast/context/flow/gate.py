"""One lane: who is in it, and who waits, each client in a queue of its own."""

from __future__ import annotations

import asyncio
from collections import deque

from lightfast.context.flow.records import Lane, Latency, Limits, shed

QUANTUM = 1.0
"""What a client may spend when its turn comes round; a small call costs 1."""


class _Waiter:
    """One that waits: its *cost*, and the *turn* that is set when it may go, or carries why it may not."""

    __slots__ = ("cost", "turn")

    def __init__(self, cost: float, turn: asyncio.Future[None]) -> None:
        self.cost = cost
        self.turn = turn


class Gate:
    """The gate of one lane. `enter` is all that an unloaded lane costs, with `leave` at the end.

    Clients that wait take turns by deficit round robin (Shreedhar and Varghese, 1996): each may spend as much as
    the others, however many calls it sends and however large they are. *admitted*, *refused* and *latency* count.
    """

    __slots__ = (
        "_active", "_deficits", "_held", "_queues", "admitted", "lane", "latency", "limits", "refused", "running",
        "waiting",
    )  # fmt: skip

    def __init__(self, lane: Lane, limits: Limits) -> None:
        self.lane = lane
        self.limits = limits
        self.running = 0
        self.waiting = 0
        self.admitted = 0
        self.refused = 0
        self.latency = Latency()
        self._held: dict[str, int] = {}
        self._queues: dict[str, deque[_Waiter]] = {}
        self._active: deque[str] = deque()
        self._deficits: dict[str, float] = {}

    def enter(self, client: str) -> bool:
        """Let *client* in if there is room and nobody waits; say so."""
        count = self._held.get(client, 0)
        if self.waiting or self.running >= self.limits.running or count >= self.limits.share:
            return False
        self._held[client] = count + 1
        self.running += 1
        self.admitted += 1
        return True

    def leave(self, client: str, seconds: float) -> None:
        """Note that one of *client* is done, *seconds* after it came."""
        self.running -= 1
        count = self._held[client] - 1
        if count:
            self._held[client] = count
        else:
            del self._held[client]
        self.latency.note(seconds)

    def wait(self, client: str, cost: float, *, bounded: bool = True) -> asyncio.Future[None]:
        """Return the turn of one more of *client*; raises `Exhausted` (SHED) where a *bounded* queue is full."""
        queue = self._queues.get(client)
        mine = len(queue) if queue is not None else 0
        if bounded:
            self._make_room(client, mine)
        if queue is None:
            queue = self._queues[client] = deque()
            self._active.append(client)
            self._deficits[client] = 0.0
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(_Waiter(cost, turn))
        self.waiting += 1
        return turn

    def give_up(self, client: str, turn: asyncio.Future[None]) -> None:
        """Forget a turn that was not taken: who waited for it was cancelled, or ran out of patience."""
        queue = self._queues.get(client, ())
        for waiter in queue:
            if waiter.turn is turn:
                queue.remove(waiter)  # type: ignore[union-attr]  # one that holds it is no tuple
                self.waiting -= 1
                self._tidy(client)
                return

    def next(self) -> bool:
        """Let the next one in, whose turn it is; say whether there was one."""
        passed = 0
        while self._active and passed < len(self._active):
            client = self._active[0]
            if self._held.get(client, 0) >= self.limits.share:
                self._active.rotate(-1)
                passed += 1
                continue
            waiter = self._queues[client][0]
            if waiter.turn.done():  # cancelled a moment ago
                self._queues[client].popleft()
                self.waiting -= 1
                self._tidy(client)
                continue
            if self._deficits[client] < waiter.cost:
                self._deficits[client] += QUANTUM
                self._active.rotate(-1)
                passed = 0
                continue
            self._deficits[client] -= waiter.cost
            self._queues[client].popleft()
            self.waiting -= 1
            self._tidy(client)
            self._held[client] = self._held.get(client, 0) + 1
            self.running += 1
            self.admitted += 1
            waiter.turn.set_result(None)
            return True
        return False

    def retry_after(self) -> float:
        """Return how long, in seconds, what waits now will take."""
        mean = self.latency.seconds / self.latency.count if self.latency.count else 0.05
        return mean * (self.waiting + 1) / self.limits.running

    def refuse(self, why: str, retry_after: float = 0.0) -> None:
        """Raise `Exhausted` (SHED)."""
        self.refused += 1
        raise shed(self.lane, why, retry_after or self.retry_after())

    def _make_room(self, client: str, mine: int) -> None:
        limits = self.limits
        if mine >= limits.client:
            self.refuse(f"{mine} calls of {client} wait in it already")
        if self.waiting < limits.waiting:
            return
        longest = max(self._queues, key=lambda name: len(self._queues[name]))
        if len(self._queues[longest]) <= mine + 1:
            self.refuse(f"{self.waiting} calls wait in it already")
        # The newest of whoever has most gives way to one who has less.
        waiter = self._queues[longest].pop()
        self.waiting -= 1
        self.refused += 1
        self._tidy(longest)
        if not waiter.turn.done():
            why = f"others have fewer calls in it than {longest}"
            waiter.turn.set_exception(shed(self.lane, why, self.retry_after()))

    def _tidy(self, client: str) -> None:
        """Forget a client whose queue is empty, and what it did not spend."""
        if not self._queues[client]:
            del self._queues[client]
            del self._deficits[client]
            self._active.remove(client)
