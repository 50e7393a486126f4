"""The relevance formula, with the source's numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightfast.core.relevance import Relevance, is_breakthrough, recency, relevance

DAY = 86_400_000


@pytest.mark.parametrize(
    ("query", "content", "options", "score"),
    [
        ("warm light", "Warm light on the cube", {}, 14.0),  # phrase 10, two words 4
        ("warm light", "light, and warm", {}, 4.0),
        ("warm light", "a warm evening", {}, 2.0),
        ("warm light", "cold", {}, 0.0),
        ("light", "LIGHTFAST", {}, 12.0),  # a word counts where it stands inside another
        ("warm warm", "warm", {}, 4.0),  # a word given twice counts twice
        ("warm light", "warm light", {"similarity": 0.8}, 18.0),
        ("warm light", "cold", {"similarity": -0.2}, -1.0),
        ("warm light", "warm light", {"age_ms": 10 * DAY}, 7.0),  # 14 / (1 + 1)
        ("warm light", "warm light", {"age_ms": 5 * DAY}, 14.0 / 1.5),
        ("warm light", "warm light", {"age_ms": DAY - 1}, 14.0),  # whole days
        ("warm light", "warm light", {"age_ms": DAY}, 14.0 / 1.1),
        ("warm light", "warm light", {"age_ms": -40 * DAY}, 14.0),
        ("warm light", "warm light", {"is_breakthrough": True}, 21.0),
        ("warm light", "warm light", {"similarity": 1.0, "age_ms": 10 * DAY, "is_breakthrough": True}, 14.25),
        ("", "anything", {}, 0.0),
        ("  ", "any  thing", {}, 0.0),
        ("STRASSE", "Die Straße", {}, 12.0),
    ],
)
def test_golden(query: str, content: str, options: dict[str, float], score: float) -> None:
    assert relevance(query, content, **options) == pytest.approx(score, abs=1e-12)  # type: ignore[arg-type]


@given(st.integers(0, 10**15), st.integers(0, 10**15))
def test_older_is_never_more_relevant(one: int, other: int) -> None:
    assert (recency(one) >= recency(other)) or one > other
    assert 0 < recency(max(one, other)) <= 1


@given(st.text(), st.text())
def test_one_prepared_query_scores_as_each_alone(query: str, content: str) -> None:
    assert Relevance(query).score(content) == relevance(query, content)


def test_breakthroughs() -> None:
    assert is_breakthrough("breakthrough", {})
    assert is_breakthrough("note", {"memory_type": "breakthrough"})
    assert not is_breakthrough("note", {"memory_type": "routine"})
