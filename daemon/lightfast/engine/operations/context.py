"""Operations on the context. Their changes are committed when they are written back, as one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from lightfast.core.errors import InvalidArgument
from lightfast.engine.operations.built import PATH, TEXT, Built, is_open, said, schema
from lightfast.engine.operations.paths import (
    check_given,
    check_pattern,
    check_readable,
    check_writable,
    each,
    fit,
    real,
    single,
    subtree,
)
from lightfast.sdk import EVERYTHING, Bench, ContextChange, Effect, Mistake, OperationCall, Outcome, World

_VALUE: Mapping[str, Any] = {
    "description": "The value: true or false, a number, text, a list, a map, or an asset as asset:SHA256."
}
MOST_CHANGES = 500
"""The most changes of one `context.apply`."""
_CHANGES = frozenset((Effect.REVERSIBLE,))


class Get(Built):
    """Reads."""

    name = "context.get"
    summary = "Read values of the context: one path, several, or all that a pattern matches."
    arguments: ClassVar[Mapping[str, Any]] = {
        **schema(
            path=said(PATH, "One path, such as /blender/objects/Cube/location. The result is its value, or null."),
            paths={
                "type": ["array", "string"],
                "items": PATH,
                "maxItems": 1000,
                "description": "Several paths. The result maps each that has a value to it.",
            },
            pattern=said(TEXT, "A pattern (* one segment, // any depth). The result maps paths to values."),
        ),
        "minProperties": 1,
        "maxProperties": 1,
    }
    result: ClassVar[Mapping[str, Any]] = {"description": "The value, or a map of paths to values."}
    idempotent = True
    acts = False
    quick = True

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what it reads."""
        given = [*each(arguments.get("paths"))]
        given += [arguments[name] for name in ("path", "pattern") if name in arguments]
        return EVERYTHING if is_open(arguments) else [str(path) for path in given]

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check the paths."""
        if "pattern" in arguments:
            return check_pattern(arguments["pattern"], "arguments.pattern")
        if "path" in arguments:
            return check_readable(arguments["path"], world, "arguments.path")
        paths = enumerate(each(arguments.get("paths")))
        return [found for index, path in paths for found in check_readable(path, world, f"arguments.paths[{index}]")]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Read."""
        given = call.arguments
        if "path" in given:
            return Outcome((await bench.read([given["path"]])).get(given["path"]))
        if "pattern" in given:
            return Outcome(dict(await bench.read(pattern=given["pattern"])))
        return Outcome(dict(await bench.read(list(given["paths"]))))


class _Changing(Built):
    """Says changes, which are committed when it is written back; those of one path where it does not say otherwise."""

    possible_effects = _CHANGES
    acts = False
    quick = True
    idempotent = True

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return the path."""
        return single(arguments.get("path"))


class Set(_Changing):
    """Sets."""

    name = "context.set"
    summary = "Set one value of the context; under the mount of an application it is a wish that the application takes."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("path", "value"), path=said(PATH, "The path to set."), value=_VALUE
    )

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check path, type, range and access."""
        path = arguments.get("path")
        found = check_writable(path, world, "arguments.path")
        return found or check_given(path, arguments.get("value"), world, "arguments.value")

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Say the change."""
        path = call.arguments["path"]
        value = fit(await real(self.rooms, call.arguments["value"]), self.rooms.store.declaration(path))
        return Outcome(value, (ContextChange("set", path, value),))


class Delete(_Changing):
    """Deletes."""

    name = "context.delete"
    summary = "Delete one entry of the context."
    arguments: ClassVar[Mapping[str, Any]] = schema(("path",), path=said(PATH, "The path to delete."))

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that it may be deleted; that nothing is there is a warning."""
        found = check_writable(arguments.get("path"), world, "arguments.path")
        return found or check_readable(arguments.get("path"), world, "arguments.path")

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Say the change."""
        return Outcome(None, (ContextChange("delete", call.arguments["path"]),))


class Merge(_Changing):
    """Merges."""

    name = "context.merge"
    summary = "Merge names into a map of the context; names that are not given stay as they are."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("path", "value"),
        path=said(PATH, "The path of the map."),
        value={"type": ["object", "string"], "description": "The names to set in it."},
    )

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return the path: what it becomes depends on what it was."""
        return single(arguments.get("path"))

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check path and value, and that a map is there where something is."""
        path, value = arguments.get("path"), arguments.get("value")
        found = check_writable(path, world, "arguments.path")
        if found or is_open(path) or not isinstance(path, str):
            return found
        if not is_open(value) and not isinstance(value, Mapping):
            return [Mistake("VALUE_INVALID", "what is merged must be a map", "arguments.value")]
        held = world.value(path)
        if held is not None and not isinstance(held, Mapping):
            return [Mistake("VALUE_INVALID", f"{path} holds no map: use context.set", "arguments.path")]
        return []

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Say the change."""
        value = fit(await real(self.rooms, call.arguments["value"]), None)
        return Outcome(value, (ContextChange("merge", call.arguments["path"], value),))


