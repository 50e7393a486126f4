"""One thread that does blocking work in turn, off the loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from lightfast.core.errors import DeadlineExceeded, Exhausted, Unavailable

T = TypeVar("T")


class _Job(Generic[T]):
    """One call; *future* belongs to *loop*."""

    def __init__(self, call: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        self.loop = loop
        self.future: asyncio.Future[T] = loop.create_future()
        self.given_up = False

    def run(self) -> None:
        """Call, and hand the outcome over to the loop; what nobody waits for any more is left out."""
        if self.given_up:
            return
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = self.call()
        except BaseException as error:  # noqa: BLE001 — whatever it is, it belongs to the one who asked
            failure = error
        try:
            self.loop.call_soon_threadsafe(self._deliver, result, failure)
        except RuntimeError:
            return  # the loop is closed: nobody waits

    def _deliver(self, result: T | None, failure: BaseException | None) -> None:
        if self.future.done():
            return
        if failure is None:
            self.future.set_result(result)  # type: ignore[arg-type]
        elif isinstance(failure, StopIteration | KeyboardInterrupt | SystemExit):
            self.future.set_exception(RuntimeError(f"the work ended with {failure!r:.200}"))
        else:
            self.future.set_exception(failure)


class Worker:
    """Runs calls one after the other in a daemon thread that starts with the first.

    At most *most* calls wait; one more is refused with `Exhausted`. A daemon thread: one whose work never ends
    cannot keep the process from ending.
    """

    def __init__(self, name: str, most: int = 64) -> None:
        self.name = name
        self._most = most
        self._jobs: queue.SimpleQueue[_Job[Any] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many calls are at work or wait."""
        return self._waiting

    async def run(self, function: Callable[..., T], *arguments: Any, timeout: float) -> T:
        """Call *function* in the thread and return what it returns, or raise what it raises.

        After *timeout* seconds the wait ends with `DeadlineExceeded`: what had not begun is left out, what had goes
        on unheard.
        """
        if self._closed:
            raise Unavailable(f"{self.name} is closed", reason="WORKER_CLOSED")
        if self._waiting >= self._most:
            raise Exhausted(
                f"{self.name} has {self._waiting} calls waiting, and takes no more: try again in a moment",
                reason="WORKER_BUSY",
                retry_after=0.5,
            )
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=f"lightfast-{self.name}", daemon=True)
            self._thread.start()
        job: _Job[T] = _Job(lambda: function(*arguments), asyncio.get_running_loop())
        self._waiting += 1
        self._jobs.put(job)
        try:
            async with asyncio.timeout(timeout):
                return await job.future
        except TimeoutError as error:
            if job.future.done() and not job.future.cancelled():
                return job.future.result()  # it came with the deadline, as after a standstill; or it is what was raised
            raise DeadlineExceeded(f"{self.name} did not finish within {timeout:g} s") from error
        finally:
            job.given_up = True
            self._waiting -= 1

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            del job  # a waiting thread must not hold on to the last result

    async def close(self, budget: float = 2.0) -> None:
        """Let the thread end after its present work; wait at most *budget* seconds for it."""
        if self._thread is None or self._closed:
            self._closed = True
            return
        self._closed = True
        last = _Job(lambda: None, asyncio.get_running_loop())
        self._jobs.put(last)
        self._jobs.put(None)
        await asyncio.wait([last.future], timeout=budget)
