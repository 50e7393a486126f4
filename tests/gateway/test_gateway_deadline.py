"""Deadlines, cancellation and slow readers: nothing outlives its request, nothing grows without bound."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.actors import Accounts, Actor, Purse, for_ever
from tests.support.gateway import house
from tests.support.plugins import until

from lightfast.core.errors import Cancelled, DeadlineExceeded, FailedPrecondition
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.calls import GenerateCall
from lightfast.gateway.operations import OperationState
from lightfast.gateway.ports import Attempt
from lightfast.sdk import ProviderError, TextDelta


async def stubborn() -> None:
    """Swallow every cancellation until the loop ends."""
    release = asyncio.get_running_loop().create_future()
    while True:
        try:
            await asyncio.shield(release)
        except asyncio.CancelledError:
            if RELEASED.is_set():
                raise


RELEASED = asyncio.Event()


async def test_a_provider_that_does_not_obey_is_settled_and_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightfast.gateway.generation.GRACE", 0.05)
    RELEASED.clear()
    async with house(tmp_path) as rooms:
        purse, accounts = Purse(), Accounts("first")
        rooms.gateway.costs, rooms.gateway.sessions = purse, accounts
        one = Actor("a").plays(TextDelta("x"), stubborn)
        rooms.gateway.register(one, "a")
        try:
            for timeout in (0.5, 5.0, 50.0):  # the next one where a busy machine had not begun it by then
                purse.holds.clear()
                accounts.places.clear()
                with pytest.raises(DeadlineExceeded):
                    await rooms.run("x", model="a/one", timeout=timeout)
                if one.requests:
                    break
            assert [hold.ends for hold in purse.holds] == [["failed"]]
            assert [place.ends for place in accounts.places] == [["settled"]]
            (ended, *_), _ = await rooms.gateway.list_operations()
            assert ended.state is OperationState.FAILED
            assert rooms.gateway.running == 0
        finally:
            RELEASED.set()  # else nothing could end it


async def test_one_that_is_left_before_it_began_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.gateway.generation.GRACE", 1e6)
    async with house(tmp_path) as rooms:
        one = Actor("a")
        rooms.gateway.register(one, "a")
        steps = rooms.gateway.generate(GenerateCall("a/one", prompt="x"), "client:test")
        first = await anext(steps)
        await steps.aclose()  # type: ignore[attr-defined]
        ended = await rooms.gateway.operation(first.operation_id)
        assert (ended.state, ended.error) == (OperationState.CANCELLED, "the caller went away")
        assert (one.requests, rooms.gateway.running) == ([], 0)


async def test_nobody_waits_for_one_that_cannot_begin_any_more(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.register(Actor("a"), "a")
        usual, rooms.gateway.tasks = rooms.gateway.tasks, TaskGroup("stopping")
        steps = rooms.gateway.generate(GenerateCall("a/one", prompt="x"), "client:test")
        await anext(steps)
        await rooms.gateway.tasks.close()
        with pytest.raises(Cancelled, match="the daemon is stopping"):
            await anext(steps)
        assert rooms.gateway.running == 0
        rooms.gateway.tasks = usual


async def test_an_error_in_answer_to_a_cancellation_is_a_cancellation(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        heard: list[Attempt] = []
        rooms.gateway.on_attempt.append(heard.append)

        async def sulk() -> None:
            try:
                await for_ever()
            except asyncio.CancelledError:
                raise ProviderError("I was not done", kind="unavailable") from None

        one = Actor("a").plays(sulk)
        rooms.gateway.register(one, "a")
        other = Actor("b")
        rooms.gateway.register(other, "b")
        task = asyncio.ensure_future(rooms.run("x", model="a/one", fallbacks=("b/one",)))
        await until(lambda: len(one.requests) == 1, "the request")
        (running,), _ = await rooms.gateway.list_operations(running_only=True)
        assert (await rooms.gateway.cancel(running.operation_id)).state is OperationState.CANCELLED
        with pytest.raises(Cancelled):
            await task
        assert other.requests == []


async def test_all_are_cancelled_in_a_panic(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        one = Actor("a")
        rooms.gateway.register(one, "a")
        for _ in range(10):
            one.plays(for_ever)
        tasks = [asyncio.ensure_future(rooms.run("x", model="a/one")) for _ in range(10)]
        await until(lambda: len(one.requests) == 10, "the requests")
        assert rooms.gateway.cancel_all("panic") == 10
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, Cancelled) and "panic" in outcome.message for outcome in outcomes)
        await until(lambda: rooms.gateway.running == 0, "the end of all")
        assert one.closed == 10


async def test_a_slow_reader_holds_the_provider_back(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        piece = "x" * 50_000
        one = Actor("a")
        made = 0

        def count() -> None:
            nonlocal made
            made += 1

        one.plays(*[line for _ in range(300) for line in (TextDelta(piece), count)])
        rooms.gateway.register(one, "a")
        steps = rooms.gateway.generate(GenerateCall("a/one", prompt="x"), "client:test")
        await anext(steps)
        before = -1
        while made != before:
            before = made
            for _ in range(50):
                await asyncio.sleep(0)
        assert 0 < made < 100
        size = 0
        async for step in steps:
            if isinstance(step.kind, TextDelta):
                size += len(step.kind.text)
        assert (size, made) == (300 * len(piece), 300)


async def test_too_much_text_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.gateway.attempt.TEXT_BYTES", 1000)
    async with house(tmp_path) as rooms:
        one = Actor("a").plays(*[TextDelta("x" * 100)] * 11)
        rooms.gateway.register(one, "a")
        with pytest.raises(FailedPrecondition, match="its text exceeds 1000") as caught:
            await rooms.run("x", model="a/one")
        assert (caught.value.reason, len(one.requests), one.closed) == ("ANSWER_TOO_LARGE", 1, 1)


async def test_text_that_is_no_unicode_is_an_error(tmp_path: Path) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.register(Actor("a").plays(TextDelta("\ud800")), "a")
        with pytest.raises(FailedPrecondition, match="lone surrogate"):
            await rooms.run("x", model="a/one")


@pytest.mark.parametrize("bad", [TextDelta(b"bytes"), TextDelta(None)], ids=["bytes", "none"])  # type: ignore[arg-type]
async def test_text_that_is_none_is_an_error(tmp_path: Path, bad: TextDelta) -> None:
    async with house(tmp_path) as rooms:
        rooms.gateway.register(Actor("a").plays(bad), "a")
        with pytest.raises(FailedPrecondition, match="it yielded a TextDelta of"):
            await rooms.run("x", model="a/one")
