"""The trigram embedder: the same everywhere, of length 1, for any text."""

from __future__ import annotations

import math
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from lightfast.core import trigrams
from lightfast.sdk import Embedder
from lightfast.sdk.testing import check_embedder

TEXTS = st.text(st.characters(codec=None), max_size=200)  # lone surrogates, too


def test_it_keeps_the_contract_of_embedders() -> None:
    assert isinstance(trigrams.TrigramEmbedder(), Embedder)
    check_embedder(trigrams.TrigramEmbedder())


def test_golden_vectors() -> None:
    # Vectors are stored: who changes how they are made must change the name of the embedder.
    assert trigrams.NAME == "trigram"
    assert {key: round(value, 6) for key, value in trigrams.sparse("Tempo 120").items()} == GOLDEN_TEMPO
    assert {key: round(value, 6) for key, value in trigrams.sparse("東京 of").items()} == GOLDEN_TOKYO
    assert len(trigrams.dense("a")) == trigrams.DIMENSIONS == 1000


GOLDEN_TEMPO = {
    399: 0.353553,
    721: 0.353553,
    575: 0.353553,
    982: 0.353553,
    962: 0.353553,
    888: 0.353553,
    416: 0.353553,
    23: 0.353553,
}
GOLDEN_TOKYO = {270: 0.645497, 942: 0.645497, 999: 0.288675, 78: 0.288675}


def test_the_hash_is_the_same_in_every_process() -> None:
    code = "from lightfast.core.trigrams import sparse; print(sorted(sparse('Größe der Bühne 12 m').items()))"
    said = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        for seed in ("0", "1", "4242")
    ]
    assert len({one.stdout for one in said}) == 1
    assert said[0].stdout.startswith("[(")


@given(TEXTS)
def test_any_text_has_a_vector_of_length_one_or_none(text: str) -> None:
    found = trigrams.sparse(text)
    assert all(0 <= key < trigrams.DIMENSIONS and value > 0 for key, value in found.items())
    length = math.sqrt(sum(value * value for value in found.values()))
    assert abs(length - 1.0) < 1e-9 if found else not text.strip()
    assert trigrams.similarity(text, text) == (1.0 if found else 0.0) or abs(trigrams.similarity(text, text) - 1) < 1e-9


@given(st.lists(st.sampled_from(["kick", "snare", "tempo", "haze", "120", "blue", "−6", "dB"]), min_size=1, max_size=6))
def test_the_order_of_words_does_not_matter(words: list[str]) -> None:
    assert abs(trigrams.similarity(" ".join(words), " ".join(reversed(words))) - 1.0) < 1e-9


def test_typos_and_forms_stay_close_and_common_words_count_little() -> None:
    assert trigrams.similarity("the projector hangs", "the projetor hangs") > 0.7
    assert trigrams.similarity("red foxes", "red fox") > 0.5
    assert trigrams.similarity("what is it of the", "what is the of our") > 0.3  # nothing but common words
    assert trigrams.similarity("the kick of the show", "the haze of the hall") < 0.25


def test_a_long_word_is_looked_at_to_its_end() -> None:
    one, other = "x" * 300 + "begin" * 20, "x" * 300 + "end" * 30
    assert 0.0 < trigrams.similarity(one, other) < 0.9
