"""The order of models of equal standing, and the computed aliases: on a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.routing import NEVER, Desk, Still, desk_of, text

from lightfast.core.errors import LightfastError
from lightfast.gateway.routing.ranking import PRICE_S
from lightfast.gateway.routing.seen import SeenModels
from lightfast.sdk import Model, ProviderError


async def test_fast_goes_by_the_latency_that_was_seen() -> None:
    desk = desk_of(Still("one", [text("a", "fast"), text("b", "fast"), text("c", "fast"), text("d")]))
    assert await desk.names("fast") == ["one/a", "one/b", "one/c"]
    desk.attempt("one/a", first=8.0, took=20.0)
    desk.attempt("one/c", first=0.2, took=0.6)
    assert await desk.names("fast") == ["one/c", "one/b", "one/a"]  # b was not tried: before the slow one
    for _ in range(40):
        desk.attempt("one/a", first=0.1, took=0.2)
    assert await desk.names("fast") == ["one/a", "one/c", "one/b"]


async def test_cheap_goes_by_price_and_leaves_out_what_nobody_knows() -> None:
    desk = desk_of(
        Still("one", [text("a"), text("b"), text("c")]), Still("free", [Model("p", ("text",), procedural=True)])
    )
    desk.tariffs.usd = {"one/a": 0.02, "one/b": 0.001, "free/p": 0.0}
    assert await desk.names("cheap") == ["one/b", "one/a"]
    desk.tariffs.usd = {"free/p": 0.0}
    assert await desk.names("cheap") == ["one/b", "one/a"]  # prices are kept for a while
    desk.clock.advance(PRICE_S)
    assert await desk.names("cheap") == ["free/p"]


async def test_best_goes_by_tags_else_by_window_and_price() -> None:
    tagged = desk_of(Still("one", [text("a"), text("b", "best")]))
    assert await tagged.names("best") == ["one/b"]
    sized = desk_of(
        Still(
            "one",
            [text("a", context_tokens=8000), text("b", context_tokens=200_000), text("c", context_tokens=200_000)],
        )
    )
    sized.tariffs.usd = {"one/b": 0.001, "one/c": 0.1}
    assert await sized.names("best") == ["one/c", "one/b", "one/a"]


async def test_local_is_what_runs_here() -> None:
    desk = desk_of(
        Still("far", [text("a")]),
        Still("near", [text("b")], local=True),
        Still("rule", [Model("p", ("text",), procedural=True)], local=True),
    )
    assert await desk.names("local") == ["near/b"]
    desk.accounts.troubles["near"] = "it does not run"
    assert await desk.names("local") == ["rule/p"]


async def test_a_limit_that_is_used_up_and_failures_put_a_model_behind() -> None:
    desk = desk_of(Still("one", [text("a", "fast"), text("b", "fast")]))
    desk.accounts.delays["one/a"] = NEVER
    assert await desk.names("fast") == ["one/b", "one/a"]
    desk.accounts.delays["one/a"] = 0.2
    assert await desk.names("fast") == ["one/a", "one/b"]
    desk.accounts.delays["one/a"] = 30.0
    assert await desk.names("fast") == ["one/b", "one/a"]
    desk.accounts.delays.clear()
    desk.fail("one/a", 2)
    assert await desk.names("fast") == ["one/b", "one/a"]


def test_the_moving_averages() -> None:
    seen = SeenModels()
    assert seen.latency("m") == NEVER
    seen.worked("m", 1.0, 3.0)
    assert seen.latency("m") == pytest.approx(2.0)
    seen.worked("m", 0.0, 3.0)  # nothing came before the end
    held = seen.get("m")
    assert held is not None
    assert held.first == pytest.approx(1.4)
    assert held.total == pytest.approx(3.0)
    for _ in range(200):
        seen.worked("m", 5.0, 7.0)
    assert seen.latency("m") == pytest.approx(6.0)
    seen.failed("m")
    assert seen.failing("m") == pytest.approx(0.2)
    seen.worked("m", 5.0, 7.0)
    assert seen.failing("m") == pytest.approx(0.16)


NAMES = [f"{provider}/{model}" for provider in ("one", "two", "three") for model in ("a", "b")]
NEWS = st.lists(
    st.tuples(
        st.sampled_from(NAMES),
        st.sampled_from(["works", "slow", "unavailable", "malformed", "limit", "wait", "trouble", "untrouble", "full"]),
    ),
    max_size=40,
)
ASKED = st.sampled_from(["", "fast", "best", "cheap", "local", "mine", "one/a", "three/b"])


def build() -> Desk:
    desk = desk_of(
        Still("one", [text("a", "fast"), text("b", "best", retirement_date="2020-01-01")]),
        Still("two", [text("a", "fast", context_tokens=9000), text("b", deprecation_date="2020-01-01")], local=True),
        Still("three", [text("a"), Model("b", ("text",), procedural=True)], local=True),
        own={"mine": ("one/b", "two/b", "one/a", "three/a")},
        fallbacks={"text": ("three/b",)},
    )
    desk.tariffs.usd = {"one/a": 0.01, "two/a": 0.002, "three/a": 0.5, "three/b": 0.0}
    return desk


def play(news: Sequence[tuple[str, str]], asked: str) -> tuple[list[str], Desk]:
    desk = build()
    for name, event in news:
        provider = name.partition("/")[0]
        if event == "works":
            desk.attempt(name)
        elif event == "slow":
            desk.attempt(name, first=9.0, took=40.0)
        elif event == "wait":
            desk.clock.advance(4.0)
        elif event == "trouble":
            desk.accounts.troubles[provider] = "no key"
        elif event == "untrouble":
            desk.accounts.troubles.pop(provider, None)
        elif event == "full":
            desk.accounts.delays[name] = NEVER
        else:
            for _ in range(3):
                desk.attempt(name, error=ProviderError("x", kind=event))

    async def ask() -> list[str]:
        try:
            return await desk.names(asked, "text")
        except LightfastError as error:
            return [f"! {error.reason}"]

    return asyncio.run(ask()), desk


@settings(max_examples=150, deadline=None)
@given(NEWS, ASKED)
def test_what_is_offered_can_be_used_and_is_the_same_every_time(news: list[tuple[str, str]], asked: str) -> None:
    found, desk = play(news, asked)
    assert play(news, asked)[0] == found
    assert len(set(found)) == len(found)
    standings = {record.name: desk.routing.standing(record).available for record in desk.catalog.listed()}
    if found[0].startswith("!"):
        assert found[0] in {"! CIRCUIT_OPEN", "! NO_MODEL_AVAILABLE"}
        wanted = {"mine": ("one/b", "two/b", "one/a", "three/a"), "one/a": ("one/a",), "three/b": ("three/b",)}
        assert not any(standings[name] for name in wanted.get(asked, NAMES if not asked else ()))
        return
    usable = [name for name in found if standings[name]]
    # What cannot be used is offered only where it alone was asked for, and nothing else can be used.
    assert usable == found or found == [asked], (found, standings)
    if found == [asked] and not usable:
        assert not standings["three/b"]
    assert "one/b" not in found  # it was retired
