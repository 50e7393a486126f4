"""The blocking client: the asynchronous one, driven from a thread of its own."""

from __future__ import annotations

import asyncio
import itertools
import math
import queue
import sys
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError as FutureCancelledError
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeVar

from lightfast.api.v1 import (
    admin_pb2,
    assets_pb2,
    context_pb2,
    types_pb2,
)
from lightfast.client import generic, records
from lightfast.client.accounts import BlockingAccountCalls
from lightfast.client.aio import AsyncClient
from lightfast.client.archives import BlockingArchiveCalls
from lightfast.client.batches import BlockingBatchCalls
from lightfast.client.conversing import BlockingDeskCalls
from lightfast.client.desk import BlockingAppCalls
from lightfast.client.frames import BlockingFrameCalls
from lightfast.client.generations import BlockingGenerationCalls
from lightfast.client.happenings import BlockingEventCalls
from lightfast.client.keeping import BlockingKeepingCalls
from lightfast.client.linking import BlockingLinkCalls
from lightfast.client.memories import BlockingMemoryCalls
from lightfast.client.planning import BlockingPlanningCalls
from lightfast.client.prompting import BlockingPromptCalls
from lightfast.client.queueing import BlockingQueueCalls
from lightfast.client.running import BlockingRunCalls
from lightfast.client.scenes import BlockingSceneCalls
from lightfast.client.shows import BlockingShows
from lightfast.client.spending import BlockingSpendingCalls
from lightfast.client.timeline import BlockingTimeline
from lightfast.client.vault import BlockingVaultCalls
from lightfast.client.views import BlockingViews
from lightfast.client.workflows import BlockingWorkflowCalls
from lightfast.client.workspaces import BlockingWorkspaceCalls
from lightfast.core.errors import Cancelled
from lightfast_link.value import Value

T = TypeVar("T")


LOOK_S = 1.0
"""How often whoever waits looks whether the client's thread still lives, in seconds."""
END_S = 60.0
"""How long the end of a stream or a lease is waited for at most, in seconds; then it comes without that."""
WIND_UP_S = 20.0
"""How long `close` waits at most for what is under way, in seconds; what does not end by then is left behind."""


def _closed() -> Cancelled:
    return Cancelled("the client is closed: open a new one", reason="CLIENT_CLOSED")


async def _each(source: Iterator[T]) -> AsyncIterator[T]:
    """Yield what *source* yields, one by one; it may wait, and a watch of the same client must go on.

    So it is asked in a thread, and in a daemon thread, unlike those of `asyncio.to_thread`: after Ctrl-C the process
    would wait at its end for what the source still waits for, such as a line of standard input.
    """
    loop = asyncio.get_running_loop()
    asked: queue.SimpleQueue[asyncio.Future[list[T]] | None] = queue.SimpleQueue()

    def answer(future: asyncio.Future[list[T]], found: list[T], error: BaseException | None) -> None:
        if future.done():
            return  # given up meanwhile
        if error is None:
            future.set_result(found)
        else:
            future.set_exception(error)

    def work() -> None:
        while (future := asked.get()) is not None:
            found: list[T] = []
            error: BaseException | None = None
            try:
                found = list(itertools.islice(source, 1))
            except BaseException as caught:  # noqa: BLE001 — it is the caller's, and raised there
                error = caught
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(answer, future, found, error)

    threading.Thread(target=work, name="lightfast-publish", daemon=True).start()
    try:
        while True:
            future: asyncio.Future[list[T]] = loop.create_future()
            asked.put(future)
            if not (found := await future):
                return
            yield found[0]
    finally:
        asked.put(None)


