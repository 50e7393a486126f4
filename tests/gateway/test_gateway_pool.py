"""The media pool and the step channel keep their bounds."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

import pytest

from lightfast.core.errors import Exhausted, Unavailable
from lightfast.gateway.calls import OperationStep, StepProgress, StepUsage
from lightfast.gateway.channel import StepChannel
from lightfast.gateway.pool import MediaPool
from lightfast.sdk import Preview, TextDelta


async def test_work_is_done_off_the_loop() -> None:
    pool = MediaPool(threads=2)
    idents = await asyncio.gather(*(pool.run(threading.get_ident) for _ in range(8)))
    assert threading.get_ident() not in idents
    assert len(set(idents)) <= 2
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await pool.run(next, iter(()))
    pool.close()


async def test_a_full_pool_refuses() -> None:
    pool = MediaPool(threads=1, waiting=2)
    gate = threading.Event()
    started: Future[None] = Future()

    def hold() -> str:
        started.set_result(None)
        gate.wait(30)
        return "held"

    first = asyncio.ensure_future(pool.run(hold))
    await asyncio.wrap_future(started)
    waiting = [asyncio.ensure_future(pool.run(int)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Exhausted, match="the media pool has 2 jobs waiting") as caught:
        await pool.run(int)
    assert caught.value.reason == "MEDIA_POOL_FULL"
    gate.set()
    assert (await first, [await each for each in waiting]) == ("held", [0, 0])
    pool.close()
    with pytest.raises(Unavailable, match="the media pool is closed"):
        await pool.run(int)


async def test_work_nobody_waits_for_any_more_is_not_begun() -> None:
    pool = MediaPool(threads=1)
    gate, begun = threading.Event(), threading.Event()
    started: Future[None] = Future()

    def hold() -> None:
        started.set_result(None)
        gate.wait(30)

    first = asyncio.ensure_future(pool.run(hold))
    await asyncio.wrap_future(started)
    second = asyncio.ensure_future(pool.run(begun.set))
    await asyncio.sleep(0)
    second.cancel()
    gate.set()
    await first
    assert await pool.run(str, 7) == "7"
    assert not begun.is_set()
    pool.close()


def step(kind: StepProgress | TextDelta | Preview | StepUsage) -> OperationStep:
    return OperationStep("op", kind)


async def test_progress_conflates_and_text_waits() -> None:
    channel = StepChannel(bound=2)
    for fraction in (0.1, 0.2, 0.3):
        channel.offer(step(StepProgress(fraction, "", "m", 1)))
    await channel.put(step(TextDelta("a")))
    channel.offer(step(Preview("image/png", b"x")))  # full: dropped
    late = asyncio.ensure_future(channel.put(step(TextDelta("b"))))
    await asyncio.sleep(0)
    assert not late.done()
    channel_first = await channel.get()
    assert channel_first == step(StepProgress(0.3, "", "m", 1))
    await late
    channel.finish(step(StepUsage(0, 0, 0.0, 0.0)))
    rest = [await channel.get() for _ in range(4)]
    assert rest == [step(TextDelta("a")), step(TextDelta("b")), step(StepUsage(0, 0, 0.0, 0.0)), None]


async def test_a_closed_channel_lets_its_sender_go() -> None:
    channel = StepChannel(bound=1)
    await channel.put(step(TextDelta("a")))
    late = asyncio.ensure_future(channel.put(step(TextDelta("b"))))
    await asyncio.sleep(0)
    channel.close(Unavailable("gone"))
    await late
    assert await channel.get() == step(TextDelta("a"))
    with pytest.raises(Unavailable, match="gone"):
        await channel.get()
