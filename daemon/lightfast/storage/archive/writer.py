"""The writer thread: whatever is waiting is written with one sync; the sync is the window.

It alone changes the files. What can wait (packing, purging) runs in it too, in small steps between the groups, so
that nothing has to be locked. The source's lesson, `worker_threads = 1`: more than one writer corrupts chunks.
"""

from __future__ import annotations

import asyncio
import math
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from lightfast.core.errors import Exhausted, LightfastError
from lightfast.storage.archive import files
from lightfast.storage.archive.records import NewFrame
from lightfast.storage.archive.rows import Appended
from lightfast.storage.archive.stock import Stock

log = structlog.get_logger("lightfast.archive")

T = TypeVar("T")

MAX_WAITING_CALLS = 10_000
MAX_WAITING_SIZE = 64 << 20
MAX_GROUP_FRAMES = 4096
MAX_GROUP_SIZE = 8 << 20
RETRY_SECONDS = 60.0
"""Upkeep that failed, on a full disk for example, is tried again after this time."""
QUIET_SECONDS = 0.05
"""Upkeep begins when nothing was asked for so long, and gives way to whatever comes."""
SWITCH_INTERVAL = 0.0005
"""How long Python lets one thread keep the interpreter from the writer and the loop, in seconds; its default is ten
times that, and an append changes threads several times."""
FRAME_SIZE = 200
"""What a frame counts for besides its content."""

Job = Generator[Any, None, T]
"""Work in small steps: what it yields is progress, what it returns the result."""


@dataclass(slots=True)
class _Call:
    frames: Sequence[NewFrame]
    size: int
    done: asyncio.Future[Appended]


@dataclass(slots=True)
class _Task:
    make: Callable[[], Job[Any]]
    done: asyncio.Future[Any]
    progress: Callable[[Any], None] | None
    steps: Job[Any] | None = None


