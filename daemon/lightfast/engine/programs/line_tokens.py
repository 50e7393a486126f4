"""The words of the line form: names, JSON, quotes, parentheses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.nodes import Node, malformed, of_plain

_KEY = re.compile(r"(?P<name>\.?[A-Za-z_][A-Za-z0-9_-]*)=")
_WORD = re.compile(r"[^ \t]+")
_SPACE = re.compile(r"[ \t]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_JSON = json.JSONDecoder(strict=False)
_CONSTANTS = {"true": True, "false": False, "null": None}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
LONGEST_NUMBER = 400


class Cursor:
    """Goes through one line; *indent* is how far it was indented, so that columns are those of the text."""

    def __init__(self, text: str, number: int, indent: int) -> None:
        self._text, self._number, self._indent = text, number, indent
        self.position = 0
        self.quoted = False
        """Whether the last key stood in quotes, so that it is an argument whatever its name."""

    def place(self, value: Any = None, position: int | None = None) -> Node:
        """Return a node that stands where the cursor is, or at *position*."""
        return Node(value, self._number, self._indent + 1 + (self.position if position is None else position))

    def more(self) -> bool:
        """Go over space and comment; say whether something follows."""
        match = _SPACE.match(self._text, self.position)
        begin = match.end() if match else self.position
        spaced = begin > self.position or begin == 0
        self.position = begin
        if begin < len(self._text) and not spaced:
            raise self._wrong("a space is missing")
        return begin < len(self._text) and self._text[begin] != "#"

    def end(self) -> None:
        """Raise `InvalidArgument` unless the line is at its end."""
        if self.more():
            raise self._wrong("nothing more is expected here")

    def key(self) -> Node | None:
        """Take `name=`, if that is what follows; *quoted* says whether it stood in quotes."""
        self.quoted = False
        match = _KEY.match(self._text, self.position)
        if match is not None:
            node = self.place(match["name"])
            self.position = match.end()
            return node
        if self._text.startswith('"', self.position):
            begin = self.position
            value, end = self._json()
            if isinstance(value, str) and self._text.startswith("=", end):
                self.quoted = True
                self.position = end + 1
                return self.place(value, begin)
        return None

    def named(self) -> Iterator[tuple[Node, Node]]:
        """Take `name=value` pairs up to the end."""
        while self.more():
            key = self.key()
            if key is None:
                raise self._wrong("write name=value")
            yield key, self.value()

    def words(self) -> Node:
        """Take identities with commas between, or a JSON list."""
        if self._text.startswith("[", self.position):
            return self.value()
        begin = self.position
        return self.place(self._word(), begin)

    def value(self, *, text: bool = False) -> Node:
        """Take a value; a word is always text where *text* says so."""
        begin = self.position
        if begin >= len(self._text) or self._text[begin] in " \t":
            raise self._wrong("a value is missing")
        first = self._text[begin]
        if first in '{["':
            value, self.position = self._json()
            return self._placed(value, begin)
        if first == "(":
            return self.place(self._parenthesis(), begin)
        if first == "'":
            match = _QUOTED.match(self._text, begin)
            if match is None:
                raise self._wrong("the quote ' is not closed")
            self.position = match.end()
            return self._placed(match[1].replace("''", "'"), begin)
        word = self._word()
        return self._placed(word if text else _read_word(word), begin)

    def _placed(self, value: Any, begin: int) -> Node:
        """Return the nodes of *value*, all at its begin."""
        try:
            node = of_plain(value)
        except InvalidArgument as error:
            raise self._wrong(error.message, begin) from None
        stack = [node]
        while stack:
            each = stack.pop()
            each.line, each.column = self._number, self._indent + 1 + begin
            stack += each.value.values() if isinstance(each.value, dict) else ()
            stack += each.value if isinstance(each.value, list) else ()
        return node

    def _word(self) -> str:
        """Take what stands up to the next space; brackets and quotes of a reference in it hold spaces together."""
        begin = position = self.position
        while position < len(self._text) and self._text[position] not in " \t":
            if self._text.startswith("${", position):
                position = self._closed(position + 1)
            else:
                position += 1
        if position == begin:
            raise self._wrong("a value is missing")
        self.position = position
        return self._text[begin:position]

    def _closed(self, position: int) -> int:
        """Return where the reference that opens at *position* is over; the next space where it is not closed."""
        match = re.compile(r'\{(?:[^"{} \t]|"(?:\\.|[^"\\])*")*\}').match(self._text, position)
        return match.end() if match else position + 1

    def _parenthesis(self) -> str:
        """Take text in balanced parentheses, without them; those in quotes do not count."""
        depth = 0
        position = self.position
        while position < len(self._text):
            char = self._text[position]
            if char in "\"'":
                match = re.compile(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'').match(self._text, position)
                if match is None:
                    raise self._wrong(f"the quote {char} is not closed", position)
                position = match.end()
                continue
            depth += (char == "(") - (char == ")")
            position += 1
            if not depth:
                inner = self._text[self.position + 1 : position - 1]
                self.position = position
                return inner
        raise self._wrong("the parenthesis ( is not closed")

    def _json(self) -> tuple[Any, int]:
        try:
            return _JSON.raw_decode(self._text, self.position)
        except json.JSONDecodeError as error:
            raise self._wrong(f"this is no JSON: {error.msg}", error.pos) from None
        except RecursionError:
            raise self._wrong("it is nested too deep") from None
        except ValueError:
            raise self._wrong("the number does not fit 64 bits: write it as a double, such as 1e20") from None

    def _wrong(self, what: str, position: int | None = None) -> InvalidArgument:
        return malformed(what, self.place(None, position), reason="LINE_MALFORMED")


def _read_word(word: str) -> Any:
    if word in _CONSTANTS:
        return _CONSTANTS[word]
    if len(word) <= LONGEST_NUMBER and _NUMBER.fullmatch(word):
        return json.loads(word)
    return word
