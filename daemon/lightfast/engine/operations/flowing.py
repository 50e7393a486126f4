"""Operations that hold or call other instructions. The pipeline carries them out; here is what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from lightfast.core.errors import FailedPrecondition, LightfastError
from lightfast.engine.operations.built import TEXT, Built, is_open, said, schema
from lightfast.engine.programs.near import did_you_mean
from lightfast.sdk import EVERYTHING, Bench, Effect, Mistake, Operation, OperationCall, Outcome, World

if TYPE_CHECKING:
    from lightfast.engine.programs.program import Program

MOST_ITEMS = 10_000
MOST_PARALLEL = 64
_DEPTH = 8
"""How deep workflows that call each other are looked into."""


class _Flow(Built):
    """One whose instructions the pipeline takes in."""

    idempotent = True

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Refuse: it has no work of its own, and whoever runs it must take in its instructions instead."""
        raise FailedPrecondition(
            f"{self.name} does nothing by itself: its instructions are part of the program", reason="CONTROL_FLOW"
        )


class Branch(_Flow):
    """Chooses between two blocks."""

    name = "flow.branch"
    summary = "Run the instructions of `then` where a condition holds, else those of `else`."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("condition",), condition=said(TEXT, 'An expression, such as `value("/mix/level") > 0.5`.', maxLength=4000)
    )

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return the paths of the condition."""
        from lightfast.engine.programs.expression import compile_expression

        try:
            return compile_expression(str(arguments.get("condition", ""))).reads
        except LightfastError:
            return EVERYTHING

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check the condition."""
        from lightfast.engine.programs.expression import compile_expression

        try:
            compile_expression(str(arguments.get("condition", "")))
        except LightfastError as error:
            return [Mistake(error.reason, error.message, "arguments.condition")]
        return []


class Map(_Flow):
    """Repeats a block for each item."""

    name = "flow.map"
    summary = "Run the instructions of `do` once for each item of a list, which they call ${item} (and ${index})."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("items",),
        items={
            "type": ["array", "string"],
            "maxItems": MOST_ITEMS,
            "description": "The list, or a reference to one.",
        },
        **{"as": said(TEXT, "Another name for ${item}.", pattern="^[a-z][a-z0-9_]{0,63}$")},
        parallel={
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_PARALLEL,
            "description": "How many items may be under way at once.",
        },
    )
    result: ClassVar[Mapping[str, Any]] = {"type": "array", "description": "The last result of each turn."}

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that the items are a list."""
        items = arguments.get("items")
        if isinstance(items, str) and not is_open(items):
            return [Mistake("VALUE_INVALID", "items must be a list, or a reference to one", "arguments.items")]
        return []


class CallWorkflow(_Flow):
    """Runs a workflow as a part."""

    name = "workflow.call"
    summary = "Run a workflow as a part of this program."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("workflow",),
        workflow=said(TEXT, "The name of the workflow."),
        parameters={"type": "object", "description": "Its parameters, by name."},
    )
    result: ClassVar[Mapping[str, Any]] = {"description": "What the workflow returns."}
    possible_effects = frozenset(Effect)
    timeout = 3600.0
    _depth = 0

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return everything: what it reads is known of its instructions."""
        return EVERYTHING

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return everything: what it writes is known of its instructions."""
        return EVERYTHING

    def effects(self, arguments: Mapping[str, Any], world: World) -> frozenset[Effect]:
        """Return those of its instructions; all there are where that is not known."""
        found = frozenset((Effect.READ,))
        with self._parts(arguments, world) as parts:
            for operation, given in [(None, {})] if parts is None else parts:
                found |= operation.effects(given, world) if operation is not None else self.possible_effects
        return found

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that there is such a workflow, and that its parameters fit."""
        name, known = arguments.get("workflow"), world.workflows()
        if is_open(name) or not isinstance(name, str):
            told = "the name of a workflow cannot be a reference: what it would do could not be checked"
            return [Mistake("WORKFLOW_UNKNOWN", told, "arguments.workflow")]
        if name not in known:
            told = f"there is no workflow {name!r}{did_you_mean(name, known)}"
            return [Mistake("WORKFLOW_UNKNOWN", told, "arguments.workflow")]
        if not is_open(arguments.get("parameters")):
            try:
                known[name].program(arguments.get("parameters", {}))
            except LightfastError as error:
                return [Mistake(error.reason, error.message, "arguments.parameters")]
        return []

    def cost(self, arguments: Mapping[str, Any], world: World) -> float | None:
        """Return the sum of its instructions; `None` where one has no bound."""
        total, loops = 0.0, False
        with self._parts(arguments, world) as parts:
            for operation, given in [(None, {})] if parts is None else parts:
                one = operation.cost(given, world) if operation is not None else None
                if one is None:
                    return None
                total += one
                loops = loops or (operation is not None and operation.name == Map.name)
        return None if loops and total else total

    @contextmanager
    def _parts(
        self, arguments: Mapping[str, Any], world: World
    ) -> Iterator[list[tuple[Operation | None, Mapping[str, Any]]] | None]:
        """Lend its instructions, each operation (`None`: unknown) with its arguments; `None`: that is not known yet.

        Workflows that call each other are looked into so deep and no deeper.
        """
        program = self._program(arguments, world) if self._depth < _DEPTH else None
        self._depth += 1
        try:
            find = self.rooms.find
            yield None if program is None else [(find(each.op), each.arguments) for each in program.walk()]
        finally:
            self._depth -= 1

    def _program(self, arguments: Mapping[str, Any], world: World) -> Program | None:
        name = arguments.get("workflow")
        known = world.workflows().get(name) if isinstance(name, str) else None
        if known is None:
            return None
        try:
            found: Program = known.program(arguments.get("parameters", {}))
        except LightfastError:
            return None
        return found


FLOWING = (Branch, Map, CallWorkflow)
