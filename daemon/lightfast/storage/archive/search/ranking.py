"""Ranks by relevance, among a bounded number of candidates.

Ranking everything that matches a common word would read the whole archive. The candidates are the newest frames that
hold all the words and, where any word will do, after them the newest of the others: 1,000 in all. A frame beyond these
is not ranked: it is older than all of them, or has fewer of the words. Of the candidates all are scored by phrase,
words, age and kind; the 200 best also by similarity, which cannot lift any other above them by more than 5 points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from lightfast.core.relevance import Relevance, is_breakthrough
from lightfast.storage.archive.records import Frame, Hit

if TYPE_CHECKING:
    from lightfast.storage.archive.caches import Cache

CANDIDATES = 1000
SIMILAR = 200
Packed = tuple[tuple[int, ...], tuple[float, ...]]
"""The numbers of an embedding that are not zero: their dimensions, and they themselves."""

Weigh = Callable[[Frame], float]
"""Returns a factor by which the relevance of a frame is multiplied: what a layer above knows of its significance."""


class Ranking:
    """Scores frames for one query at one time; *embeddings* keeps what texts look like to the embedder."""

    def __init__(
        self, text: str, now_ms: int, embeddings: Cache[str, Packed] | None = None, weigh: Weigh | None = None
    ) -> None:
        self._text = text
        self._now_ms = now_ms
        self._relevance = Relevance(text)
        self._embeddings = embeddings
        self._weigh = weigh
        self._query: dict[int, float] | None = None

    def score(self, frame: Frame, similarity: float = 0.0) -> float:
        """Return the relevance of *frame*."""
        content = frame.content
        found = self._relevance.score(
            content if isinstance(content, str) else "",
            age_ms=self._now_ms - frame.time_ms,
            similarity=similarity,
            is_breakthrough=is_breakthrough(frame.kind, frame.metadata),
        )
        return found if self._weigh is None else found * self._weigh(frame)

    def best(self, frames: Iterator[Frame], limit: int) -> list[Hit]:
        """Return the *limit* most relevant of *frames*, best first; of equals the newest."""
        found = [Hit(frame, self.score(frame)) for frame in frames]
        found.sort(key=_order)
        if self._embeddings is not None:
            found[:SIMILAR] = [
                Hit(hit.frame, self.score(hit.frame, self.similarity(hit.frame))) for hit in found[:SIMILAR]
            ]
            found.sort(key=_order)
        return found[:limit]

    def similarity(self, frame: Frame) -> float:
        """Return the cosine between the embeddings of the query and of *frame*."""
        if self._embeddings is None or not isinstance(frame.content, str):
            return 0.0
        if self._query is None:
            self._query = dict(zip(*_pack(self._text), strict=True))
        packed = None if frame.private else self._embeddings.get(frame.frame_id)
        if packed is None:
            epoch = self._embeddings.epoch
            packed = _pack(frame.content)
            if not frame.private:
                self._embeddings.put(frame.frame_id, packed, 64 + 64 * len(packed[0]), epoch)
        weights = self._query
        return sum(weights.get(dimension, 0.0) * weight for dimension, weight in zip(*packed, strict=True))


def _order(hit: Hit) -> tuple[float, int, int]:
    return -hit.score, -hit.frame.time_ms, -hit.frame.number


def _pack(text: str) -> Packed:
    from lightfast.core.trigrams import sparse

    found = sparse(text)
    return tuple(found), tuple(found.values())
