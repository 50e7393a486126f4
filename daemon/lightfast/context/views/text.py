"""Values as a model reads them: short, and as exact as it matters."""

from __future__ import annotations

import json
from typing import Any

from lightfast_link.value import Asset, Value

MAX_TEXT = 400
"""Characters of a value; a longer one is shortened, and says so."""
_DIGITS = 6


def written(value: Value) -> tuple[str, list[str]]:
    """Return *value* as text, and what was done to it: `rounded`, `shortened`."""
    done: list[str] = []
    text = json.dumps(plain(value, done), ensure_ascii=False, separators=(", ", ": "))
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}… ({len(text)} characters)"
        done.append("shortened")
    return text, list(dict.fromkeys(done))


def plain(value: Value | None, done: list[str]) -> Any:
    """Return *value* as JSON has it, numbers to six digits; note in *done* what that lost."""
    if isinstance(value, float):
        if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124  (JSON has no such numbers)
            return str(value)
        short = float(f"{value:.{_DIGITS}g}")
        if short != value:
            done.append("rounded")
        return int(short) if short.is_integer() and abs(short) < 1e15 else short
    if isinstance(value, (tuple, list)):
        return [plain(each, done) for each in value]
    if isinstance(value, dict):
        return {name: plain(each, done) for name, each in value.items()}
    if isinstance(value, bytes):
        done.append("shortened")
        return f"{len(value)} bytes"
    if isinstance(value, Asset):
        return f"{value.uri} {value.media_type} {value.size} bytes"
    return value
