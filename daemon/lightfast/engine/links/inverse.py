"""Taking a formula back: what is linear in `x`, and chains of one-to-one steps around a single `x`."""

from __future__ import annotations

import math

from lightfast.engine.links.formula import (
    Binary,
    Function,
    Invocation,
    Negation,
    Number,
    Part,
    X,
    count_x,
    function_of,
)

_INVERSES: dict[str, Function] = {
    "exp": math.log,
    "log": math.exp,
    "log10": lambda y: math.pow(10.0, y),
    "sqrt": lambda y: y * y,
}


class NotInvertibleError(Exception):
    """The formula cannot be taken back; the message says which step is to blame."""


def invert(part: Part) -> Function:
    """Return the inverse of *part*; raise `NotInvertibleError` where there is none."""
    occurrences = count_x(part)
    line = _line(part)
    if occurrences == 0 or (line is not None and line[0] == 0):
        raise NotInvertibleError("it does not depend on x")
    if line is not None:
        slope, offset = line
        return lambda y: (y - offset) / slope
    if occurrences > 1:
        raise NotInvertibleError("x occurs more than once, and it is not linear in x")
    steps: list[Function] = []
    while not isinstance(part, X):
        part, step = _peel(part)
        steps.append(step)

    def back(y: float) -> float:
        for step in steps:
            y = step(y)
        return y

    return back


def _line(part: Part) -> tuple[float, float] | None:
    """Return slope and offset of what is linear in x, else None."""
    if count_x(part) == 0:
        return 0.0, _constant(part)
    match part:
        case X():
            return 1.0, 0.0
        case Negation(inner):
            line = _line(inner)
            return (-line[0], -line[1]) if line else None
        case Binary(operator, left, right):
            a, b = _line(left), _line(right)
            return _combine(operator, a, b) if a and b else None
        case _:
            return None


def _combine(operator: str, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float] | None:
    if operator == "+":
        return a[0] + b[0], a[1] + b[1]
    if operator == "-":
        return a[0] - b[0], a[1] - b[1]
    if operator == "*" and a[0] == 0:
        return a[1] * b[0], a[1] * b[1]
    if operator == "*" and b[0] == 0:
        return a[0] * b[1], a[1] * b[1]
    if operator == "/" and b[0] == 0 and b[1] != 0:
        return a[0] / b[1], a[1] / b[1]
    return None


def _constant(part: Part) -> float:
    try:
        value = function_of(part)(math.nan)
    except (ArithmeticError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise NotInvertibleError("a constant in it has no value")
    return value


def _peel(part: Part) -> tuple[Part, Function]:
    """Return what is inside the outermost step, and that step's inverse."""
    match part:
        case Negation(inner):
            return inner, lambda y: -y
        case Invocation(name, (argument,)) if name in _INVERSES:
            return argument, _INVERSES[name]
        case Invocation(name, _):
            raise NotInvertibleError(f"{name} gives the same result for different x")
        case Binary(operator, left, right) if count_x(right) == 0:
            return left, _left_inverse(operator, _constant(right))
        case Binary(operator, left, right):
            return right, _right_inverse(operator, _constant(left))
        case X() | Number():
            raise AssertionError("the caller peels only what is around x")


def _left_inverse(operator: str, c: float) -> Function:
    """Invert `x operator c`."""
    match operator:
        case "+":
            return lambda y: y - c
        case "-":
            return lambda y: y + c
        case "*" if c != 0:
            return lambda y: y / c
        case "/" if c != 0:
            return lambda y: y * c
        case "**" if c != 0:
            return _root(c)
        case _:
            raise NotInvertibleError(f"{operator} {c:g} makes it the same, or nothing, for every x")


def _root(exponent: float) -> Function:
    if not exponent.is_integer():
        return lambda y: math.pow(y, 1.0 / exponent)  # only x >= 0 has such a power: one-to-one
    if exponent % 2 == 0:
        raise NotInvertibleError(f"** {exponent:g} gives the same result for x and -x")
    return lambda y: math.copysign(math.pow(abs(y), 1.0 / exponent), y)


def _right_inverse(operator: str, c: float) -> Function:
    """Invert `c operator x`."""
    match operator:
        case "+":
            return lambda y: y - c
        case "-":
            return lambda y: c - y
        case "*" if c != 0:
            return lambda y: y / c
        case "/" if c != 0:
            return lambda y: c / y
        case "**" if c > 0 and c != 1:
            return lambda y: math.log(y) / math.log(c)
        case _:
            raise NotInvertibleError(f"{c:g} {operator} makes it the same, or nothing, for every x")
