"""How long an application may take to answer: of the time in which its answer could have been read here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVarTuple

Args = TypeVarTuple("Args")
LOOKS = 5
"""In how many looks the time of one patience passes."""


class Patience:
    """Calls *over* with *args* when *seconds* are over; `cancel` it when the answer comes.

    Time is counted by looks. Where this process stood still, whatever the application said meanwhile waits to be read:
    so a standstill of any length is one look, and where that comes late, what came is read first.
    """

    __slots__ = ("_args", "_due", "_late", "_left", "_look", "_over", "_timer")

    def __init__(self, seconds: float, over: Callable[[*Args], object], *args: *Args) -> None:
        self._look = seconds / LOOKS
        self._left = LOOKS
        self._over = over
        self._args = args
        self._late = False
        self._wait()

    def cancel(self) -> None:
        """Do nothing more."""
        self._timer.cancel()

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._look
        self._timer = loop.call_at(self._due, self._passed)

    def _passed(self) -> None:
        self._late = asyncio.get_running_loop().time() - self._due > self._look and not self._late
        self._left -= not self._late
        if self._left:
            self._wait()
        else:
            self._over(*self._args)
