"""What emerges: clusters, relations, and the space they are found in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from lightfast.core import trigrams


class Cluster(msgspec.Struct, frozen=True):
    """Frames that belong together; *coherence* is how close they are, 0 to 1.

    *words* tell it from others, the most telling first; *frame_ids* are at most 100, the most typical first.
    """

    cluster_id: str
    words: tuple[str, ...]
    frame_ids: tuple[str, ...]
    size: int
    coherence: float


class Relation(msgspec.Struct, frozen=True):
    """Two frames that have to do with each other, 0 to 1; *reason* is `similar`, `shared-words` or `sequence`."""

    frame_id: str
    other_frame_id: str
    strength: float
    reason: str


class Space(Protocol):
    """Where texts are points."""

    name: str
    """Points of spaces of different names are never compared."""
    dimensions: int

    async def vectors(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a vector of length 1 for each text, or zeros."""
        ...


class TrigramSpace:
    """That of the core's trigrams."""

    name = trigrams.NAME
    dimensions = trigrams.DIMENSIONS

    async def vectors(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        """Return a vector for each text."""
        return [trigrams.dense(text) for text in texts]