class Move(_Changing):
    """Moves. It may be said again: a change that was committed has ended its step."""

    name = "context.move"
    summary = "Move an entry and all below it to a path where nothing is; under a mount it renames."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("source", "path"), source=said(PATH, "Where it is."), path=said(PATH, "Where it goes.")
    )

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return the source and all below it."""
        return subtree(arguments.get("source"))

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return both, and all below them."""
        return [*subtree(arguments.get("source")), *subtree(arguments.get("path"))]

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check both paths, and that the target is free."""
        source, path = arguments.get("source"), arguments.get("path")
        found = [*check_readable(source, world, "arguments.source"), *check_readable(path, world, "arguments.path")]
        found = [each for each in found if each.field == "arguments.source" or not each.warning]
        if not is_open(path) and isinstance(path, str) and world.has(path):
            found.append(Mistake("TARGET_TAKEN", f"there is something at {path} already", "arguments.path"))
        return found

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Say the change."""
        path = call.arguments["path"]
        return Outcome(path, (ContextChange("move", path, source=call.arguments["source"]),))


_KINDS: Mapping[str, type[Built]] = {"set": Set, "merge": Merge, "delete": Delete}


class Apply(_Changing):
    """Makes several changes at once."""

    name = "context.apply"
    summary = "Make several changes of the context as one transaction: set, merge and delete."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("changes",),
        changes={
            "type": "array",
            "minItems": 1,
            "maxItems": MOST_CHANGES,
            "description": "The changes, in their order.",
            "items": schema(
                ("kind", "path"),
                kind={"enum": list(_KINDS), "description": "What is done."},
                path=said(PATH, "Where."),
                value=_VALUE,
            ),
        },
    )
    result: ClassVar[Mapping[str, Any]] = {"type": "array", "description": "What each has set; {} of a delete."}

    def _parts(self, arguments: Mapping[str, Any]) -> list[tuple[Built, Mapping[str, Any]]]:
        """Return the operation that each change is, with its arguments."""
        parts: list[tuple[Built, Mapping[str, Any]]] = []
        for change in each(arguments.get("changes")):
            kind = _KINDS.get(change["kind"])
            if kind is None:
                raise InvalidArgument(f"there is no change {change['kind']!r}: use {', '.join(_KINDS)}")
            parts.append((kind(self.rooms), {name: item for name, item in change.items() if name != "kind"}))
        return parts

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return what is merged into."""
        return [path for part, given in self._parts(arguments) for path in part.reads(given)]

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return all paths."""
        return [path for part, given in self._parts(arguments) for path in part.writes(given)]

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check each."""
        found = []
        for number, (part, given) in enumerate(self._parts(arguments)):
            if "value" not in given and not isinstance(part, Delete):
                field = f"arguments.changes[{number}].value"
                found.append(Mistake("VALUE_INVALID", f"{part.name} needs a value", field))
                continue
            for one in part.check(given, world):
                field = one.field.replace("arguments.", f"arguments.changes[{number}].", 1)
                found.append(replace(one, field=field))
        return found

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Say the changes."""
        values: list[Any] = []
        changes: list[ContextChange] = []
        for part, given in self._parts(call.arguments):
            done = await part.perform(replace(call, arguments=given), bench)
            values.append({} if done.value is None else done.value)
            changes += done.changes
        return Outcome(values, tuple(changes))


CONTEXT = (Get, Set, Delete, Merge, Move, Apply)
