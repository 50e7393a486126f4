"""One at a time for each name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Turns:
    """Locks by name; a lock is there only while somebody holds it or waits for it."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def of(self, name: str) -> AsyncIterator[None]:
        """Hold the turn of *name*."""
        lock, count = self._held.get(name, (None, 0))
        lock = lock or asyncio.Lock()
        self._held[name] = (lock, count + 1)
        try:
            async with lock:
                yield
        finally:
            _, count = self._held[name]
            if count == 1:
                del self._held[name]
            else:
                self._held[name] = (lock, count - 1)
