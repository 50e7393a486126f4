"""Typed values, and their JSON form on the link.

| kind   | Python                | JSON                         |
|--------|-----------------------|------------------------------|
| bool   | `bool`                | `true`                       |
| int    | `int` of 64 bits      | `1`                          |
| double | `float`               | `1.0`, or `{"$f": "nan"}`    |
| string | `str`                 | `"text"`                     |
| bytes  | `bytes`               | `{"$b": "base64"}`           |
| vector | `tuple` of `float`    | `{"$v": [1.0, 2.0]}`         |
| list   | `list` of values      | `[…]`                        |
| map    | `dict` of values      | `{"$m": {…}}`                |
| asset  | `Asset`               | `{"$a": {…}}`                |
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Union

MAX_DEPTH = 16
"""How deep lists and maps may nest."""
MAX_BYTES = 1 << 20
"""The longest string or bytes value, in bytes; larger ones belong in an asset."""
MAX_ITEMS = 65_536
"""The most items of one vector, list or map."""
KINDS = ("bool", "int", "double", "string", "bytes", "vector", "list", "map", "asset")

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Asset:
    """A reference to immutable bytes in the asset store; *size* in bytes, *sha256* in lower-case hex."""

    uri: str
    media_type: str
    sha256: str
    size: int


Value = Union[bool, int, float, str, bytes, "tuple[float, ...]", "list[Any]", "dict[str, Any]", Asset]


def kind_of(value: Value) -> str:
    """Return the kind of *value*, one of `KINDS`; raise `ValueError` for anything else."""
    kind = _KINDS.get(type(value))
    if kind is None:
        raise ValueError("%s is not a value: use one of %s" % (type(value).__name__, ", ".join(KINDS)))
    return kind


_KINDS = {
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    bytes: "bytes",
    tuple: "vector",
    list: "list",
    dict: "map",
    Asset: "asset",
}


def check_value(value: Any, where: str = "value", depth: int = 0) -> Value:
    """Return *value* if it is one, else raise `ValueError` naming *where* it is wrong and what to do."""
    kind = type(value)
    if kind is float or kind is bool:
        return value  # type: ignore[no-any-return]
    if kind is int:
        if not -(1 << 63) <= value < 1 << 63:
            raise ValueError("%s: %d does not fit 64 bits: use a double" % (where, value))
        return value  # type: ignore[no-any-return]
    if kind is str:
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise ValueError("%s holds a lone surrogate, which is not Unicode text" % where) from None
        if size > MAX_BYTES:
            raise ValueError("%s has %d bytes, the most is %d: store an asset instead" % (where, size, MAX_BYTES))
        return value  # type: ignore[no-any-return]
    if kind is bytes:
        if len(value) > MAX_BYTES:
            raise ValueError("%s has %d bytes, the most is %d: store an asset instead" % (where, len(value), MAX_BYTES))
        return value  # type: ignore[no-any-return]
    if kind is Asset:
        if not _SHA256.fullmatch(value.sha256):
            raise ValueError("%s: sha256 must be 64 lower-case hex digits" % where)
        return value  # type: ignore[no-any-return]
    if kind in (tuple, list, dict):
        if len(value) > MAX_ITEMS:
            raise ValueError("%s has %d items, the most is %d" % (where, len(value), MAX_ITEMS))
        if depth >= MAX_DEPTH:
            raise ValueError("%s is nested deeper than %d levels" % (where, MAX_DEPTH))
        if kind is tuple:
            for index, item in enumerate(value):
                if type(item) is not float:
                    raise ValueError("%s[%d] is %s: a vector holds doubles" % (where, index, type(item).__name__))
        elif kind is list:
            for index, item in enumerate(value):
                check_value(item, "%s[%d]" % (where, index), depth + 1)
        else:
            for name, item in value.items():
                if type(name) is not str:
                    raise ValueError("%s has the key %r: keys are strings" % (where, name))
                check_value(item, "%s.%s" % (where, name), depth + 1)
        return value  # type: ignore[no-any-return]
    raise ValueError("%s is %s: use one of %s" % (where, kind.__name__, ", ".join(KINDS)))


def to_json(value: Any) -> Any:
    """Return the JSON form of *value* (see the module)."""
    kind = type(value)
    if kind is float:
        return value if math.isfinite(value) else {"$f": repr(value)}
    if kind is tuple:
        return {"$v": [x if math.isfinite(x) else repr(x) for x in value]}
    if kind is list:
        return [to_json(item) for item in value]
    if kind is dict:
        return {"$m": {name: to_json(item) for name, item in value.items()}}
    if kind is bytes:
        return {"$b": base64.b64encode(value).decode("ascii")}
    if isinstance(value, Asset):
        return {"$a": {"uri": value.uri, "media_type": value.media_type, "sha256": value.sha256, "size": value.size}}
    return value


def from_json(data: Any, where: str = "value", depth: int = 0) -> Value:
    """Return the value of a JSON form; raise `ValueError` naming *where* it is malformed."""
    if isinstance(data, (bool, int, float, str)):
        return data
    if depth >= MAX_DEPTH:
        raise ValueError("%s is nested deeper than %d levels" % (where, MAX_DEPTH))
    if isinstance(data, list):
        return [from_json(item, "%s[%d]" % (where, index), depth + 1) for index, item in enumerate(data)]
    if isinstance(data, dict) and len(data) == 1:
        ((tag, body),) = data.items()
        try:
            if tag == "$v":
                return tuple([float(x) for x in body])
            if tag == "$m":
                return {str(name): from_json(item, "%s.%s" % (where, name), depth + 1) for name, item in body.items()}
            if tag == "$b":
                return base64.b64decode(body, validate=True)
            if tag == "$f":
                return float(body)
            if tag == "$a":
                return Asset(str(body["uri"]), str(body["media_type"]), str(body["sha256"]), int(body["size"]))
        except (TypeError, KeyError, AttributeError, OverflowError, binascii.Error) as error:
            raise ValueError("%s: malformed %s: %s" % (where, tag, error)) from None
    raise ValueError('%s: %.60r is no value: maps are {"$m": …}, see lightfast_link.value' % (where, data))


def to_plain(value: Any) -> Any:
    """Return what plain JSON holds of *value*: a vector is an array, bytes are base64, an asset is its address."""
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {name: to_plain(item) for name, item in value.items()}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value.uri if isinstance(value, Asset) else value


def close(left: Value, right: Value, tolerance: float = 0.0) -> bool:
    """Say whether two values are equal within *tolerance* (absolute; 0 means 1e-6 relative).

    An int equals a double of the same size, a vector is compared component by component: what an
    application stores in 32 bits comes back rounded, and that is not a change.
    """
    if type(left) in (int, float) and type(right) in (int, float):
        a, b = float(left), float(right)  # type: ignore[arg-type]
        if a == b or (a != a and b != b):
            return True
        return abs(a - b) <= (tolerance or 1e-6 * max(1.0, abs(a), abs(b))) < math.inf
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(close(a, b, tolerance) for a, b in zip(left, right))
    return type(left) is type(right) and left == right
