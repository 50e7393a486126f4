"""The contract of an operation, and a world and a bench to try one with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightfast.sdk.contract import PluginMistake
from lightfast.sdk.contract_work import check_operation as check_shape
from lightfast.sdk.operation import ContextChange, Effect, Mistake, Operation, OperationCall, Outcome, Undoing
from lightfast.sdk.testing.errors import ContractBroken, require
from lightfast_link.path import check_path, compile_pattern
from lightfast_link.value import Value, check_value

SOON = 2.0
"""So long may an operation go on after it was cancelled, in seconds."""
KINDS = ("set", "merge", "delete", "move")


@dataclass
class FakeWorld:
    """A `lightfast.sdk.World` with *values* by path, and what else it is given."""

    values: dict[str, Value] = field(default_factory=dict)
    declarations: dict[str, Any] = field(default_factory=dict)
    applications: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """The commands of each mount, by name."""
    known_models: dict[str, Sequence[Any]] = field(default_factory=dict)
    scene_names: Sequence[str] = ()
    known_workflows: dict[str, Any] = field(default_factory=dict)

    def value(self, path: str) -> Value | None:
        """Return the value at *path*."""
        return self.values.get(path)

    def has(self, path: str) -> bool:
        """Say whether there is one."""
        return path in self.values

    def declared(self, path: str) -> Any:
        """Return its declaration."""
        return self.declarations.get(path)

    def mounts(self) -> Sequence[str]:
        """Return the mounts."""
        return list(self.applications)

    def commands(self, mount: str) -> Mapping[str, Any]:
        """Return the commands of a mount."""
        return self.applications.get(mount, {})

    def models(self, output: str) -> Sequence[Any]:
        """Return the models that make *output*."""
        return self.known_models.get(output, ())

    def scenes(self) -> Sequence[str]:
        """Return the scenes."""
        return self.scene_names

    def workflows(self) -> Mapping[str, Any]:
        """Return the workflows."""
        return self.known_workflows


@dataclass
class FakeOperationBench:
    """A `lightfast.sdk.Bench` over *values*; what an operation keeps and tells can be looked at."""

    values: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    progressed: list[tuple[float, str]] = field(default_factory=list)

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        """Return values."""
        wanted = compile_pattern(pattern).matches if pattern else set(paths).__contains__
        return {path: value for path, value in self.values.items() if wanted(path)}

    async def keep(self, note: str) -> None:
        """Keep a note."""
        self.notes.append(note)

    def progress(self, fraction: float, message: str = "") -> None:
        """Take news."""
        require(fraction == -1 or 0 <= fraction <= 1, f"progress of {fraction!r}: tell 0 to 1, or -1 for not known")
        self.progressed.append((fraction, message))


async def check_operation(
    operation: Operation,
    examples: Sequence[Mapping[str, Any]],
    *,
    world: FakeWorld | None = None,
    values: Mapping[str, Value] | None = None,
) -> list[Outcome]:
    """Run an operation through its contract with each of the *examples*; returns what they brought.

    Its schema is one and takes the examples; its effects are among the possible ones; what it reads and writes are
    patterns, and cover what it changes; it performs, and again with the same key where it says that does no harm; it
    obeys its cancellation. *values* are what it finds in the context. Raises `ContractBroken`.
    """
    try:
        check_shape(operation)
    except PluginMistake as mistake:
        raise ContractBroken(str(mistake)) from None
    name = operation.name
    require(examples, f"give {name} at least one example of its arguments")
    validate = _validator(operation)
    if operation.pure:
        require(not operation.acts, f"{name} is pure: then it does not act, say `acts = False`")
        require(operation.possible_effects == {Effect.READ}, f"{name} is pure: then it has no effect but Effect.READ")
    world = world or FakeWorld(dict(values or {}))
    outcomes = []
    for number, arguments in enumerate(examples):
        problems = [str(error.message) for error in validate.iter_errors(arguments)]
        require(not problems, f"example {number} does not fit the schema of {name}: {'; '.join(problems)}")
        patterns = _check_said(operation, arguments, world)
        outcomes.append(await _check_done(operation, arguments, world, patterns, f"example-{number}"))
    await _check_cancel(operation, examples[0], world)
    return outcomes


def _validator(operation: Operation) -> Any:
    _compiled(operation.name, "result", operation.result)
    return _compiled(operation.name, "arguments", operation.arguments)


def _compiled(name: str, what: str, schema: Mapping[str, Any]) -> Any:
    import jsonschema_rs

    try:
        return jsonschema_rs.validator_for(dict(schema))
    except (ValueError, jsonschema_rs.ValidationError) as error:
        raise ContractBroken(f"the {what} of {name} are no JSON Schema: {error}") from None


def _check_said(operation: Operation, arguments: Mapping[str, Any], world: FakeWorld) -> list[Any]:
    name = operation.name
    effects = operation.effects(arguments, world)
    more = effects - operation.possible_effects
    require(effects, f"{name} says no effect: one that only reads says Effect.READ")
    require(not more, f"{name} may do {', '.join(sorted(more))}, which its possible_effects do not name")
    for what, patterns in (("reads", operation.reads(arguments)), ("writes", operation.writes(arguments))):
        require(not isinstance(patterns, str), f"{name} {what} {patterns!r}: return a sequence of patterns")
        for pattern in patterns:
            try:
                compile_pattern(pattern)
            except ValueError as error:
                raise ContractBroken(f"{name} {what} {pattern!r}, which is no pattern: {error}") from None
    mistakes = operation.check(arguments, world)
    require(all(isinstance(one, Mistake) for one in mistakes), f"{name} checks with something that is no Mistake")
    wrong = [one.message for one in mistakes if not one.warning]
    require(not wrong, f"{name} finds its own example wrong: {'; '.join(wrong)}")
    cost = operation.cost(arguments, world)
    require(cost is None or cost >= 0, f"{name} costs {cost!r}: give the most it costs in USD, or None")
    require(not cost or Effect.SPEND in effects, f"{name} costs {cost!r} USD: say Effect.SPEND")
    return [compile_pattern(pattern) for pattern in operation.writes(arguments)]


async def _check_done(
    operation: Operation, arguments: Mapping[str, Any], world: FakeWorld, writes: Sequence[Any], key: str
) -> Outcome:
    name = operation.name
    bench = FakeOperationBench(world.values)
    call = _call(arguments, key)
    async with asyncio.timeout(operation.timeout):
        outcome = await operation.perform(call, bench)
    require(isinstance(outcome, Outcome), f"{name} performed to {outcome!r:.60}: return an Outcome")
    _check_outcome(name, outcome, writes)
    if operation.repeatable(arguments, world):
        again = replace(call, note=bench.notes[-1] if bench.notes else "", attempt=2)
        async with asyncio.timeout(operation.timeout):
            repeated = await operation.perform(again, bench)
        _check_outcome(name, repeated, writes)
        if operation.keyed:
            require(repeated.value == outcome.value, f"{name} is keyed and gave another value for the same key")
    return outcome


def _check_outcome(name: str, outcome: Outcome, writes: Sequence[Any]) -> None:
    for what, value in (
        ("value", outcome.value),
        *((f"change of {each.path}", each.value) for each in outcome.changes),
    ):
        try:
            check_value(value) if value is not None else None
        except ValueError as error:
            raise ContractBroken(f"the {what} of {name} is no value: {error}") from None
    for change in outcome.changes:
        require(isinstance(change, ContextChange), f"{name} brings {change!r:.60}: use ContextChange")
        require(change.kind in KINDS, f"{name} changes by {change.kind!r}: use one of {', '.join(KINDS)}")
        for path in (change.path, change.source):
            try:
                check_path(path) if path else None
            except ValueError as error:
                raise ContractBroken(f"{name} changes {path!r}: {error}") from None
            covered = not path or any(pattern.matches(path) for pattern in writes)
            require(covered, f"{name} changes {path}, which its writes do not name")
    require(outcome.undo is None or isinstance(outcome.undo, Undoing), f"{name} has an undo that is no Undoing")
    require(outcome.cost_usd >= 0, f"{name} cost {outcome.cost_usd!r} USD")


async def _check_cancel(operation: Operation, arguments: Mapping[str, Any], world: FakeWorld) -> None:
    """Cancel it before it begins to wait, and a moment after."""
    for moments in (0, 3):
        task = asyncio.ensure_future(
            operation.perform(_call(arguments, f"cancelled-{moments}"), FakeOperationBench(world.values))
        )
        for _ in range(moments):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=SOON)
        require(done, f"{operation.name} went on for {SOON:g} s after it was cancelled: let CancelledError through")
        if not task.cancelled() and (error := task.exception()) is not None:
            raise ContractBroken(f"{operation.name} raised {error!r} when it was cancelled") from error


def _call(arguments: Mapping[str, Any], key: str) -> OperationCall:
    return OperationCall("run-1", key, f"run-1/{key}", arguments, origin="run:run-1", group="run-1")
