"""Whose turn it is to change tasks: those that touch nothing but themselves go side by side, all others alone.

A change is read, checked and synced to the disk before the next one may build on it. Alone, each of them pays for a
sync of its own; side by side, one sync serves all that wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from lightfast.core.turns import Turns as Named


class Turns:
    """Used on the loop only. Who waits for the turn of all is not overtaken by those that come later."""

    def __init__(self) -> None:
        self._door = asyncio.Lock()
        self._inside = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self._named = Named()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold the turn of all."""
        async with self._door:
            await self._empty.wait()
            yield

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Hold the turn of *name* alone, beside those of other names."""
        async with self._door:
            self._inside += 1
            self._empty.clear()
        try:
            async with self._named.of(name):
                yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()
