"""Between TouchDesigner's values and the link's."""

import math


class Refused(Exception):
    """What was asked cannot be done; the message says why and what would."""


_CALLED = {bool: "a bool", int: "an int", float: "a double", str: "a string", bytes: "bytes", tuple: "a vector"}


def called(value):
    """Return what *value* is called in a message."""
    return _CALLED.get(type(value), "a " + type(value).__name__)


def coerce(value, kind, where):
    """Return *value* as *kind* (bool, int, double, string), or refuse."""
    if kind == "double" and type(value) in (int, float):
        value = float(value)
        if not math.isfinite(value):
            raise Refused("%s takes finite numbers" % where)
        return value
    if kind == "int" and type(value) is float and value.is_integer():
        return int(value)
    wanted = {"bool": bool, "int": int, "string": str}.get(kind)
    if wanted is None or type(value) is not wanted:
        article = "an" if kind == "int" else "a"
        raise Refused("%s takes %s %s, not %s" % (where, article, kind, called(value)))
    return value


def as_text(value):
    """Return the value of a parameter that names something: an operator is its path, several are joined by spaces."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return " ".join(as_text(item) for item in value)
    path = getattr(value, "path", None)
    return path if isinstance(path, str) else str(value)


def plain(value):
    """Return a number of TouchDesigner as a float that JSON can carry, else `None`."""
    number = float(value)
    return number if math.isfinite(number) else None
