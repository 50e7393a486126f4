"""From plain words to a coded command: by rules and weights alone, the same answer for the same words at any time.

Each of `lexicon.signs` that a request shows adds its weights; names of workflows, and big things that are wanted
whole, add theirs. With the score `s` of the best letters and `r` of the second best, the confidence is

    1 / (1 + exp(-(1.5 (s - r) + 0.8 (s - 1.6))))

so it takes both a reason and a lead. Below `SURE` the desk asks back instead of doing something that was not meant.
Words with a mistake of typing are taken for the nearest known one (at least 75 of 100 by Indel similarity, which counts
letters put in and left out) where the request shows no strong sign as it stands.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from lightfast.engine.desk.coded import AUTO, Command, ContextLoad, MemoryStore, TaskCreate, TaskSplit, WorkflowStart
from lightfast.engine.desk.extract import context_of, intent_of, memory_of, parameters_of, title_of
from lightfast.engine.desk.judge import judge
from lightfast.engine.desk.lexicon import BROAD, EMPTY_WORDS, POLITE, WELL_SPELT, WHOLE, signs

SURE = 0.55
"""The confidence from which on a request is acted on."""
NEAR = 75.0
STRONG = 2.0
_TASK = re.compile(r"\btask[-_][a-z0-9]+\b")
_WORD = re.compile(r"[a-z']+")
_NAME = re.compile(r"[^a-z0-9]+")
_KINDS = ("tc", "ts", "wf", "cl", "ms", "none", "unclear")


@dataclass(frozen=True, slots=True)
class Understood:
    """What a request was understood as; *letters* is those of *command*, or `none` or `unclear`, which have none.

    *guess* is the best command even where it was not sure enough; *second* the letters after the best.
    """

    letters: str
    confidence: float
    command: Command | None
    guess: Command | None
    second: str = ""


def classify(text: str, workflows: Sequence[str] = ()) -> Understood:
    """Return what *text* is understood as; *workflows* are the names of those there are. Never raises, never waits."""
    said = " ".join(text.split())
    plain = _plain(said)
    scores, workflow = _scores(plain, workflows)
    if max(scores.values()) < STRONG:
        spelt = _plain(_spelt(said.lower()))
        if spelt != plain:
            again, named = _scores(spelt, workflows)
            if max(again.values()) > max(scores.values()):
                plain, scores, workflow = spelt, again, named
    order = sorted(_KINDS, key=lambda kind: (-scores[kind], _KINDS.index(kind)))
    best, second = order[0], order[1]
    lead, height = scores[best] - max(0.0, scores[second]), scores[best]
    confidence = 1.0 / (1.0 + math.exp(-(1.5 * lead + 0.8 * (height - 1.6))))
    guess = _command(best, said, plain, workflow)
    if best == "unclear" or confidence < SURE:
        return Understood("unclear", 1.0 - confidence if best != "unclear" else confidence, None, guess, second)
    return Understood(best, confidence, guess, guess, second)


def _plain(said: str) -> str:
    lowered = said.lower().replace("\u2019", "'").strip(" .!;")
    return POLITE.sub("", lowered) or lowered


def _scores(plain: str, workflows: Sequence[str]) -> tuple[dict[str, float], str]:
    scores = dict.fromkeys(_KINDS, 0.0)
    for pattern, weights in signs():
        if pattern.search(plain):
            for kind, weight in weights.items():
                scores[kind] += weight
    words = _WORD.findall(plain)
    broad, whole = bool(BROAD.search(plain)), bool(WHOLE.search(plain))
    if broad and whole and scores["tc"] > 0:
        scores["ts"] += scores["tc"] + 1.4
    if _TASK.search(plain) and scores["ts"]:
        scores["ts"] += 1.0
    workflow, near = nearest(plain, workflows)
    if workflow:
        scores["wf"] += 2.8 * near if scores["wf"] or len(words) <= 4 else 0.8
    if len(words) > 7:  # talk is short
        scores["none"] -= 2.0
    elif scores["none"] and len(words) > 3 and scores["tc"] > 0:
        scores["none"] -= 1.0
    if len(words) <= 1 and not scores["none"]:
        scores["unclear"] += 1.0
    return scores, workflow


def nearest(plain: str, workflows: Sequence[str]) -> tuple[str, float]:
    """Return the workflow that *plain* names, and how nearly: 1 where its words are there, less where some are."""
    found, most = "", 0.0
    words = [word for word in _NAME.split(plain) if word]
    for name in workflows:
        parts = [part for part in _NAME.split(name.lower()) if part]
        if not parts:
            continue
        part = sum(_has(words, each) for each in parts) / len(parts)
        if part > most or (part == most and found and len(name) > len(found)):
            found, most = name, part
    return (found, most) if most >= 0.5 else ("", 0.0)


def _has(words: Sequence[str], part: str) -> float:
    if part in words:
        return 1.0
    if len(part) < 4:
        return 0.0
    if any(len(word) >= 4 and part.startswith(word) for word in words):
        return 0.95
    from rapidfuzz import fuzz, process  # with the first name that is not there letter by letter

    near = process.extractOne(part, words, scorer=fuzz.ratio, score_cutoff=70.0)
    return 0.0 if near is None else float(near[1]) / 100.0


def _spelt(plain: str) -> str:
    from rapidfuzz import fuzz, process  # with the first request that is not clear as it stands

    known = EMPTY_WORDS | set(WELL_SPELT) | {"dont", "just", "over", "than", "each"}

    def better(found: re.Match[str]) -> str:
        word = found[0]
        if len(word) < 4 or word in known:
            return word
        near = process.extractOne(word, WELL_SPELT, scorer=fuzz.ratio, score_cutoff=NEAR)
        return word if near is None else str(near[0])

    return _WORD.sub(better, plain)


def _command(letters: str, said: str, plain: str, workflow: str) -> Command | None:
    match letters:
        case "tc":
            judged = judge(said)
            return TaskCreate(title_of(said), intent_of(plain), judged.word)
        case "ts":
            task = _TASK.search(plain)
            judged = judge(said)
            return TaskSplit(task[0] if task else AUTO, round(judged.confidence, 2), title_of(said))
        case "wf" if workflow:
            return WorkflowStart(workflow, parameters_of(said, workflow))
        case "cl":
            return ContextLoad(*context_of(said, plain))
        case "ms":
            return MemoryStore(*memory_of(said, plain))
    return None
