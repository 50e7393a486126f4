"""Operations on one server, gathered for a moment and sent side by side.

The protocol has no batches (JSON-RPC arrays are invalid in it), so the gain is in sending at once: operations wait
until there are *most* of them, until *window* seconds have passed since the first, or until none came for a tenth of
that, whichever is first. Reads that ask the same are sent once, also while one is still under way; anything else is
sent as often as it was asked for, in the order it came, and a read that is asked for after it is sent anew.

Answers to reads may be kept for a while, by tool; anything that is no read lets all of them go.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

Begin = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None] | None"]
Send = Callable[[str, Mapping[str, Any], float], Awaitable[Any]]


@dataclass(slots=True)
class Counts:
    """What was asked for, what was sent, and in how many batches."""

    asked: int = 0
    sent: int = 0
    batches: int = 0
    hits: int = 0
    """Reads that were answered by what was kept."""

    @property
    def merged(self) -> int:
        """How many were answered by what another had asked."""
        return self.asked - self.sent


@dataclass(slots=True)
class _Operation:
    tool: str
    arguments: Mapping[str, Any]
    timeout: float
    key: str
    answers: list[asyncio.Future[Any]]
    task: asyncio.Task[None] | None = None


MOST_KEPT = 256
"""How many answers are kept; the one that was used longest ago goes first."""


def told(counts: Counts, kept: int) -> dict[str, float]:
    """Return the counts as they are shown, and how many answers are *kept*."""
    names = ("asked", "sent", "merged", "batches", "hits")
    return {**{name: getattr(counts, name) for name in names}, "kept": kept, "most_kept": MOST_KEPT}


class Gatherer:
    """Gathers operations; *begin* starts a task in the group of the session, *send* performs one operation.

    *lifetimes* says how long answers to reads are kept, in seconds by tool; `*` for those that are not named.
    """

    def __init__(
        self,
        send: Send,
        begin: Begin,
        *,
        most: int = 10,
        window: float = 0.1,
        at_once: int = 32,
        lifetimes: Mapping[str, float] | None = None,
    ) -> None:
        self.counts = Counts()
        self._lifetimes = dict(lifetimes or {})
        self._kept: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._epoch = 0
        """Counts what was no read: an answer that was asked for before may be older than that, and is not kept."""
        self._send = send
        self._begin = begin
        self._most = most
        self._window = window
        self._slots = asyncio.Semaphore(at_once)
        self._waiting: list[_Operation] = []
        self._reads: dict[str, _Operation] = {}
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, tool: str, arguments: Mapping[str, Any], timeout: float, *, read: bool) -> Any:
        """Return what the server answers; raises what `send` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self.counts.asked += 1
        key = json.dumps([tool, arguments], sort_keys=True) if read else ""
        if key and (kept := self._kept.get(key)) is not None and kept[0] > loop.time():
            self.counts.hits += 1
            self._kept.move_to_end(key)
            return kept[1]
        if key and (same := self._reads.get(key)) is not None:
            operation = same
            operation.answers.append(answer)
        else:
            operation = _Operation(tool, arguments, timeout, key, [answer])
            if key:
                self._reads[key] = operation
            else:
                self._changed()
            if not self._waiting:
                self._due = loop.time() + self._window
            self._waiting.append(operation)
        if len(self._waiting) >= self._most:
            self.flush()
        elif self._waiting:
            self._arm(loop)
        try:
            return await answer
        except asyncio.CancelledError:
            self._give_up(operation)
            raise

    def _give_up(self, operation: _Operation) -> None:
        """Cancel an operation that nobody waits for any more; the SDK tells the server."""
        if all(answer.done() for answer in operation.answers):
            self._forget(operation)
            if operation.task is not None:
                operation.task.cancel()

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(min(self._due, loop.time() + self._window / 10), self.flush)

    def figures(self) -> dict[str, float]:
        """Return what was counted, for whoever wants to see it."""
        return told(self.counts, len(self._kept))

    def flush(self) -> None:
        """Send what was gathered, all side by side."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch, self._waiting = self._waiting, []
        if batch:
            self.counts.batches += 1
        for operation in batch:
            operation.task = self._begin(self._perform(operation))
            if operation.task is None:
                self._end(operation, error=ConnectionError("the server is gone"))

    async def _perform(self, operation: _Operation) -> None:
        try:
            async with self._slots:
                if all(answer.done() for answer in operation.answers):
                    return  # all who asked have given up
                self.counts.sent += 1
                epoch = self._epoch
                result = await self._send(operation.tool, operation.arguments, operation.timeout)
                self._keep(operation, result, epoch)
        except asyncio.CancelledError:
            self._end(operation, error=ConnectionError("the server is gone"))
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is goes to those who asked)
            self._end(operation, error=error)
        else:
            self._end(operation, result)
        finally:
            self._forget(operation)

    def _forget(self, operation: _Operation) -> None:
        if not operation.key:
            self._changed()
        elif self._reads.get(operation.key) is operation:
            del self._reads[operation.key]

    def _changed(self) -> None:
        """Let go of what was read: it may be different now."""
        self._epoch += 1
        self._reads.clear()
        self._kept.clear()

    def _keep(self, operation: _Operation, result: Any, epoch: int) -> None:
        lifetime = self._lifetimes.get(operation.tool, self._lifetimes.get("*", 0.0))
        if not operation.key or lifetime <= 0 or epoch != self._epoch or getattr(result, "is_error", False):
            return
        self._kept[operation.key] = (asyncio.get_running_loop().time() + lifetime, result)
        self._kept.move_to_end(operation.key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)

    def _end(self, operation: _Operation, result: Any = None, error: BaseException | None = None) -> None:
        self._forget(operation)
        for answer in operation.answers:
            if answer.done():
                continue
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)
