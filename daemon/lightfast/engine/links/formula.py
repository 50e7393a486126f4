"""The parts a formula in `x` is made of, and how they become a Python function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Function = Callable[[float], float]

OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": math.pow,
}
"""The operators of two sides, all in doubles: no power can grow without bound."""

FUNCTIONS: dict[str, tuple[Callable[..., float], int, int]] = {
    "min": (min, 2, 8),
    "max": (max, 2, 8),
    "abs": (abs, 1, 1),
    "round": (lambda x: float(round(x)), 1, 1),
    "sqrt": (math.sqrt, 1, 1),
    "log": (math.log, 1, 1),
    "log10": (math.log10, 1, 1),
    "exp": (math.exp, 1, 1),
    "sin": (math.sin, 1, 1),
    "cos": (math.cos, 1, 1),
}
"""The functions, with the least and the most arguments each takes."""


@dataclass(frozen=True, slots=True)
class X:
    """The value that is converted."""


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Negation:
    """The inner part with its sign turned."""

    inner: Part


@dataclass(frozen=True, slots=True)
class Binary:
    """An operator between two parts."""

    operator: str
    left: Part
    right: Part


@dataclass(frozen=True, slots=True)
class Invocation:
    """A function of parts."""

    name: str
    arguments: tuple[Part, ...]


Part = X | Number | Negation | Binary | Invocation


def count_x(part: Part) -> int:
    """Return how often `x` occurs."""
    match part:
        case X():
            return 1
        case Number():
            return 0
        case Negation(inner):
            return count_x(inner)
        case Binary(_, left, right):
            return count_x(left) + count_x(right)
        case Invocation(_, arguments):
            return sum(count_x(argument) for argument in arguments)


def function_of(part: Part) -> Function:
    """Return the part as a function, which raises what its arithmetic raises."""
    match part:
        case X():
            return lambda x: x
        case Number(value):
            return lambda _: value
        case Negation(inner):
            turned = function_of(inner)
            return lambda x: -turned(x)
        case Binary(operator, left_part, right_part):
            left, right, operate = function_of(left_part), function_of(right_part), OPERATORS[operator]
            return lambda x: operate(left(x), right(x))
        case Invocation(name, parts):
            call = FUNCTIONS[name][0]
            arguments = [function_of(argument) for argument in parts]
            return lambda x: call(*[argument(x) for argument in arguments])


def evaluate(function: Function, x: float, text: str) -> float:
    """Return *function* at *x*; raise `ValueError` naming *text* and why it has no finite value there."""
    try:
        y = float(function(x))
    except ZeroDivisionError:
        raise ValueError(f"{text!r} divides by zero at x = {x:.12g}") from None
    except OverflowError:
        raise ValueError(f"{text!r} is too large at x = {x:.12g}") from None
    except ValueError:
        raise ValueError(f"{text!r} is not defined at x = {x:.12g}") from None
    if not math.isfinite(y):
        raise ValueError(f"{text!r} gives {y} at x = {x:.12g}")
    return y
