"""Decode: find the operation, resolve references, tell reads and writes, time and what may be done again."""

from __future__ import annotations

import base64
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from lightfast.core.errors import InvalidArgument, LightfastError, NotFound
from lightfast.engine.pipeline.decision import Decision, decision_of, turns_of
from lightfast.engine.pipeline.faults import fault_of
from lightfast.engine.pipeline.slots import Fault, Slot, Stage
from lightfast.engine.ports import OperationBook
from lightfast.engine.programs.expression import Expression, compile_expression
from lightfast.engine.programs.references import has_reference, is_template, references, resolve
from lightfast.host.guard import guarded
from lightfast.sdk import EVERYTHING, Operation, Outcome
from lightfast_link.path import Pattern, compile_pattern
from lightfast_link.value import Asset, Value, check_value

EXPRESSIONS: Mapping[str, str] = {"flow.branch": "condition", "value.compute": "expression"}
"""The operations that are an expression, and the argument that holds it. The pipeline computes them itself."""
MOST_VALUES = 200_000
"""The most values of the arguments of one instruction, references resolved."""
MOST_CHARACTERS = 16 << 20
"""The most characters of the texts in them."""
_ALL = (compile_pattern("//"),)
_FEW = 16
_Read = Callable[[str], "Value | None"]


class Decode:
    """Decodes for one run."""

    def __init__(self, operations: OperationBook) -> None:
        self._operations = operations
        self._found: dict[str, Operation | None] = {}

    def begin(self, slot: Slot) -> None:
        """Find the operation of a slot, what it waits for, and what it may read and write.

        What cannot be decoded gets its fault; it fails when it is its turn.
        """
        if slot.opening is not None:
            return
        instruction = slot.instruction
        if not instruction.blocks and instruction.op not in EXPRESSIONS:
            slot.operation = self._operation(instruction.op)
            slot.acts = slot.operation is not None and slot.operation.acts
        try:
            wanted = self._wanted(slot)
        except LightfastError as error:
            slot.fault = fault_of(error)
            wanted = frozenset()
        for name in wanted:
            other = slot.scope.find(name)
            if other is not None and other is not slot and not other.settled:
                other.at_settle.append(slot)
                slot.dependencies += 1
        for name in instruction.after:
            other = slot.scope.find(name)
            if other is not None and other is not slot and other.stage is not Stage.RETIRED:
                other.at_retire.append(slot)
                slot.dependencies += 1
        if slot.fault is None:
            self._declare_early(slot)

    def _operation(self, name: str) -> Operation | None:
        if name not in self._found:
            self._found[name] = self._operations.find(name)
        return self._found[name]

    def _wanted(self, slot: Slot) -> frozenset[str]:
        """Return the names that the instruction refers to."""
        instruction = slot.instruction
        names = references(self._plain(slot)) if instruction.arguments else frozenset()
        if instruction.when:
            names |= compile_expression(instruction.when).names
        computed = self.computed(slot)
        return names if computed is None else names | computed.names

    def _plain(self, slot: Slot) -> Mapping[str, Any]:
        """Return the arguments that hold references: all but an expression."""
        arguments = slot.instruction.arguments
        field = EXPRESSIONS.get(slot.instruction.op)
        return arguments if field is None else {name: item for name, item in arguments.items() if name != field}

    def computed(self, slot: Slot) -> Expression | None:
        """Return the expression that the instruction is, if it is one."""
        field = EXPRESSIONS.get(slot.instruction.op)
        if field is None:
            return None
        text = slot.instruction.arguments.get(field)
        if not isinstance(text, str):
            if isinstance(text, (bool, int, float)):  # a condition that was folded
                text = str(text).lower()
            else:
                raise InvalidArgument(
                    f"{field} is missing: give an expression", reason="EXPRESSION_INVALID", field=f"arguments.{field}"
                )
        return compile_expression(text)

    def _declare_early(self, slot: Slot) -> None:
        """Declare what it may read and write, as far as that is known with references that are not resolved."""
        instruction = slot.instruction
        reads: tuple[Pattern, ...] = ()
        if slot.operation is not None:
            early = has_reference(instruction.arguments)
            reads = _declared(slot.operation.reads, instruction.arguments, early=early)
            slot.writes = _declared(slot.operation.writes, instruction.arguments, early=early)
        slot.reads = reads + self._expression_reads(slot)

    def _expression_reads(self, slot: Slot) -> tuple[Pattern, ...]:
        found: tuple[Pattern, ...] = ()
        if slot.instruction.when:
            found += tuple(map(compile_pattern, compile_expression(slot.instruction.when).reads))
        computed = self.computed(slot)
        if computed is not None:
            found += tuple(map(compile_pattern, computed.reads))
        return found

    def guard(self, slot: Slot) -> Expression | None:
        """Return the condition of the instruction; one that was begun before has passed it."""
        if not slot.instruction.when or (slot.recorded is not None and slot.begun):
            return None
        return compile_expression(slot.instruction.when)

    def holds(self, slot: Slot, condition: Expression, read: _Read) -> bool:
        """Say whether the condition holds."""
        return condition.holds(slot.scope.names(condition.names), read)

    def resolve(self, slot: Slot) -> None:
        """Resolve the references, and declare reads and writes as they are then; raise what is wrong with them."""
        instruction = slot.instruction
        if instruction.op not in EXPRESSIONS and not instruction.blocks and slot.operation is None:
            raise NotFound(
                f"there is no operation {instruction.op!r}: enable the plugin that brings it",
                reason="OPERATION_UNKNOWN",
                metadata={"operation": instruction.op},
            )
        if not is_template(instruction.arguments):
            return
        plain = self._plain(slot)
        slot.arguments = {**instruction.arguments, **resolve(plain, slot.scope.names(references(plain)))}
        check_size(slot.arguments)
        if slot.operation is not None:
            slot.reads = _declared(slot.operation.reads, slot.arguments) + self._expression_reads(slot)
            slot.writes = _declared(slot.operation.writes, slot.arguments)

    def compute(self, slot: Slot, read: _Read) -> Any:
        """Return what an instruction that is an expression comes to."""
        expression = self.computed(slot)
        if expression is None:
            return None
        names = slot.scope.names(expression.names)
        bound = slot.arguments.get("names") if slot.instruction.op == "value.compute" else None
        if isinstance(bound, Mapping):
            names.update(bound)
        return expression.evaluate(names, read)

    def decide(self, slot: Slot, read: _Read) -> Decision:
        """Decide a branch or a map; one that was decided before stays so."""
        if slot.note:
            return decision_of(slot.note)
        if slot.instruction.op == "flow.branch":
            return Decision(block="then" if self.compute(slot, read) else "else")
        return turns_of(slot.arguments)


