"""How complex a request is, how sure it is that it can be done in one go, and which of both ways it takes.

    complexity = 0.10 + 0.10 (steps - 1) + 0.35 (something broad: an app, a system, a show) + 0.20 (wanted whole)
                 + 0.01 (words beyond 12), at most 1
    with a complexity that was declared: (it + 2 declared) / 3
    confidence = 0.90 - 0.50 complexity - 0.15 (vague words) + 0.05 (each path, number or quoted name, at most two)
                 + history, from 0.05 to 0.99
    history    = 0.40 (share of similar tasks that succeeded - 0.5) n / (n + 3), for n similar ones by likeness

A *step* is a clause that begins with a verb the desk knows. Two tasks are similar where their words (without those that
say nothing) overlap by a third (Jaccard). A request is split where its complexity is 0.60 or more, or its confidence
below 0.45; else it is done in one shot. With a confidence that was declared, that one counts.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from lightfast.engine.desk.lexicon import BROAD, EMPTY_WORDS, POLITE, VERBS, WHOLE

SPLIT_FROM = 0.60
SURE_FROM = 0.45
SIMILAR = 1 / 3
MOST_PAST = 500
"""How many past tasks count; the oldest go first."""
_CLAUSE = re.compile(r"\s*(?:[,;.\n]|\band then\b|\bthen\b|\band\b|\bafter that\b|\bfinally\b)\s*")
_VAGUE = re.compile(r"\b(?:somehow|something|maybe|perhaps|kind of|sort of|nicer|better|whatever|some day|etc)\b")
_CONCRETE = re.compile(r"(?:(?<=\s)|^)/\w[^\s,]*|\d+(?:\.\d+)?|\"[^\"]+\"|'[^']{2,}'")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged: *complexity* and *confidence* from 0 to 1, *routing* `one_shot` or `split`; *steps* counted."""

    complexity: float
    confidence: float
    routing: str
    steps: int
    similar: int = 0

    @property
    def word(self) -> str:
        """Return the complexity as a word of the coded language."""
        return "low" if self.complexity < 0.35 else "medium" if self.complexity < SPLIT_FROM else "high"


@dataclass(frozen=True, slots=True)
class Past:
    """A task that is over: its *words*, and whether it succeeded."""

    words: frozenset[str]
    succeeded: bool


class History:
    """What became of past tasks, in memory; the newest `MOST_PAST`."""

    def __init__(self, past: Iterable[Past] = ()) -> None:
        self._past: deque[Past] = deque(past, maxlen=MOST_PAST)

    def add(self, title: str, *, succeeded: bool) -> None:
        """Take in the end of a task."""
        if words := words_of(title):
            self.keep(Past(words, succeeded))

    def keep(self, past: Past) -> None:
        """Take in one that is over."""
        self._past.append(past)

    def clear(self) -> None:
        """Forget all."""
        self._past.clear()

    def shift(self, title: str) -> tuple[float, int]:
        """Return by how much tasks like *title* shift the confidence, and how many there are."""
        words = words_of(title)
        weight = success = 0.0
        count = 0
        for past in self._past:
            both = len(words & past.words)
            likeness = both / (len(words) + len(past.words) - both) if both else 0.0
            if likeness >= SIMILAR:
                count += 1
                weight += likeness
                success += likeness * past.succeeded
        if not count:
            return 0.0, 0
        return 0.40 * (success / weight - 0.5) * count / (count + 3), count


def words_of(title: str) -> frozenset[str]:
    """Return the words of *title* that say something."""
    return frozenset(word for word in _WORD.findall(title.lower()) if word not in EMPTY_WORDS)


def clauses(text: str) -> list[str]:
    """Return the steps of *text*: what begins with a verb, with what follows it."""
    plain = POLITE.sub("", text.strip())
    found: list[str] = []
    for part, before in _parts(plain):
        first = part.split(" ", 1)[0].lower().strip("'\"")
        if first in VERBS or not found:
            found.append(part)
        else:
            found[-1] += before + part
    return found


def _parts(plain: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at, before = 0, ""
    for match in _CLAUSE.finditer(plain):
        if match.start() > 0 and match[0].strip() == "." and plain[match.end() : match.end() + 1].isdigit():
            continue  # a decimal point
        if part := plain[at : match.start()].strip():
            found.append((part, before))
            before = ""
        before += match[0]
        at = match.end()
    if part := plain[at:].strip():
        found.append((part, before))
    return found


def judge(
    text: str, *, declared: float | None = None, sure: float | None = None, history: History | None = None
) -> Judged:
    """Judge *text*; *declared* is a complexity and *sure* a confidence that were given with it, 0 to 1."""
    lowered = text.lower()
    steps = max(1, len(clauses(text)))
    complexity = 0.10 + 0.10 * (steps - 1)
    complexity += 0.35 * bool(BROAD.search(lowered)) + 0.20 * bool(WHOLE.search(lowered))
    complexity += 0.01 * max(0, len(lowered.split()) - 12)
    complexity = min(1.0, complexity)
    if declared is not None:
        complexity = (complexity + 2 * declared) / 3
    shift, similar = history.shift(text) if history is not None else (0.0, 0)
    confidence = 0.90 - 0.50 * complexity - 0.15 * bool(_VAGUE.search(lowered))
    confidence += 0.05 * min(2, len(_CONCRETE.findall(text))) + shift
    confidence = min(0.99, max(0.05, confidence)) if sure is None else sure
    routing = "split" if complexity >= SPLIT_FROM or confidence < SURE_FROM else "one_shot"
    return Judged(round(complexity, 4), round(confidence, 4), routing, steps, similar)
