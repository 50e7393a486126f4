"""Finds wordings by their words: BM25 over a bounded set of candidates.

To rank every match of a common word takes longer the more there are; so of each word only the newest matches are
looked at, and of all the words together, too. How common a word is shows by how densely its newest matches lie.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from lightfast.context.memory.asked import Asked
from lightfast.context.memory.rows import listed, page

CANDIDATES = 4000
"""So many of the newest matches of all words, those that were true and known at the times asked for."""
OF_EACH = (200, 1000)
"""At least and at most so many of each word."""
TOGETHER = 300
"""So many of the newest that have all the words."""
KEPT = 200
"""So many of the best are kept."""
STRONG = 0.4
"""A hit is strong when it has words that carry so much of the weight of all words of the query.

On the labelled set (tests/memory/recall_set) a fusion with all hits finds less than the vectors alone, since nearly
every text has one of a query's common words; with the strong ones it finds as much, and numbers and names as well.
"""
_K1, _B = 1.2, 0.75
"""The usual constants of BM25; a word counts once, since facts are short."""


def by_words(connection: Any, asked: Asked, terms: list[str]) -> tuple[list[int], list[int]]:
    """Return wordings that have any of *terms* (FTS5 strings), best first: the strong hits, and the weak ones."""
    if not terms:
        return [], []
    total = _total(connection)
    scores: dict[int, float] = {}
    weights: dict[str, float] = {}
    seen: dict[str, set[int]] = {}
    most = min(OF_EACH[1], max(OF_EACH[0], CANDIDATES // len(terms)))
    for term in terms:
        found = _matches(connection, asked, term, most)
        common = len(found)
        if common == most:
            common = max(common, round(total * most / max(1, found[0] - found[-1] + 1)))
        weights[term] = math.log(1 + (max(total, common) - common + 0.5) / (common + 0.5))
        seen[term] = set(found)
        for wording in found:
            scores[wording] = scores.get(wording, 0.0) + weights[term]
    if len(terms) > 1:
        for wording in with_all(connection, asked, terms):
            missed = [weights[term] for term in terms if wording not in seen[term]]
            if missed:
                scores[wording] = scores.get(wording, 0.0) + sum(missed)
    best = sorted(scores, key=lambda wording: (-scores[wording], -wording))[: 2 * KEPT]
    lengths = dict(
        page(
            connection,
            "SELECT json_array(wording, words) AS line FROM memory_wordings"
            " WHERE wording IN (SELECT value FROM json_each(?))",
            (listed(best),),
        )
    )
    mean = sum(lengths.values()) / len(lengths) if lengths else 1.0
    ranked = {
        wording: scores[wording] * (_K1 + 1) / (1 + _K1 * (1 - _B + _B * lengths[wording] / mean)) for wording in best
    }
    order = sorted(ranked, key=lambda wording: (-ranked[wording], -wording))[:KEPT]
    least = STRONG * sum(weights.values())
    strong = [wording for wording in order if scores[wording] >= least]
    return strong, [wording for wording in order if scores[wording] < least]


def with_all(connection: Any, asked: Asked, terms: list[str], most: int = TOGETHER) -> list[int]:
    """Return the newest wordings that have all of *terms*."""
    return _matches(connection, asked, " AND ".join(terms), most)


def newest(connection: Any, asked: Asked, most: int) -> list[int]:
    """Return the newest wordings, whatever they say."""
    query = (
        "SELECT json_array(w.wording) AS line FROM memory_wordings w WHERE EXISTS ("  # noqa: S608
        f"SELECT 1 FROM memory_versions v WHERE v.wording = w.wording AND {asked.condition('w.wording')})"
        " ORDER BY w.wording DESC LIMIT :most"
    )
    return [wording for (wording,) in page(connection, query, {**asked.bindings, "most": most})]


def recorded(connection: Any, asked: Asked, wordings: Iterable[int]) -> dict[int, int]:
    """Return when what is known of *wordings* was recorded, for those that were true and known then."""
    query = (
        "SELECT json_array(v.wording, v.record_time) AS line FROM memory_versions v"  # noqa: S608
        f" WHERE v.wording IN (SELECT value FROM json_each(:wordings)) AND {asked.condition('v.wording')}"
    )
    return dict(page(connection, query, {**asked.bindings, "wordings": listed(wordings)}))


def holding(connection: Any, asked: Asked, wordings: list[int]) -> list[int]:
    """Return those of *wordings* that were true and known then, in their order."""
    there = recorded(connection, asked, wordings)
    return [wording for wording in wordings if wording in there]


def _matches(connection: Any, asked: Asked, match: str, most: int) -> list[int]:
    query = (
        "SELECT json_array(f.rowid) AS line FROM memory_words f WHERE memory_words MATCH :match AND EXISTS ("  # noqa: S608
        f"SELECT 1 FROM memory_versions v WHERE v.wording = f.rowid AND {asked.condition('f.rowid')})"
        " ORDER BY f.rowid DESC LIMIT :most"
    )
    return [wording for (wording,) in page(connection, query, {**asked.bindings, "match": match, "most": most})]


def _total(connection: Any) -> int:
    for (last,) in connection.execute("SELECT max(wording) FROM memory_wordings"):
        return int(last or 0)
    return 0
