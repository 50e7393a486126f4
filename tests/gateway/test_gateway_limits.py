"""Limits on a still clock: what holds, who waits for how long, what is given back, how a refusal is taken in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.sessions import Service, Sessions, sessions, settled

from lightfast.core.errors import Exhausted, FailedPrecondition
from lightfast.gateway.limits.rules import SHIPPED, check_limits, family_of, read_wanted, rules_for
from lightfast.gateway.ports import Load
from lightfast.gateway.sessions.records import SessionState
from lightfast.gateway.sessions.waiting import MOST_WAITING
from lightfast.sdk import Limit, Limits, Model, ProviderError, Usage


async def many(rooms: Sessions, count: int, tokens: int = 0, **fields: Any) -> list[asyncio.Task[Any]]:
    """Ask for many places at once."""
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(rooms.reserve(tokens, **fields)) for _ in range(count)]
    await settled(3 * count)
    return tasks


def gone(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Return the places that were given."""
    return [task.result() for task in tasks if task.done()]


@pytest.mark.parametrize("family", sorted(SHIPPED))
async def test_the_shipped_table_is_never_exceeded(tmp_path: Path, family: str) -> None:
    (_, _, requests), (_, _, tokens) = SHIPPED[family]
    named = {"claude": "anthropic", "gpt": "openai", "gemini": "gemini", "llama": "meta"}[family]
    service = Service(named, listed=(Model(f"{family}-9", outputs=("text",)),))
    async with sessions(tmp_path, service=service) as rooms:
        small = await many(rooms, int(requests) + 50, 1, model=f"{family}-9")
        assert len(gone(small)) == requests
        await rooms.advance(59.9)
        assert len(gone(small)) == requests
        await rooms.advance(0.1)
        assert len(gone(small)) == requests + 50
        await rooms.advance(61.0)
        large = await many(rooms, 12, int(tokens // 10) - 1, model=f"{family}-9")
        assert len(gone(large)) == 10
        for task in large:
            task.cancel()


def test_the_shipped_table() -> None:
    rows = [(name, amounts[0][2], amounts[1][2]) for name, amounts in SHIPPED.items()]
    assert rows == [
        ("claude", 100, 20_000), ("gpt", 200, 30_000), ("gemini", 300, 40_000), ("llama", 500, 50_000),
    ]  # fmt: skip
    found = {name: family_of(*name.split("/")) for name in
             ("anthropic/claude-x", "openai/o9", "x/gpt-5", "google/gemini-3", "groq/llama-4", "ollama/qwen")}  # fmt: skip
    assert list(found.values()) == ["claude", "gpt", "gpt", "gemini", "llama", "llama"]
    assert rules_for("ollama", "llama-4", wanted=read_wanted({}), told={}, documented=(), tier=(), local=True) == []


@pytest.mark.parametrize(
    ("settings", "told", "documented", "tier", "expected"),
    [
        ({}, {}, (), (), (100, "shipped")),
        ({}, {}, (), (("requests", 60.0, 7.0),), (7, "shipped")),
        ({}, {}, (("requests", 60.0, 8.0),), (("requests", 60.0, 7.0),), (8, "shipped")),
        ({}, {("requests", 60.0): 900.0}, (("requests", 60.0, 8.0),), (), (900, "service")),
        ({"requests_per_minute": 50}, {("requests", 60.0): 900.0}, (), (), (50, "settings")),
        ({"requests_per_minute": 999}, {("requests", 60.0): 900.0}, (), (), (900, "service")),
        ({"requests_per_minute": float("inf")}, {}, (), (), None),
    ],
    ids=["shipped", "tier", "model", "service", "settings", "both", "none"],
)
def test_which_limit_holds(
    settings: dict[str, float], told: Any, documented: Any, tier: Any, expected: tuple[float, str] | None
) -> None:
    rules = rules_for(
        "anthropic", "claude", wanted=read_wanted(settings), told=told, documented=documented, tier=tier, local=False
    )
    found = [rule for rule in rules if rule.kind == "requests"]
    tightest = min(found, key=lambda rule: rule.number) if found else None
    assert (tightest and (tightest.number, tightest.source)) == expected


@pytest.mark.parametrize(
    "value",
    [5, ["x"], [{"modle": "x"}], [{"requests_per_minute": -1}], [{"requests_per_minute": "many"}],
     [{"model": "a", "together": True}], [{"concurrency": True}], [{"tokens_per_minute": float("nan")}]],
    ids=["number", "texts", "unknown", "negative", "text", "both", "bool", "nan"],
)  # fmt: skip
def test_wrong_limits_are_told(value: Any) -> None:
    with pytest.raises(ValueError, match=r"tables such as|to be a number|either model or together"):
        check_limits(value)


async def test_what_was_not_used_is_free_at_once(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"tokens_per_minute": 1000}) as rooms:
        first = await rooms.reserve(100, 900)
        (late,) = await many(rooms, 1, 500, answer=300)
        assert not late.done()
        first.settle(Usage(100, 50), 1.0)
        await settled()
        late.result().release()
        place = await rooms.reserve(840, 10)  # 150 are used
        place.release()
        place.settle(Usage(10_000, 0), 1.0)  # it is over: nothing more is counted
        assert (await rooms.reserve(840, 10)).session.account == "default"


async def test_what_was_used_beyond_what_was_reserved_counts(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"tokens_per_minute": 1000}) as rooms:
        (await rooms.reserve(100, 100)).settle(Usage(100, 800), 1.0)
        assert rooms.book.delay(rooms.record(), _load(200)) == 60.0
        await rooms.advance(60.0)
        assert rooms.book.delay(rooms.record(), _load(200)) == 0.0


