"""A text in all the forms in which our files may hold it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from lightfast.core.errors import InvalidArgument
from lightfast_link.path import ascii_path, encode_segment
from lightfast_link.value import Asset

SHORTEST = 4
LONGEST = 10_000
_BASE64_SHORTEST = 6
"""Shorter pieces of base64 are met by chance."""


class Needles:
    """What to look for in texts, values and bytes. *raw* is the text itself in UTF-8."""

    def __init__(self, text: str) -> None:
        if not SHORTEST <= len(text) <= LONGEST:
            raise InvalidArgument(
                f"the text to purge has {len(text)} characters: give {SHORTEST} to {LONGEST}, "
                "so that nothing else is met by chance",
                field="text",
            )
        try:
            self.raw = text.encode()
        except UnicodeEncodeError:
            raise InvalidArgument("the text to purge is not Unicode", field="text") from None
        self.text = text
        self._segment = encode_segment(text)
        self._paths = {self._segment, ascii_path("/" + self._segment)[1:], text}
        once = {*_json(text), _repr(text)}
        twice = {form for each in once for form in _json(each)}
        self.texts: tuple[str, ...] = tuple(sorted({text, *self._paths, *once, *twice, *_base64(self.raw)}))
        """Forms in columns of text: as it is, as a path, in JSON, in JSON within JSON, and in base64."""
        self.plain: tuple[bytes, ...] = tuple(sorted({form.encode() for form in {text, *self._paths, *once, *twice}}))
        """Forms in files: the same without base64, which is met by chance in large files."""
        self.hexed = self.raw.hex()

    def __repr__(self) -> str:
        return "Needles(***)"

    def in_text(self, text: str) -> bool:
        """Say whether *text*, a label or a path, holds it."""
        return any(form in text for form in self._paths)

    def in_bytes(self, data: bytes) -> bool:
        """Say whether *data* holds it in one of its forms."""
        return any(form in data for form in self.plain)

    def in_value(self, value: Any) -> bool:
        """Say whether a value, a JSON form or whatever they hold has it anywhere, names included."""
        if isinstance(value, str):
            return any(form in value for form in self.texts)
        if isinstance(value, bytes | bytearray | memoryview):
            return self.in_bytes(bytes(value))
        if isinstance(value, dict):
            return any(self.in_value(name) or self.in_value(item) for name, item in value.items())
        if isinstance(value, Asset):
            return any(map(self.in_value, (value.uri, value.media_type, value.sha256)))
        if isinstance(value, list | tuple | set | frozenset):
            return any(map(self.in_value, value))
        return False


def _repr(text: str) -> str:
    """Return *text* as Python shows it where both kinds of quotes are in it: messages of errors quote so."""
    return repr(text + "\"'")[1:-4]


def _json(text: str) -> set[str]:
    """Return *text* as it stands within a JSON string, by each of the writers in use."""
    return {
        msgspec.json.encode(text).decode()[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        json.dumps(text)[1:-1],
    }


def _base64(raw: bytes) -> Iterable[str]:
    """Yield what base64 makes of *raw* at each of the three places it can begin, without what its neighbours touch."""
    for lead in range(3):
        text = base64.b64encode(bytes(lead) + raw).decode().rstrip("=")
        begin = (0, 2, 3)[lead]
        whole = (lead + len(raw)) * 8 // 6
        piece = text[begin:whole]
        if len(piece) >= _BASE64_SHORTEST:
            yield piece
