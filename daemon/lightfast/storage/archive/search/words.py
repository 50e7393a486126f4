"""What a word is, to the index and to a query alike.

- A text is brought to one form first: Unicode NFKC, case folded (`ﬁ` is `fi`, `Straße` is `strasse`).
- A word is a run of letters, digits and the marks that belong to them; everything else parts words, the underscore
  too, so `Cube_001` is `cube` and `001`, and `/song/tempo` is `song` and `tempo`.
- Digits of every script are the same digits. A number is a word like others: `-12.5` is `12` and `5`, one after the
  other; a phrase finds the pair.
- Accents stay: `cafe` does not find `café`.
- Scripts that are written without spaces (Han, kana, Thai, Lao, Khmer, Burmese) have no words that could be told
  without a dictionary. Of a run of them every character and every pair of neighbours is indexed; a run in a query
  looks for its pairs, or for its character when it has but one.
- A word of more than 64 characters is known by a digest of it, so that two are never taken for one because they begin
  alike, and the index stays small whatever is archived.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import cache

MAX_WORD = 64
"""The longest word, in characters, that is indexed as it is."""

_ASCII = re.compile(r"[a-z0-9]+")
_ASCII_BYTES = re.compile(rb"[a-z0-9]+")
_UNSPACED = (
    r"\u0e01-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f"  # Thai … Burmese
    r"\u3005-\u3007\u3041-\u309f\u30a1-\u312f\u31a0-\u31bf\u31f0-\u31ff"  # kana, bopomofo
    r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff"  # Han
)


@cache
def _is_unspaced() -> re.Pattern[str]:
    """Return what finds a character of those scripts; compiled late: that takes milliseconds."""
    return re.compile(f"[{_UNSPACED}]")


@cache
def _run() -> re.Pattern[str]:
    return re.compile(f"[{_UNSPACED}]+|[^ {_UNSPACED}]+")


class _Letters(dict[int, str | int]):
    """What becomes of a character, learned as characters come; it never holds more than Unicode has."""

    def __missing__(self, point: int) -> str | int:
        character = chr(point)
        category = unicodedata.category(character)
        kept: str | int = " "
        if category == "Nd":
            kept = str(unicodedata.digit(character))
        elif category[0] in "LMN":
            kept = point
        elif category == "Cf":
            kept = ""  # joiners and direction marks are inside words and mean nothing here
        self[point] = kept
        return kept


_LETTERS = _Letters()


def units(text: str) -> list[str]:
    """Return what a phrase is made of, in order: words, and the single characters of runs without spaces."""
    if text.isascii():
        return _short(_ASCII.findall(text.lower()))
    found: list[str] = []
    for run in _runs(text):
        if _is_unspaced().match(run):
            found.extend(run)
        else:
            found.append(run)
    return _short(found)


def indexed(text: str) -> set[str]:
    """Return the words under which *text* is found."""
    if text.isascii():
        words = _ASCII.findall(text.lower())
        return set(_short(words) if len(text) > MAX_WORD else words)
    found: set[str] = set()
    for run in _runs(text):
        if _is_unspaced().match(run):
            found.update(run)
            found.update(run[at : at + 2] for at in range(len(run) - 1))
        else:
            found.add(run if len(run) <= MAX_WORD else _digest(run))
    return found


def asked(text: str) -> list[str]:
    """Return the words that a query looks for, each once, in the order they are first given."""
    if text.isascii():
        words = _ASCII.findall(text.lower())
        return list(dict.fromkeys(_short(words) if len(text) > MAX_WORD else words))
    found: dict[str, None] = {}
    for run in _runs(text):
        if not _is_unspaced().match(run):
            found[run if len(run) <= MAX_WORD else _digest(run)] = None
        elif len(run) == 1:
            found[run] = None
        else:
            found.update((run[at : at + 2], None) for at in range(len(run) - 1))
    return list(found)


def holds_phrase(wanted: list[str], text: str) -> bool:
    """Say whether the `units` *wanted* stand in *text* one after the other."""
    if not wanted:
        return True
    found = units(text)
    first, length = wanted[0], len(wanted)
    return any(
        unit == first and found[at : at + length] == wanted for at, unit in enumerate(found[: len(found) - length + 1])
    )


def _runs(text: str) -> list[str]:
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _run().findall(folded.translate(_LETTERS))


def _short(words: list[str]) -> list[str]:
    if words and max(map(len, words)) > MAX_WORD:
        return [word if len(word) <= MAX_WORD else _digest(word) for word in words]
    return words


def _digest(word: str) -> str:
    return "#" + hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def filed(text: str) -> list[bytes]:
    """Return the words under which *text* is found as groups know them: in UTF-8, lone surrogates included."""
    if text.isascii():
        found = set(_ASCII_BYTES.findall(text.lower().encode()))
        if len(text) <= MAX_WORD or not found or max(map(len, found)) <= MAX_WORD:
            return list(found)
    return [word.encode(errors="surrogatepass") for word in indexed(text)]


def sought(text: str) -> list[bytes]:
    """Return the words that a query looks for, in the same form."""
    if text.isascii() and len(text) <= MAX_WORD:
        return list(dict.fromkeys(_ASCII_BYTES.findall(text.lower().encode())))
    return [word.encode(errors="surrogatepass") for word in asked(text)]