async def test_what_can_never_fit_fails_at_once(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"tokens_per_minute": 1000}) as rooms:
        with pytest.raises(Exhausted, match=r"needs up to 1001 tokens, and its limit is 1000 tokens in a minute") as no:
            await rooms.reserve(1000, 1)
        assert (no.value.reason, no.value.metadata["limit"]) == ("LIMIT_REACHED", "tokens")
        assert "[providers.service] tokens_per_minute" in no.value.message
        assert rooms.book.delay(rooms.record(), _load(1001)) == float("inf")


async def test_an_answer_without_a_bound_is_taken_to_be_of_a_sensible_size(tmp_path: Path) -> None:
    service = Service(listed=(Model("one", outputs=("text",), max_output_tokens=128_000),))
    async with sessions(tmp_path, service=service, limits={"tokens_per_minute": 10_000}) as rooms:
        places = [await rooms.reserve(100, 0), await rooms.reserve(100, 128_000)]
        assert rooms.book.records(["service"])[0].limits[0].remaining == 10_000 - 2 * (100 + 4096)
        for place in places:
            place.release()
        (await rooms.reserve(9000, 0)).release()  # fits beside a shorter answer
        with pytest.raises(Exhausted, match="needs up to 10001 tokens"):
            await rooms.reserve(10_000, 0)


async def test_who_would_come_too_late_is_told_when_to_come(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"requests_per_minute": 1}) as rooms:
        (await rooms.reserve()).settle(Usage(1, 1), 0.1)
        await rooms.advance(20.0)
        with pytest.raises(Exhausted, match=r"in 40.0 s at the earliest, and the request has 5.0 s left") as no:
            await rooms.reserve(deadline=25.0)
        assert (no.value.reason, no.value.retry_after) == ("LIMIT_REACHED", 40.0)


async def test_who_waits_leaves_at_the_deadline(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"concurrency": 1}) as rooms:
        place = await rooms.reserve()
        first, second = (*await many(rooms, 1, deadline=30.0), *await many(rooms, 1, deadline=90.0))
        await rooms.advance(29.0)
        assert not first.done()
        await rooms.advance(1.0)
        assert isinstance(first.exception(), Exhausted)
        place.release()
        await settled()
        assert second.result().session.account == "default"


async def test_who_came_first_goes_first_and_small_ones_starve_no_large_one(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"tokens_per_minute": 100}) as rooms:
        (await rooms.reserve(59, 1)).settle(Usage(60, 0), 0.1)
        await rooms.advance(10.0)
        (large,) = await many(rooms, 1, 89, answer=1)
        small = await many(rooms, 3, 9, answer=1, model="two")  # would fit now, and put the large one off
        assert not large.done()
        assert gone(small) == []
        await rooms.advance(50.0)
        assert large.done()
        assert len(gone(small)) == 1
        large.result().release()
        await settled()
        assert len(gone(small)) == 3


async def test_the_queue_is_bounded(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"concurrency": 1}) as rooms:
        place = await rooms.reserve()
        tasks = await many(rooms, MOST_WAITING)
        with pytest.raises(Exhausted, match="1000 requests wait") as no:
            await rooms.reserve()
        assert no.value.reason == "QUEUE_FULL"
        for task in tasks[1:]:
            task.cancel()
        await settled()
        place.release()
        await settled()
        assert tasks[0].done()
        tasks[0].result().release()
        (await rooms.reserve()).release()


async def test_who_is_cancelled_in_the_moment_of_a_grant_gives_it_back(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"concurrency": 1}) as rooms:
        place = await rooms.reserve()
        (task,) = await many(rooms, 1)
        place.release()  # the task has its place, and does not know yet
        task.cancel()
        await settled()
        assert task.cancelled()
        (await rooms.reserve()).release()


