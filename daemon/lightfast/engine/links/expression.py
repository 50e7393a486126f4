"""The converter of a link: a formula in `x`, evaluated by simpleeval, never by `eval`.

Before it is, its tree is read here, and only what is listed is accepted: numbers, `x`, `pi`,
`+ - * / **`, parentheses and the functions of `formula`. The same reading serves the inverse. A link of several
sources has a `Formula`, which has their names beside `x` and no inverse.
"""

from __future__ import annotations

import ast
import functools
import math
from collections.abc import Mapping
from typing import Any

from simpleeval import SimpleEval

from lightfast.core.errors import InvalidArgument
from lightfast.engine.links.formula import (
    FUNCTIONS,
    OPERATORS,
    Binary,
    Function,
    Invocation,
    Negation,
    Number,
    Part,
    X,
    evaluate,
)
from lightfast.engine.links.inverse import NotInvertibleError, invert

MAX_LENGTH = 400
"""The longest formula, in characters."""
MAX_DEPTH = 40
"""How deep a formula may nest."""

SYMBOLS: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Pow: "**",
}
_ONLY_X = frozenset({"x"})


class Expression:
    """A compiled formula; *identity* says that it is just `x`, so that any kind of value may pass."""

    __slots__ = ("_function", "_part", "identity", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self._part = Reader(self.text or "x").part()
        evaluator, tree = simple_eval(self.text or "x")
        names = evaluator.names

        def function(x: float) -> float:
            names["x"] = x
            return float(evaluator.eval(text, previously_parsed=tree))

        self._function = function
        self.identity = self._part == X()

    def apply(self, x: float) -> float:
        """Return the value at *x*; raise `ValueError` that says why there is none."""
        return evaluate(self._function, x, self.text or "x")

    def inverse(self) -> Function:
        """Return the function that takes `apply` back; raise `InvalidArgument` that says why there is none."""
        try:
            back = invert(self._part)
        except NotInvertibleError as error:
            raise InvalidArgument(
                f"a two-way link needs a formula that can be taken back, and {self.text!r} cannot: {error};"
                " change the formula or make the link one-way",
                reason="EXPRESSION_NOT_INVERTIBLE",
                field="link.expression",
            ) from None
        text = f"inverse of {self.text or 'x'}"
        return lambda y: evaluate(back, y, text)


class Formula:
    """A compiled formula of the values in *names*."""

    __slots__ = ("_evaluator", "_tree", "text")

    def __init__(self, text: str, names: frozenset[str]) -> None:
        self.text = text.strip()
        Reader(self.text, names).part()
        self._evaluator, self._tree = simple_eval(self.text)

    def apply(self, values: Mapping[str, float]) -> float:
        """Return the value where the names have *values*; raise `ValueError` that says why there is none."""
        self._evaluator.names.update(values)
        return evaluate(
            lambda _: float(self._evaluator.eval(self.text, previously_parsed=self._tree)), values["x"], self.text
        )


def simple_eval(text: str, **more: Any) -> tuple[SimpleEval, Any]:
    """Return an evaluator and the tree of *text*, which was read before; its numbers are doubles, as for inverses."""
    operators = {kind: OPERATORS[symbol] for kind, symbol in SYMBOLS.items()}
    evaluator = SimpleEval(
        operators={**operators, ast.USub: lambda a: -a, ast.UAdd: lambda a: a, **more.get("operators", {})},
        functions={name: function for name, (function, _, _) in FUNCTIONS.items()},
        names={"pi": math.pi, **more.get("names", {})},
    )
    return evaluator, evaluator.parse(text)


@functools.lru_cache(maxsize=1024)
def compile_expression(text: str) -> Expression:
    """Return the compiled formula, or raise `InvalidArgument` that says what is malformed, and where."""
    return Expression(text)


class Reader:
    """Turns a text into parts, or raises `InvalidArgument` with the position of what is wrong.

    *names* are the ones it may use; where there are others than `x`, the parts only tell that all is allowed.
    """

    what = "expression"
    allowed = f"+ - * / **, parentheses and {', '.join(FUNCTIONS)}"

    def __init__(self, text: str, names: frozenset[str] = _ONLY_X, shown: str = "") -> None:
        self._text = text
        self._names = names
        self._shown = shown or text  # what was written, where *text* has stand-ins of the same length in it

    def part(self) -> Part:
        """Return the whole text as a part."""
        text = self._text
        if len(text) > MAX_LENGTH:
            raise self._malformed(MAX_LENGTH, f"the formula is longer than {MAX_LENGTH} characters")
        for column, char in enumerate(text):
            if not (char.isascii() and char.isprintable()):
                raise self._malformed(column, f"unexpected character {char!r}")
        try:
            tree = ast.parse(text, mode="eval").body
        except SyntaxError as error:
            # An offset of 0 is how the parser says that the text ends too early.
            raise self._malformed((error.offset or len(text) + 1) - 1, error.msg) from None
        except (RecursionError, MemoryError):
            raise self._malformed(0, "nested too deep") from None
        return self._read(tree, 0)

    def _malformed(self, column: int, what: str) -> InvalidArgument:
        shown = self._shown if len(self._shown) <= 80 else self._shown[:80] + "…"
        names = ", ".join(sorted((name for name in self._names if name[0] != "_"), key=lambda n: (n != "x", n)))
        return InvalidArgument(
            f"{self.what} {shown!r}: {what}, at position {column + 1};"
            f" allowed are numbers, {names}, pi, {self.allowed}",
            reason="EXPRESSION_MALFORMED",
            field=f"link.{self.what}",
            metadata={"position": str(column + 1)},
        )

    def _read(self, node: ast.expr, depth: int) -> Part:
        if depth > MAX_DEPTH:
            raise self._malformed(node.col_offset, f"nested deeper than {MAX_DEPTH}")
        match node:
            case ast.Constant():
                return self._number(node)
            case ast.Name(id=name) if name in self._names:
                return X()
            case ast.Name(id="pi"):
                return Number(math.pi)
            case ast.Name(id=name):
                raise self._malformed(node.col_offset, f"unknown name {name!r}")
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return Negation(self._read(operand, depth + 1))
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._read(operand, depth + 1)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in SYMBOLS:
                symbol = SYMBOLS[type(operator)]
                return Binary(symbol, self._read(left, depth + 1), self._read(right, depth + 1))
            case ast.Call():
                return self._call(node, depth)
            case _:
                raise self._malformed(node.col_offset, f"{type(node).__name__} is not allowed")

    def _number(self, node: ast.Constant) -> Number:
        if type(node.value) not in (int, float):
            raise self._malformed(node.col_offset, f"{node.value!r} is not a number")
        try:
            value = float(node.value)  # type: ignore[arg-type]  # an int or a float, as was seen
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise self._malformed(node.col_offset, "the number is too large")
        return Number(value)

    def _call(self, node: ast.Call, depth: int) -> Invocation:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if name not in FUNCTIONS:
            raise self._malformed(node.col_offset, f"unknown function {name!r}")
        if node.keywords:
            raise self._malformed(node.col_offset, f"{name} takes no named arguments")
        _, least, most = FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise self._malformed(node.col_offset, f"{name} takes {wanted} arguments, not {len(node.args)}")
        return Invocation(name, tuple(self._read(argument, depth + 1) for argument in node.args))