def close(slot: Slot) -> Outcome:
    """Return what a branch or a map brought: the result of the last instruction of its block, or those of all turns."""
    opening = slot.opening
    last = [] if opening is None else opening.last
    values = [None if each is None else each.value for each in last]
    if slot.instruction.op == "flow.branch":
        return Outcome(value=values[-1] if values else None)
    return Outcome(value=[{} if value is None else value for value in values])


def _declared(
    declare: Callable[[Mapping[str, Any]], Iterable[str]], arguments: Mapping[str, Any], *, early: bool = False
) -> tuple[Pattern, ...]:
    """Return the patterns that an operation declares; everything where it cannot say, or says what is none."""
    found = guarded(lambda: _compiled(_texts(declare(arguments)), early))
    return _ALL if found.value is None else found.value


def _texts(said: Iterable[str]) -> tuple[str, ...]:
    return EVERYTHING if isinstance(said, str) else tuple(said)


def _compiled(texts: tuple[str, ...], early: bool) -> tuple[Pattern, ...]:
    if len(texts) > _FEW:  # they would fill the memory
        return tuple(compile_pattern(_widened(text) if early else text) for text in texts)
    return _patterns(texts, early)


@functools.lru_cache(maxsize=8192)
def _patterns(texts: tuple[str, ...], early: bool) -> tuple[Pattern, ...]:
    return tuple(compile_pattern(_widened(text) if early else text) for text in texts)


def _widened(text: str) -> str:
    """Return a pattern for all that *text* may become when the references in it are resolved."""
    start = text.find("${")
    if start < 0:
        return text
    head = text[: text.rfind("/", 0, start)]
    return head + "//" if head.startswith("/") else "//"


def check_size(arguments: Mapping[str, Any]) -> None:
    """Raise `InvalidArgument` (ARGUMENTS_TOO_LARGE): a few references can stand for very much, each time anew."""
    values, characters = MOST_VALUES, MOST_CHARACTERS
    left: list[Any] = [arguments]
    while left and values >= 0 and characters >= 0:
        each = left.pop()
        if isinstance(each, (str, bytes)):
            characters -= len(each)
        elif isinstance(each, (list, tuple)):
            values -= len(each)
            if values >= 0:
                left += each
        elif isinstance(each, Mapping):
            values -= len(each)
            if values >= 0:
                left += each.values()
    if values < 0 or characters < 0:
        raise InvalidArgument(
            f"with its references resolved it has more than {MOST_VALUES} values or {MOST_CHARACTERS} characters:"
            " hand over less at once",
            reason="ARGUMENTS_TOO_LARGE",
        )


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Return *arguments* as a JSON text: an asset by its address, bytes in base64."""
    if not arguments:
        return ""
    try:
        return _encoder.encode(arguments).decode()
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise InvalidArgument(f"the arguments hold what JSON cannot: {error}", reason="ARGUMENTS_INVALID") from error


def _plain_value(value: Any) -> Any:
    if isinstance(value, Asset):
        return f"asset:{value.sha256}"
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    raise TypeError(f"{type(value).__name__} is no value")


_encoder = msgspec.json.Encoder(enc_hook=_plain_value)


def checked_outcome(outcome: Any, operation: str) -> Outcome | Fault:
    """Return *outcome*, or what is wrong with what an operation returned."""
    if not isinstance(outcome, Outcome):
        return Fault("OPERATION_BROKEN", f"{operation} returned {type(outcome).__name__}: it must return an Outcome")
    if not math.isfinite(outcome.cost_usd) or outcome.cost_usd < 0.0:
        return Fault("OPERATION_BROKEN", f"{operation} says that it cost {outcome.cost_usd} USD: 0 or more")
    if outcome.value is not None:
        try:
            check_value(outcome.value, f"the result of {operation}")
        except ValueError as error:
            return Fault("OPERATION_BROKEN", str(error))
    return outcome
