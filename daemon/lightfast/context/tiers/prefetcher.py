"""Reads ahead what the predictor guesses, one at a time, the likeliest first."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence

import structlog

from lightfast.context.tiers.predictor import Predictor, Read, Successors
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup

log = structlog.get_logger("lightfast.tiers")

MOST_WAITING = 16
"""Guesses that wait; with more the oldest is dropped: its time is over."""


class Prefetcher:
    """Follows what clients read; *read* makes one read of the past and keeps the result.

    *warm* brings values of the present into memory: the paths of `saw_live` are guessed, too.
    """

    def __init__(self, read: Callable[[Read], Awaitable[None]], *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.dropped = 0
        self.warm: Callable[[Sequence[str]], Awaitable[None]] | None = None
        self._read = read
        self._predictor = Predictor()
        self._live = Successors()
        self._last_live: dict[str, Hashable] = {}
        self._waiting: deque[Read | tuple[str, ...]] = deque()
        self._tasks = TaskGroup("prefetch")
        self._idle = asyncio.Event()
        self._idle.set()

    async def close(self) -> None:
        """Read nothing more."""
        self.enabled = False
        self._waiting.clear()
        await self._tasks.close()

    async def idle(self) -> None:
        """Wait until every guess was read, or dropped."""
        await self._idle.wait()

    def saw(self, client: str, read: Read) -> None:
        """Note a read of the past, and guess the next ones."""
        if self.enabled:
            for guess in reversed(self._predictor.saw(client, read)):
                self._add(guess)

    def saw_live(self, client: str, paths: Sequence[str]) -> None:
        """Note a read of values of the present; where *warm* is set, the next ones are guessed."""
        if not self.enabled or self.warm is None:
            return
        read = tuple(paths)
        before = self._last_live.get(client)
        if before is not None and before != read:
            self._live.saw(client, before, read)
        if len(self._last_live) > MOST_WAITING**2:
            self._last_live.clear()
        self._last_live[client] = read
        for guess in self._live.after(client, read):
            if isinstance(guess, tuple):
                self._add(guess)

    def _add(self, guess: Read | tuple[str, ...]) -> None:
        if guess in self._waiting:
            self._waiting.remove(guess)
        elif len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(guess)
        if self._idle.is_set():
            self._idle.clear()
            self._tasks.start(self._work(), "ahead")

    async def _work(self) -> None:
        try:
            while self._waiting:
                guess = self._waiting.pop()  # the newest guess is the likeliest to be asked for
                try:
                    if isinstance(guess, Read):
                        await self._read(guess)
                    elif self.warm is not None:
                        await self.warm(guess)
                except LightfastError as error:  # whoever asks in earnest hears of it
                    log.debug("a guess could not be read", reason=error.reason)
        finally:
            self._idle.set()
