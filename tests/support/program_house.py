"""A house for programs: fake operations over a plain context, and an interpreter that runs one instruction at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.engine.ports import Asker
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.references import resolve, returns_template
from lightfast.sdk import Bench, Command, ContextChange, Effect, Mistake, Operation, OperationCall, Outcome, World
from lightfast_link.value import Value, check_value

PATH = {"type": "string", "pattern": "^/"}
ME = Asker("me", "client:me", frozenset(("watch", "operate")))
"""Somebody who may operate."""


def schema(*required: str, **properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these properties."""
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


@dataclass(frozen=True)
class FakeModel:
    """A model."""

    name: str
    local: bool = True
    free: bool = True
    available: bool = True
    aliases: tuple[str, ...] = ()


@dataclass
class House:
    """A world, and what was done to it: *acts* are what went outside, in order, by resource."""

    values: dict[str, Any] = field(default_factory=dict)
    acts: list[tuple[str, str]] = field(default_factory=list)
    calls: int = 0
    books: dict[str, Any] = field(default_factory=dict)
    models_there: list[FakeModel] = field(
        default_factory=lambda: [FakeModel("studio/text"), FakeModel("cloud/text", local=False, free=False)]
    )

    def value(self, path: str) -> Value | None:
        found: Value | None = self.values.get(path)
        return found

    def has(self, path: str) -> bool:
        return path in self.values

    def declared(self, path: str) -> Any:
        return None

    def mounts(self) -> Sequence[str]:
        return ("/blender",)

    def commands(self, mount: str) -> Mapping[str, Any]:
        if mount != "/blender":
            return {}
        return {
            "add_cube": Command("add_cube", "Adds a cube."),
            "render": Command("render", "Renders the scene to a file.", effect="destructive"),
            "count": Command("count", "Counts the objects.", effect="read"),
        }

    def models(self, output: str) -> Sequence[Any]:
        return self.models_there

    def scenes(self) -> Sequence[str]:
        return ()

    def workflows(self) -> Mapping[str, Any]:
        return self.books


class Fake(Operation):
    """An operation of the house."""

    timeout: ClassVar[float] = 5.0

    def __init__(self, house: House) -> None:
        self.house = house

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        return self.do(call.arguments)

    def do(self, given: Mapping[str, Any]) -> Outcome:
        raise NotImplementedError(self.name)


def sound(value: Any) -> Value:
    """Return a value that the context can hold; raise `InvalidArgument` for another."""
    try:
        return check_value(value)
    except ValueError as error:
        raise InvalidArgument(str(error), reason="VALUE_INVALID") from None


class Get(Fake):
    name = "context.get"
    summary = "Get a value."
    arguments: ClassVar[Mapping[str, Any]] = schema("path", path=PATH)
    idempotent = True
    acts = False

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return (arguments["path"],)

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        found = await bench.read((call.arguments["path"],))
        return Outcome(found.get(call.arguments["path"]))

    def do(self, given: Mapping[str, Any]) -> Outcome:
        return Outcome(self.house.values.get(given["path"]))


class Writes(Fake):
    summary = "Change the context."
    possible_effects = frozenset((Effect.REVERSIBLE,))
    idempotent = True
    acts = False

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return (arguments["path"],)


class Set(Writes):
    name = "context.set"
    arguments: ClassVar[Mapping[str, Any]] = schema("path", "value", path=PATH, value={})

    def do(self, given: Mapping[str, Any]) -> Outcome:
        return Outcome(sound(given["value"]), (ContextChange("set", given["path"], given["value"]),))


class Merge(Writes):
    name = "context.merge"
    arguments: ClassVar[Mapping[str, Any]] = schema("path", "value", path=PATH, value={"type": "object"})

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return (arguments["path"],)

    def do(self, given: Mapping[str, Any]) -> Outcome:
        return Outcome(sound(given["value"]), (ContextChange("merge", given["path"], given["value"]),))


class Delete(Writes):
    name = "context.delete"
    arguments: ClassVar[Mapping[str, Any]] = schema("path", path=PATH)

    def do(self, given: Mapping[str, Any]) -> Outcome:
        return Outcome(None, (ContextChange("delete", given["path"]),))


