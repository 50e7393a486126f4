"""The flow: the lanes of everything that is asked of the daemon, and the turns of its own background work.

Interactive work goes first, and is never held back by the other lanes. While the loop is later than its target, or
interactive calls come in the midst of background work, that gets a small share of the time, its *floor*, and not more:
it is slow then, but never starves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from lightfast.context.flow.gate import Gate
from lightfast.context.flow.pulse import Pulse
from lightfast.context.flow.records import LIMITS, Lane, Limits, upper
from lightfast.core.clock import SYSTEM

monotonic = SYSTEM.monotonic
"""Not the time of the loop, which stands still through each round of it."""

TARGET = 0.001
"""Seconds that the loop may be late before background work is held back."""
FLOOR = 0.1
"""The share of the time that background work gets all the same."""
SPACING = 0.02
"""Seconds between two turns of background work, at least, while it is held back."""
LONGEST_REST = 1.0
"""The most seconds that background work waits between two turns, whatever happens."""
QUIET = 0.5
"""Seconds without an interactive call after which background work may run side by side."""
BUSY_MOST = 1
"""How many background turns run at a time while somebody interacts: they share the threads that read."""


class Turn:
    """One that is in a lane, from *began* on: the time at which it came."""

    __slots__ = ("_flow", "_granted", "_seen", "began", "client", "gate", "holding", "task")

    def __init__(self, flow: Flow, gate: Gate, client: str, began: float) -> None:
        self._flow = flow
        self.gate = gate
        self.client = client
        self.task = asyncio.current_task()
        self.begin(client, began)

    def begin(self, client: str, began: float) -> None:
        """Be in the lane, as *client*."""
        self.client, self.began = client, began
        self._granted = monotonic()
        self._seen = self._flow.interactive_calls
        self.holding = True

    def leave(self) -> None:
        """Make room for the next one; a second time, do nothing."""
        if self.holding:
            self.holding = False
            met = self._flow.interactive_calls != self._seen
            self._flow.leave(self.gate, self.client, self.began, self._granted, met=met)


_own: ContextVar[Turn | None] = ContextVar("lightfast_background_turn", default=None)


class Flow:
    """All lanes; used on the loop only. *floor* is a share of the time, *target* is in seconds."""

    def __init__(
        self, *, target: float = TARGET, floor: float = FLOOR, limits: Mapping[Lane, Limits] | None = None
    ) -> None:
        limits = {**LIMITS, **(limits or {})}
        self.gates = tuple(Gate(lane, limits[lane]) for lane in Lane)
        self.pulse = Pulse(target)
        self._floor = floor
        self._interactive = self.gates[Lane.INTERACTIVE]
        self._background = self.gates[Lane.BACKGROUND]
        self._rest_until = 0.0
        self._met = False  # interactive calls came in the midst of the last turn of background work
        self._last_grant = float("-inf")
        self._seen = 0
        self._seen_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._measuring = False

    @property
    def pressed(self) -> bool:
        """Say whether background work is held back, and signals are conflated."""
        return self.pulse.pressed or self._interactive.waiting > 0

    @property
    def interactive_calls(self) -> int:
        """Return how many interactive calls have been let in so far."""
        return self._interactive.admitted

    async def enter(self, lane: Lane, client: str, cost: float = 1.0) -> Turn:
        """Enter *lane* as *client*, now or after a wait; call `leave` of what it returns.

        Raises `Exhausted` (SHED) where too many wait, or the wait is too long.
        """
        gate, began = self.gates[lane], monotonic()
        if gate is self._background or not gate.enter(client):
            await self._wait(gate, client, cost, gate.limits.patience)
        turn = Turn(self, gate, client, began)
        if gate is self._background:
            _own.set(turn)
        return turn

    def leave(self, gate: Gate, client: str, began: float, granted: float = 0.0, *, met: bool = False) -> None:
        """Note that what came at *began*, and was let in at *granted*, is done, and let others in.

        *met* says of a background turn that interactive calls came meanwhile: they shared the interpreter with it,
        which the lateness of the loop does not show.
        """
        now = monotonic()
        gate.leave(client, now - began)
        if gate is self._background:
            rest = (now - granted) * (1.0 / self._floor - 1.0)
            self._rest_until = max(self._rest_until, now + min(LONGEST_REST, rest))
            self._met = met
            self._serve()
        elif gate.waiting:
            self._serve()

    @asynccontextmanager
    async def background(self, cost: float = 1.0, name: str = "work") -> AsyncIterator[None]:
        """Hold background work back until it is its turn: `async with flow.background(): one small step`.

        *cost* weighs the step against those of others, 1 is about ten milliseconds; *name* is whose work it is, and
        all names share alike. It waits as long as it must, and is let in all the same from time to time. Within
        another turn of the same task that one ends, and goes on in this one.
        """
        outer = _own.get()
        if outer is not None and (not outer.holding or outer.task is not asyncio.current_task()):
            outer = None
        if outer is not None:
            outer.leave()
        gate, client = self._background, f"daemon:{name}"
        await self._wait(gate, client, cost, None)
        now = monotonic()
        if outer is not None:
            outer.begin(client, now)
            yield
            return
        turn = Turn(self, gate, client, now)
        token = _own.set(turn)
        try:
            yield
        finally:
            _own.reset(token)
            turn.leave()

    async def _wait(self, gate: Gate, client: str, cost: float, patience: float | None) -> None:
        turn = gate.wait(client, cost, bounded=patience is not None)
        self._serve()
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as error:
            granted = turn.done() and not turn.cancelled() and turn.exception() is None
            if not granted:
                gate.give_up(client, turn)
                self._serve()
            if isinstance(error, TimeoutError):
                if granted:
                    return
                gate.refuse(f"this call has waited for {patience:g} s")
            elif granted:
                now = monotonic()
                self.leave(gate, client, now, now)
            raise

    # ---- turns

    def _serve(self) -> None:
        """Let in whoever may go now, the most urgent first."""
        for gate in self.gates[:-1]:
            while gate.waiting and gate.running < gate.limits.running and gate.next():
                pass
        gate = self._background
        while gate.waiting:
            now = monotonic()
            delay = self._delay(gate, now)
            if delay > 0:
                if self._timer is None and delay < float("inf"):
                    self._timer = asyncio.get_running_loop().call_later(delay, self._woken)
                break
            if not gate.next():
                break
            self._last_grant = now
            self._rest_until = max(self._rest_until, now + SPACING)
        self._measure(wanted=bool(gate.waiting or gate.running))

    def _delay(self, gate: Gate, now: float) -> float:
        """Return in how many seconds to look again; 0 for now, infinity for when a turn ends."""
        if gate.running >= gate.limits.running:
            return float("inf")
        seen = self._interactive.admitted
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if gate.running >= BUSY_MOST and now - self._seen_at < QUIET:
            # One after the other; but one that takes long does not keep all others out.
            return max(0.0, min(SPACING, self._last_grant + LONGEST_REST - now))
        held = self.pressed or (self._met and now - self._seen_at < QUIET)
        if not held or now >= self._rest_until:
            return 0.0
        return min(SPACING, self._rest_until - now)  # the pressure may be gone sooner

    def _woken(self) -> None:
        self._timer = None
        self._serve()

    def _measure(self, *, wanted: bool) -> None:
        """Let the pulse beat only while there is background work."""
        if wanted is not self._measuring:
            self._measuring = wanted
            if wanted:
                self.pulse.join()
            else:
                self.pulse.leave()

    def stats(self) -> dict[str, dict[tuple[str, ...], Any]]:
        """Return the numbers of all lanes by lane, as metrics want them."""
        gates = self.gates
        return {
            "admitted": {(gate.lane.word,): gate.admitted for gate in gates},
            "shed": {(gate.lane.word,): gate.refused for gate in gates},
            "running": {(gate.lane.word,): gate.running for gate in gates},
            "waiting": {(gate.lane.word,): gate.waiting for gate in gates},
            "latency": {
                (gate.lane.word, f"{upper(bucket):.4g}"): count
                for gate in gates
                for bucket, count in enumerate(gate.latency.counts)
                if count
            },
        }