async def test_the_service_lowers_and_raises_the_limit(tmp_path: Path) -> None:
    async with sessions(tmp_path, service=Service("openai"), limits={}) as rooms:
        place = await rooms.reserve(10)
        place.tell(Limits((Limit("requests", 60.0, 3.0, 2.0, 20.0), Limit("tokens", 60.0, 90_000.0, 89_000.0, 1.0))))
        place.settle(Usage(10, 1), 0.1)
        limits = {limit.kind: limit for limit in rooms.book.records(["openai"])[0].limits}
        assert (limits["requests"].limit, limits["requests"].remaining, limits["requests"].source) == (3, 2, "service")
        assert limits["tokens"].limit == 90_000  # more than the 30 000 that are shipped
        assert len(gone(await many(rooms, 3))) == 2


async def test_what_others_use_with_the_same_key_counts_until_the_reset(tmp_path: Path) -> None:
    async with sessions(tmp_path, service=Service("openai")) as rooms:
        place = await rooms.reserve()
        place.tell(Limits((Limit("requests", 60.0, 10.0, 0.0, 12.0),)))
        place.settle(Usage(1, 1), 0.1)
        assert rooms.book.delay(rooms.record(), _load(1)) == 12.0
        await rooms.advance(12.0)
        assert len(gone(await many(rooms, 20))) == 9


async def test_what_may_be_under_way_at_once_is_of_the_whole_account(tmp_path: Path) -> None:
    async with sessions(tmp_path, limits={"concurrency": 9}) as rooms:
        (await rooms.reserve(model="two")).release()
        first = await rooms.reserve()
        first.tell(Limits((Limit("concurrency", 0.0, 2.0), Limit("nonsense", 60.0, 1.0), Limit("tokens", 0.0, 5.0))))
        second = await rooms.reserve(model="two")
        waiting = [*await many(rooms, 1), *await many(rooms, 1, model="two"), *await many(rooms, 1, model="three")]
        assert gone(waiting) == []
        for place in (first, second):
            place.settle(Usage(1, 1), 0.1)
        await settled()
        assert len(gone(waiting)) == 2


async def test_what_others_use_counts_where_the_settings_are_lower_too(tmp_path: Path) -> None:
    async with sessions(tmp_path, more=[{"model": "one", "requests_per_minute": 5}]) as rooms:
        place = await rooms.reserve()
        place.tell(Limits((Limit("requests", 60.0, 100.0, 97.0, 30.0),)))
        assert len(gone(await many(rooms, 9))) == 2
        await rooms.advance(30.0)
        place.tell(Limits((Limit("requests", 60.0, -1.0, 5.0, -1.0),)))
        assert len(gone(await many(rooms, 1))) == 0


async def test_a_429_pauses_and_narrows_and_successes_widen(tmp_path: Path) -> None:
    async with sessions(tmp_path) as rooms:
        places = [await rooms.reserve() for _ in range(8)]
        for place in places:  # all were under way when the first came back: they count once
            place.refused(ProviderError("slow down", kind="limit", retry_after=7.0))
            place.release()
        (task,) = await many(rooms, 1)
        await rooms.advance(6.9)
        assert not task.done()
        await rooms.advance(0.1)
        task.result().settle(Usage(1, 1), 0.1)
        held = await many(rooms, 10)
        assert len(gone(held)) == 4
        for _ in range(4):
            for place in gone(held):
                place.settle(Usage(1, 1), 0.1)
            await settled()
        assert len(gone(held)) == 10


@pytest.mark.parametrize("kind", ["limit", "overloaded"])
async def test_refusals_without_a_word_about_when_double_the_pause(tmp_path: Path, kind: str) -> None:
    async with sessions(tmp_path) as rooms:
        places = [await rooms.reserve(), await rooms.reserve()]
        for pause in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
            for place in places:  # those of one round count once
                place.refused(ProviderError("not now", kind=kind))
                place.release()
            assert rooms.book.delay(rooms.record(), _load(1)) == pytest.approx(pause)
            await rooms.advance(pause + 0.01)
            places = [await rooms.reserve(deadline=rooms.clock.monotonic())]
        places[0].release()
        (await rooms.reserve()).settle(Usage(1, 1), 0.1)
        place = await rooms.reserve()
        place.refused(ProviderError("not now", kind=kind))
        place.release()
        assert rooms.book.delay(rooms.record(), _load(1)) == 1.0


