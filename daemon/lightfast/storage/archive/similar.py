"""Near-duplicates: which earlier content a new one is worth being stored as the difference to.

Contents are compared, not hashes: a hash of two texts that differ by one letter has nothing in common. Alike are two
whose similarity is over 0.9: for short ones Indel's normalized similarity 2·LCS / (a + b), for long ones
1 - patch / length, where the patch is what zstd makes of the one with the other before it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from lightfast.core.compression import zstd
from lightfast.storage.archive import codec

THRESHOLD = 0.9
RECENT = 8
"""A content is compared with so many before it of its kind."""
MAX_CHAIN = 8
"""A delta is at most so many deltas away from a whole content."""
SHORT = 2048
MIN_SIZE, MAX_SIZE = 64, 1 << 20
_PROBES = 5
_PROBE = 16


@dataclass(frozen=True, slots=True)
class Base:
    """A content that a delta can be based on; *depth* deltas away from a whole one."""

    frame_id: str
    data: bytes
    depth: int


class Recent:
    """The contents last seen, by kind."""

    def __init__(self) -> None:
        self._kinds: dict[str, deque[Base]] = {}

    def add(self, kind: str, base: Base) -> None:
        """Remember a content."""
        if MIN_SIZE <= len(base.data) <= MAX_SIZE:
            self._kinds.setdefault(kind, deque(maxlen=RECENT)).append(base)

    def best(self, kind: str, data: bytes) -> tuple[Base, bytes] | None:
        """Return the recent content most like *data* if they are alike, and the difference."""
        if not MIN_SIZE <= len(data) <= MAX_SIZE:
            return None
        found: tuple[float, Base] | None = None
        for base in reversed(self._kinds.get(kind, ())):
            if base.depth < MAX_CHAIN and may_be_alike(base.data, data):
                score = similarity(base.data, data)
                if score > THRESHOLD and (found is None or score > found[0]):
                    found = (score, base)
        return None if found is None else (found[1], patch(found[1].data, data))


def patch(base: bytes, data: bytes) -> bytes:
    """Return *data* as zstd writes it with *base* before it."""
    return bytes(zstd().compress(data, codec.LEVEL, zstd_dict=codec.prefix(base)))


def may_be_alike(base: bytes, data: bytes) -> bool:
    """Say, at little cost, whether a comparison is worth while: lengths, and two of five pieces in common."""
    short, long = sorted((len(base), len(data)))
    if short < long * 0.81:  # 2·short / (short + long) is then under 0.9
        return False
    if long < 256:
        return True
    step = (len(data) - _PROBE) // (_PROBES - 1)
    return sum(data[at : at + _PROBE] in base for at in range(0, len(data) - _PROBE + 1, step)) >= 2


def similarity(base: bytes, data: bytes) -> float:
    """Return how alike two contents are, from 0 to 1."""
    if max(len(base), len(data)) <= SHORT:
        from rapidfuzz import fuzz

        return float(fuzz.ratio(base, data, score_cutoff=THRESHOLD * 100)) / 100
    return 1 - len(patch(base, data)) / len(data)