class Apply(Fake):
    """Many changes at once, as `context.apply` of the daemon."""

    name = "context.apply"
    summary = "Change the context in one transaction."
    arguments: ClassVar[Mapping[str, Any]] = schema("changes", changes={"type": "array", "items": {"type": "object"}})
    possible_effects = frozenset((Effect.REVERSIBLE,))
    idempotent = True
    acts = False

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return [each["path"] for each in arguments["changes"]]

    def do(self, given: Mapping[str, Any]) -> Outcome:
        changes = [ContextChange(each["kind"], each["path"], each.get("value")) for each in given["changes"]]
        return Outcome([{} if each.value is None else each.value for each in changes], tuple(changes))


class AppCommand(Fake):
    name = "app.command"
    summary = "Run a command of an application."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        "app", "command", app=PATH, command={"type": "string"}, arguments={"type": "object"}
    )
    possible_effects = frozenset((Effect.READ, Effect.REVERSIBLE, Effect.DESTRUCTIVE))

    def effects(self, arguments: Mapping[str, Any], world: World) -> frozenset[Effect]:
        command = world.commands(arguments["app"]).get(arguments["command"])
        return frozenset((Effect(command.effect),)) if command else self.possible_effects

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return (f"{arguments['app']}//",)

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return () if arguments.get("command") == "count" else (f"{arguments['app']}//",)

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        if "${" in arguments["command"] or arguments["command"] in world.commands(arguments["app"]):
            return ()
        return (Mistake("COMMAND_UNKNOWN", f"{arguments['app']} has no {arguments['command']}", "arguments.command"),)

    def do(self, given: Mapping[str, Any]) -> Outcome:
        self.house.calls += 1
        self.house.acts.append((given["app"], f"{given['command']} {given.get('arguments', {})}"))
        return Outcome({"done": given["command"]})


class Generate(Fake):
    name = "generate.text"
    summary = "Generate text."
    arguments: ClassVar[Mapping[str, Any]] = schema("prompt", prompt={"type": "string"}, model={"type": "string"})
    possible_effects = frozenset((Effect.REVERSIBLE, Effect.SPEND, Effect.NETWORK))
    pool = "provider"

    def effects(self, arguments: Mapping[str, Any], world: World) -> frozenset[Effect]:
        cloud = arguments.get("model") == "cloud/text"
        return (
            frozenset((Effect.REVERSIBLE, Effect.SPEND, Effect.NETWORK)) if cloud else frozenset((Effect.REVERSIBLE,))
        )

    def cost(self, arguments: Mapping[str, Any], world: World) -> float | None:
        return 0.12 if arguments.get("model") == "cloud/text" else None if arguments.get("model") == "odd/text" else 0.0

    def do(self, given: Mapping[str, Any]) -> Outcome:
        self.house.calls += 1
        self.house.acts.append(("provider", given["prompt"]))
        return Outcome({"text": given["prompt"].upper()})


class Embed(Fake):
    name = "embed.texts"
    summary = "Embed texts."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        "texts", texts={"type": "array", "items": {"type": "string"}}, model={"type": "string"}
    )
    idempotent = True
    pool = "provider"
    acts = False

    def do(self, given: Mapping[str, Any]) -> Outcome:
        self.house.calls += 1
        return Outcome({"vectors": [[float(len(text))] for text in given["texts"]], "model": "m"})


class Pure(Fake):
    name = "text.double"
    summary = "Double a text."
    arguments: ClassVar[Mapping[str, Any]] = schema("text", text={})
    idempotent = True
    pure = True
    acts = False

    def do(self, given: Mapping[str, Any]) -> Outcome:
        return Outcome(f"{given['text']}{given['text']}")


class Compute(Fake):
    name = "value.compute"
    summary = "Compute."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        "expression", expression={"type": "string"}, names={"type": "object"}
    )
    idempotent = True
    pure = True
    acts = False


class Wait(Fake):
    name = "wait.seconds"
    summary = "Wait."
    arguments: ClassVar[Mapping[str, Any]] = schema("seconds", seconds={"type": "number", "minimum": 0})
    acts = False

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return ("//",)

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return ("//",)

    def do(self, given: Mapping[str, Any]) -> Outcome:
        return Outcome()


class Branch(Fake):
    name = "flow.branch"
    summary = "Branch."
    arguments: ClassVar[Mapping[str, Any]] = schema("condition", condition={"type": ["string", "boolean"]})
    acts = False


class Map(Fake):
    name = "flow.map"
    summary = "Map."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        "items", items={"type": ["array", "string"]}, parallel={"type": "integer"}, **{"as": {"type": "string"}}
    )
    acts = False


