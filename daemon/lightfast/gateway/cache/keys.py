"""The key of a request: equal requests have equal keys, on every machine and in every version of Python.

All fields of `Asked` are written as JSON in one fixed way, and hashed with SHA-256. Settings are sorted by name, and
numbers are equal where Python says so: 1 and 1.0 are, true and 1 are not. Texts count as they are, *not* normalised
(NFC): two ways to write one letter are two token sequences to a model, and an exact cache is to be exact; the semantic
one (`meaning`) takes them as the same. A JSON Schema counts as its text, too: some services answer in the order of its
properties. Lists carry a tag, so that no two requests are written alike.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from lightfast.gateway.ports import Asked
from lightfast_link.value import Asset

VERSION = 1
"""Raised when the way of writing changes: keys of another version never match."""


def key_of(asked: Asked) -> str:
    """Return the version byte in hex, and the SHA-256 in hex of the whole request."""
    return _digest([asked.prompt, *_frame(asked)])


def meaning_key(asked: Asked, fingerprint: str) -> str:
    """Return the key of a request whose prompt counts by its meaning: all else must be the very same."""
    return _digest(["meaning", fingerprint, *_frame(asked)])


def _frame(asked: Asked) -> list[Any]:
    return [
        asked.model,
        asked.output,
        asked.system,
        [list(message) for message in asked.messages],
        asked.schema,
        _plain(dict(asked.settings)),
        list(asked.sources),
        asked.seed,
        asked.max_output_tokens,
    ]


def _digest(parts: list[Any]) -> str:
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return f"{VERSION:02x}{hashlib.sha256(text.encode()).hexdigest()}"


def _plain(value: Any) -> Any:
    """Return *value* in a form of its own: numbers as one kind, everything that has parts with a tag before them."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return ["f", repr(value)]
        return int(value) if value.is_integer() else value
    if isinstance(value, bytes):
        return ["b", value.hex()]
    if isinstance(value, Asset):
        return ["a", value.sha256, value.media_type]
    if isinstance(value, dict):
        return ["m", *([name, _plain(value[name])] for name in sorted(value))]
    if isinstance(value, tuple):
        return ["v", *map(_plain, value)]
    return ["l", *map(_plain, value)]
