"""Values as OSCQuery shows them: type tags, JSON, and the arguments of an OSC message.

A vector is one float for each component, a list one argument for each item (a list within it an array). OSC has
no maps and no assets: a map goes as its JSON text, an asset as its address, and `EXTENDED_TYPE` says which.
"""

from __future__ import annotations

import json
from typing import Any

from lightfast_link.value import Asset, Value, to_json

_INT32 = 1 << 31
MAX_ARGUMENTS = 1024
"""The most components of a value that goes out argument by argument; a longer one is only described."""


def tags(value: Value | None) -> str:
    """Return the type tags of *value*."""
    if isinstance(value, tuple):
        return "f" * len(value)
    if isinstance(value, list):
        return "".join(_tag(item) for item in value)
    return _tag(value)


def _tag(item: Any) -> str:
    if isinstance(item, bool):
        return "T" if item else "F"
    if isinstance(item, int):
        return "i" if -_INT32 <= item < _INT32 else "h"
    if isinstance(item, float):
        return "f"
    if isinstance(item, bytes):
        return "b"
    if isinstance(item, tuple):
        return f"[{'f' * len(item)}]"
    if isinstance(item, list):
        return f"[{''.join(_tag(inner) for inner in item)}]"
    return "N" if item is None else "s"


def shown(value: Value | None) -> list[Any]:
    """Return *value* as the attribute VALUE: one item for each tag, null for what JSON does not carry."""
    if isinstance(value, (tuple, list)):
        return [_shown(item) for item in value]
    return [_shown(value)]


def _shown(item: Any) -> Any:
    if isinstance(item, bytes):
        return None
    if isinstance(item, (tuple, list)):
        return [_shown(inner) for inner in item]
    return item.uri if isinstance(item, Asset) else _text(item) if isinstance(item, dict) else item


def arguments(value: Value | None) -> list[Any]:
    """Return *value* as the arguments of a message, as the codec takes them."""
    if isinstance(value, (tuple, list)):
        return [_argument(item) for item in value]
    return [_argument(value)]


def _argument(item: Any) -> Any:
    if isinstance(item, (tuple, list)):
        return [_argument(inner) for inner in item]
    if isinstance(item, Asset):
        return item.uri
    return _text(item) if isinstance(item, dict) else item


def _text(fields: dict[str, Any]) -> str:
    return json.dumps({name: to_json(item) for name, item in fields.items()}, ensure_ascii=False)


def extended(value: Value | None) -> list[str] | None:
    """Return the attribute EXTENDED_TYPE, where the tags do not say it all."""
    if isinstance(value, dict):
        return ["json"]
    return ["asset"] if isinstance(value, Asset) else None


def size(value: Value | None) -> int:
    """Return how many arguments *value* has, those in arrays included."""
    if isinstance(value, list):
        return sum(size(item) for item in value) if value else 0
    return len(value) if isinstance(value, tuple) else 1
