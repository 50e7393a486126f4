"""What expressions can compute: the functions and operators, all bounded."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.references import kind, text_of

MAX_TEXT = 100_000
"""The longest text an expression may make, in characters."""
MAX_ITEMS = 10_000
"""The most items that an expression may make or give back, all lists and maps inside counted."""
MAX_EXPONENT = 1_024
"""The largest exponent."""
MANY = 1_000
_INT = 1 << 63
_MAX_GLOB = 1_000


def failed(what: str) -> InvalidArgument:
    """Return the error of an expression that has no value."""
    return InvalidArgument(what, reason="EXPRESSION_FAILED")


def bounded(value: Any) -> Any:
    """Return *value* where it is one and within the bounds, else raise `InvalidArgument`."""
    left = MAX_ITEMS
    stack = [value]
    while stack:
        each = stack.pop()
        if isinstance(each, str):
            if len(each) > MAX_TEXT:
                raise failed(f"a text of {len(each)} characters is longer than {MAX_TEXT}")
        elif isinstance(each, (list, tuple)):
            left -= len(each)
            if left >= 0:
                stack += each
        elif isinstance(each, Mapping):
            left -= len(each)
            if left >= 0:
                stack += each.values()
        elif isinstance(each, int) and not -_INT <= each < _INT:
            raise failed("the number does not fit 64 bits: write one as a double, such as 1e20")
        elif isinstance(each, complex):
            raise failed("the result is no real number")
        if left < 0:
            raise failed(f"it has more than {MAX_ITEMS} items")
    return value


def _number(value: Any, sign: str) -> Any:
    if not isinstance(value, (int, float)):
        raise failed(f"{sign} wants numbers, and found {kind(value)}")
    return value


def _finite(value: Any, sign: str) -> Any:
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        raise failed(f"{sign} gives no finite number")
    return bounded(value)


def add(left: Any, right: Any) -> Any:
    """Add numbers; join texts, and lists."""
    if isinstance(left, str) and isinstance(right, str):
        return bounded(left + right)
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        if len(left) + len(right) > MAX_ITEMS:
            raise failed(f"the list has more than {MAX_ITEMS} items")
        return [*left, *right]
    if isinstance(left, str) or isinstance(right, str):
        raise failed(f"+ cannot join {kind(left)} and {kind(right)}: use str(…)")
    return _finite(_number(left, "+") + _number(right, "+"), "+")


def divide(left: Any, right: Any) -> Any:
    """Divide; whole numbers give a double."""
    if not _number(right, "/"):
        raise failed("division by zero")
    return _finite(_number(left, "/") / right, "/")


def modulo(left: Any, right: Any) -> Any:
    """Return the rest."""
    if not _number(right, "%"):
        raise failed("division by zero")
    return _finite(_number(left, "%") % right, "%")


def power(left: Any, right: Any) -> Any:
    """Raise to a power, bounded before it is computed."""
    if abs(_number(right, "**")) > MAX_EXPONENT:
        raise failed(f"the exponent {right} is larger than {MAX_EXPONENT}")
    if isinstance(_number(left, "**"), int) and isinstance(right, int):
        if right > 0 and left.bit_length() * right > 4 * 64 and abs(left) > 1:
            raise failed(f"{left} ** {right} does not fit 64 bits: write {left}.0 ** {right}")
        if not left and right < 0:
            raise failed("division by zero")
    elif not left and right < 0:
        raise failed("division by zero")
    return _finite(left**right, "**")


def subtract(left: Any, right: Any) -> Any:
    """Subtract numbers."""
    return _finite(_number(left, "-") - _number(right, "-"), "-")


def multiply(left: Any, right: Any) -> Any:
    """Multiply numbers."""
    return _finite(_number(left, "*") * _number(right, "*"), "*")


def negate(value: Any) -> Any:
    """Negate a number."""
    return _finite(-_number(value, "-"), "-")


def within(item: Any, whole: Any) -> bool:
    """Say whether a list or vector has an item, a map a key, a text a part."""
    if isinstance(whole, str):
        if not isinstance(item, str):
            raise failed(f"in looks for a text in a text, not for {kind(item)}")
        return item in whole
    if isinstance(whole, Mapping):
        return isinstance(item, str) and item in whole
    if isinstance(whole, (list, tuple)):
        return any(equal(item, each) for each in whole)
    raise failed(f"in looks into lists, maps and texts, not into {kind(whole)}")


def equal(left: Any, right: Any) -> bool:
    """Say whether two values are equal: whole numbers and doubles by amount, true and 1 are not."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def compare(sign: str, test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    """Return a comparison of two numbers or two texts."""

    def compared(left: Any, right: Any) -> bool:
        numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
        if numbers or (isinstance(left, str) and isinstance(right, str)):
            return test(left, right)
        hint = ": ask with exists(…) first" if left is None or right is None else ""
        raise failed(f"{sign} cannot compare {kind(left)} with {kind(right)}{hint}")

    return compared


def _length(value: Any) -> int:
    if isinstance(value, (str, list, tuple, Mapping, bytes)):
        return len(value)
    raise failed(f"len(…) wants a text, a list or a map, and found {kind(value)}")


def _extreme(name: str, choose: Callable[[Any], Any]) -> Callable[..., Any]:
    def chosen(*values: Any) -> Any:
        found = values[0] if len(values) == 1 and isinstance(values[0], (list, tuple)) else values
        if not found:
            raise failed(f"{name}(…) of nothing")
        if not (all(isinstance(each, (int, float)) for each in found) or all(isinstance(each, str) for each in found)):
            raise failed(f"{name}(…) wants numbers only, or texts only")
        return choose(found)

    return chosen


def _round(value: Any, digits: Any = 0) -> Any:
    if not isinstance(digits, int) or not -15 <= digits <= 15:
        raise failed("round(…) takes a number and -15 to 15 digits")
    if not math.isfinite(_number(value, "round(…)")):
        raise failed("round(…) wants a finite number")
    return round(value, digits) if digits else round(value)


def _absolute(value: Any) -> Any:
    return abs(_number(value, "abs(…)"))


def _text(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*values: Any) -> Any:
        for value in values:
            if not isinstance(value, str):
                raise failed(f"{name}(…) wants text, and found {kind(value)}: use str(…)")
        return function(*values)

    return checked


def _matches(text: str, glob: str) -> bool:
    if len(glob) > _MAX_GLOB or len(text) > MAX_TEXT:
        raise failed(f"matches(…) takes patterns of up to {_MAX_GLOB} characters")
    return fnmatch.fnmatchcase(text, glob)


def _int(value: Any) -> int:
    try:
        if isinstance(value, str) and len(value) <= 40:
            return int(bounded(int(value)))
        if isinstance(value, (int, float)):
            return int(bounded(int(value)))
    except (ValueError, OverflowError):
        pass
    shown = repr(value[:40]) if isinstance(value, str) else kind(value)
    raise failed(f"int(…) cannot read {shown} as a whole number")


def _float(value: Any) -> float:
    try:
        if (isinstance(value, str) and len(value) <= 400) or isinstance(value, (int, float)):
            return float(value)
    except (ValueError, OverflowError):
        pass
    shown = repr(value[:40]) if isinstance(value, str) else kind(value)
    raise failed(f"float(…) cannot read {shown} as a number")


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "len": _length,
    "min": _extreme("min", min),
    "max": _extreme("max", max),
    "round": _round,
    "abs": _absolute,
    "lower": _text("lower", str.lower),
    "upper": _text("upper", str.upper),
    "contains": lambda whole, item: within(item, whole),
    "starts": _text("starts", str.startswith),
    "ends": _text("ends", str.endswith),
    "matches": _text("matches", _matches),
    "int": _int,
    "float": _float,
    "str": lambda value: bounded(text_of(value)),
}
"""The functions, without those that read the context."""
TAKES: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(FUNCTIONS, (1, 1)),
    "min": (1, MANY),
    "max": (1, MANY),
    "round": (1, 2),
    "contains": (2, 2),
    "starts": (2, 2),
    "ends": (2, 2),
    "matches": (2, 2),
}
"""How many arguments each takes, at least and at most."""
