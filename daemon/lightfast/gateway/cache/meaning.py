"""Whether two prompts mean the same, decided so that opposites never do.

Vectors cannot decide that: of an embedder, "turn the light on" and "turn the light off" are nearly the same text. So
nothing is guessed here. A prompt is brought into a form, its *fingerprint*, and two prompts mean the same only where
their forms are equal: the same words in the same order, the same numbers, negations, names, quotations, paths and
signs. The form leaves out, or makes equal, only what is listed in this module and in `words`:

- white space; capitals at the beginning of a sentence, or of a whole text in capitals; marks at the very end;
- ways to write one character: composed or not, curly or straight quotes, full-width letters;
- contractions (don't, do not), and some spellings (colour, color);
- words of politeness at the beginning and the end, where they are not what the text is about;
- English articles in a request ("render a cube"), where leaving them out does not make another meaning.

Nothing is stemmed and no plural is folded: "light" and "lights" are not the same. Word order always counts, "A over B"
is not "B over A". As equal forms are found by a key, no embedder is asked for what is near, and no text is sent
anywhere. What looks like code (braces, indented lines) counts as it is.
"""

from __future__ import annotations

import re
import unicodedata

from lightfast.gateway.cache import words

LONGEST = 2048
"""Longer prompts, in characters, have no fingerprint: nobody writes one twice in other words."""

_QUOTES = dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02"), '"')
_QUOTES |= dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u02bc\uff07"), "'")
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011"), "-") | dict.fromkeys(map(ord, "\u00a0\u202f\u2009\u3000"), " ")
_WIDE = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_SAME = {**_WIDE, **_QUOTES, **_DASHES, ord("。"): ".", ord("…"): ".", ord("、"): ","}

_CODE = re.compile(r"[{}\\]|```|</?\w|^[ \t]+\S", re.MULTILINE)
_TOKENS = re.compile(
    r"""
    (?P<quoted>"[^"]*"|`[^`]*`|(?<!\w)'[^'\n]+'(?!\w))
    |(?P<verbatim>[^\s",;!?]*(?:[/@\#_]|\w:(?=\S)|\w\.(?=\w))[^\s",;!?]*)
    |(?P<number>(?:(?<![\w.)])[+-])?\d[^\W_]*(?:[.,:]\d[^\W_]*)*[%°]?)
    |(?P<word>[^\W\d_]+(?:['-][^\W_]+)*\d*)
    |(?P<line>\n\s*)
    |(?P<sign>[^\s])
    """,
    re.VERBOSE,
)
_ENDS = frozenset(".!:\n")


def fingerprint(prompt: str) -> str:
    """Return the form of *prompt*; empty where it has none, which is equal to nothing."""
    if len(prompt) > LONGEST:
        return ""
    text = unicodedata.normalize("NFC", prompt).translate(_SAME).strip()
    if not text:
        return ""
    if _CODE.search(text):
        return "=" + text
    tokens = _end(_tokens(text))
    tokens = _polite(tokens)
    tokens = _articles(tokens)
    if not any(token[0].isalnum() or token[0] == "=" for token in tokens):
        return "=" + text  # signs alone: nothing may be left out
    return "\x1f".join(tokens)


def same_meaning(one: str, other: str) -> bool:
    """Say whether two prompts mean the same."""
    form = fingerprint(one)
    return bool(form) and form == fingerprint(other)


def _tokens(text: str) -> list[str]:
    """Cut *text*; what is to stay as it is begins with `=`, a name with `^`."""
    letters = [letter for letter in text if letter.isalpha()]
    shouted = len(letters) > 3 and text == text.upper() and text != text.lower()
    tokens: list[str] = []
    begins = True
    for match in _TOKENS.finditer(text):
        kind, piece = match.lastgroup, match.group()
        if kind == "word":
            tokens += _expanded(_word(piece, begins=begins, shouted=shouted))
        elif kind == "sign":
            if piece in {".", "!"}:
                if tokens and tokens[-1] == ".":
                    continue
                piece = "."
            tokens.append(piece)
        elif kind == "line":
            tokens.append("\n")
        elif kind == "verbatim" and piece[-1] in ".:":
            tokens += ["=" + piece.rstrip(".:"), "."]
        else:
            tokens.append("=" + piece)
        begins = kind == "line" or (kind == "sign" and piece in {".", "?"})
    return tokens


