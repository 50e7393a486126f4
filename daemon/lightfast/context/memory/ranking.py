"""How hits are ranked. Pure functions over lists of numbers, best first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

K = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): a first place counts 1 / 61."""


WEAK = 1000
"""Where the ranks of weak hits begin."""


def fuse(lists: Iterable[Sequence[int]], weak: Sequence[int] = ()) -> dict[int, float]:
    """Return the score of each number: the sum of 1 / (60 + rank) over the lists it is in, its rank counted from 1.

    The ranks of *weak* hits are counted from 1,000: alone they come last, and with others they hardly count.
    """
    scores: dict[int, float] = {}
    for ranked in lists:
        for rank, number in enumerate(ranked, 1):
            scores[number] = scores.get(number, 0.0) + 1.0 / (K + rank)
    for rank, number in enumerate(weak, WEAK):
        scores[number] = scores.get(number, 0.0) + 1.0 / (K + rank)
    return scores


def ranks(ranked: Sequence[int]) -> dict[int, int]:
    """Return the rank of each number, from 1."""
    return {number: rank for rank, number in enumerate(ranked, 1)}