class Client(
    BlockingAccountCalls,
    BlockingAppCalls,
    BlockingArchiveCalls,
    BlockingBatchCalls,
    BlockingDeskCalls,
    BlockingEventCalls,
    BlockingLinkCalls,
    BlockingMemoryCalls,
    BlockingPromptCalls,
    BlockingQueueCalls,
    BlockingRunCalls,
    BlockingPlanningCalls,
    BlockingTimeline,
    BlockingShows,
    BlockingViews,
    BlockingSceneCalls,
    BlockingVaultCalls,
    BlockingKeepingCalls,
    BlockingFrameCalls,
    BlockingGenerationCalls,
    BlockingSpendingCalls,
    BlockingWorkspaceCalls,
    BlockingWorkflowCalls,
):
    """Talks to one daemon from ordinary code: `with Client() as client: client.get("/a")`.

    The arguments and the methods are those of `AsyncClient`; iterators block until the next item.
    It may be used from several threads.
    """

    def __init__(self, address: str | None = None, **options: Any) -> None:
        self._is_closed = False
        # Reentrant: the garbage collector may end a forgotten watch anywhere, also while this thread holds it.
        self._closing = threading.RLock()
        self._ending: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="lightfast-client", daemon=True)
        self._thread.start()

        async def build() -> AsyncClient:
            return AsyncClient(address, **options)

        try:
            self.aio = self._run(build())
        except BaseException:
            self._stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel and end the thread; watches in other threads end, their calls raise `Cancelled`."""
        with self._closing:
            if self._is_closed:
                return
            self._is_closed = True
        if self._thread.is_alive():
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result(WIND_UP_S)
        self._stop()

    async def _wind_up(self) -> None:
        await self.aio.close()
        current = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not current]
        if left:
            await asyncio.wait(left, timeout=1)  # most end by the closing of the channel
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=WIND_UP_S / 2)
        await self._loop.shutdown_asyncgens()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        if not self._loop.is_running():  # as in a process that was forked off, where nobody runs it
            self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T], patience: float = math.inf) -> T:
        """Return what *coroutine* does; `TimeoutError` after *patience* seconds, in which case it goes on alone."""
        until = time.monotonic() + patience
        with self._closing:
            if self._is_closed:
                coroutine.close()
                raise _closed()
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            while True:
                try:
                    return future.result(LOOK_S)
                except TimeoutError:
                    if future.done():
                        return future.result()  # the call's own, or it came just now
                    if not self._thread.is_alive():  # in a process that was forked off, for example
                        raise _closed() from None
                    if time.monotonic() >= until:
                        raise
        except FutureCancelledError:
            raise _closed() from None
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _finish(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run what ends a stream or a lease, and wait for it, where one can wait.

        The garbage collector may end them as well, and in any thread. In the client's own, which would have to do what
        is waited for, waiting would be for ever; in another one it may, where the collector came while that thread held
        what the client's waits for.
        """
        if sys.is_finalizing():
            coroutine.close()  # the interpreter ends: that thread will never run again
            return
        if threading.current_thread() is not self._thread:
            self._run(coroutine, END_S)
            return
        task = self._loop.create_task(coroutine)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        stepping: set[asyncio.Task[Any]] = set()

        async def step() -> list[T]:
            task = asyncio.current_task()
            stepping.add(task)  # type: ignore[arg-type]  # it is one: the client's loop made it
            try:
                async for item in source:
                    return [item]
                return []
            finally:
                stepping.discard(task)

        async def end() -> None:
            # After Ctrl-C a step may be under way still, and a generator that runs cannot be closed.
            for task in stepping:
                if not task.cancelling():
                    task.cancel()
            if stepping:
                await asyncio.wait(stepping)
            if isinstance(source, AsyncGenerator):
                await source.aclose()

        try:
            while found := self._run(step()):
                yield found[0]
        except Cancelled:
            if not self._is_closed:
                raise
        finally:
            if not self._is_closed:
                self._finish(end())

    def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call of a stub's method: `client.call(client.aio.admin.GetInfo, …)`."""
        return self._run(self.aio.call(method, request, timeout))

    def call_json(self, name: str, fields: Mapping[str, Any], timeout: float | None = None) -> generic.Json:
        """Make one unary call by name (`ContextService.Get`), with proto JSON in and out."""
        return self._run(self.aio.call_json(name, fields, timeout))

    def stream_json(self, name: str, fields: Mapping[str, Any], timeout: float | None = None) -> Iterator[generic.Json]:
        """Make one server-streaming call by name, with proto JSON in and out."""
        return self._iterate(self.aio.stream_json(name, fields, timeout))

    def get(self, path: str, *, at_revision: int | None = None) -> records.Entry:
        """Return the entry at *path*; `NotFound` where there is none."""
        return self._run(self.aio.get(path, at_revision=at_revision))

    def select(
        self,
        pattern: str,
        *,
        at_revision: int | None = None,
        at_time_ns: int | None = None,
        event_time: bool = False,
    ) -> list[records.Entry]:
        """Return all entries a pattern matches, at one revision."""
        return self._run(
            self.aio.select(pattern, at_revision=at_revision, at_time_ns=at_time_ns, event_time=event_time)
        )

    def children(self, path: str = "/") -> list[context_pb2.Child]:
        """Return the children of *path*."""
        return self._run(self.aio.children(path))

    def apply(self, changes: Sequence[types_pb2.Mutation], **options: Any) -> records.Applied:
        """Commit one transaction; returns when it is durable."""
        return self._run(self.aio.apply(changes, **options))

    def set(self, path: str, value: Value | assets_pb2.Asset, *, label: str = "", group: str = "") -> records.Applied:
        """Set one value."""
        return self._run(self.aio.set(path, value, label=label, group=group))

    def set_many(self, items: Mapping[str, Value], *, label: str = "", group: str = "") -> records.Applied:
        """Set values in one transaction."""
        return self._run(self.aio.set_many(items, label=label, group=group))

    def delete(self, path: str, *, recursive: bool = False) -> records.Applied:
        """Delete an entry, and with *recursive* all below it."""
        return self._run(self.aio.delete(path, recursive=recursive))

    def move(self, source: str, target: str) -> records.Applied:
        """Move a subtree."""
        return self._run(self.aio.move(source, target))

    def publish(self, batches: Iterable[Mapping[str, Value]]) -> context_pb2.PublishResponse:
        """Publish batches of signal values until the iterator ends; it is asked for one batch at a time."""
        return self._run(self.aio.publish(_each(iter(batches))))

    @contextmanager
    def lease(self, ttl: float = 10.0) -> Iterator[str]:
        """Hold a lease while the block runs; yields its identity for `apply(lease_id=…)`."""
        source = self.aio.lease(ttl)
        lease_id = self._run(source.__aenter__())
        try:
            yield lease_id
        finally:
            self._finish(source.__aexit__(None, None, None))

    def watch(self, *patterns: str, **options: Any) -> Iterator[records.Batch]:
        """Yield batches of events for ever; a broken connection is resumed without loss or doubles."""
        return self._iterate(self.aio.watch(*patterns, **options))

    def watch_json(self, fields: Mapping[str, Any], *, give_up_after: float = 60.0) -> Iterator[generic.Json]:
        """Watch as `watch` does, with proto JSON in and out."""
        return self._iterate(self.aio.watch_json(fields, give_up_after=give_up_after))

    def history(
        self, pattern: str = "//", *, after: int = 0, until: int = 0, limit: int = 100
    ) -> list[context_pb2.Transaction]:
        """Return at most *limit* past transactions, newest first."""
        return self._run(self.aio.history(pattern, after=after, until=until, limit=limit))

    def undo(self, *, group: str = "", run: str = "", revision: int = 0) -> records.Undone:
        """Take back a group, a run or a revision; `Conflict` where others built on it."""
        return self._run(self.aio.undo(group=group, run=run, revision=revision))

    def redo(self, *, group: str = "", run: str = "", revision: int = 0) -> records.Undone:
        """Take an undo back."""
        return self._run(self.aio.redo(group=group, run=run, revision=revision))

    def declare(self, *declarations: context_pb2.Declaration, remove: Sequence[str] = ()) -> None:
        """Declare paths."""
        self._run(self.aio.declare(*declarations, remove=remove))

    def write_asset(self, content: bytes, media_type: str, name: str = "") -> assets_pb2.Asset:
        """Store *content*; the same content twice is one asset."""
        return self._run(self.aio.write_asset(content, media_type, name))

    def read_asset(self, sha256: str) -> bytes:
        """Return the bytes of an asset."""
        return self._run(self.aio.read_asset(sha256))

    def info(self) -> admin_pb2.GetInfoResponse:
        """Return versions, addresses and numbers of the daemon."""
        return self._run(self.aio.info())
