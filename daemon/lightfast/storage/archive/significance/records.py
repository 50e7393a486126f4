"""Six dimensions of significance, and who finds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from lightfast.storage.archive.records import Frame

DIMENSIONS = (
    "emotional_resonance",
    "knowledge_value",
    "relationship_depth",
    "breakthrough_factor",
    "temporal_relevance",
    "pattern_strength",
)
WEIGHTS = (0.14, 0.28, 0.14, 0.2, 0.14, 0.1)
"""What each dimension counts in the whole; in sum 1. Knowledge and breakthroughs are what one comes back for."""
NEUTRAL = 0.5
"""The significance of what was not scored: neither kept for it nor dropped for it."""
DAY_MS = 86_400_000
FADE_DAYS = 60.0
"""What is tied to a time counts half so much so many days after that time."""


class Scores(msgspec.Struct, frozen=True):
    """How a text stands in each dimension, 0.0 to 1.0; *due_ms* is the last time it speaks of, 0 for none."""

    emotional_resonance: float = 0.0
    knowledge_value: float = 0.0
    relationship_depth: float = 0.0
    breakthrough_factor: float = 0.0
    temporal_relevance: float = 0.0
    pattern_strength: float = 0.0
    due_ms: int = 0

    @property
    def values(self) -> tuple[float, ...]:
        """The six numbers, in the order of DIMENSIONS."""
        return tuple(getattr(self, name) for name in DIMENSIONS)


class Significance(msgspec.Struct, frozen=True):
    """What was found of a frame of *time_ms*, and by whom: `statistics` or the name of a model."""

    scores: Scores
    time_ms: int
    scorer: str

    def overall(self, now_ms: int) -> float:
        """Return the whole, 0.0 to 1.0: the strongest dimension and the weighted mean, half each.

        Temporal relevance fades once the time that the text speaks of is over (its own time, where it names none).
        """
        late = max(0, now_ms - max(self.scores.due_ms, self.time_ms)) / DAY_MS
        values = list(self.scores.values)
        values[4] *= 0.5 ** (late / FADE_DAYS)
        mean = sum(weight * value for weight, value in zip(WEIGHTS, values, strict=True))
        return min(1.0, max(0.0, 0.5 * max(values) + 0.5 * mean))


class Scorer(Protocol):
    """Finds the significance by other means than statistics, for example a model. Joined by the composition."""

    name: str
    """Kept with what it found."""

    async def score(self, frames: Sequence[Frame]) -> Sequence[Scores | None]:
        """Return the scores of each frame, None where it found none; within a deadline of its own.

        What it raises is contained: statistics take its place.
        """
        ...