class Writer:
    """`append` and `run` are called on the loop."""

    def __init__(self, stock: Stock, loop: asyncio.AbstractEventLoop) -> None:
        self._stock = stock
        self._loop = loop
        self._queue: queue.SimpleQueue[_Call | _Task | None] = queue.SimpleQueue()
        self._waiting = 0
        self._waiting_size = 0
        self._not_before = -math.inf
        self._ended: asyncio.Future[None] = loop.create_future()
        self._thread = threading.Thread(target=self._run, name="lightfast-archive-writer", daemon=True)
        if sys.getswitchinterval() > SWITCH_INTERVAL:
            sys.setswitchinterval(SWITCH_INTERVAL)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Return how many calls are not acknowledged yet."""
        return self._waiting

    def append(self, frames: Sequence[NewFrame]) -> asyncio.Future[Appended]:
        """Append, durably; raises `Exhausted` (ARCHIVE_BUSY) when too much waits."""
        if self._waiting >= MAX_WAITING_CALLS or self._waiting_size >= MAX_WAITING_SIZE:
            raise Exhausted(
                f"{self._waiting} calls wait for the disk of the archive already: send slower, or more frames a call",
                reason="ARCHIVE_BUSY",
                retry_after=0.5,
            )
        size = sum([len(frame.content) for frame in frames]) + FRAME_SIZE * len(frames)
        self._waiting += 1
        self._waiting_size += size
        call = _Call(frames, size, self._loop.create_future())
        self._queue.put(call)
        return call.done

    def run(self, make: Callable[[], Job[T]], progress: Callable[[Any], None] | None = None) -> asyncio.Future[T]:
        """Run a job in steps, after those asked for before; *progress* is called on the loop."""
        task = _Task(make, self._loop.create_future(), progress)
        self._queue.put(task)
        return task.done

    async def stop(self) -> None:
        """Write what waits, acknowledge it, and end the thread; jobs under way are cut between two steps."""
        self._queue.put(None)
        await self._ended

    # ---- in the thread

    def _run(self) -> None:
        try:
            self._serve()
        finally:  # whatever ends the thread: `stop` must not wait for it for ever
            try:
                self._stock.close()
            except Exception:  # what was acknowledged is durable, and the next start mends the rest
                log.exception("the archive could not be closed in order")
            self._call(self._finish)

    def _serve(self) -> None:
        tasks: deque[_Task] = deque()
        idle: Job[None] | None = None
        ending = False
        while not ending:
            patience = 0.0 if tasks or idle is not None else QUIET_SECONDS if self._may_keep_up() else None
            calls, ending = self._take(tasks, patience)
            if idle is not None and (tasks or calls):
                _give_up(idle)  # it gives way to whatever comes, and begins again when it is quiet
                idle = None
            if calls:
                self._write(calls)
            self._build()
            if tasks:
                self._step(tasks)
            elif not calls and not ending and self._may_keep_up():
                idle = self._idle(idle or self._stock.upkeep())
        if idle is not None:
            _give_up(idle)
        for task in tasks:
            if task.steps is not None:
                _give_up(task.steps)
            self._call(_fail, task.done, asyncio.CancelledError())

    def _may_keep_up(self) -> bool:
        return self._stock.has_upkeep and self._stock.clock.monotonic() >= self._not_before

    def _build(self) -> None:
        try:
            self._stock.build(forced=not self._queue.empty())
        except Exception:  # the frames are durable, and the next start builds them
            log.exception("a chunk could not be built")

    def _take(self, tasks: deque[_Task], patience: float | None) -> tuple[list[_Call], bool]:
        """Return all calls that wait, up to the bounds of a group, and whether it is the end.

        Where there is none it waits *patience* seconds for one; `None`: for ever.
        """
        calls: list[_Call] = []
        frames = size = 0
        while frames < MAX_GROUP_FRAMES and size < MAX_GROUP_SIZE:
            try:
                item = self._queue.get(timeout=patience) if patience != 0.0 else self._queue.get_nowait()
            except queue.Empty:
                break
            patience = 0.0
            if item is None:
                return calls, True
            if isinstance(item, _Task):
                tasks.append(item)
            else:
                calls.append(item)
                frames += len(item.frames)
                size += item.size
        return calls, False

    def _write(self, calls: list[_Call]) -> None:
        outcomes: list[Appended | Exception]
        try:
            self._stock.load()
            outcomes = self._stock.append([call.frames for call in calls])
        except LightfastError as error:
            outcomes = [error for _ in calls]
        except OSError as error:
            outcomes = [files.fault(error, self._stock.root) for _ in calls]
        except Exception as error:  # a mistake of ours fails the calls, and the thread goes on
            log.exception("the archive's writer failed")
            outcomes = [error for _ in calls]
        self._call(self._acknowledge, calls, outcomes)

    def _step(self, tasks: deque[_Task]) -> None:
        task = tasks[0]
        try:
            self._stock.load()
            if task.steps is None:
                task.steps = task.make()
            found = next(task.steps)
        except StopIteration as end:
            tasks.popleft()
            self._call(_succeed, task.done, end.value)
        except OSError as error:
            tasks.popleft()
            self._call(_fail, task.done, files.fault(error, self._stock.root))
        except Exception as error:  # noqa: BLE001  # it is told to who asked
            tasks.popleft()
            self._call(_fail, task.done, error)
        else:
            if task.done.cancelled():
                tasks.popleft()
                _give_up(task.steps)
            elif task.progress is not None and found is not None:
                self._call(task.progress, found)

    def _idle(self, idle: Job[None]) -> Job[None] | None:
        """Do one step of what can wait; return what is left of it."""
        try:
            next(idle)
        except StopIteration:
            return None
        except (OSError, LightfastError) as error:
            log.warning("the upkeep of the archive failed; it is tried again later", error=str(error))
            self._not_before = self._stock.clock.monotonic() + RETRY_SECONDS
            return None
        except Exception:
            log.exception("the upkeep of the archive failed")
            self._not_before = math.inf
            return None
        return idle

    def _call(self, function: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop was closed without waiting for us: nobody is left to tell
            return

    # ---- on the loop

    def _acknowledge(self, calls: list[_Call], outcomes: list[Appended | Exception]) -> None:
        for call, outcome in zip(calls, outcomes, strict=True):
            self._waiting -= 1
            self._waiting_size -= call.size
            if isinstance(outcome, Exception):
                _fail(call.done, outcome)
            else:
                _succeed(call.done, outcome)

    def _finish(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)


def _give_up(steps: Job[Any]) -> None:
    """End work between two steps; it cleans up after itself as far as it can, the next start does the rest."""
    try:
        steps.close()
    except Exception as error:  # noqa: BLE001  # it must not end the thread
        log.warning("work that was cut off could not clean up", error=str(error))


def _succeed(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if future.done():
        return
    if isinstance(error, asyncio.CancelledError):
        future.cancel()
    else:
        future.set_exception(error)
