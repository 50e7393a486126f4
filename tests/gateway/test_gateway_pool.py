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
from lightfast_link.value import Asset

ASSETS = [Asset(f"lf://asset/{index}", "image/png", str(index) * 64, 1) for index in range(2)]


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


async def test_a_function_that_raises_what_ends_programs_ends_no_thread() -> None:
    pool = MediaPool(threads=1)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(RuntimeError, match="KeyboardInterrupt"):
        await pool.run(interrupt)
    assert await pool.run(str, 7) == "7"
    pool.close()


async def test_without_a_thread_nobody_waits_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = MediaPool(threads=2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(Exhausted, match="no thread can be started"):
            await pool.run(int)
    assert await pool.run(str, 7) == "7"
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        assert await pool.run(str, 8) == "8"  # the one that is there does it
    pool.close()


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
        channel.offer(StepProgress(fraction, "", "m", 1))
    await channel.put(ASSETS[0])
    channel.offer(Preview("image/png", b"x"))  # full: dropped
    late = asyncio.ensure_future(channel.put(TextDelta("b")))
    await asyncio.sleep(0)
    assert not late.done()
    channel_first = await channel.get()
    assert channel_first == step(StepProgress(0.3, "", "m", 1))
    await late
    channel.finish(StepUsage(0, 0, 0.0, 0.0))
    rest = [await channel.get() for _ in range(4)]
    assert rest == [OperationStep("op", ASSETS[0]), step(TextDelta("b")), step(StepUsage(0, 0, 0.0, 0.0)), None]


async def test_a_closed_channel_lets_its_sender_go() -> None:
    channel = StepChannel(bound=1)
    await channel.put(ASSETS[0])
    late = asyncio.ensure_future(channel.put(ASSETS[1]))
    await asyncio.sleep(0)
    channel.close(Unavailable("gone"))
    await late
    assert await channel.get() == OperationStep("op", ASSETS[0])
    with pytest.raises(Unavailable, match="gone"):
        await channel.get()


async def test_text_that_waits_is_joined_up_to_a_bound() -> None:
    channel = StepChannel(bound=2)
    pieces = [f"{index} " for index in range(1000)]
    for piece in pieces:
        assert channel.offer_text(TextDelta(piece))
    assert await channel.get() == step(TextDelta("".join(pieces)))
    long = "x" * (1 << 20)
    taken = 0
    while channel.offer_text(TextDelta(long)):
        taken += 1
    assert taken == 2  # what is over the bound of a piece is not joined, and the channel is full then
    channel.offer(StepProgress(0.5, "", "m", 1))  # full: dropped
    assert [len((await channel.get()).kind.text) for _ in range(2)] == [1 << 20] * 2  # type: ignore[union-attr]
    channel.close()
    assert await channel.get() is None


async def test_who_reads_meanwhile_gets_each_piece() -> None:
    channel = StepChannel()
    got: list[str] = []

    async def read() -> None:
        while (found := await channel.get()) is not None:
            assert isinstance(found.kind, TextDelta)
            got.append(found.kind.text)

    reader = asyncio.ensure_future(read())
    for piece in ("a", "b", "c"):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        channel.offer_text(TextDelta(piece))
    channel.close()
    await reader
    assert got == ["a", "b", "c"]


async def test_without_a_reader_nothing_waits() -> None:
    channel = StepChannel(bound=1)
    await channel.put(ASSETS[0])
    late = asyncio.ensure_future(channel.put(ASSETS[1]))
    await asyncio.sleep(0)
    channel.detach()
    await late
    for _ in range(100):
        await channel.put(TextDelta("x"))
        channel.offer(Preview("image/png", b"x"))
    channel.close()
    assert await channel.get() is None