def _word(word: str, *, begins: bool, shouted: bool) -> str:
    lower = word.lower()
    if lower in {word, "i"}:
        return lower
    if shouted:  # nobody can say whether a name is meant
        return "^" + word if lower in words.CAPITAL_MATTERS or lower in words.CAPITALS_MATTER else lower
    if begins and word[1:] == lower[1:] and lower not in words.CAPITAL_MATTERS:
        return lower
    if lower in words.EMPHASIS and (begins or word.isupper()):
        return lower if len(word) > 1 else "^" + word
    if lower.split("'")[0] in {"i", "don", "can", "won"} and "'" in lower:
        return lower
    return "^" + word


def _expanded(word: str) -> tuple[str, ...]:
    if "'" in word:
        for ending, full in words.ENDINGS:
            if word.endswith(ending) and word != ending and word not in words.CONTRACTIONS:
                return (word.removesuffix(ending), full)
    found = words.CONTRACTIONS.get(word)
    return found or (words.SPELLINGS.get(word, word),)


def _end(tokens: list[str]) -> list[str]:
    """Leave out the marks at the end; that of a question only where its first word says that it is one."""
    while tokens and (tokens[-1] in _ENDS or (tokens[-1] == "?" and tokens[0] in words.WH)):
        tokens = tokens[:-1]
    return tokens


def _polite(tokens: list[str]) -> list[str]:
    about_words = ":" in tokens or not words.SAYING.isdisjoint(tokens)
    if not about_words:
        tokens = _end(_without_thanks(tokens))
        for phrase in words.GREETINGS:
            if _starts(tokens, phrase) and tokens[len(phrase) : len(phrase) + 1] in ([","], ["."]):
                tokens = tokens[len(phrase) + 1 :]
                break
    tokens = _without_please(tokens, about_words=about_words)
    for phrase in words.OPENERS:
        rest = tokens[len(phrase) :]
        if _starts(tokens, phrase) and rest and rest[0] in words.REQUESTS:
            tokens = rest[:-1] if rest[-1] == "?" else rest
            tokens = _without_please(tokens, about_words=about_words)
            break
    return tokens


def _starts(tokens: list[str], phrase: tuple[str, ...]) -> bool:
    return tuple(tokens[: len(phrase)]) == phrase and len(tokens) > len(phrase)


def _without_thanks(tokens: list[str]) -> list[str]:
    for phrase in words.THANKS:
        size = len(phrase) + 1
        if (
            len(tokens) > size
            and tuple(tokens[-len(phrase) :]) == phrase
            and tokens[-size] in {",", ".", "?", ";", "-"}
        ):
            return tokens[:-size] + (["?"] if tokens[-size] == "?" else [])
    return tokens


def _without_please(tokens: list[str], *, about_words: bool) -> list[str]:
    """Leave out "please" at the beginning, and at the end unless the text is about words."""
    for phrase in words.PLEASE:
        size = len(phrase)
        if _starts(tokens, phrase):
            rest = tokens[size:]
            if rest[0] == ",":
                tokens = rest[1:]
            elif phrase != ("please",) or rest[0] not in words.AFTER_PLEASE:
                tokens = rest
            break
    if about_words:
        return tokens
    question = ["?"] if tokens and tokens[-1] == "?" else []
    body = tokens[:-1] if question else tokens
    for phrase in words.PLEASE:
        size = len(phrase)
        if len(body) > size and tuple(body[-size:]) == phrase:
            before = body[-size - 1]
            if before == "," and len(body) > size + 1:
                return body[: -size - 1] + question
            if before not in words.BEFORE_PLEASE and before[0].isalnum():
                return body[:-size] + question
    return tokens


def _articles(tokens: list[str]) -> list[str]:
    """Leave out English articles in a request."""
    if not tokens or tokens[0] not in words.REQUESTS or "?" in tokens or not words.NOT_ENGLISH.isdisjoint(tokens):
        return tokens
    kept: list[str] = []
    for at, token in enumerate(tokens):
        following = tokens[at + 1] if at + 1 < len(tokens) else ""
        if (
            token not in words.ARTICLES
            or not following[:1].isalpha()
            or following in words.AFTER_ARTICLE
            or kept[-1] in words.BEFORE_ARTICLE
        ):
            kept.append(token)
    return kept
