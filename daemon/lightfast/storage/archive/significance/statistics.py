"""Significance from the text itself and from what the archive held before it: no model, some 100 µs a note."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
import zlib
from array import array

from lightfast.storage.archive.significance import dates, lexicon
from lightfast.storage.archive.significance.lexicon import Matcher
from lightfast.storage.archive.significance.records import Scores

LONGEST = 20_000
"""So many characters of a text are looked at."""
BUCKETS = 1 << 16
"""Counters for words and for pairs of words: no word is kept, so that nothing can be read from them."""

_WORD = re.compile(r"[^\W_]+(?:['\u2019.][^\W_]+)*")
_NAME = re.compile(r"(?<![.!?:\n] )(?<!^)\b[A-ZÄÖÜÀ-Þ][^\W\d_]{2,}(?!\w)")
_FIGURE = re.compile(r"(?<![\w.])[-\u2212+]?\d[\d.,]*(?: ?[°%\w/]{1,6})?")
_PATH = re.compile(r"(?:/[\w%.-]+){2,}|\b\w+_\w+\b|\b\w+\.\w{2,4}\b")
_BLANKS = re.compile(r"\s+")

_FEELING = Matcher(lexicon.FEELING)
_COOLER = Matcher(lexicon.NOT_FEELING)
_KNOWLEDGE = Matcher(lexicon.KNOWLEDGE)
_IDLE = Matcher(lexicon.IDLE)
_BOND = Matcher(lexicon.BOND)
_BREAKTHROUGH = Matcher(lexicon.BREAKTHROUGH)
_TIME = Matcher(lexicon.TIME)
_TIMELESS = Matcher(lexicon.TIMELESS)
_RECURRENCE = Matcher(lexicon.RECURRENCE)


class Statistics:
    """Scores texts, and learns from each how common its words and its pairs of words are."""

    name = "statistics"

    def __init__(self) -> None:
        self.texts = 0
        """How many texts it learnt from."""
        self._words = array("I", bytes(4 * BUCKETS))
        self._pairs = array("I", bytes(4 * BUCKETS))

    def score(self, text: str, time_ms: int) -> Scores:
        """Return the scores of *text*, written at *time_ms*; learns nothing."""
        text = _BLANKS.sub(" ", text[:LONGEST]).strip()
        folded = text.casefold()
        words = _WORD.findall(folded)
        if not words:
            return Scores(emotional_resonance=_bend(sum(unicodedata.category(sign) == "So" for sign in text), 1.2))
        due = dates.mentioned(folded, time_ms)
        return Scores(
            emotional_resonance=_feeling(text, words),
            knowledge_value=self._knowledge(text, words),
            relationship_depth=_bond(text, words),
            breakthrough_factor=_found(words),
            temporal_relevance=_time(folded, words, due, time_ms),
            pattern_strength=self._recurrence(words),
            due_ms=max(due, default=0),
        )

    def learn(self, text: str) -> None:
        """Count the words of *text*, for the novelty and the recurrence of later ones."""
        words = _WORD.findall(text[:LONGEST].casefold())
        self.texts += 1
        for bucket in {_bucket(word) for word in words}:
            self._words[bucket] = min(self._words[bucket] + 1, 0xFFFFFFFF)
        for bucket in set(_pairs(words)):
            self._pairs[bucket] = min(self._pairs[bucket] + 1, 0xFFFFFFFF)

    def pack(self) -> bytes:
        """Return what was learnt, to be kept; `unpack` takes it."""
        head = self.texts.to_bytes(8, "big")
        return head + zlib.compress(_big_endian(self._words) + _big_endian(self._pairs), 1)

    def unpack(self, packed: bytes) -> None:
        """Take what was learnt before; raises ValueError or zlib.error for what it is not."""
        counts = zlib.decompress(packed[8:], bufsize=8 * BUCKETS)
        if len(counts) != 8 * BUCKETS:
            raise ValueError("the statistics have another size")
        self._words, self._pairs = _counters(counts[: 4 * BUCKETS]), _counters(counts[4 * BUCKETS :])
        self.texts = int.from_bytes(packed[:8], "big")

    def novelty(self, words: list[str]) -> float:
        """Return how rare the words are in what was learnt, 0.0 (all in every text) to 1.0 (all new)."""
        if not words or self.texts < 8:
            return 0.5
        whole = math.log(self.texts + 1.0)
        rare = (math.log((self.texts + 1.0) / (self._words[_bucket(word)] + 1.0)) / whole for word in set(words))
        return max(0.0, min(1.0, math.fsum(rare) / len(set(words))))

    def _knowledge(self, text: str, words: list[str]) -> float:
        points = _sum(_KNOWLEDGE, words)
        points += 0.5 * min(4, len(_FIGURE.findall(text))) + 0.5 * min(2, len(_PATH.findall(text)))
        points += 0.8 * (self.novelty(words) - 0.5)
        points -= 0.5 * _sum(_IDLE, words) + 0.5 * min(3.0, _sum(_FEELING, words)) + 0.3 * _sum(_TIME, words)
        return _bend(points * min(1.0, len(words) / 8), 1.4)

    def _recurrence(self, words: list[str]) -> float:
        points = _sum(_RECURRENCE, words) + _said(lexicon.RECURRENCE_SAID, words)
        seen = _pairs(words)
        if len(seen) >= 3:
            known = sum(1 for bucket in seen if self._pairs[bucket] > 0) / len(seen)
            points += 2.5 * max(0.0, known - 0.35)  # a pair or two comes again by chance
        return _bend(points, 1.2)


def _feeling(text: str, words: list[str]) -> float:
    points = 0.0
    for word in words:
        points += max(0.0, _FEELING.weight(word) - _COOLER.weight(word))
    points += 0.35 * min(3, text.count("!"))
    points += 0.7 * min(3, sum(unicodedata.category(sign) == "So" for sign in text))
    points += 0.25 * min(3, sum(len(word) > 3 and word.isupper() for word in text.split()))
    points += 0.3 * bool({"i", "my", "me"} & set(words)) + 0.15 * bool({"so", "such", "what"} & {words[0], *words[:6]})
    return _bend(points / _damping(words), 1.2)


def _bond(text: str, words: list[str]) -> float:
    names = len(set(_NAME.findall(text)))
    return _bend((_sum(_BOND, words) + 0.4 * min(3, names)) / _damping(words), 1.8)


def _found(words: list[str]) -> float:
    return _bend(_sum(_BREAKTHROUGH, words) + _said(lexicon.BREAKTHROUGH_SAID, words), 1.0)


def _time(folded: str, words: list[str], due: list[int], time_ms: int) -> float:
    points = _sum(_TIME, words) + 0.7 * min(2, len(dates.CLOCK.findall(folded)))
    points -= 0.7 * _sum(_TIMELESS, words)
    if due:
        nearest = min(abs(when - time_ms) for when in due) / dates.DAY_MS
        points += 1.0 / (1.0 + nearest / 30.0)
    return _bend(points, 1.6)


def _sum(matcher: Matcher, words: list[str]) -> float:
    """Return the weights of the words that are in it, each word once: repetition is no emphasis here."""
    return math.fsum(matcher.weight(word) for word in set(words))


def _said(sayings: lexicon.Lexicon, words: list[str]) -> float:
    text = f" {' '.join(words)} "
    return math.fsum(weight for saying, weight in sayings.items() if f" {saying} " in text)


def _damping(words: list[str]) -> float:
    """Return what a sum is divided by: in a long text a word or two of a kind say less."""
    return 1.0 + math.log2(max(1.0, len(words) / 24.0))


def _bend(points: float, half: float) -> float:
    """Bend 0…∞ to 0…1 so that *half* points are 0.5."""
    return 1.0 - 0.5 ** (points / half) if points > 0.0 else 0.0


def _bucket(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS


def _pairs(words: list[str]) -> list[int]:
    long = (word for word in words if len(word) > 3)
    return [_bucket(f"{one} {other}") for one, other in itertools.pairwise(long)]


def _big_endian(counts: array[int]) -> bytes:
    return b"".join(count.to_bytes(4, "big") for count in counts)


def _counters(packed: bytes) -> array[int]:
    return array("I", (int.from_bytes(packed[at : at + 4], "big") for at in range(0, len(packed), 4)))
