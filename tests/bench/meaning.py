"""Significance against its labels, clusters against k-means, relations against co-occurrence: margins in one run."""

from __future__ import annotations

import statistics
import time
from importlib.util import find_spec
from itertools import combinations

import numpy as np
from tests.bench.measure import Row, single
from tests.bench.world import World
from tests.support.emergence import clusters_of, spaces
from tests.support.judging import (
    SEEN_WHILE_MADE,
    average_precision,
    judged,
    kappa,
    kmeans,
    notes,
    rand_index,
    same_matter,
    separation,
    shared_words,
)

from lightfast.storage.archive.significance.records import DIMENSIONS
from lightfast.storage.archive.significance.statistics import Statistics

SEEDS = range(5)


def significance() -> list[Row]:
    """Return how well each dimension agrees with the held-out labels; chance is 0.5."""
    rows = judged()
    held = rows[SEEN_WHILE_MADE:]
    found = []
    for dimension in DIMENSIONS:
        area = separation(held, dimension)
        found.append(
            Row(
                f"significance, {dimension}: labelled ones rank higher",
                area,
                0.5,
                "of pairs",
                area / 0.5,
                "> 1×",
                area > 0.5,
                f"held out; kappa at 0.5: {kappa(held, dimension):.2f}, of all {kappa(rows, dimension):.2f}",
            )
        )
    scorer = Statistics()
    texts = [example.text for example, _ in rows] * 20
    began = time.perf_counter()
    for text in texts:
        scorer.score(text, 0)
        scorer.learn(text)
    spent = (time.perf_counter() - began) / len(texts)
    return [*found, single("significance of a note, by statistics", spent * 1e6, "µs")]


def emergence() -> list[Row]:
    """Return clusters and relations of each space against k-means with the true k, and against co-occurrence."""
    found = []
    for name, embedder in spaces().items():
        ours, theirs, related, together = [], [], [], []
        for seed in SEEDS:
            order = notes(seed)
            truth = [note.topic for note in order]
            vectors = np.asarray([list(row) for row in embedder.embed([note.text for note in order])], np.float32)
            homes, strength = clusters_of(order, vectors)
            ours.append(rand_index(truth, homes))
            k = len(set(truth))
            theirs.append(rand_index(truth, _kmeans(vectors, k, seed)))
            pairs = list(combinations(range(len(order)), 2))
            wanted = [same_matter(order[a], order[b]) for a, b in pairs]
            related.append(average_precision(wanted, [strength.get(pair, 0.0) for pair in pairs]))
            words = [shared_words(order[a].text, order[b].text) for a, b in pairs]
            together.append(average_precision(wanted, words))
        found += [
            _row(f"clusters over {name}, adjusted Rand index, against k-means with the true k", ours, theirs),
            _row(f"relations over {name}, average precision, against co-occurrence", related, together),
        ]
    return found


def _kmeans(vectors: np.ndarray, k: int, seed: int) -> list[int]:
    if not find_spec("sklearn"):
        return kmeans(vectors, k, seed)
    from sklearn.cluster import KMeans

    homes: list[int] = KMeans(k, n_init=4, random_state=seed).fit_predict(vectors).tolist()
    return homes


def _row(name: str, ours: list[float], theirs: list[float]) -> Row:
    mine, peer = statistics.mean(ours), statistics.mean(theirs)
    note = f"margin {mine - peer:+.2f}; worst of ours {min(ours):.2f}, best of theirs {max(theirs):.2f}"
    return Row(name, mine, peer, "", mine / peer, "> 1×", mine > peer, note)


async def run(world: World, pairs: int) -> list[Row]:
    """Measure all."""
    return significance() + emergence()
