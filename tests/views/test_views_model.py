"""Views for models: the window is filled, never over, and the most relevant comes first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.store import open_store

from lightfast.context.entry import Declaration
from lightfast.context.views.for_model import pack
from lightfast.context.views.records import Item, Remembered, Wanted
from lightfast.context.views.views import Views
from lightfast.core.clock import StillClock
from lightfast.core.tokens import Estimate, TokenCounter


class Nobody:
    """No application speaks."""

    def dialect(self, mount: str) -> None:
        return None

    def mounts(self) -> Sequence[str]:
        return ()


class Words:
    """Counts words, and one more for the text as a whole: tokens are not the sum of those of the lines."""

    name = "words"

    def count(self, text: str) -> int:
        return len(text.split()) + 1


class Spanning:
    """Takes more for lines together than for each alone."""

    name = "spanning"

    def count(self, text: str) -> int:
        return len(text) + text.count("\n") ** 2


line = st.text("abc xyz/0.", min_size=1, max_size=60)


@given(
    st.lists(st.tuples(line, st.floats(0, 1)), max_size=40),
    st.integers(1, 400),
    st.sampled_from([Words(), Spanning(), Estimate()]),
)
def test_never_over_and_nothing_lost(lines: list[tuple[str, float]], budget: int, counter: TokenCounter) -> None:
    given_lines = [
        (Item(f"/{index}", f"/{index}", text, relevance=score), text) for index, (text, score) in enumerate(lines)
    ]
    items, text, tokens, omissions = pack(given_lines, budget, counter)
    if items:
        assert tokens == counter.count(text) <= budget
    assert sorted([item.source for item in items] + [one.source for one in omissions]) == sorted(
        i.source for i, _ in given_lines
    )
    assert [item.relevance for item in items] == sorted((item.relevance for item in items), reverse=True)


@given(st.integers(20, 2000))
def test_filled(budget: int) -> None:
    """What is left is less than the shortest line that was left out takes."""
    chance = random.Random(7)
    lines = []
    for index in range(400):
        text = " ".join("word" for _ in range(chance.randint(2, 9)))
        lines.append((Item(f"/{index:03d}", "", text, relevance=chance.random()), text))
    counter = Estimate()
    items, _, tokens, omissions = pack(lines, budget, counter)
    left_out = {one.source for one in omissions}
    shortest = min(counter.count(text + "\n") for item, text in lines if item.source in left_out)
    assert items
    assert budget - tokens < shortest + 1


async def test_the_most_relevant_comes_first_and_the_rest_is_named(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_store(tmp_path, clock=clock) as house:
        await house.store.declare(
            [Declaration("/ableton/song/tempo", unit="time.bpm", description="The tempo.")], owner="me"
        )
        await house.set(("/ableton/song/tempo", 120.000001), ("/note", "x" * 1000), ("/lightfast/own", 1), trusted=True)
        await house.set(*[(f"/lights/{index}/level", index / 100) for index in range(100)])
        view = await Views(house.store, clock, Nobody()).build(
            Wanted(budget=200, purpose="what is the tempo of the song")
        )
        assert view.text.startswith("/ableton/song/tempo = 120 time.bpm  # The tempo.\n")
        assert view.items[0].changes == ["rounded"]
        assert view.tokens <= 200
        assert view.omitted == 102 - len(view.items) > 0
        assert {one.reason for one in view.omissions} == {"over the budget"}
        assert "/lightfast/own" not in view.text
        assert view.counter == "estimate"
        lights = await Views(house.store, clock, Nobody()).build(Wanted(budget=200, purpose="lights 42"))
        assert lights.items[0].name == "/lights/42/level"


async def test_memories_changes_and_a_counter_of_the_model(tmp_path: Path) -> None:
    clock = StillClock()
    asked: list[tuple[str, int]] = []

    async def recall(purpose: str, limit: int) -> list[Remembered]:
        asked.append((purpose, limit))
        return [
            Remembered("m1", "the key of the song is A minor", score=0.9),
            Remembered("m2", "tempo is 90", about="/song/tempo", since=1),
            Remembered("m3", "the client likes red", about="client", since=5, confidence=0.5),
            Remembered("m4", "the client likes blue", about="client", since=9),
        ]

    async with open_store(tmp_path, clock=clock) as house:
        await house.set(("/song/tempo", 120.0), label="turned up")
        views = Views(house.store, clock, Nobody(), recall, lambda model: Words())
        view = await views.build(Wanted(model="m", budget=1000, purpose="the song", memory=True, recent=5))
        assert asked == [("the song", 50)]
        assert "memory: the key of the song is A minor" in view.text
        assert "the client likes blue" in view.text
        assert "red" not in view.text
        assert [(one.source, one.superseded_by) for one in view.omissions] == [("m2", "/song/tempo"), ("m3", "m4")]
        assert "change 1, 0 s ago, by client:test (turned up): /song/tempo" in view.text
        assert view.counter == "words"


@pytest.mark.parametrize("text", ["", "a", "Grüße, 世界 🎉", "x" * 10_000, "1" * 500, "\ud800", "{}[]()" * 50])
def test_the_estimate_takes_any_text(text: str) -> None:
    assert Estimate().count(text) >= (1 if text.strip() else 0)
