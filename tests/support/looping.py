"""Runs an async test as `asyncio.run` does, but for its end: that one waits for ever for tasks and threads that stay."""

from __future__ import annotations

import asyncio
import concurrent.futures.thread
import io
import sys
import time
import traceback
from collections.abc import Coroutine
from typing import Any

END_S = 60.0
"""How long the tasks that were cancelled, and then the threads of `asyncio.to_thread`, have to end."""


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run *main*; what does not end with it fails the test, with where it stands."""
    runner = asyncio.Runner()
    error: BaseException | None = None
    try:
        runner.run(main)
    except BaseException as caught:  # noqa: BLE001 — it is raised below
        error = caught
    stay = runner.run(_ended())
    if stay:
        runner.get_loop().close()
        asyncio.set_event_loop(None)
    else:
        runner.close()
    told = f"what does not end within {END_S:g} s of the test:\n" + "\n".join(stay)
    if error is not None:
        if stay:
            error.add_note(told)
        raise error
    assert not stay, told


async def _ended() -> list[str]:
    """End everything in the loop; return what stays, and where."""
    loop = asyncio.get_running_loop()
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    closing = asyncio.ensure_future(_closed(tasks))
    await asyncio.wait((closing,), timeout=END_S)
    found = [_stack(task) for task in (*tasks, closing) if not task.done()]
    executor = loop._default_executor  # type: ignore[attr-defined]
    if executor is not None:
        executor.shutdown(wait=False, cancel_futures=True)
        deadline = time.monotonic() + END_S
        while (left := [each for each in executor._threads if each.is_alive()]) and time.monotonic() < deadline:
            await asyncio.sleep(0.005)
        for thread in left:
            # Else it would keep the whole process from ending.
            concurrent.futures.thread._threads_queues.pop(thread, None)  # type: ignore[attr-defined]
            frame = sys._current_frames().get(thread.ident or 0)
            found.append(f"the thread {thread.name}:\n" + "".join(traceback.format_stack(frame)))
    return found


async def _closed(tasks: set[asyncio.Task[Any]]) -> None:
    loop = asyncio.get_running_loop()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            loop.call_exception_handler({"message": "a task failed as it was ended", "exception": error, "task": task})
    await loop.shutdown_asyncgens()


def _stack(task: asyncio.Task[Any]) -> str:
    stack = io.StringIO()
    task.print_stack(file=stack)
    return stack.getvalue()