async def test_too_many_at_once_means_to_queue_and_not_to_pause(tmp_path: Path) -> None:
    async with sessions(tmp_path) as rooms:
        places = [await rooms.reserve() for _ in range(5)]
        error = ProviderError("too many", kind="limit", reason="TOO_MANY_CONCURRENT_REQUESTS")
        places[4].refused(error)
        places[4].release()
        (task,) = await many(rooms, 1)
        assert not task.done()
        places[0].settle(Usage(1, 1), 0.1)
        await settled()
        assert task.done()


async def test_an_account_that_is_used_up_is_left_alone_until_its_reset(tmp_path: Path) -> None:
    async with sessions(tmp_path) as rooms:
        place = await rooms.reserve()
        told = Limits((Limit("spend", 86_400.0, 50.0, 0.0, 1800.0),))
        place.refused(ProviderError("no more today", kind="limit", terminal=True, limits=told))
        place.release()
        (record,) = rooms.book.records(["service"])
        assert (record.state, record.reason) == (SessionState.EXHAUSTED, "no more today")
        with pytest.raises(Exhausted, match=r"no more today; it is tried again in 1800.0 s") as no:
            await rooms.reserve()
        assert (no.value.reason, no.value.retry_after) == ("LIMIT_REACHED", 1800.0)
        assert "used up" in rooms.book.trouble("service")
        await rooms.advance(1800.0)
        (await rooms.reserve()).settle(Usage(1, 1), 0.1)
        assert rooms.book.records(["service"])[0].state is SessionState.READY


async def test_a_limit_in_dollars_may_be_that_of_a_tier(tmp_path: Path) -> None:
    service = Service(tiers={"one": (("spend", 2_592_000.0, 0.5),)})
    async with sessions(tmp_path, service=service, price=lambda _, load: load.input_tokens / 1000) as rooms:
        (await rooms.reserve(450)).settle(Usage(400, 1), 0.1)
        (await rooms.reserve(100)).release()
        with pytest.raises(Exhausted, match=r"in 2592000.0 s at the earliest") as no:
            await rooms.book.reserve(rooms.record(), _load(101), deadline=5.0)
        assert no.value.reason == "LIMIT_REACHED"


async def test_a_model_that_is_used_up_leaves_the_others(tmp_path: Path) -> None:
    async with sessions(tmp_path) as rooms:
        place = await rooms.reserve()
        told = Limits((Limit("requests", 86_400.0, 50.0, 0.0, 1800.0),))
        place.refused(ProviderError("no more today", kind="limit", terminal=True, limits=told))
        place.release()
        with pytest.raises(Exhausted, match=r"service/one is used up: no more today; it is tried again in 1800") as no:
            await rooms.reserve()
        assert (no.value.reason, no.value.retry_after) == ("LIMIT_REACHED", 1800.0)
        (await rooms.reserve(model="two")).settle(Usage(1, 1), 0.1)
        await rooms.advance(1800.0)
        (await rooms.reserve()).settle(Usage(1, 1), 0.1)


async def test_an_empty_balance_is_told_as_such(tmp_path: Path) -> None:
    async with sessions(tmp_path) as rooms:
        place = await rooms.reserve()
        place.tell(Limits((), 0.0, "credits"))
        place.settle(Usage(1, 1), 0.1)
        with pytest.raises(FailedPrecondition, match="is empty: its balance is used up") as no:
            await rooms.reserve()
        assert no.value.reason == "BALANCE_EMPTY"
        await rooms.advance(300.0)
        place = await rooms.reserve()
        place.tell(Limits((), 25.0, "credits"))
        place.settle(Usage(1, 1), 0.1)
        (record,) = rooms.book.records(["service"])
        assert (record.state, record.balance, record.balance_unit) == (SessionState.READY, 25.0, "credits")


async def test_a_limit_in_dollars_is_that_of_all_accounts_together(tmp_path: Path) -> None:
    async with sessions(
        tmp_path,
        environ={"A": "sk-a-0123456789", "B": "sk-b-0123456789"},
        keys=("env:A", "env:B"),
        limits={"usd_per_day": 1.0},
        price=lambda _, load: (load.input_tokens + load.most_output_tokens) / 1000,
    ) as rooms:
        first = await rooms.reserve(400, 100)
        second = await rooms.reserve(400, 100)
        (late,) = await many(rooms, 1, 100)
        assert not late.done()
        first.settle(Usage(400, 0, cost_usd=0.1), 1.0)
        second.settle(Usage(100, 100), 1.0)
        await settled()
        late.result().release()
        limit = next(limit for limit in rooms.book.records(["service"])[0].limits if limit.kind == "spend")
        assert (limit.limit, round(limit.remaining, 6)) == (1.0, 0.7)


def _load(tokens: int) -> Load:
    return Load(input_tokens=tokens, most_output_tokens=0, output="embedding")
