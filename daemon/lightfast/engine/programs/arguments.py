"""The arguments of one instruction: its schema, its expressions, and what the operation itself says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightfast.core.errors import InvalidArgument
from lightfast.engine.ports import OperationBook
from lightfast.engine.programs.expression import Expression, compile_expression
from lightfast.engine.programs.program import Instruction
from lightfast.engine.programs.schema_check import Schemas
from lightfast.engine.programs.scopes import Scope
from lightfast.host.guard import guarded
from lightfast.sdk import Operation, World
from lightfast_link.path import compile_pattern

Tell = Callable[..., None]

EXPRESSIONS: Mapping[str, str] = {
    "flow.branch": "condition",
    "value.compute": "expression",
    "wait.pattern": "condition",
}
"""The arguments that are expressions over names of the program."""
OWN_NAMES: Mapping[str, tuple[str, ...]] = {"wait.pattern": ("item", "path")}
"""Names that an operation itself gives to its expression."""


MISSING_PATHS = frozenset(("PATH_EMPTY", "PATH_UNKNOWN"))
"""What operations say of a path where nothing is, a warning or a mistake."""


class ArgumentCheck:
    """Checks arguments; holds the compiled schemas."""

    def __init__(self, operations: OperationBook, world: World) -> None:
        self._operations, self._world = operations, world
        self._schemas = Schemas()

    def expression_field(self, op: str) -> str:
        """Return the argument that is an expression; empty where there is none."""
        return EXPRESSIONS.get(op, "")

    def own_names(self, each: Instruction) -> tuple[str, ...]:
        """Return the names that are known only inside the expression of this instruction."""
        names = each.arguments.get("names")
        given = tuple(names) if each.op == "value.compute" and isinstance(names, Mapping) else ()
        return (*OWN_NAMES.get(each.op, ()), *given)

    def check(
        self, each: Instruction, operation: Operation, scope: Scope, tell: Tell, comes_to_be: Callable[[Any], bool]
    ) -> bool:
        """Tell what is wrong; say whether the operation can make sense of the arguments.

        That a path is not there yet is no mistake where something before it in the program may bring it about.
        """
        mistakes: Sequence[Any] = self._schemas.mistakes(operation, each.arguments)
        for mistake in mistakes:
            tell(each, mistake.reason, mistake.message, mistake.field, warning=mistake.warning)
        if mistakes or not self._expression(each, scope, tell):
            return False
        found = guarded(operation.check, each.arguments, self._world)
        if found.error is not None:
            tell(each, "OPERATION_BROKEN", f"{each.op} cannot check its arguments: {found.error}")
            return False
        sound = True
        for mistake in found.value or ():
            if mistake.reason == "EXPRESSION_INVALID" and each.op in {"flow.branch", "value.compute"}:
                continue  # those are expressions of the program, which were read above
            warning = mistake.warning
            if mistake.reason in MISSING_PATHS and comes_to_be(_at(each.arguments, mistake.field)):
                if warning:
                    continue
                warning = True
            tell(each, mistake.reason, mistake.message, mistake.field, warning=warning)
            sound = sound and warning
        return sound

    def _expression(self, each: Instruction, scope: Scope, tell: Tell) -> bool:
        name = EXPRESSIONS.get(each.op, "")
        text = each.arguments.get(name) if name else None
        if text is None or isinstance(text, (bool, int, float)):
            return True
        field = f"arguments.{name}"
        if not isinstance(text, str):
            tell(each, "EXPRESSION_INVALID", f"{field} is an expression: write it as a text", field)
            return False
        try:
            expression = compile_expression(text)
        except InvalidArgument as error:
            tell(each, error.reason, error.message, field)
            return False
        extra = self.own_names(each)
        sound = True
        for reference in expression.references:
            wrong = scope.wrong(reference, extra)
            if wrong is not None:
                tell(each, *wrong, field)
                sound = False
        return sound

    def constant_condition(self, each: Instruction) -> bool | None:
        """Return what the condition of a branch always is; `None`: that depends."""
        if each.op != "flow.branch":
            return None
        return constant(each.arguments.get("condition"))

    def turns(self, each: Instruction) -> int | None:
        """Return how many turns a map takes; `None`: that is known when it runs."""
        items = each.arguments.get("items")
        return len(items) if each.op == "flow.map" and isinstance(items, list) else None


def constant(condition: Any) -> bool | None:
    """Return what a condition always is; `None`: that depends, or it cannot be computed."""
    if isinstance(condition, (bool, int, float)):
        return bool(condition)
    if not isinstance(condition, str):
        return None
    try:
        expression: Expression = compile_expression(condition)
        return expression.holds() if expression.constant else None
    except InvalidArgument:
        return None


def _at(arguments: Mapping[str, Any], field: str) -> Any:
    """Return what stands in a field such as `arguments.path` or `arguments.paths[0]`."""
    found: Any = arguments
    for name in field.removeprefix("arguments").replace("[", ".").replace("]", "").split(".")[1:]:
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found


def may_match(pattern: str, path: str) -> bool:
    """Say whether *path* is among what *pattern* stands for; a reference in the pattern may become anything."""
    start = pattern.find("${")
    try:
        return compile_pattern(pattern if start < 0 else pattern[: pattern.rfind("/", 0, start)] + "//").matches(path)
    except ValueError:
        return True
