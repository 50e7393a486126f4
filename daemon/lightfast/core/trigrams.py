"""The embedder that needs nothing: character trigrams, hashed into 1,000 numbers.

It knows how texts are spelt, not what they mean: typos, word forms and another order of the words stay close, synonyms
do not. The vectors are the same on every machine and in every version of Python, so that they can be stored: the hash
is CRC-32 (ISO 3309, as in zlib), never Python's own, which differs from one process to the next.
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from array import array
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

DIMENSIONS = 1000
NAME = "trigram"

_COMMON = """
a about after all also am an and any are as at be been before being both but by can could did do does each for from had
has have he her here him his how i if in into is it its just may me might more most much must my no nor not of off on
only or other our out over own shall she should so some such than that the their them then there these they this those
through to too under until up us very was we were what when where which while who whom whose why will with would you
your
"""
_FUNCTION_WORDS = frozenset(_COMMON.split())
_FAINT = 0.2
"""What a word that every text has counts, against 1 for others: two notes are not alike because both say "of the"."""

_WORDS = re.compile(r"[^\W_]+")
_KEPT_WORDS = 16_384  # words are few and come again: a desk's notes use some thousands
_LONGEST = 64  # a "word" longer than this is data; it is cut into pieces, so that nothing is left out


def sparse(text: str) -> dict[int, float]:
    """Return the numbers of *text* that are not zero, by dimension; their squares add up to 1 (or none for no content).

    A text without letters and digits is taken by its signs; one of white space alone has no content.
    """
    counts: dict[int, float] = {}
    for word in _words(text):
        weight = _FAINT if word in _FUNCTION_WORDS else 1.0
        for dimension in _trigrams(word):
            counts[dimension] = counts.get(dimension, 0.0) + weight
    # A trigram that comes four times says less than four that come once each.
    weights = {dimension: math.sqrt(count) for dimension, count in counts.items()}
    length = math.sqrt(math.fsum(weight * weight for weight in weights.values()))
    return {dimension: weight / length for dimension, weight in weights.items()}


def dense(text: str) -> array[float]:
    """Return the 1,000 numbers of *text*, as 32-bit floats; numpy reads them without a copy."""
    vector = array("f", bytes(4 * DIMENSIONS))
    for dimension, weight in sparse(text).items():
        vector[dimension] = weight
    return vector


def similarity(one: str, other: str) -> float:
    """Return the cosine of the angle between two texts, 0.0 to 1.0, without building their vectors in full."""
    left, right = sparse(one), sparse(other)
    if len(right) < len(left):
        left, right = right, left
    return min(1.0, math.fsum(weight * right.get(dimension, 0.0) for dimension, weight in left.items()))


def is_common(word: str) -> bool:
    """Say whether a folded word is one that every (English) text has, and that tells nothing."""
    return word in _FUNCTION_WORDS


class TrigramEmbedder:
    """The trigrams as an `Embedder`."""

    name = NAME
    dimensions = DIMENSIONS

    def embed(self, texts: Sequence[str]) -> list[array[float]]:
        """Return one vector of 1,000 32-bit floats for each text, of length 1; all zeros for one without content."""
        return [dense(text) for text in texts]

    def close(self) -> None:
        """Let go of the words that are kept."""
        _trigrams.cache_clear()


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _WORDS.findall(plain) or plain.split()


@lru_cache(maxsize=_KEPT_WORDS)
def _trigrams(word: str) -> tuple[int, ...]:
    """Return the dimension of each trigram of ␣word␣: the blanks make the start and the end of a word count."""
    if len(word) > _LONGEST:
        return tuple(d for at in range(0, len(word), _LONGEST) for d in _trigrams(word[at : at + _LONGEST]))
    padded = f" {word} "
    return tuple(
        zlib.crc32(padded[at : at + 3].encode("utf-8", "surrogatepass")) % DIMENSIONS for at in range(len(word))
    )
