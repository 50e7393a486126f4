"""Texts into vectors: sent together, shared out exactly, and nobody pays or fails for another."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.embedding import Vectors, desk
from tests.support.plugins import until

from lightfast.context.upkeep.purge_target import make_target
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import (
    DeadlineExceeded,
    Exhausted,
    InvalidArgument,
    LightfastError,
    Unavailable,
)
from lightfast.gateway.batching import convoy as convoys
from lightfast.gateway.batching.embeddings import EmbedCall, EmbeddingRoom
from lightfast.gateway.batching.vectors import VectorCache
from lightfast.gateway.cache.answers import KeptAnswers
from lightfast.gateway.cache.purge import KeptRoom
from lightfast.gateway.calls import ModelRecord
from lightfast.sdk import (
    ProviderError,
    Usage,
)


async def test_one_text_goes_at_once_and_what_comes_meanwhile_goes_together(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.provider.go.clear()
        first = here.start("a")
        await here.sent(1)
        rest = [here.start("b" * at, project=f"p{at}") for at in range(2, 12)]
        await until(lambda: here.places.open >= 1, "a place")
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(here.provider.requests) == 1, "they wait for each other, not for a clock"
        here.provider.go.set()
        assert [list(vector) for vector in (await first).vectors] == [[1.0, 1.0, 1.0]]
        for at, task in enumerate(rest, 2):
            found = await task
            assert [list(vector) for vector in found.vectors] == [[float(at)] * 3]
            assert found.model == "vec/one"
        assert [len(request.texts) for request in here.provider.requests] == [1, 10]
        assert here.room.sums.requests == 2
        told = sum(usage.input_tokens for _, usage in here.money.booked)
        assert told == sum(usage.input_tokens for usage in here.places.settled)
        assert sum(usage.requests for _, usage in here.money.booked) == 2
        assert sum(round((usage.cost_usd or 0) * 1e9) for _, usage in here.money.booked) == 200_000_000
        assert {project for project, _ in here.money.booked} == {"", *(f"p{at}" for at in range(2, 12))}


async def test_those_of_one_turn_go_together_and_a_crowd_goes_in_bounded_requests(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        found = await asyncio.gather(*(here.start(f"text {at}") for at in range(50)))
        assert len(here.provider.requests) == 1
        assert len({answer.vectors[0].tobytes() for answer in found}) == 2
        many = await here.start(*(f"one of many {at}" for at in range(1000)))
        assert [len(vector) for vector in many.vectors] == [3] * 1000
        sizes = [len(request.texts) for request in here.provider.requests[1:]]
        assert sizes == [convoys.MOST_TEXTS] * 10
        assert 1 < here.provider.most_under_way <= convoys.AT_ONCE
        long = await here.start("x" * 50_000, "y1 " * 40_000)
        assert len(long.vectors) == 2


async def test_vectors_are_kept_by_model_and_size_and_what_was_saved_is_booked(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        first = await here.start("a", "b", "a")
        assert [len(request.texts) for request in here.provider.requests] == [2]
        assert (first.cache, first.saved_usd) == ("", 0.0)
        again = await here.start("b", "a")
        assert len(here.provider.requests) == 1
        assert (again.cache, again.usage, again.cost_usd, again.saved_usd) == ("exact", Usage(), 0.0, 0.5)
        assert again.vectors == (first.vectors[1], first.vectors[0])
        assert here.money.saved_usd == [0.5]
        short = await here.start("a", dimensions=2)
        assert len(short.vectors[0]) == 2
        other = await here.room.embed(EmbedCall("vec/two", ("a",)), "client:test")
        assert other.model == "vec/two"
        assert len(here.provider.requests) == 3
        here.room.cache.clear()
        await here.start("a")
        assert len(here.provider.requests) == 4


async def test_a_purge_lets_go_of_vectors(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        vectors = VectorCache()
        here.room = EmbeddingRoom(here.rooms, vectors)
        await here.start("the hush-hush word")
        assert len(vectors) == 1
        assert vectors.bytes > 0
        kept = KeptAnswers(here.db, here.blobs, SYSTEM)
        room = KeptRoom(here.db, kept, vectors)
        assert [item async for some in room.find(make_target(text="hush-hush")) for item in some] == []
        assert (len(vectors), vectors.bytes) == (0, 0)
        small = VectorCache(1000)
        for at in range(20):
            small.put(VectorCache.key("m", 0, str(at)), array("f", [1.0] * 10))
        assert small.bytes <= 1000
        assert small.get(VectorCache.key("m", 0, "19")) is not None
        assert small.get(VectorCache.key("m", 0, "0")) is None


async def test_a_bad_text_fails_its_caller_alone(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.provider.go.clear()
        tasks = [here.start("first")]
        await here.sent(1)
        tasks += [here.start("bad one" if at == 3 else f"good {at}", project=str(at)) for at in range(9)]
        for _ in range(5):
            await asyncio.sleep(0)
        here.provider.go.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        wrong = [at for at, one in enumerate(found) if isinstance(one, BaseException)]
        assert wrong == [4]
        assert isinstance(found[4], InvalidArgument)
        assert here.room.sums.splits > 0
        assert "3" not in {project for project, _ in here.money.booked}


async def test_one_who_leaves_takes_nobody_along_and_pays_for_what_was_sent(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.provider.go.clear()
        first = here.start("first")
        await here.sent(1)
        leaves, stays, early = here.start("leaves", project="l"), here.start("stays"), here.start("early")
        for _ in range(5):
            await asyncio.sleep(0)
        early.cancel()
        here.provider.go.set()
        await first
        here.provider.go.clear()
        await here.sent(2)
        assert sorted(here.provider.requests[1].texts) == ["leaves", "stays"]
        leaves.cancel()
        await asyncio.wait({leaves})
        here.provider.go.set()
        assert (await stays).vectors
        assert early.cancelled()
        assert leaves.cancelled()
        assert "l" in {project for project, _ in here.money.booked}


async def test_a_request_nobody_waits_for_is_cancelled(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.provider.go.clear()
        one = here.start("a")
        await here.sent(1)
        one.cancel()
        await asyncio.wait({one})
        await until(lambda: here.provider.cancelled > 0, "its cancellation")
        with pytest.raises(DeadlineExceeded):
            await here.start("b", timeout=0.02)
        here.provider.go.set()
        assert (await here.start("c")).vectors


async def test_whose_money_is_out_fails_alone(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        here.money.broke.add("poor")
        poor, rich = here.start("a", project="poor"), here.start("b")
        assert (await rich).vectors
        with pytest.raises(Exhausted) as caught:
            await poor
        assert caught.value.reason == "BUDGET_EXCEEDED"
        assert [request.texts for request in here.provider.requests] == [("b",)]


FAILURES: dict[str, tuple[list[BaseException], type[LightfastError] | None]] = {
    "once": ([ProviderError("busy", kind="overloaded")], None),
    "limit": ([ProviderError("429", kind="limit", retry_after=0.001)], None),
    "always": ([ProviderError("down", kind="unavailable")] * 9, Unavailable),
    "bug": ([RuntimeError("oops")], LightfastError),
    "auth": ([ProviderError("key", kind="auth")] * 9, LightfastError),
}


@pytest.mark.parametrize("name", FAILURES)
async def test_what_may_pass_is_tried_again_and_what_may_not_is_told(tmp_path: Path, name: str) -> None:
    failures, kind = FAILURES[name]
    async with desk(tmp_path) as here:
        here.provider.failures = list(failures)
        if kind is None:
            assert (await here.start("a")).vectors
            assert len(here.provider.requests) == 2
        else:
            with pytest.raises(kind):
                await here.start("a")
        assert here.places.refusals == (len(failures) - len(here.provider.failures) if name in {"limit", "auth"} else 0)
        here.provider.failures = []
        with pytest.raises(LightfastError, match="vectors of"):
            await here.start("short")


async def test_the_same_model_of_another_provider_may_stand_in_and_no_other(tmp_path: Path) -> None:
    class Elsewhere(Vectors):
        name = "elsewhere"

    async with desk(tmp_path) as here:
        other = Elsewhere()
        here.rooms.catalog.add(other, "x", other.models())
        records = {record.name: record for record in here.rooms.catalog.models("embedding")}

        class Chain:
            async def ordered(self, *_: Any, **__: Any) -> list[ModelRecord]:
                return [records["vec/one"], records["vec/two"], records["elsewhere/one"]]

            def allowed(self, model: str) -> bool:
                return True

        here.rooms.candidates = Chain()
        here.provider.failures = [ProviderError("down", kind="denied", terminal=True) for _ in range(9)]
        found = await here.start("a", "b")
        assert found.model == "elsewhere/one"
        assert {request.model for request in here.provider.requests} == {"one"}


@pytest.mark.parametrize(
    "fields",
    [
        {"texts": ()},
        {"texts": ("a", " ")},
        {"texts": ("a",) * 2049},
        {"texts": ("a" * 200_000,)},
        {"dimensions": -1},
        {"timeout": -1.0},
    ],
    ids=range(6),
)
async def test_what_is_wrong_is_said_before_anything_is_sent(tmp_path: Path, fields: dict[str, Any]) -> None:
    async with desk(tmp_path) as here:
        with pytest.raises(InvalidArgument):
            await here.room.embed(replace(EmbedCall("vec/one", ("a",)), **fields), "client:test")
        assert not here.provider.requests


async def test_a_convoy_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convoys, "MOST_WAITING", 5)
    async with desk(tmp_path) as here:
        with pytest.raises(Exhausted, match="wait for vec/one already"):
            await here.start(*"abcdef")
        assert (await here.start("a")).vectors
