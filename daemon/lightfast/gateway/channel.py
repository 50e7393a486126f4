"""The bounded way from a generation to the one who reads it."""

from __future__ import annotations

import asyncio
from collections import deque

from lightfast.gateway.calls import OperationStep, StepProgress
from lightfast.sdk import Preview

_LOSSY = (StepProgress, Preview)


class StepChannel:
    """Holds at most *bound* steps.

    Policy: of progress and previews the newest wins, and with a full channel they are dropped; text,
    assets and usage are never dropped, their sender waits for room.
    """

    def __init__(self, bound: int = 64) -> None:
        self._steps: deque[OperationStep] = deque()
        self._bound = bound
        self._changed = asyncio.Event()
        self._closed = False
        self._error: Exception | None = None

    def offer(self, step: OperationStep) -> None:
        """Add progress or a preview; a waiting one of the same kind is replaced."""
        if self._steps and type(self._steps[-1].kind) is type(step.kind):
            self._steps[-1] = step
        elif len(self._steps) < self._bound:
            self._steps.append(step)
        self._changed.set()

    async def put(self, step: OperationStep) -> None:
        """Add a step; one that must not be lost waits for room."""
        if isinstance(step.kind, _LOSSY):
            self.offer(step)
            return
        while len(self._steps) >= self._bound and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        if not self._closed:
            self._steps.append(step)
            self._changed.set()

    def finish(self, step: OperationStep) -> None:
        """Add the last step, for which there is always room, and end it well."""
        if not self._closed:
            self._steps.append(step)
            self.close()

    def close(self, error: Exception | None = None) -> None:
        """End it: the reader gets what is there, then the end, or *error*."""
        if not self._closed:
            self._closed, self._error = True, error
            self._changed.set()

    async def get(self) -> OperationStep | None:
        """Return the next step, or `None` at the end; raise the error it ended with."""
        while not self._steps:
            if self._closed:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        step = self._steps.popleft()
        self._changed.set()
        return step
