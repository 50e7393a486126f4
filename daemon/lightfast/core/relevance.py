"""How relevant a text is to a query: the formula of the source, as a pure function.

    (10 · phrase + 2 · words + 5 · similarity) · 1 / (1 + 0.1 · days) · 1.5 for a breakthrough

*phrase* is 1 where the whole query stands in the text, *words* how many words of the query stand in it (a word given
twice counts twice), *similarity* the cosine of the two embeddings (0 without an embedder), *days* the age in whole
days. Case does not matter. A query without words has neither phrase nor words; what lies in the future has no age.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PHRASE = 10.0
WORD = 2.0
SIMILARITY = 5.0
DECAY = 0.1
"""How fast relevance fades, per day."""
BREAKTHROUGH = 1.5
DAY_MS = 86_400_000


class Relevance:
    """The formula for one query, prepared to be asked about many texts."""

    __slots__ = ("_phrase", "_words")

    def __init__(self, query: str) -> None:
        folded = query.casefold()
        self._words = folded.split()
        self._phrase = folded if self._words else ""

    def score(
        self, content: str, *, age_ms: float = 0.0, similarity: float = 0.0, is_breakthrough: bool = False
    ) -> float:
        """Return the relevance of *content*, which is *age_ms* milliseconds old; larger is better."""
        folded = content.casefold()
        points = PHRASE if self._phrase and self._phrase in folded else 0.0
        points += WORD * sum(word in folded for word in self._words)
        points += SIMILARITY * similarity
        return points * recency(age_ms) * (BREAKTHROUGH if is_breakthrough else 1.0)


def relevance(
    query: str, content: str, *, age_ms: float = 0.0, similarity: float = 0.0, is_breakthrough: bool = False
) -> float:
    """Return how relevant *content* is to *query*; see the module."""
    return Relevance(query).score(content, age_ms=age_ms, similarity=similarity, is_breakthrough=is_breakthrough)


def recency(age_ms: float) -> float:
    """Return the factor of age, from 1 (today) towards 0."""
    return 1.0 / (1.0 + max(0, int(age_ms // DAY_MS)) * DECAY)


def is_breakthrough(kind: str, metadata: Mapping[str, Any]) -> bool:
    """Say whether a frame or a memory counts as a breakthrough: by its kind, or by `memory_type` in its metadata."""
    return kind == "breakthrough" or metadata.get("memory_type") == "breakthrough"
