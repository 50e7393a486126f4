"""The labelled sets of significance and emergence, and the measures of agreement with them."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightfast.core import trigrams
from lightfast.storage.archive.significance.records import DIMENSIONS
from lightfast.storage.archive.significance.statistics import Statistics

ARCHIVE = Path(__file__).parents[1] / "archive"
LETTERS = "EKRBTP"
SEEN_WHILE_MADE = 50
"""So many of the examples were looked at while the scorer was made; the others were not."""
WRITTEN_MS = 1_795_168_800_000
"""When the examples were written, for words like tomorrow: 20 November 2026."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Example:
    """A text, and the dimensions in which it is high."""

    text: str
    high: frozenset[str]


def examples() -> list[Example]:
    """Return the examples of significance, in the order in which they were noted."""
    found = []
    for line in (ARCHIVE / "significance_set" / "examples.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line:
            continue
        labels, _, text = line.partition(" | ")
        found.append(Example(text, frozenset(DIMENSIONS[LETTERS.index(one)] for one in labels.split() if one != "-")))
    return found


def judged() -> list[tuple[Example, Mapping[str, float]]]:
    """Return each example with the scores of the statistics, which learn as they go."""
    statistics = Statistics()
    found: list[tuple[Example, Mapping[str, float]]] = []
    for example in examples():
        scores = statistics.score(example.text, WRITTEN_MS)
        statistics.learn(example.text)
        found.append((example, dict(zip(DIMENSIONS, scores.values, strict=True))))
    return found


def separation(rows: Sequence[tuple[Example, Mapping[str, float]]], dimension: str) -> float:
    """Return how often a high example scores above one that is not, a tie for half: 0.5 is chance, 1.0 always."""
    high = [scores[dimension] for example, scores in rows if dimension in example.high]
    low = [scores[dimension] for example, scores in rows if dimension not in example.high]
    return sum((a > b) + 0.5 * (a == b) for a in high for b in low) / (len(high) * len(low))


def kappa(rows: Sequence[tuple[Example, Mapping[str, float]]], dimension: str) -> float:
    """Return Cohen's kappa (1960) of "0.5 or more" with the label: agreement beyond chance, 0 to 1."""
    pairs = [(dimension in example.high, scores[dimension] >= 0.5) for example, scores in rows]
    agreed = sum(a == b for a, b in pairs) / len(pairs)
    labelled, said = (sum(pair[side] for pair in pairs) / len(pairs) for side in (0, 1))
    chance = labelled * said + (1 - labelled) * (1 - said)
    return (agreed - chance) / (1 - chance)


@dataclass(frozen=True)
class Note:
    """A note of the set of emergence: its topic (its own, where it belongs to none), and its matter, or 0."""

    topic: str
    matter: int
    text: str


def notes(seed: int | None = None) -> list[Note]:
    """Return the notes; in an order of chance with a *seed*."""
    found: list[Note] = []
    topic = ""
    for line in (ARCHIVE / "emergence_set" / "notes.txt").read_text(encoding="utf-8").splitlines():
        if matched := re.fullmatch(r"([0-9]) (.+)", line):
            alone = topic == "-"
            found.append(Note(f"- {len(found)}" if alone else topic, int(matched[1]), matched[2]))
        elif line.startswith("# ") and len(line) < 30:
            topic = line[2:]
    if seed is not None:
        random.Random(seed).shuffle(found)
    return found


def same_matter(one: Note, other: Note) -> bool:
    """Say whether two notes are about the very same matter."""
    return one.matter > 0 and (one.topic, one.matter) == (other.topic, other.matter)


def rand_index(truth: Sequence[Hashable], found: Sequence[Hashable]) -> float:
    """Return the adjusted Rand index (Hubert and Arabie 1985): 0 is chance, 1 the same clusters."""

    def pairs(counts: Mapping[Any, int]) -> float:
        return sum(math.comb(count, 2) for count in counts.values())

    def counted(keys: Sequence[Any]) -> dict[Any, int]:
        counts: dict[Any, int] = {}
        for key in keys:
            counts[key] = counts.get(key, 0) + 1
        return counts

    both, left, right = (
        pairs(counted(list(zip(truth, found, strict=True)))),
        pairs(counted(truth)),
        pairs(counted(found)),
    )
    expected = left * right / math.comb(len(truth), 2)
    most = (left + right) / 2
    return (both - expected) / (most - expected)


def average_precision(truth: Sequence[bool], strength: Sequence[float]) -> float:
    """Return the sum of precision times gain in recall over the distinct strengths: ties come in together."""
    groups: dict[float, list[bool]] = {}
    for is_true, value in zip(truth, strength, strict=True):
        groups.setdefault(value, []).append(is_true)
    seen, hits, total = 0, 0, 0.0
    for value in sorted(groups, reverse=True):
        fresh = sum(groups[value])
        seen += len(groups[value])
        hits += fresh
        total += fresh * hits / seen
    return total / sum(truth)


def kmeans(vectors: Vectors, k: int, seed: int) -> list[int]:
    """Cluster by k-means (Lloyd's, seeded as k-means++), the best of four starts."""
    chance = np.random.default_rng(seed)
    best: tuple[float, list[int]] = (math.inf, [])
    for _ in range(4):
        centers = vectors[[int(chance.integers(len(vectors)))]]
        while len(centers) < k:
            distance = ((vectors[:, None] - centers[None]) ** 2).sum(-1).min(axis=1)
            chosen = int(chance.choice(len(vectors), p=distance / distance.sum()))
            centers = np.concatenate([centers, vectors[[chosen]]])
        homes = np.zeros(len(vectors), np.int64)
        for _ in range(50):
            distances = ((vectors[:, None] - centers[None]) ** 2).sum(-1)
            homes = distances.argmin(axis=1)
            fresh = np.stack([vectors[homes == c].mean(axis=0) if (homes == c).any() else centers[c] for c in range(k)])
            if np.allclose(fresh, centers):
                break
            centers = fresh
        cost = float(((vectors - centers[homes]) ** 2).sum())
        if cost < best[0]:
            best = (cost, homes.tolist())
    return best[1]


def shared_words(one: str, other: str) -> float:
    """Return how many words two texts have in common that not every text has: plain co-occurrence."""
    left, right = (
        {word for word in re.findall(r"\w+", text.casefold()) if not trigrams.is_common(word)} for text in (one, other)
    )
    return float(len(left & right))
