"""Reads the steps of a workflow.

A step is one of

    {id, op, arguments}                        an instruction
    {id, if: CONDITION, then: [...], else: [...]}
    {id, for_each: LIST, as: item, parallel: 4, steps: [...]}    or with op and arguments instead of steps
    {id, repeat: TIMES, steps: [...]}          its number is ${item}, from 0
    {id, while: CONDITION, most: 10, steps: [...]}   bounded; its result is how many turns it took

and has besides `needs`, `when`, `timeout`, `retries`, `on_failure` (`stop`, `continue`) and `approve`, the question a
person has to answer before it goes on.
"""

from __future__ import annotations

from lightfast.core.errors import InvalidArgument
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.program import IDENTITY, MOST_DEPTH
from lightfast.engine.programs.references import RESERVED, find
from lightfast.engine.programs.structure import MOST_TIMEOUT_S, OPERATION
from lightfast.engine.workflows.reading import Reading, plain
from lightfast.engine.workflows.records import Place, StepForm
from lightfast.sdk.oscmap.document import Node

MOST_STEPS = 500
"""How many steps one file may have."""
MOST_TURNS = 100
"""The most turns of `while`."""
MOST_REPEATS = 1_000
MOST_RETRIES = 10
ON_FAILURE = ("stop", "continue")
_COMMON = ("id", "needs", "when", "timeout", "retries", "on_failure", "approve")
_SHAPES = {
    "op": ("arguments",),
    "if": ("then", "else"),
    "for_each": ("as", "parallel", "steps", "op", "arguments"),
    "repeat": ("steps", "op", "arguments"),
    "while": ("most", "steps", "op", "arguments"),
}
_KEYS = tuple(dict.fromkeys((*_COMMON, *_SHAPES, *(key for keys in _SHAPES.values() for key in keys))))


