"""The media pool: a few threads for work that would block the event loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from lightfast.core.errors import Exhausted, Unavailable
from lightfast.host.guard import Outcome, guarded
from lightfast.host.priority import thread_steps_back

T = TypeVar("T")

_Work = tuple[Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class MediaPool:
    """Runs blocking functions in *threads* threads; lent to providers as their `Workbench`.

    At most *waiting* functions queue; one more is refused with `Exhausted`. The threads are daemon
    threads, so that one that never returns cannot keep the process from ending.
    """

    def __init__(self, threads: int = 2, waiting: int = 32) -> None:
        self._queue: queue.Queue[_Work | None] = queue.Queue(waiting)
        self._count = threads
        self._threads: list[threading.Thread] = []
        self._closed = False

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run *function* off the loop; a wait that is cancelled before it began takes it off the queue."""
        if self._closed:
            raise Unavailable("the media pool is closed: the daemon is stopping", reason="STOPPING")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        try:
            self._queue.put_nowait((function, args, future, loop))
        except queue.Full:
            raise Exhausted(
                f"the media pool has {self._queue.maxsize} jobs waiting: try again when some are done",
                reason="MEDIA_POOL_FULL",
                retry_after=5.0,
            ) from None
        try:
            self._grow()
        except Exhausted:
            future.cancel()
            raise
        return await future

    def _grow(self) -> None:
        # Threads are started by need: an idle daemon has none.
        if len(self._threads) < self._count:
            thread = threading.Thread(target=self._serve, name=f"lightfast-media-{len(self._threads)}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system gives no more threads
                if not self._threads:
                    raise Exhausted(
                        f"no thread can be started for the media pool: {error}",
                        reason="MEDIA_POOL_FULL",
                        retry_after=5.0,
                    ) from error
                return  # those that are there do it
            self._threads.append(thread)

    def _serve(self) -> None:
        thread_steps_back()
        while (work := self._queue.get()) is not None:
            function, args, future, loop = work
            del work
            if not future.cancelled():
                _perform(function, args, future, loop)
            del function, args, future, loop  # else an idle thread would hold a plugin's code
        self._queue.put(None)  # the next thread is to end, too

    def close(self) -> None:
        """Take nothing new; threads end when what they work on is done."""
        self._closed = True
        while True:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            if work is not None:
                work[2].cancel()
        self._queue.put_nowait(None)


def _perform(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    future: asyncio.Future[Any],
    loop: asyncio.AbstractEventLoop,
) -> None:
    try:
        outcome = guarded(function, *args)
    except KeyboardInterrupt:  # of its own: it would end the thread, and who waits would wait for ever
        outcome = Outcome(error=RuntimeError("the function raised KeyboardInterrupt"))

    def deliver() -> None:
        if future.done():
            return
        if outcome.error is None:
            future.set_result(outcome.value)
        elif isinstance(outcome.error, StopIteration):  # a future cannot hold it
            future.set_exception(RuntimeError("the function raised StopIteration"))
        else:
            future.set_exception(outcome.error)

    try:
        loop.call_soon_threadsafe(deliver)
    except RuntimeError:
        return  # the loop is closed: nobody waits any more
