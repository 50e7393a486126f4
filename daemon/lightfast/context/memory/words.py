"""What a text looks like to the keyword index, and a query to it.

The index (FTS5, unicode61 with Porter's stemmer, accents taken off) takes a run of letters for one word. Scripts that
put no spaces between words would be one word a line, so each of their characters is made a word of its own, and
comes as a phrase in a query.
"""

from __future__ import annotations

import re
from functools import cache

MAX_WORDS = 24
"""So many different words of a query are looked up, the longest first: they tell most."""

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Thai, Lao, Burmese, Khmer, Japanese, Chinese."""
_WORD = re.compile(r"[^\W_]+")


@cache
def _split() -> re.Pattern[str]:
    """Return what finds a character of those scripts; compiled late: that takes milliseconds."""
    return re.compile(f"([{_UNSPACED}\U00020000-\U0003ffff])")


def indexed(text: str) -> str:
    """Return *text* as the index shall see it."""
    return text if text.isascii() else _split().sub(r" \1 ", text)


def count(text: str) -> int:
    """Return about how many words *text* has."""
    return 1 + text.count(" ") if text.isascii() else len(_WORD.findall(indexed(text)))


def terms(query: str) -> list[str]:
    """Return the different words of *query* as FTS5 strings, in its order: what each matches is for FTS5 to say."""
    found: dict[str, int] = {}
    for word in _WORD.findall(query):
        spaced = " ".join(indexed(word).split())
        quoted = f'"{spaced}"'
        found.setdefault(quoted.casefold(), len(word))
    if len(found) > MAX_WORDS:
        kept = set(sorted(found, key=lambda term: -found[term])[:MAX_WORDS])
        return [term for term in found if term in kept]
    return list(found)


def twins(text: str) -> str:
    """Return the FTS5 query for texts that are nearly *text*; empty for one that is too short to have such.

    A near-duplicate shares all but a few words: of two sets of words without a common one it still has one in full.
    """
    by_length = sorted(terms(text[:4000]), key=len, reverse=True)[:8]
    if len(by_length) < 2:
        return ""
    halves = (by_length[0::2], by_length[1::2])
    return " OR ".join(f"({' AND '.join(half)})" for half in halves)
