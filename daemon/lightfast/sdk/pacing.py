"""Sends no faster than an application reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog

log = structlog.get_logger("lightfast.bridges")

BOUND = 20_000
"""The most messages that wait; on top of that the oldest is dropped: what matters is asked for and sent again."""


class Pacer:
    """A queue in front of a socket; order is kept. An overflow is logged once, until the queue is empty again."""

    def __init__(self, send: Callable[..., None], app: str, *, burst: int, every: float, bound: int = BOUND) -> None:
        """Let *burst* messages go to *app* in one go, *every* so many seconds."""
        self._send = send
        self._app = app
        self._burst = burst
        self._every = every
        self._queue: deque[tuple[Any, ...]] = deque(maxlen=bound)
        self._room = burst
        self._timer: asyncio.TimerHandle | None = None
        self._told = False
        self.dropped = 0

    def send(self, *message: Any) -> None:
        """Send an address and its arguments, now or soon."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._next)
        if self._room and not self._queue:
            self._room -= 1
            self._send(*message)
            return
        if len(self._queue) == self._queue.maxlen:
            self.dropped += 1
            if not self._told:
                self._told = True
                log.warning("too many messages wait for an application; the oldest are dropped", app=self._app)
        self._queue.append(message)

    def _next(self) -> None:
        self._timer = None
        self._room = self._burst
        while self._queue and self._room:
            self._room -= 1
            self._send(*self._queue.popleft())
        if self._queue:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._next)
        else:
            self._told = False

    def stop(self) -> None:
        """Send nothing any more."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
