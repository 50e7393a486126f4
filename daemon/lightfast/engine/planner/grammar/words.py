"""The words of a sentence, and the clauses it falls into."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lightfast.core.errors import InvalidArgument
from lightfast.engine.planner.settings import MOST_CHARACTERS

MOST_WORDS = 600
MOST_CLAUSES = 64

VERBS = frozenset(
    {
        *("set", "make", "add", "create", "generate", "render", "move", "rotate", "turn", "scale", "resize", "mute"),
        *(
            "unmute",
            "solo",
            "unsolo",
            "play",
            "start",
            "stop",
            "pause",
            "save",
            "recall",
            "load",
            "open",
            "draw",
            "paint",
        ),
        *("say", "speak", "remember", "wait", "run", "delete", "remove", "rename", "duplicate", "copy", "hide", "show"),
        *(
            "get",
            "tell",
            "read",
            "go",
            "jump",
            "seek",
            "raise",
            "lower",
            "increase",
            "decrease",
            "change",
            "put",
            "place",
        ),
        *(
            "undo",
            "redo",
            "tap",
            "fire",
            "launch",
            "switch",
            "enable",
            "disable",
            "write",
            "compose",
            "record",
            "capture",
        ),
        *("what", "store", "fade", "morph", "color", "colour"),
    }
)
"""Words that begin a clause after `and` or a comma."""
EVENTS = frozenset({"every", "whenever", "when", "if", "always", "each"})
"""Words that begin a wish for more than once."""
POLITE = frozenset({"please", "now", "also", "just", "kindly", "hey", "ok", "okay", "finally", "next", "first"})
FILLING = frozenset({"the", "a", "an", "of", "in", "on", "its", "my", "our", "your", "some", "there", "value", "is"})
"""Words that carry nothing where a thing or a property is named."""
NUMBERS = {
    name: float(value)
    for value, name in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
} | {"twenty": 20.0, "thirty": 30.0, "fifty": 50.0, "hundred": 100.0, "half": 0.5}

_TOKEN = re.compile(
    r"""
      "(?P<quoted>[^"]*)"
    | “(?P<curly>[^”]*)”
    | (?P<single>(?<![\w'])'[^']*'(?!\w))
    | (?P<hex>\#[0-9a-fA-F]{6}(?:[0-9a-fA-F]{2})?)(?!\w)
    | (?P<path>/(?:[^\s,;"])*[^\s,;".!?])
    | (?P<number>[-+]?(?:\d+(?:\.\d+)?|\.\d+))(?P<unit>%|°)?
    | (?P<word>[^\W\d_][\w']*(?:[._-]\w+)*|_\w+)
    | (?P<mark>[,;.!?=:()×\n-])
    """,
    re.VERBOSE,
)
_HARD = frozenset({";", ".", "!", "?", "\n"})


@dataclass(frozen=True, slots=True)
class Word:
    """One word: *kind* is word, number, quoted, path, hex or mark; *low* in lower case; *at* where it begins."""

    kind: str
    text: str
    at: int
    number: float = 0.0

    @property
    def low(self) -> str:
        """Return it in lower case."""
        return self.text.lower()

    @property
    def whole(self) -> int | float:
        """Return the number, whole where it was written so."""
        return int(self.number) if self.number.is_integer() and "." not in self.text else self.number


@dataclass(frozen=True, slots=True)
class Clause:
    """One clause; *then* says that it waits for the one before."""

    words: tuple[Word, ...]
    source: str
    then: bool = False

    def rest(self, start: int) -> str:
        """Return the text as it was written, from the word numbered *start* on."""
        if start >= len(self.words):
            return ""
        last = self.words[-1]
        end = last.at + len(last.text) + (2 if last.kind == "quoted" else 0)
        return self.source[self.words[start].at : end].strip()


def words_of(text: str) -> list[Word]:
    """Return the words; raises `InvalidArgument` (INTENT_TOO_LONG)."""
    if len(text) > MOST_CHARACTERS:
        raise InvalidArgument(
            f"the intent has {len(text)} characters, the most is {MOST_CHARACTERS}: say it in parts",
            reason="INTENT_TOO_LONG",
            field="intent",
        )
    found = [word for match in _TOKEN.finditer(text) for word in _words(match)]
    if len(found) > MOST_WORDS:
        raise InvalidArgument(
            f"the intent has {len(found)} words, the most is {MOST_WORDS}: say it in parts",
            reason="INTENT_TOO_LONG",
            field="intent",
        )
    return found


def _words(match: re.Match[str]) -> Iterator[Word]:
    kind = match.lastgroup or ""
    if kind in {"quoted", "curly"}:
        yield Word("quoted", match.group(kind), match.start())
    elif kind == "single":
        yield Word("quoted", match.group(kind)[1:-1], match.start())
    elif match.group("number") is not None:
        number = match.group("number")
        yield Word("number", number, match.start(), float(number))
        if match.group("unit"):
            yield Word("word", match.group("unit"), match.start("unit"))
    else:
        text = match.group(kind)
        if kind == "word" and text.lower() in NUMBERS:
            yield Word("number", text, match.start(), NUMBERS[text.lower()])
        else:
            yield Word(kind, text, match.start())


def clauses_of(text: str) -> list[Clause]:
    """Return the clauses of *text*; raises `InvalidArgument` (INTENT_TOO_LONG)."""
    words = words_of(text)
    found: list[Clause] = []
    current: list[Word] = []
    then = False
    index = 0

    def end(follows: bool) -> None:
        nonlocal current, then
        kept = tuple(_trimmed(current))
        if kept:
            found.append(Clause(kept, text, then))
            then = follows
        else:
            then = then or follows
        current = []

    while index < len(words):
        word = words[index]
        if word.kind == "mark" and word.text in _HARD:
            end(follows=False)
        elif word.low in {"then", "afterwards"} or (word.low == "after" and _low(words, index + 1) == "that"):
            end(follows=True)
            index += word.low == "after"
        elif (word.low == "and" or word.text == ",") and not _standing(current) and _begins(words, index + 1):
            end(follows=False)
        elif not (word.text == "," and not current):
            current.append(word)
        index += 1
    end(follows=False)
    if len(found) > MOST_CLAUSES:
        raise InvalidArgument(
            f"the intent has {len(found)} clauses, the most is {MOST_CLAUSES}: say it in parts",
            reason="INTENT_TOO_LONG",
            field="intent",
        )
    return found


def _standing(words: Sequence[Word]) -> bool:
    """Say whether a clause says when something is to happen: what follows belongs to it."""
    kept = _trimmed(words)
    return bool(kept) and kept[0].low in EVENTS


def _low(words: Sequence[Word], index: int) -> str:
    return words[index].low if index < len(words) else ""


def _begins(words: Sequence[Word], index: int) -> bool:
    """Say whether a clause begins at *index*."""
    while index < len(words) and (words[index].low in POLITE or words[index].text == ","):
        index += 1
    if index >= len(words):
        return True
    word = words[index]
    return word.kind == "word" and (word.low in VERBS or word.low in {"and", "then", "every", "whenever", "when"})


def _trimmed(words: Sequence[Word]) -> list[Word]:
    kept = [word for word in words if not (word.kind == "word" and word.low in POLITE)]
    while kept and (
        kept[0].kind == "mark" or kept[0].low in {"and", "can", "could", "you", "would", "i", "want", "to"}
    ):
        kept = kept[1:]
    while kept and (kept[-1].kind == "mark" or kept[-1].low == "and"):
        kept = kept[:-1]
    return kept
