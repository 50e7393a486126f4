"""Did you mean: the known name that is nearest to one that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

MOST_KNOWN = 2_000
"""Among how many names the nearest is looked for."""
LONGEST = 200
"""Longer names, in characters, are like none."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the known name most like *name*; empty where none is like it."""
    from rapidfuzz import fuzz, process, utils

    names = [each for each in islice(dict.fromkeys(known), MOST_KNOWN) if len(each) <= LONGEST]
    found = process.extractOne(
        name[:LONGEST], names, scorer=fuzz.WRatio, processor=utils.default_process, score_cutoff=70
    )
    return "" if found is None else str(found[0])


def did_you_mean(name: str, known: Iterable[str], *, most: int = 12) -> str:
    """Return `: did you mean 'X'?`, or what there is where nothing is near; *most* names of it."""
    names = list(dict.fromkeys(known))
    near = nearest(name, names)
    if near:
        return f": did you mean {near!r}?"
    if not names:
        return ": there is none"
    return ": there is " + ", ".join(each[:LONGEST] for each in names[:most]) + (", …" if len(names) > most else "")
