r"""The letters of the coded language: fields, escapes and maps. Version 1.

    line    = [version ";"] letters ":" field *("|" field)
    version = "1"                               ; left out: the newest
    letters = "tc" / "ts" / "wf" / "cl" / "ms"  ; said to the desk
            / "tr" / "tc" / "su" / "cl" / "er"  ; said by the desk
    field   = text / number / word / map        ; which one, the letters say; empty ones at the end may be left out
    map     = "{" [pair *("," pair)] "}"        ; pair = key ":" value
    key     = a letter or "_", then letters, digits, "_", "-" and "."; any other text in quotes
    value   = "'" text "'" / a number / true / false / map / "[" [value *("," value)] "]"

Said to the desk:

    tc:{title}|{intent type}|{complexity}       create a task; complexity is low, medium, high or 0 to 1
    ts:{task id, or auto}|{confidence}|{reason} split a task; auto: one that is made of the reason
    wf:{workflow}|{parameters, a map}           start a workflow
    cl:{context}|{depth}                        load a path, a memory, a task, a run or conversation; summary or full
    ms:{key}|{value, a text or a map}|{type}    remember; the type is a word such as semantic or episodic

Said by the desk:

    tr:{task}|{confidence}|{routing}            a task was taken; routing is one_shot or split
    tc:{task}|{result}|{next, a map}            it is complete; {next:[…]} are lines that may come next
    su:{what}|{status}|{progress}               how it stands; progress is 0 to 1
    cl:{context}|{summary}                      what was loaded
    er:{code}|{message}|{recovery}              what was wrong, and what to do

Escapes in a text: `\|`, `\\`, `\n`, `\r`, `\t`, `\u0000` to `\uffff` for what no line may hold, and a backslash before
any other sign for the sign itself (`\{` begins a text that is no map, `\ ` keeps a space at an end). Spaces around a
field do not count. Quotes may be single or double; inside them the same escapes hold, and `|` needs none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lightfast.core.errors import InvalidArgument

VERSION = "1"
VERSIONS = frozenset({VERSION})
MOST_CHARACTERS = 16_384
"""The longest line; what is longer belongs in an asset."""
MOST_DEPTH = 8
MOST_ITEMS = 1_000

_HEAD = re.compile(r"\s*(?:([^:;|{}'\"\s]{1,16});)?([A-Za-z]{2}):")
_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d{1,3})?")
_BARE = re.compile(r"[^\s,:{}\[\]|'\"\\]+")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}
_BACK = {value: f"\\{name}" for name, value in _LETTERS.items()} | {"\\": "\\\\"}
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_SPACES = " \t\r\n"


class CodedFault(InvalidArgument):
    """A line that is not in order: *reason* is its code, *recovery* what to write instead, *at* the place from 0."""

    def __init__(self, code: str, message: str, recovery: str, at: int = -1) -> None:
        where = f" (at character {at + 1})" if at >= 0 else ""
        super().__init__(f"{message}{where}", reason=code, field="line")
        self.recovery = recovery


def head(line: str) -> tuple[str, str, int] | None:
    """Return version (`""`: none given), letters and where the fields begin; `None`: it is no coded line at all."""
    found = _HEAD.match(line)
    return None if found is None else (found[1] or "", found[2], found.end())


def fields(line: str, at: int, kinds: str) -> list[str | dict[str, Any]]:
    """Return the fields from *at* on; *kinds* has `t` (text), `m` (map) or `e` (either) for each that there may be.

    Raises `CodedFault`: FIELDS_TOO_MANY, ESCAPE_INVALID, MAP_INVALID.
    """
    found: list[str | dict[str, Any]] = []
    while True:
        if len(found) >= len(kinds):
            raise CodedFault(
                "FIELDS_TOO_MANY",
                f"there are more than {len(kinds)} fields",
                r"Write \| for a | that belongs to a text.",
                at,
            )
        kind = kinds[len(found)]
        at = _blank(line, at)
        if kind in "me" and line[at : at + 1] == "{":
            value, at = _map(line, at, 0)
            found.append(value)
            at = _blank(line, at)
            if at < len(line) and line[at] != "|":
                raise _malformed("after the map comes neither | nor the end", at)
        else:
            text, at = _text(line, at)
            found.append(text)
        if at >= len(line):
            return found
        at += 1


def _blank(line: str, at: int) -> int:
    while at < len(line) and line[at] in _SPACES:
        at += 1
    return at


def _text(line: str, at: int) -> tuple[str, int]:
    made: list[str] = []
    solid = 0  # so many pieces stay: spaces after them are dropped at the end
    while at < len(line) and line[at] != "|":
        sign = line[at]
        if sign == "\\":
            piece, at = _escape(line, at)
            made.append(piece)
            solid = len(made)
            continue
        made.append(sign)
        if sign not in _SPACES:
            solid = len(made)
        at += 1
    return "".join(made[:solid]), at


def _escape(line: str, at: int) -> tuple[str, int]:
    sign = line[at + 1 : at + 2]
    if not sign:
        raise CodedFault("ESCAPE_INVALID", "the line ends after a backslash", r"Write \\ for a backslash.", at)
    if sign in _LETTERS:
        return _LETTERS[sign], at + 2
    if sign == "u":
        digits = line[at + 2 : at + 6]
        if not re.fullmatch(r"[0-9A-Fa-f]{4}", digits) or 0xD800 <= int(digits, 16) < 0xE000:
            raise CodedFault("ESCAPE_INVALID", r"\u is not followed by a character", r"Write \u and 4 hex digits.", at)
        return chr(int(digits, 16)), at + 6
    if sign.isalnum():
        raise CodedFault("ESCAPE_INVALID", f"\\{sign} is no escape", r"Write \\ for a backslash.", at)
    return sign, at + 2


def _map(line: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    found: dict[str, Any] = {}
    at = _blank(line, _deeper(line, at, depth))
    if line[at : at + 1] == "}":
        return found, at + 1
    while True:
        at = _blank(line, at)
        quote = line[at : at + 1]
        if quote in {"'", '"'}:
            key, at = _quoted(line, at)
        elif match := _KEY.match(line, at):
            key, at = match[0], match.end()
        else:
            raise _malformed("a key is missing", at)
        if key in found:
            raise _malformed(f"the key {key!r:.40} comes twice", at)
        at = _blank(line, at)
        if line[at : at + 1] != ":":
            raise _malformed("a colon is missing", at)
        found[key], at = _value(line, _blank(line, at + 1), depth)
        at, over = _next(line, at, "}", len(found))
        if over:
            return found, at


def _list(line: str, at: int, depth: int) -> tuple[list[Any], int]:
    found: list[Any] = []
    at = _blank(line, _deeper(line, at, depth))
    if line[at : at + 1] == "]":
        return found, at + 1
    while True:
        item, at = _value(line, _blank(line, at), depth)
        found.append(item)
        at, over = _next(line, at, "]", len(found))
        if over:
            return found, at


def _deeper(line: str, at: int, depth: int) -> int:
    if depth >= MOST_DEPTH:
        raise _malformed(f"maps and lists are nested deeper than {MOST_DEPTH} levels", at)
    return at + 1


def _next(line: str, at: int, end: str, count: int) -> tuple[int, bool]:
    at = _blank(line, at)
    sign = line[at : at + 1]
    if sign == end:
        return at + 1, True
    if sign != ",":
        raise _malformed(f"neither , nor {end} comes next", at)
    if count >= MOST_ITEMS:
        raise _malformed(f"there are more than {MOST_ITEMS} items", at)
    return at + 1, False


def _value(line: str, at: int, depth: int) -> tuple[Any, int]:
    sign = line[at : at + 1]
    if sign == "{":
        return _map(line, at, depth + 1)
    if sign == "[":
        return _list(line, at, depth + 1)
    if sign in {"'", '"'}:
        return _quoted(line, at)
    match = _BARE.match(line, at)
    if match is None:
        raise _malformed("a value is missing", at)
    return _bare(match[0], at), match.end()


def _bare(word: str, at: int) -> bool | int | float | str:
    if word in {"true", "false"}:
        return word == "true"
    if not _NUMBER.fullmatch(word):
        if word[0].isdigit() or word[0] in "+-.":
            raise _malformed(f"{word!r:.40} is no number", at)
        return word
    if re.fullmatch(r"[+-]?\d+", word):
        if len(word) < 21 and -(1 << 63) <= int(word) < 1 << 63:
            return int(word)
        raise _malformed(f"{word!r:.40} does not fit 64 bits", at)
    number = float(word)
    if math.isinf(number):
        raise _malformed(f"{word!r:.40} is too large", at)
    return number


def _quoted(line: str, at: int) -> tuple[str, int]:
    quote, start = line[at], at
    made: list[str] = []
    at += 1
    while at < len(line):
        if line[at] == quote:
            return "".join(made), at + 1
        if line[at] == "\\":
            piece, at = _escape(line, at)
        else:
            piece, at = line[at], at + 1
        made.append(piece)
    raise _malformed("a quote is not closed", start)


def _malformed(what: str, at: int) -> CodedFault:
    return CodedFault("MAP_INVALID", what, "Write maps as {name:'text',count:3,tags:['a','b']}.", at)


def write_text(text: str, *, either: bool = False) -> str:
    """Return *text* as a field; with *either* one that would begin a map is marked as a text."""
    made = _seen(text).replace("|", "\\|")
    if made.startswith(" ") or (either and made.startswith("{")):
        made = f"\\{made}"
    if made.endswith(" ") and made != "\\ ":
        made = f"{made[:-1]}\\ "
    return made


def _seen(text: str) -> str:
    made = "".join(_BACK.get(sign, sign) for sign in text)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", made)


def write_map(value: Any) -> str:
    """Return a map, or a value in one, as the language writes it; raise `TypeError` for what it has no form for."""
    if isinstance(value, Mapping):
        pairs = (f"{key if _KEY.fullmatch(key) else _quote(key)}:{write_map(each)}" for key, each in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(write_map(each) for each in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, str):
        return _quote(value)
    raise TypeError(f"{type(value).__name__} has no form in the coded language")


def _quote(text: str) -> str:
    return "'" + _seen(text).replace("'", "\\'") + "'"
