"""Whether two prompts mean the same: opposites never do, and many ways to write one thing do."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.gateway.meaning_pairs import OPPOSITES, SAME

from lightfast.gateway.cache.meaning import LONGEST, fingerprint, same_meaning

TOLD = 46
"""So many of the pairs that mean the same are told, at least."""


@pytest.mark.parametrize("pair", OPPOSITES, ids=range(len(OPPOSITES)))
def test_opposites_and_near_misses_never_match(pair: tuple[str, str]) -> None:
    assert not same_meaning(*pair)
    assert not same_meaning(pair[0].upper(), pair[1])
    assert not same_meaning(f"Please {pair[0]}.", pair[1])


def test_there_are_enough_pairs_and_most_of_those_that_mean_the_same_match() -> None:
    assert len(OPPOSITES) >= 60
    assert len(SAME) >= 40
    told = [pair for pair in SAME if same_meaning(*pair)]
    missed = [pair for pair in SAME if pair not in told]
    print(f"{len(told)} of {len(SAME)} paraphrases are told; not told: {missed}")
    assert len(told) >= TOLD, missed


_SOME = "render cube light not no on off left right more less over under don't never /a/b 5 -5 red a the"
WORDS = _SOME.split()


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8), st.data())
@settings(max_examples=200, deadline=None)
def test_two_orders_or_choices_of_words_differ_unless_only_articles_do(some: list[str], data: st.DataObject) -> None:
    other = data.draw(st.one_of(st.permutations(some), st.lists(st.sampled_from(WORDS), min_size=1, max_size=8)))
    if not same_meaning(" ".join(some), " ".join(other)):
        return
    plain = [word.replace("don't", "do not") for word in some if word not in {"a", "the"}]
    assert plain == [word.replace("don't", "do not") for word in other if word not in {"a", "the"}]


@given(st.text(max_size=60))
@example("=a")
@example("^Ab c")
@example("a\x1fb")
@settings(max_examples=300, deadline=None)
def test_any_text_has_a_form_that_is_equal_to_itself_and_survives_space(text: str) -> None:
    form = fingerprint(text)
    assert form == fingerprint(text)
    assert bool(form) == bool(text.strip())
    assert fingerprint(f"{text}  ".strip()) == fingerprint(text.strip())


def test_a_long_prompt_has_no_form() -> None:
    assert fingerprint("a" * (LONGEST + 1)) == ""
    assert not same_meaning("a" * (LONGEST + 1), "a" * (LONGEST + 1))


def test_what_marks_a_name_cannot_be_typed() -> None:
    assert not same_meaning("ask ^Anna", "ask Anna")
    assert not same_meaning("say =5", "say 5")
