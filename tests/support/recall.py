"""The labelled recall set, and recall@k of whatever ranks its facts."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import apsw
import numpy as np

from lightfast.sdk import Embedder

FOLDER = Path(__file__).parents[1] / "memory" / "recall_set"

Rank = Callable[[str, int], Sequence[str]]
"""Takes a query and k, returns the ids of the k facts it finds, best first."""


@dataclass(frozen=True)
class Query:
    """A query and the facts that answer it."""

    kind: str
    text: str
    relevant: frozenset[str]


def facts() -> dict[str, str]:
    """Return the facts by id."""
    return {row["id"]: row["text"] for row in _rows("facts")}


def queries() -> list[Query]:
    """Return the queries."""
    return [Query(row["kind"], row["text"], frozenset(row["relevant"])) for row in _rows("queries")]


def _rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def recall(rank: Rank, k: int = 10) -> dict[str, float]:
    """Return recall@k by kind of query, and as `all` over all queries.

    That of a query is the share of its facts among the first k; queries count alike.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for query in queries():
        first = set(list(rank(query.text, k))[:k])
        share = len(first & query.relevant) / min(len(query.relevant), k)
        found[query.kind].append(share)
        found["all"].append(share)
    return {kind: sum(shares) / len(shares) for kind, shares in sorted(found.items())}


def by_vectors(embedder: Embedder) -> Rank:
    """Rank by the cosine of the angle between the vectors."""
    known = facts()
    ids = list(known)
    matrix = np.asarray([list(row) for row in embedder.embed(list(known.values()))], np.float32)
    asked = [query.text for query in queries()]
    vectors = dict(zip(asked, embedder.embed(asked), strict=True))  # together: several times faster than one by one

    def rank(text: str, k: int) -> list[str]:
        vector = vectors[text] if text in vectors else embedder.embed([text])[0]
        order = np.argsort(-(matrix @ np.asarray(list(vector), np.float32)), kind="stable")
        return [ids[index] for index in order[:k]]

    return rank


def by_words() -> Rank:
    """Rank by BM25 over SQLite's FTS5, any word of the query."""
    base = apsw.Connection(":memory:")
    base.execute("create virtual table facts using fts5(id unindexed, text, tokenize='porter unicode61')")
    base.executemany("insert into facts values (?, ?)", facts().items())

    def rank(text: str, k: int) -> list[str]:
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", text))
        rows = base.execute("select id from facts where facts match ? order by rank limit ?", (words, k))
        return [str(row[0]) for row in rows]

    return rank


def fused(ranks: Sequence[Rank], k_rrf: int = 60, depth: int = 50) -> Rank:
    """Fuse rankings by reciprocal rank (Cormack, Clarke and Büttcher 2009)."""

    def rank(text: str, k: int) -> list[str]:
        scores: dict[str, float] = defaultdict(float)
        for each in ranks:
            for place, fact in enumerate(each(text, depth)):
                scores[fact] += 1.0 / (k_rrf + place + 1)
        return sorted(scores, key=lambda fact: (-scores[fact], fact))[:k]

    return rank
