"""Between Blender's values and the link's."""

from __future__ import annotations

import math
from typing import Any, Optional

from lightfast_link.value import Asset


class Refused(Exception):
    """What was asked cannot be done; the message says why and what would."""


def from_property(value: Any) -> Any:
    """Return the value of a custom property, or `None` where it has no form here."""
    kind = type(value)
    if kind in (bool, int, float, str):
        return value
    if hasattr(value, "to_list"):
        items = value.to_list()
        if items and all(type(item) in (int, float) for item in items):
            return tuple(float(item) for item in items)
        if items and all(type(item) is bool for item in items):
            return list(items)
    return None


def coerce(value: Any, kind: str, size: Optional[int], where: str) -> Any:
    """Return *value* as *kind*, or refuse; *size* is the length of a vector, `None` for any."""
    held = name_of(value)
    if kind in ("", held):
        pass
    elif kind == "double" and held == "int":
        value = float(value)
    elif kind == "int" and held == "double" and float(value).is_integer():
        value = int(value)
    elif kind == "vector" and held == "list" and all(type(item) in (int, float) for item in value):
        value = tuple(float(item) for item in value)
    else:
        raise Refused("%s takes %s, not %s" % (where, _called(kind, size), _called(held, None)))
    if kind == "vector" and size is not None and len(value) != size:
        raise Refused("%s takes %d numbers, not %d" % (where, size, len(value)))
    if not _finite(value):
        raise Refused("%s takes finite numbers" % where)
    return value


def name_of(value: Any) -> str:
    """Return the kind of *value*."""
    names = {
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
    return names.get(type(value), type(value).__name__)


def _called(kind: str, size: Optional[int]) -> str:
    if kind == "vector" and size:
        return "a vector of %d numbers" % size
    return {"int": "an int", "asset": "an asset"}.get(kind, "a %s" % kind)


def _finite(value: Any) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    if type(value) is tuple:
        return all(math.isfinite(item) for item in value)
    return True
