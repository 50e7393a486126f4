"""Asks REAPER the one question that its OSC surface answers: how many tracks there are.

Selecting a track that is not there selects the last one, in the device only, and REAPER tells its number. It works
messages off in order and tells in order; so when the answer is here, all that was told before has arrived.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lightfast_bridges.reaper.pacing import Send

SELECT = "/device/track/select"
BEYOND = 9999
"""A track that is not there."""
OURS, THEIRS = "/lightfast/number", "/track/number/str"
"""Where the number is told: by our pattern file on both, by others on the second only."""
TIMEOUT = 1.5
"""Seconds without a word after which the question is asked again."""
LONGEST = 60.0
"""Seconds that REAPER may go on telling other things before the answer."""
TRIES = 3
LOOK = 0.05
BOTH = 0.1
"""Seconds in which both addresses are told, if both are."""


class NoAnswerError(Exception):
    """REAPER did not answer."""


class Prober:
    """Asks, one question at a time; *ours* says whether REAPER uses our pattern file."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[int] | None = None
        self._heard = 0.0
        self.ours = False

    def hear(self, address: str, args: Sequence[Any]) -> None:
        """Take one message: it may be the answer."""
        self._heard = asyncio.get_running_loop().time()
        if address not in {OURS, THEIRS} or not args or not str(args[0]).isascii() or not str(args[0]).isdigit():
            return
        count = min(int(args[0]), BEYOND)
        if address == OURS:
            self.ours = True
            self._resolve(self._answer, count)
        elif not self.ours:
            asyncio.get_running_loop().call_later(BOTH, self._resolve, self._answer, count)

    @staticmethod
    def _resolve(answer: asyncio.Future[int] | None, count: int) -> None:
        if answer is not None and not answer.done():
            answer.set_result(count)

    async def count(self, timeout: float = TIMEOUT, tries: int = TRIES, longest: float = LONGEST) -> int:
        """Return how many tracks there are; all that REAPER was told to do before is done. Raise `NoAnswerError`.

        *timeout* is the silence after which it is asked again; where REAPER tells other things first, it is waited for.
        """
        async with self._turn:
            for _ in range(tries):
                answer = self._answer = asyncio.get_running_loop().create_future()
                self._send(THEIRS)  # without an argument: REAPER forgets that it has told it
                self._send(OURS)
                self._send(SELECT, BEYOND)
                try:
                    if await self._answered(answer, timeout, longest):
                        return int(answer.result())
                finally:
                    self._answer = None
        raise NoAnswerError("REAPER does not say how many tracks there are")

    async def _answered(self, answer: asyncio.Future[int], timeout: float, longest: float) -> bool:
        """Wait for the answer; False after a silence, or after the longest time."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while not answer.done():
            now = loop.time()
            if now - max(begin, self._heard) > timeout or now - begin > longest:
                return False
            await asyncio.wait((answer,), timeout=LOOK)
        return True
