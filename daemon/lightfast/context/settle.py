"""Settling: a signal that has been idle for a while is committed as state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from lightfast.context.entry import Entry
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup

log = structlog.get_logger("lightfast.context")

IDLE = 0.25
"""Seconds without an update after which a signal counts as settled."""
_STEPS = 2
_MOST = 1000
"""The most signals of one transaction."""
_RETRY = 2.0


class Settler:
    """Knows which signals have moved since they were last committed.

    `touch` is on the hot path, so time is counted in steps of half the idle time: a signal settles
    after one to one and a half of it. Without signals nothing runs.
    """

    def __init__(
        self, commit: Callable[[Sequence[str]], Awaitable[None]], tasks: TaskGroup, *, idle: float = IDLE
    ) -> None:
        """*commit* writes the current values of signals; what it raises is tried again."""
        self._commit = commit
        self._tasks = tasks
        self._idle = idle
        self._step = 0
        self._moving: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._closed = False

    def __contains__(self, path: str) -> bool:
        return path in self._moving

    def __len__(self) -> int:
        return len(self._moving)

    def unsettled(self, paths: Sequence[str], get: Callable[[str], Entry | None]) -> dict[str, list[Entry]]:
        """Return the entries at *paths* that are still to be committed, by origin; the others are forgotten."""
        by_origin: dict[str, list[Entry]] = {}
        for path in paths:
            entry = get(path)
            if entry is None or entry.revision:
                self.forget(path)
            else:
                by_origin.setdefault(entry.origin, []).append(entry)
        return by_origin

    def touch(self, path: str) -> None:
        """Note that the signal at *path* has a new value."""
        self._moving[path] = self._step
        if self._timer is None:
            self._arm(self._idle / _STEPS)

    def forget(self, path: str) -> None:
        """Note that the value at *path* is committed, or gone."""
        self._moving.pop(path, None)

    def moving(self) -> list[str]:
        """Return the paths that are not settled."""
        return list(self._moving)

    async def close(self) -> None:
        """Commit everything that still moves; what cannot be written is logged."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._settle(list(self._moving))

    def _arm(self, delay: float) -> None:
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._step += 1
        if not self._writing:
            due = [path for path, step in self._moving.items() if self._step - step > _STEPS]
            if due:
                self._writing = True
                self._tasks.start(self._write(due), "settle")
        if self._moving:
            self._arm(self._idle / _STEPS)

    async def _write(self, due: list[str]) -> None:
        try:
            if not await self._settle(due):
                await asyncio.sleep(_RETRY)
        finally:
            self._writing = False

    async def _settle(self, due: list[str]) -> bool:
        for start in range(0, len(due), _MOST):
            try:
                await self._commit(due[start : start + _MOST])
            except LightfastError as error:
                log.warning("signals could not settle", signals=len(due) - start, reason=error.reason, error=str(error))
                return False
        return True
