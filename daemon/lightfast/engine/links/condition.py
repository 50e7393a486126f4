"""The condition of a link: when it carries, as an expression over paths of the context and `x`, the source's value.

`/show/armed and x > 0.5`, `/live/song/is_playing or not /show/manual`, `/show/act == "two"`. A slash where a value is
expected begins a path, which ends at a blank, a comma, a comparison or the parenthesis around it; after a value it
divides. A path that holds nothing makes no condition true.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from simpleeval import InvalidExpression

from lightfast.core.errors import InvalidArgument
from lightfast.engine.links.expression import MAX_DEPTH, SYMBOLS, Reader, simple_eval
from lightfast.engine.links.formula import OPERATORS, Part, X
from lightfast_link.path import check_path
from lightfast_link.value import Value, kind_of

MAX_PATHS = 8
"""The most paths of one condition."""
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_ENDS = frozenset(" \t,<>=!\"'")


class Condition:
    """A compiled condition; *paths* are those it depends on."""

    __slots__ = ("_evaluator", "_names", "_tree", "has_x", "paths", "text")

    def __init__(self, text: str) -> None:
        """Compile *text*; raise `InvalidArgument` that says what is malformed, and where."""
        self.text = text.strip()
        spans = _spans(self.text)
        python, self._names = _stand_ins(self.text, spans)
        reader = _ConditionReader(python, frozenset({"x", *self._names}), self.text)
        reader.part()
        self.has_x = reader.has_x
        self.paths = tuple(dict.fromkeys(self._names.values()))
        numeric = {kind: _numeric(OPERATORS[symbol]) for kind, symbol in SYMBOLS.items()}
        self._evaluator, self._tree = simple_eval(
            python, operators={**numeric, **_COMPARISONS, ast.Not: operator.not_}, names={"true": True, "false": False}
        )

    def unmet(self, value_at: Callable[[str], Value | None], x: Value | None) -> str:
        """Return why it does not hold now; empty where it does."""
        values: dict[str, Any] = {}
        for name, path in self._names.items():
            value = value_at(path)
            if value is None:
                return f"{path} holds nothing, and the condition is {self.text}"
            if not isinstance(value, (bool, int, float, str)):
                return f"{path} holds a {kind_of(value)}, which no condition can use: {self.text}"
            values[name] = value
        if self.has_x:
            if not isinstance(x, (bool, int, float, str)):
                return f"x is {'nothing' if x is None else 'a ' + kind_of(x)}, and the condition is {self.text}"
            values["x"] = x
        self._evaluator.names.update(values)
        try:
            holds = bool(self._evaluator.eval(self.text, previously_parsed=self._tree))
        except (ArithmeticError, ValueError, TypeError, InvalidExpression) as error:
            return f"the condition {self.text} has no value now: {error}"
        return "" if holds else f"it carries only while {self.text}"

    def renamed(self, old: str, new: str) -> str:
        """Return the text with the path *old* written *new*."""
        text = self.text
        for start, end in reversed(_spans(text)):
            if text[start:end] == old:
                text = text[:start] + new + text[end:]
        return text


class _ConditionReader(Reader):
    """Reads what a formula may be, and comparisons, `and`, `or`, `not`, texts, `true` and `false` beside."""

    what = "condition"
    allowed = f"paths, texts, true, false, comparisons, and, or, not, {Reader.allowed}"
    has_x = False

    def _read(self, node: ast.expr, depth: int) -> Part:
        if depth > MAX_DEPTH:
            return super()._read(node, depth)  # which refuses it
        match node:
            case ast.BoolOp(values=parts):
                inner = parts
            case ast.UnaryOp(op=ast.Not(), operand=part):
                inner = [part]
            case ast.Compare(left=left, ops=comparisons, comparators=others) if all(
                type(comparison) in _COMPARISONS for comparison in comparisons
            ):
                inner = [left, *others]
            case ast.Constant(value=bool() | str()) | ast.Name(id="true" | "false"):
                inner = []
            case _:
                self.has_x = self.has_x or (isinstance(node, ast.Name) and node.id == "x")
                return super()._read(node, depth)
        for part in inner:
            self._read(part, depth + 1)
        return X()


def _numeric(function: Callable[[float, float], float]) -> Callable[[Any, Any], float]:
    def checked(left: Any, right: Any) -> float:
        if isinstance(left, str) or isinstance(right, str):
            raise TypeError("a text cannot be reckoned with")
        return function(float(left), float(right))

    return checked


def _spans(text: str) -> list[tuple[int, int]]:
    """Return where paths begin and end in *text*."""
    spans, position, operand = [], 0, True
    while position < len(text):
        char = text[position]
        if char == "/" and operand:
            end = _path_end(text, position)
            spans.append((position, end))
            position, operand = end, False
        elif char in "\"'":
            closing = text.find(char, position + 1)
            position, operand = (len(text) if closing < 0 else closing + 1), False
        elif char.isalnum() or char in "_.":
            end = position
            while end < len(text) and (text[end].isalnum() or text[end] in "_."):
                end += 1
            operand = text[position:end] in {"and", "or", "not"}
            position = end
        else:
            operand = operand if char.isspace() else char != ")"
            position += 1
    return spans


def _path_end(text: str, start: int) -> int:
    depth = 0
    for end in range(start, len(text)):
        char = text[end]
        if char in _ENDS or (char == ")" and depth == 0):
            return end
        depth += (char == "(") - (char == ")")
    return len(text)


def _stand_ins(text: str, spans: list[tuple[int, int]]) -> tuple[str, dict[str, str]]:
    """Return *text* with a name in place of each path, as long as it, and the paths by name."""
    if len(spans) > MAX_PATHS:
        raise _refused(text, spans[MAX_PATHS][0], f"more than {MAX_PATHS} paths")
    names: dict[str, str] = {}
    for index, (start, end) in enumerate(spans):
        path = text[start:end]
        try:
            check_path(path)
        except ValueError as error:
            raise _refused(text, start, str(error)) from None
        if path == "/":
            raise _refused(text, start, "a path names more than the root")
        name = f"_{index}".ljust(end - start, "_")
        names[name] = path
        text = text[:start] + name + text[end:]
    return text, names


def _refused(text: str, column: int, what: str) -> InvalidArgument:
    return InvalidArgument(
        f"condition {text!r:.80}: {what}, at position {column + 1}",
        reason="EXPRESSION_MALFORMED",
        field="link.condition",
        metadata={"position": str(column + 1)},
    )
