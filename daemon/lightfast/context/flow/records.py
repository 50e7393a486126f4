"""The words of flow control: lanes, their bounds, and how long things took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import log2

from lightfast.core.errors import Exhausted, InvalidArgument


class Lane(IntEnum):
    """What goes before what; the first is the most urgent."""

    INTERACTIVE = 0
    STATE = 1
    SIGNAL = 2
    BACKGROUND = 3

    @property
    def word(self) -> str:
        """Return the name as clients write it."""
        return self.name.lower()


def lane_named(word: str) -> Lane:
    """Return the lane that a client asks for by *word*; raises `InvalidArgument`."""
    try:
        return Lane[word.upper()]
    except KeyError:
        words = ", ".join(lane.word for lane in Lane)
        raise InvalidArgument(f"there is no lane {word[:50]!r}: use one of {words}", field="lightfast-lane") from None


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one lane.

    *running* calls at once, of which one client has at most *share*; *waiting* for their turn, of which one client
    has at most *client*; and for at most *patience* seconds. What is more is shed: the newest of whoever has most.
    """

    running: int
    share: int
    waiting: int
    client: int
    patience: float


LIMITS = {
    Lane.INTERACTIVE: Limits(256, 192, 1024, 512, 10.0),
    Lane.STATE: Limits(128, 96, 512, 256, 10.0),
    Lane.SIGNAL: Limits(64, 48, 256, 64, 2.0),
    Lane.BACKGROUND: Limits(4, 4, 64, 16, 10.0),
}
_PER_OCTAVE = 4
_BUCKETS = 128


class Latency:
    """How long things took, counted in buckets that grow by a fifth each, from a microsecond up."""

    __slots__ = ("count", "counts", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0
        self.counts = [0] * _BUCKETS

    def note(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.seconds += seconds
        bucket = int(log2(seconds * 1e6 + 1.0) * _PER_OCTAVE)
        self.counts[bucket if bucket < _BUCKETS else -1] += 1

    def quantile(self, share: float) -> float:
        """Return the seconds that *share* (0 to 1) of all stayed below; 0 where there were none."""
        return quantile(self.counts, share)


def upper(bucket: int) -> float:
    """Return the upper end of a bucket of `Latency`, in seconds."""
    return float(2.0 ** ((bucket + 1) / _PER_OCTAVE) - 1.0) / 1e6


def quantile(counts: Sequence[int], share: float) -> float:
    """Return the upper end of the bucket in which *share* of all *counts* is reached; 0 where there are none."""
    total = sum(counts)
    reached = 0
    for bucket, count in enumerate(counts):
        reached += count
        if count and reached >= share * total:
            return upper(bucket)
    return 0.0


def shed(lane: Lane, why: str, retry_after: float) -> Exhausted:
    """Return the error for work that is not done now; *retry_after* is in seconds."""
    wait = round(min(30.0, max(0.1, retry_after)), 1)
    return Exhausted(
        f"the {lane.word} lane is full: {why}; try again in {wait:g} s",
        reason="SHED",
        retry_after=wait,
        metadata={"lane": lane.word, "retry_after_s": f"{wait:g}"},
    )
