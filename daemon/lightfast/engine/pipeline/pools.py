"""Bounded pools, one for each kind of work, shared by all runs.

A full pool keeps only those waiting that want a place in it. Among them runs take turns, so that one with a thousand
steps does not hold up one with a single step; within a run it is first come, first served.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Protocol

from lightfast.core.errors import Unavailable
from lightfast.sdk import POOLS

SIZES: Mapping[str, int] = {"context": 256, "provider": 16, "application": 16, "media": 4, "archive": 4}
"""How many steps each pool works on at once where nothing else is said."""


class PoolSettings(Protocol):
    """The settings that say how large the pools are."""

    @property
    def context_pool(self) -> int:
        """Return how many."""

    @property
    def provider_pool(self) -> int:
        """Return how many."""

    @property
    def application_pool(self) -> int:
        """Return how many."""

    @property
    def media_pool(self) -> int:
        """Return how many."""

    @property
    def archive_pool(self) -> int:
        """Return how many."""


class _Pool:
    """One pool: who has a place, and who waits, by run."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.busy = 0
        self.waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    def give(self) -> None:
        """Give free places to those that wait, one run after the other."""
        while self.busy < self.size and self.waiting:
            run_id, queue = next(iter(self.waiting.items()))
            future = queue.popleft()
            if queue:
                self.waiting.move_to_end(run_id)
            else:
                del self.waiting[run_id]
            if not future.done():
                self.busy += 1
                future.set_result(None)


class Pools:
    """The pools of the daemon: *sizes* by kind."""

    def __init__(self, sizes: Mapping[str, int] = SIZES) -> None:
        if wrong := [name for name, size in sizes.items() if name not in POOLS or size < 1]:
            raise ValueError(f"{wrong[0]} is no pool, or has no place: use {', '.join(POOLS)} with sizes from 1")
        self._pools = {name: _Pool(sizes.get(name, SIZES[name])) for name in POOLS}
        self._closed = False

    @classmethod
    def of(cls, settings: PoolSettings) -> Pools:
        """Return pools as the settings say."""
        return cls(
            {
                "context": settings.context_pool,
                "provider": settings.provider_pool,
                "application": settings.application_pool,
                "media": settings.media_pool,
                "archive": settings.archive_pool,
            }
        )

    async def enter(self, kind: str, run_id: str) -> None:
        """Wait for a place in the pool *kind*; the caller bounds how long. Raises `Unavailable` when it closes."""
        pool = self._pool(kind)
        if self._closed:
            raise _closing()
        if pool.busy < pool.size and not pool.waiting:
            pool.busy += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        pool.waiting.setdefault(run_id, deque()).append(future)
        try:
            await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.leave(kind)  # the place came as the wait was given up
            else:
                self._forget(pool, run_id, future)
            raise

    def leave(self, kind: str) -> None:
        """Give a place back."""
        pool = self._pool(kind)
        pool.busy -= 1
        pool.give()

    def size(self, kind: str) -> int:
        """Return how many places a pool has."""
        return self._pool(kind).size

    def busy(self, kind: str) -> int:
        """Return how many places of a pool are taken."""
        return self._pool(kind).busy

    def waiting(self, kind: str) -> int:
        """Return how many wait for a place in a pool."""
        return sum(map(len, self._pool(kind).waiting.values()))

    async def close(self) -> None:
        """Give no more places; who waits for one is told."""
        self._closed = True
        for pool in self._pools.values():
            for queue in pool.waiting.values():
                for future in queue:
                    if not future.done():
                        future.set_exception(_closing())
            pool.waiting.clear()

    def _pool(self, kind: str) -> _Pool:
        return self._pools.get(kind) or self._pools["application"]

    @staticmethod
    def _forget(pool: _Pool, run_id: str, future: asyncio.Future[None]) -> None:
        queue = pool.waiting.get(run_id)
        if queue is not None and future in queue:
            queue.remove(future)
            if not queue:
                del pool.waiting[run_id]


def _closing() -> Unavailable:
    return Unavailable("the daemon is going down: the run goes on when it is back", reason="SHUTTING_DOWN")