class Steps:
    """Reads the steps of one file; identities are unique in the whole file."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._seen: dict[str, Place] = {}

    def read(self, node: Node, depth: int = 1) -> tuple[StepForm, ...]:
        """Return the steps of one list."""
        if not isinstance(node.value, list) or not node.value:
            self._reading.bad(node, "steps is no list of steps: write one as `- id: NAME` with `op: OPERATION` below")
            return ()
        if depth > MOST_DEPTH:
            self._reading.bad(node, f"steps are nested deeper than {MOST_DEPTH}")
            return ()
        found = []
        for number, each in enumerate(node.value, 1):
            if len(self._seen) >= MOST_STEPS:
                self._reading.bad(each, f"the file has more than {MOST_STEPS} steps: call another workflow from it")
                break
            step = self._step(each, number, depth)
            if step is not None:
                found.append(step)
        return tuple(found)

    def _step(self, node: Node, number: int, depth: int) -> StepForm | None:
        reading = self._reading
        table = reading.keys(node, _KEYS, "a step")
        if not table:
            return None
        identity = self._identity(node, table, number)
        shapes: list[str] = [key for key in ("for_each", "repeat", "while", "if") if key in table] or ["op"]
        if len(shapes) > 1:
            reading.bad(Place(*node.keys[shapes[1]]), f"a step has one of {' and '.join(shapes)}, not both")
            return None
        (shape,) = shapes
        for key in table:
            if key not in _COMMON and key != shape and key not in _SHAPES[shape]:
                reading.bad(Place(*node.keys[key]), f"{key} goes with {_owner(key)}, not with {shape}")
        common = {
            "id": identity,
            "place": Place(node.line, node.column),
            "needs": reading.names(table, "needs"),
            "when": self._expression(table, "when"),
            "timeout": reading.duration(table, "timeout", most=MOST_TIMEOUT_S),
            "retries": reading.whole(table, "retries", 0, 0, MOST_RETRIES),
            "on_failure": reading.choice(table, "on_failure", ON_FAILURE, ""),
            "approve": reading.text(table, "approve"),
            "places": _places(node, table),
        }
        if shape == "op":
            return StepForm(**common, **self._plain(node, table))  # type: ignore[arg-type]
        if shape == "if":
            if "then" not in table:
                reading.bad(node, f"the step {identity} has `if`, and no `then` with steps")
                return None
            body = self.read(table["then"], depth + 1)
            other = self.read(table["else"], depth + 1) if "else" in table else ()
            condition = self._expression(table, "if")
            return StepForm(**common, shape="branch", condition=condition, body=body, other=other)  # type: ignore[arg-type]
        body = self._body(node, table, identity, depth)
        if shape == "while":
            most = reading.whole(table, "most", 10, 1, MOST_TURNS)
            condition = self._expression(table, "while")
            return StepForm(**common, shape="while", condition=condition, most=most, body=body)  # type: ignore[arg-type]
        if shape == "repeat":
            return StepForm(**common, shape="repeat", times=self._times(table["repeat"]), body=body)  # type: ignore[arg-type]
        name = reading.text(table, "as", "item")
        if not name.isidentifier():
            reading.bad(table["as"], f"as is {name!r:.40}: write a name such as item")
        if not isinstance(table["for_each"].value, (str, list)):
            reading.bad(table["for_each"], "for_each is no list: write one, or a reference such as ${step.list}")
        self._references(table["for_each"])
        return StepForm(
            **common,  # type: ignore[arg-type]
            shape="map",
            items=plain(table["for_each"]),
            item_name=name,
            parallel=reading.whole(table, "parallel", 0, 1, 64),
            body=body,
        )

    def _identity(self, node: Node, table: dict[str, Node], number: int) -> str:
        identity = self._reading.text(table, "id", f"s{number}")
        place = Place(table["id"].line, table["id"].column) if "id" in table else Place(node.line, node.column)
        if not IDENTITY.fullmatch(identity):
            self._reading.bad(place, f"{identity!r:.80} is no id: use a-z, 0-9, _ and -, beginning with a letter")
        elif identity in RESERVED:
            self._reading.bad(place, f"{identity} is taken by the language itself: call the step otherwise")
        while "id" not in table and identity in self._seen:
            identity += "x"
        if identity in self._seen:
            self._reading.bad(place, f"the id {identity} is there twice, first in line {self._seen[identity].line}")
        self._seen.setdefault(identity, place)
        return identity

    def _plain(self, node: Node, table: dict[str, Node]) -> dict[str, object]:
        if "op" not in table:
            self._reading.bad(node, "a step needs `op` (or one of if, for_each, repeat, while): op: context.set")
            return {}
        arguments = table.get("arguments")
        if arguments is not None and not isinstance(arguments.value, dict):
            self._reading.bad(arguments, f"arguments is {arguments.shape}: write a table")
            arguments = None
        if arguments is not None:
            self._references(arguments)
        op = self._reading.text(table, "op", most=100)
        if op and not OPERATION.fullmatch(op):
            self._reading.bad(table["op"], f"{op!r:.80} is no name of an operation: write one such as context.set")
        found: dict[str, object] = {"op": op}
        if arguments is not None:
            found["arguments"] = plain(arguments)
        return found

    def _body(self, node: Node, table: dict[str, Node], identity: str, depth: int) -> tuple[StepForm, ...]:
        if "steps" in table:
            if "op" in table:
                self._reading.bad(Place(*node.keys["op"]), "a loop has `steps` or `op`, not both")
            return self.read(table["steps"], depth + 1)
        if "op" not in table:
            self._reading.bad(node, f"the loop {identity} does nothing: give it `steps`, or `op` with `arguments`")
            return ()
        inner = f"{identity}_turn"[:64]
        self._seen.setdefault(inner, Place(node.line, node.column))
        place = Place(*node.keys["op"])
        return (StepForm(inner, place, places=_places(node, table), **self._plain(node, table)),)  # type: ignore[arg-type]

    def _times(self, node: Node) -> object:
        value = node.value
        if isinstance(value, str) and "${" in value:
            self._references(node)
            return value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_REPEATS:
            self._reading.bad(
                node, f"repeat is {value!r:.40}: write how often, up to {MOST_REPEATS}, or ${{params.NAME}}"
            )
            return 0
        return value

    def _expression(self, table: dict[str, Node], key: str) -> str:
        node = table.get(key)
        if node is None:
            return ""
        if isinstance(node.value, bool):
            return "true" if node.value else "false"
        text = self._reading.text(table, key)
        if text:
            self._reading.guarded(node, key, lambda: compile_expression(text))
        return text

    def _references(self, node: Node) -> None:
        """Look that every reference in *node* is well formed; the place is that of the value it is in."""
        if isinstance(node.value, dict):
            for each in node.value.values():
                self._references(each)
        elif isinstance(node.value, list):
            for each in node.value:
                self._references(each)
        elif isinstance(node.value, str):
            try:
                list(find(node.value))
            except InvalidArgument as error:
                self._reading.bad(node, error.message, error.reason)


def _places(node: Node, table: dict[str, Node]) -> dict[str, Place]:
    found = {key: Place(*node.keys[key]) for key in table}
    arguments = table.get("arguments")
    if arguments is not None:
        found |= {f"arguments.{key}": Place(*place) for key, place in arguments.keys.items()}
    return found


def _owner(key: str) -> str:
    return " or ".join(shape for shape, keys in _SHAPES.items() if key in keys) or "nothing"
