"""The bounded way from a generation to the one who reads it."""

from __future__ import annotations

import asyncio
from collections import deque

from lightfast.gateway.calls import OperationStep, StepKind, StepProgress
from lightfast.sdk import Preview, TextDelta

_LOSSY = (StepProgress, Preview)
_JOINED = 32 * 1024
"""Text that waits is joined up to so many characters: who reads late gets fewer and longer pieces."""


class StepChannel:
    """Holds at most *bound* steps.

    Policy: of progress and previews the newest wins, and with a full channel they are dropped; text,
    assets and usage are never dropped, their sender waits for room. Text that waits is joined. One that is
    detached has no reader: whatever is put in is let go.
    """

    def __init__(self, bound: int = 64, operation_id: str = "op") -> None:
        self._steps: deque[StepKind | list[str]] = deque()
        self._joined = 0
        self._bound = bound
        self._operation_id = operation_id
        self._reader: asyncio.Future[None] | None = None
        self._sender: asyncio.Future[None] | None = None
        self._closed = False
        self._detached = False
        self._error: Exception | None = None

    def detach(self) -> None:
        """Let go of whatever is there and comes: nobody reads."""
        self._detached = True
        self._steps.clear()
        self._wake_sender()

    def offer(self, kind: StepProgress | Preview) -> None:
        """Add progress or a preview; a waiting one of the same kind is replaced."""
        if self._detached or self._closed:
            return
        if self._steps and type(self._steps[-1]) is type(kind):
            self._steps[-1] = kind
        elif len(self._steps) < self._bound:
            self._steps.append(kind)
        self._wake_reader()

    def offer_text(self, delta: TextDelta) -> bool:
        """Add text at once, if there is room; else say that there is none."""
        steps = self._steps
        if steps and type(last := steps[-1]) is list and self._joined < _JOINED:
            last.append(delta.text)
            self._joined += len(delta.text)
            return True
        if self._detached or self._closed:
            return True
        if len(steps) >= self._bound:
            return False
        steps.append([delta.text])
        self._joined = len(delta.text)
        if self._reader is not None:
            self._wake_reader()
        return True

    async def put(self, kind: StepKind) -> None:
        """Add a step; one that must not be lost waits for room."""
        if isinstance(kind, _LOSSY):
            self.offer(kind)
            return
        while len(self._steps) >= self._bound and not self._closed and not self._detached:
            self._sender = asyncio.get_running_loop().create_future()
            await self._sender
        if isinstance(kind, TextDelta):
            self.offer_text(kind)
        elif not self._closed and not self._detached:
            self._steps.append(kind)
            self._wake_reader()

    def finish(self, kind: StepKind) -> None:
        """Add the last step, for which there is always room, and end it well."""
        if not self._closed:
            self._steps.append(kind)
            self.close()

    def close(self, error: Exception | None = None) -> None:
        """End it: the reader gets what is there, then the end, or *error*."""
        if not self._closed:
            self._closed, self._error = True, error
            self._wake_reader()
            self._wake_sender()

    async def get(self) -> OperationStep | None:
        """Return the next step, or `None` at the end; raise the error it ended with."""
        while not self._steps:
            if self._closed:
                if self._error is not None:
                    raise self._error
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        kind = self._steps.popleft()
        if self._sender is not None:
            self._wake_sender()
        if type(kind) is list:
            kind = TextDelta(kind[0] if len(kind) == 1 else "".join(kind))
        return OperationStep(self._operation_id, kind)  # type: ignore[arg-type]  # a list was joined

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.done():
            reader.set_result(None)

    def _wake_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None and not sender.done():
            sender.set_result(None)
