"""simpleeval with the operators, lists, maps and fields of the expression language; imported when one is evaluated."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

from simpleeval import SimpleEval

from lightfast.engine.programs import functions
from lightfast.engine.programs.references import kind, step_into

_OPERATORS = {
    ast.Add: functions.add,
    ast.Sub: functions.subtract,
    ast.Mult: functions.multiply,
    ast.Div: functions.divide,
    ast.Mod: functions.modulo,
    ast.Pow: functions.power,
    ast.USub: functions.negate,
    ast.UAdd: lambda value: functions.negate(functions.negate(value)),
    ast.Not: operator.not_,
    ast.Eq: functions.equal,
    ast.NotEq: lambda left, right: not functions.equal(left, right),
    ast.Lt: functions.compare("<", operator.lt),
    ast.LtE: functions.compare("<=", operator.le),
    ast.Gt: functions.compare(">", operator.gt),
    ast.GtE: functions.compare(">=", operator.ge),
    ast.In: functions.within,
    ast.NotIn: lambda item, whole: not functions.within(item, whole),
}


class Evaluator(SimpleEval):  # type: ignore[misc]  # the package has no types
    """Evaluates trees that `expression.py` has read; nothing else gets here."""

    def __init__(self) -> None:
        super().__init__(operators=_OPERATORS, functions={}, names={})
        self.nodes |= {
            ast.List: self._eval_list,
            ast.Tuple: self._eval_list,
            ast.Dict: self._eval_map,
        }

    def _check_disallowed_items(self, item: Any) -> None:
        """Let values pass: the tree can name no module and no function as a value, and walking large ones is slow."""

    def _eval_list(self, node: ast.List) -> list[Any]:
        return [self._eval(each) for each in node.elts]

    def _eval_map(self, node: ast.Dict) -> dict[str, Any]:
        made = {}
        for key, value in zip(node.keys, node.values, strict=True):
            name = self._eval(key)
            if not isinstance(name, str):
                raise functions.failed(f"the keys of a map are texts, not {kind(name)}")
            made[name] = self._eval(value)
        return made

    def _eval_attribute(self, node: ast.Attribute) -> Any:
        return step_into(self._eval(node.value), node.attr, ast.unparse(node.value), ast.unparse(node))

    def _eval_subscript(self, node: ast.Subscript) -> Any:
        container, item = self._eval(node.value), self._eval(node.slice)
        if isinstance(item, bool) or not isinstance(item, (int, str)):
            raise functions.failed(f"an item is taken by a number or a text, not by {kind(item)}")
        if isinstance(container, str):
            if isinstance(item, int) and -len(container) <= item < len(container):
                return container[item]
            raise functions.failed(f"the text has {len(container)} characters, and {item!r} is not among them")
        if isinstance(container, Mapping) and isinstance(item, int):
            raise functions.failed("a map has names, not numbers")
        return step_into(container, item, ast.unparse(node.value), ast.unparse(node))

    def _eval_name(self, node: ast.Name) -> Any:
        return self.names[node.id]
