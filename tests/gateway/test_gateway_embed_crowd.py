"""Shares that add up, and crowds of which anyone may leave or fail at any time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.embedding import Money, Places, Vectors

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import (
    LightfastError,
)
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.batching.embeddings import EmbedCall, EmbeddingRoom
from lightfast.gateway.batching.shares import split, split_usage
from lightfast.gateway.catalog import Catalog
from lightfast.gateway.rooms import Patience
from lightfast.sdk import (
    ProviderError,
    Usage,
)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    shares = split(total, weights)
    assert sum(shares) == total
    assert all(share >= 0 for share in shares)
    if sum(weights):
        assert all(
            abs(share - total * weight / sum(weights)) < 1 for share, weight in zip(shares, weights, strict=True)
        )
    usage = Usage(input_tokens=total, cost_usd=total / 1e9, requests=1, seconds=0.25, cached_tokens=total // 2)
    parts = split_usage(usage, weights)
    assert sum(part.input_tokens for part in parts) == total
    assert sum(part.cached_tokens for part in parts) == total // 2
    assert sum(part.requests for part in parts) == 1
    assert sum(round((part.cost_usd or 0) * 1e9) for part in parts) == total
    assert sum(part.seconds for part in parts) == pytest.approx(0.25, abs=1e-12)


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 12)), st.booleans()),
        min_size=1,
        max_size=8,
    ),
    st.lists(st.sampled_from(["overloaded", "limit", "invalid"]), max_size=3),
)
@example(plan=[(1, 0, None, False), (1, 0, 2, True)], failures=[])
@settings(max_examples=60, deadline=None)
def test_whoever_leaves_or_fails_the_others_get_their_own(
    plan: list[tuple[int, int, int | None, bool]], failures: list[str]
) -> None:
    asyncio.run(_crowd(plan, failures))


async def _crowd(plan: list[tuple[int, int, int | None, bool]], failures: list[str]) -> None:
    provider, money, places = Vectors(), Money(), Places()
    provider.failures = [ProviderError("not now", kind=kind, retry_after=0.0) for kind in failures]
    catalog = Catalog()
    catalog.add(provider, "vec", provider.models())
    async with TaskGroup("crowd") as tasks:
        rooms: Any = SimpleNamespace(
            may_write=lambda: None,
            clock=SYSTEM,
            candidates=None,
            catalog=catalog,
            sessions=places,
            costs=money,
            patience=Patience(4, 0.0, 0.0),
            pool=None,
            tasks=tasks,
            on_attempt=[],
        )
        room = EmbeddingRoom(rooms)

        async def ask(at: int, count: int, begin: int, bad: bool) -> bool:
            for _ in range(begin):
                await asyncio.sleep(0)
            texts = tuple("x" * (10 * at + one + 1) + (" bad" if bad and not one else "") for one in range(count))
            try:
                found = await room.embed(EmbedCall("vec/one", texts), "client:test")
            except LightfastError:
                return False
            assert [vector[0] for vector in found.vectors] == [float(len(text)) for text in texts]
            return True

        asked = [
            asyncio.get_running_loop().create_task(ask(at, count, begin, bad))
            for at, (count, begin, _, bad) in enumerate(plan)
        ]
        for turn in range(13):
            for task, (_, _, cancel, _) in zip(asked, plan, strict=True):
                if cancel == turn:
                    task.cancel()
            await asyncio.sleep(0)
        await asyncio.wait(asked)
        for task, (_, _, _, bad) in zip(asked, plan, strict=True):
            if not task.cancelled() and "invalid" not in failures:
                assert task.result() is not bad, "a bad text fails its caller, and nobody else"
        for _ in range(200):
            if not len(tasks):
                break
            await asyncio.sleep(0)
    assert (money.held, places.open) == (0, 0)
    paid = sum(usage.input_tokens for _, usage in money.booked)
    assert paid == sum(usage.input_tokens for usage in places.settled) or any(task.cancelled() for task in asked)
