"""How much an entry has to do with a purpose: by its words, how they are spelt, and how fresh it is.

The relevance is 0.5 × the share of the purpose's words that are found in the path, the description and the text, each
weighed by how rare it is among all candidates; 0.25 × the likeness by trigrams of the best of these; and 0.25 × the
freshness, 1 for now and a half for an hour ago. Without a purpose it is the freshness alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from lightfast.core.trigrams import similarity

_WORDS = re.compile(r"[^\W_]+")
_HOUR_NS = 3_600_000_000_000
MAX_LIKENESS = 2000
"""How many candidates are compared by trigrams: the best by words and freshness."""


class Purpose:
    """Scores candidates, each a text and the time (ns) it was written, against what they are wanted for."""

    def __init__(self, text: str, now: int) -> None:
        self._text = text
        self._words = words(text)
        self._now = now

    def scores(self, candidates: Sequence[tuple[str, int]]) -> list[float]:
        """Return the relevance of each candidate, 0 to 1."""
        fresh = [self._freshness(time) for _, time in candidates]
        if not self._words:
            return fresh
        found = [words(text) & self._words for text, _ in candidates]
        weights = self._weights(found)
        whole = sum(weights.values()) or 1.0
        rough = [
            0.5 * sum(weights[word] for word in one) / whole + 0.25 * new for one, new in zip(found, fresh, strict=True)
        ]
        best = sorted(range(len(rough)), key=lambda index: -rough[index])[:MAX_LIKENESS]
        for index in best:
            rough[index] += 0.25 * similarity(self._text, candidates[index][0])
        return rough

    def _freshness(self, time: int) -> float:
        return 1.0 / (1.0 + max(self._now - time, 0) / _HOUR_NS)

    def _weights(self, found: list[set[str]]) -> dict[str, float]:
        """Return how much each word says: the rarer it is among the candidates, the more."""
        counts = dict.fromkeys(self._words, 0)
        for one in found:
            for word in one:
                counts[word] += 1
        return {word: math.log1p(len(found) / (count + 1)) for word, count in counts.items()}


def words(text: str) -> set[str]:
    """Return the words of *text*, small; a plural counts as its singular."""
    return {word[:-1] if len(word) > 3 and word.endswith("s") else word for word in _WORDS.findall(text.casefold())}
