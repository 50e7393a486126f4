"""The words of a text that say what it is about."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from lightfast.core import trigrams

MOST = 128
"""So many different words of a text are looked at."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019]s\b)?")


def content_words(text: str) -> frozenset[str]:
    """Return its words, folded and without endings of the plural and the genitive; no words that every text has."""
    found: dict[str, None] = {}
    for match in _WORD.finditer(text.casefold()):
        word = match.group()
        if trigrams.is_common(word) or (len(word) < 3 and not word.isdigit()):
            continue
        found[_stem(word)] = None
        if len(found) >= MOST:
            break
    return frozenset(found)


def _stem(word: str) -> str:
    if word.endswith(("'s", "\u2019s")):
        word = word[:-2]
    return word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith("ss") else word


def rarity(frequency: Mapping[str, int], texts: int, word: str) -> float:
    """Return how much a word tells: the logarithm of one in how many texts has it."""
    return math.log((texts + 1) / max(1, frequency.get(word, 1)))


class Weigher:
    """Compares sets of words at one moment: each word counts by how rare it is among *texts* texts now."""

    def __init__(self, frequency: Mapping[str, int], texts: int) -> None:
        self._frequency = frequency
        self._texts = texts
        self._squares: dict[str, float] = {}
        self._lengths: dict[frozenset[str], float] = {}

    def overlap(self, one: frozenset[str], other: frozenset[str]) -> float:
        """Return the cosine of the angle between two sets of words, 0 to 1."""
        both = one & other
        if not both:
            return 0.0
        lengths = self._length(one) * self._length(other)
        return min(1.0, sum(map(self._square, both)) / lengths) if lengths else 0.0

    def _square(self, word: str) -> float:
        found = self._squares.get(word)
        if found is None:
            found = self._squares[word] = rarity(self._frequency, self._texts, word) ** 2
        return found

    def _length(self, words: frozenset[str]) -> float:
        found = self._lengths.get(words)
        if found is None:
            found = self._lengths[words] = math.sqrt(math.fsum(map(self._square, words)))
        return found


def telling(
    texts: Iterable[frozenset[str]], frequency: Mapping[str, int], total: int, most: int = 6
) -> tuple[str, ...]:
    """Return the words that many of *texts* have and few others, the most telling first."""
    counts: Counter[str] = Counter()
    size = 0
    for words in texts:
        counts.update(words)
        size += 1
    if not size:
        return ()

    def weight(word: str) -> float:
        return counts[word] / size * rarity(frequency, total, word)

    least = 2 if size > 2 else 1
    chosen = [word for word, count in counts.items() if count >= least]
    return tuple(sorted(chosen, key=lambda word: (-weight(word), word))[:most])
