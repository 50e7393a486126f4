"""Numbered places: `layers/{n:1..8}/opacity` stands for eight paths, `{n}` and `{n-1}` for the number elsewhere."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

MAX_EXPANDED = 4096
"""The most parameters that a map may stand for."""

_PLACE = re.compile(r"\{([^{}]*)\}")
_DEFINED = re.compile(r"([a-z][a-z0-9_]*):(.+)")
_USED = re.compile(r"([a-z][a-z0-9_]*)(?:([+-])([0-9]{1,6}))?")
_SPAN = re.compile(r"([0-9]{1,6})\.\.([0-9]{1,6})")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,60}")

Index = dict[str, str]
"""The word that stands for each place."""


def expand(path: str) -> Iterator[tuple[str, Index]]:
    """Yield each path that *path* stands for, with what stands in its places; raise `ValueError` for a wrong one."""
    names: list[str] = []
    words: list[list[str]] = []
    total = 1
    for match in _PLACE.finditer(path):
        defined = _DEFINED.fullmatch(match[1])
        if defined is None:
            raise ValueError(f"{match[0]} is no numbered place: write {{n:1..8}} or {{side:left,right}}")
        if defined[1] in names:
            raise ValueError(f"the place {defined[1]!r} is there twice: give each a name of its own")
        names.append(defined[1])
        words.append(_words(defined[2], match[0]))
        total *= len(words[-1])
        if total > MAX_EXPANDED:
            raise ValueError(f"it stands for more than {MAX_EXPANDED} parameters")
    for chosen in itertools.product(*words):
        index = dict(zip(names, chosen, strict=True))
        yield _PLACE.sub(lambda match, index=index: index[match[1].partition(":")[0]], path), index  # type: ignore[misc]


def _words(text: str, place: str) -> list[str]:
    found: list[str] = []
    for part in text.split(","):
        span = _SPAN.fullmatch(part.strip())
        if span is not None:
            first, last = int(span[1]), int(span[2])
            if not first <= last < first + MAX_EXPANDED:
                raise ValueError(f"{place} has the span {part.strip()}: write it from low to high, at most 4096 long")
            found += [str(number) for number in range(first, last + 1)]
        elif _WORD.fullmatch(part.strip()):
            found.append(part.strip())
        else:
            raise ValueError(f"{place} has {part.strip()!r}: write numbers, spans such as 1..8, or words")
    if len(set(found)) < len(found):
        raise ValueError(f"{place} names something twice")
    return found


def fill(text: str, index: Index) -> str:
    """Return *text* with its places filled; raise `ValueError` for one that is not defined in the path."""

    def filled(match: re.Match[str]) -> str:
        used = _USED.fullmatch(match[1])
        if used is None or used[1] not in index:
            there = ", ".join(f"{{{name}}}" for name in index) or "none"
            raise ValueError(f"{match[0]} is not a place of the path: there is {there}")
        word = index[used[1]]
        if used[2] is None:
            return word
        if not word.isdecimal():
            raise ValueError(f"{match[0]} counts with {word!r}, which is no number")
        return str(int(word) + int(used[2] + used[3]))

    return _PLACE.sub(filled, text)


def places(text: str) -> list[str]:
    """Return the names of the places in *text*."""
    return [match[1] for match in _PLACE.finditer(text)]


def is_place(text: str) -> bool:
    """Say whether *text* is one place and nothing else: its number goes as a number."""
    return _PLACE.fullmatch(text) is not None