class CallWorkflow(Fake):
    name = "workflow.call"
    summary = "Call a workflow."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        "workflow", workflow={"type": "string"}, parameters={"type": "object"}
    )


KINDS = (Get, Set, Merge, Delete, Apply, AppCommand, Generate, Embed, Pure, Compute, Wait, Branch, Map, CallWorkflow)


class Book:
    """The operations of a house."""

    def __init__(self, house: House) -> None:
        self._kinds: dict[str, Operation] = {kind.name: kind(house) for kind in KINDS}

    def find(self, name: str) -> Operation | None:
        return self._kinds.get(name)

    def names(self) -> Sequence[str]:
        return sorted(self._kinds)

    def plugin(self, name: str) -> str:
        return ""


@dataclass
class Ran:
    """What a serial run came to."""

    values: dict[str, Any]
    acts: list[tuple[str, str]]
    results: dict[str, Any]
    returned: Any
    failed: str
    calls: int

    def by_resource(self) -> dict[str, list[str]]:
        """Return the acts in order, for each resource."""
        found: dict[str, list[str]] = {}
        for resource, act in self.acts:
            found.setdefault(resource, []).append(act)
        return found


def run_serially(program: Program, values: Mapping[str, Any]) -> Ran:
    """Run *program* one instruction after the other, and say what came of it."""
    house = House(copy.deepcopy(dict(values)))
    runner = _Runner(house)
    names: dict[str, Any] = {"params": dict(program.parameters)}
    failed, returned = "", None
    try:
        runner.block(program.instructions, names, "")
        returned = resolve(returns_template(program.returns), names) if program.returns else None
    except LightfastError as error:
        failed = error.reason
    return Ran(house.values, house.acts, runner.results, returned, failed, house.calls)


class _Runner:
    def __init__(self, house: House) -> None:
        self.house = house
        self.book = Book(house)
        self.results: dict[str, Any] = {}
        self.inside: LightfastError | None = None

    def block(self, block: Sequence[Instruction], names: Mapping[str, Any], prefix: str) -> Any:
        """Run a block; names of the outermost one are kept in *names*."""
        inner = dict(names) if prefix else names
        assert isinstance(inner, dict)
        last = None
        for each in block:
            try:
                last = self.one(each, inner, f"{prefix}{each.id}")
            except LightfastError as error:
                # What fails inside a block is not a failure of the instruction that holds it.
                if each.on_failure == "stop" or error is self.inside:
                    self.inside = error
                    raise
                last = None
            inner[each.id] = last
            self.results[f"{prefix}{each.id}"] = last
        return last

    def one(self, each: Instruction, names: Mapping[str, Any], step: str) -> Any:
        read = self.house.values.get
        if each.when and not compile_expression(each.when).holds(names, read):
            return None
        if each.op == "flow.branch":
            condition = each.arguments["condition"]
            holds = condition if isinstance(condition, bool) else compile_expression(condition).holds(names, read)
            taken = "then" if holds else "else"
            return self.block(each.blocks.get(taken, ()), names, f"{step}.{taken}.")
        if each.op == "flow.map":
            given = resolve(each.arguments, names)
            if not isinstance(given["items"], list):
                raise InvalidArgument("no list", reason="ITEMS")
            found = []
            for index, item in enumerate(given["items"]):
                turn = {**names, "item": item, "index": index, given.get("as", "item"): item}
                made = self.block(each.blocks.get("do", ()), turn, f"{step}[{index}].")
                found.append({} if made is None else made)
            return found
        if each.op == "value.compute":
            own = resolve(each.arguments.get("names", {}), names)
            return compile_expression(each.arguments["expression"]).evaluate({**names, **own}, read)
        operation = self.book.find(each.op)
        assert isinstance(operation, Fake), each.op
        outcome = operation.do(resolve(each.arguments, names))
        for change in outcome.changes:
            self.change(change)
        return outcome.value

    def change(self, change: ContextChange) -> None:
        values = self.house.values
        if change.kind == "delete":
            values.pop(change.path, None)
        elif change.kind == "merge":
            before = values.get(change.path)
            assert isinstance(change.value, dict)
            if before is not None and not isinstance(before, dict):
                raise InvalidArgument(f"{change.path} holds no map", reason="VALUE_INVALID")
            values[change.path] = {**(before or {}), **change.value}
        else:
            values[change.path] = change.value
