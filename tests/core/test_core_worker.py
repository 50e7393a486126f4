"""One thread for blocking work: in order, bounded, within a deadline."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from lightfast.core.errors import DeadlineExceeded, Exhausted, Unavailable
from lightfast.core.worker import Worker


async def test_calls_run_one_after_the_other_in_one_thread() -> None:
    worker, seen = Worker("test"), []

    def note(number: int) -> int:
        seen.append((number, threading.get_ident()))
        return number * 2

    try:
        answers = await asyncio.gather(*(worker.run(note, number, timeout=10) for number in range(20)))
        assert answers == [number * 2 for number in range(20)]
        assert [number for number, _ in seen] == list(range(20))
        assert {thread for _, thread in seen} != {threading.get_ident()}
        assert len({thread for _, thread in seen}) == 1
    finally:
        await worker.close()


@pytest.mark.parametrize("error", [ValueError("no"), TimeoutError("its own"), KeyError("x")])
async def test_what_is_raised_comes_back(error: Exception) -> None:
    worker = Worker("test")

    def fail() -> None:
        raise error

    try:
        with pytest.raises(type(error)) as caught:
            await worker.run(fail, timeout=10)
        assert caught.value is error
        with pytest.raises(RuntimeError, match="SystemExit"):
            await worker.run(lambda: exec("raise SystemExit(3)"), timeout=10)
        assert await worker.run(lambda: "goes on", timeout=10) == "goes on"
    finally:
        await worker.close()


async def test_more_than_may_wait_is_refused_and_late_work_is_left() -> None:
    worker, go, begun = Worker("test", most=2), threading.Event(), threading.Event()
    ran: list[int] = []

    def hold() -> None:
        begun.set()
        go.wait(60)

    try:
        for _ in range(60):
            with pytest.raises(DeadlineExceeded, match=r"within 0.05 s"):
                await worker.run(hold, timeout=0.05)
            if begun.wait(1):
                break  # else the thread was late, and left it out
        assert begun.is_set()
        waiting = [asyncio.ensure_future(worker.run(ran.append, number, timeout=0.2)) for number in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(Exhausted) as refused:
            await worker.run(ran.append, 9, timeout=10)
        assert refused.value.reason == "WORKER_BUSY"
        done = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, DeadlineExceeded) for one in done)
        go.set()
        assert await worker.run(lambda: "after", timeout=10) == "after"
        assert ran == []  # what nobody waited for any more was left out
        assert worker.waiting == 0
    finally:
        go.set()
        await worker.close()


@pytest.mark.parametrize("fails", [False, True])
async def test_what_came_while_the_loop_stood_still_is_not_late(
    monkeypatch: pytest.MonkeyPatch, *, fails: bool
) -> None:
    worker, then, loop, stood = Worker("test"), threading.Event(), asyncio.get_running_loop(), [0.0]
    monkeypatch.setattr(loop, "time", lambda: time.monotonic() + stood[0])

    def work() -> int:
        return 1 // (not fails)

    try:
        first = asyncio.ensure_future(worker.run(work, timeout=60))
        second = asyncio.ensure_future(worker.run(then.set, timeout=600))
        await asyncio.sleep(0)
        assert then.wait(60)  # this blocks the loop, and the first one's answer is on its way
        stood[0] = 100.0
        if fails:
            with pytest.raises(ZeroDivisionError):
                await first
        else:
            assert await first == 1
        await second
    finally:
        await worker.close()


async def test_a_closed_one_takes_nothing() -> None:
    worker = Worker("test")
    assert await worker.run(lambda: 1, timeout=10) == 1
    await worker.close()
    await worker.close()
    with pytest.raises(Unavailable):
        await worker.run(lambda: 1, timeout=10)
