"""The labelled recall set: what it holds, that it is what its builder writes, and what finds how much of it."""

from __future__ import annotations

from collections import Counter

from tests.memory.recall_set.build import build
from tests.support.recall import by_vectors, by_words, facts, fused, queries, recall

from lightfast.core.trigrams import TrigramEmbedder


def test_it_is_what_its_builder_writes() -> None:
    known, asked = build()
    assert {row["id"]: row["text"] for row in known} == facts()
    assert [(row["text"], row["relevant"]) for row in asked] == [(q.text, sorted(q.relevant)) for q in queries()]


def test_it_is_large_enough_and_of_several_kinds() -> None:
    known, asked = facts(), queries()
    assert len(known) >= 600
    assert len(asked) >= 300
    kinds = Counter(query.kind for query in asked)
    assert set(kinds) == {"exact", "paraphrase", "synonym", "typo", "order", "number", "contradiction"}
    assert min(kinds.values()) >= 20
    assert all(query.relevant <= set(known) and query.relevant for query in asked)
    assert len({(query.kind, query.text) for query in asked}) > len(asked) * 0.95
    contradictions = [query for query in asked if query.kind == "contradiction"]
    assert all(len(query.relevant) == 2 for query in contradictions)


def test_trigrams_find_what_is_spelt_alike_also_misspelt_which_words_do_not() -> None:
    plain, words = recall(by_vectors(TrigramEmbedder())), recall(by_words())
    assert plain["all"] > 0.62
    assert plain["typo"] > words["typo"] + 0.25
    assert plain["all"] > words["all"]
    assert words["number"] > 0.95
    assert plain["synonym"] < 0.5  # they know no meaning, and it shows


def test_recall_is_measured_rightly() -> None:
    asked = queries()
    everything = {query.text: query.relevant for query in asked}
    assert recall(lambda text, _: sorted(everything[text]))["all"] > 0.99
    assert recall(lambda text, k: [])["all"] == 0.0
    assert recall(lambda text, k: ["nothing"] * k + sorted(everything[text]))["all"] == 0.0  # behind the tenth
    both = fused([lambda text, k: ["a", "b"], lambda text, k: ["b", "c"]])
    assert both("x", 3)[0] == "b"
