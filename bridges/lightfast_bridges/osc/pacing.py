"""Sends no faster than a device can take: what waits is kept once per key, and the newest wins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lightfast.sdk import BridgeError
from lightfast.sdk.oscmap import Message

TICK = 0.02
"""Seconds between two bursts."""

Done = Callable[[str], None]
"""Told that a message was sent, or (with a reason) that it cannot be."""


class Pacer:
    """A queue in front of a socket, by key: at most one message of each key waits."""

    def __init__(self, send: Callable[..., None], rate: float) -> None:
        """*rate* is in messages a second."""
        self._send = send
        self._burst = max(1, round(rate * TICK))
        self._pause = self._burst / rate
        self._waiting: dict[str, tuple[Message, Done | None]] = {}
        self._left = self._burst
        self._timer: asyncio.TimerHandle | None = None

    def send(self, key: str, message: Message, done: Done | None = None) -> None:
        """Send *message* when its turn comes; one of the same *key* that waits is not sent any more."""
        self._waiting.pop(key, None)
        self._waiting[key] = (message, done)
        self._drain()

    def _drain(self) -> None:
        while self._waiting and self._left:
            self._left -= 1
            key = next(iter(self._waiting))
            message, done = self._waiting.pop(key)
            problem = ""
            try:
                self._send(message.address, *message.arguments)
            except (BridgeError, ValueError) as error:
                problem = str(error) or type(error).__name__
            if done is not None:
                done(problem)
        if self._timer is None and self._left < self._burst:
            self._timer = asyncio.get_running_loop().call_later(self._pause, self._refill)

    def _refill(self) -> None:
        self._timer = None
        self._left = self._burst
        self._drain()

    def stop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._left = 0
        if self._timer is not None:
            self._timer.cancel()
