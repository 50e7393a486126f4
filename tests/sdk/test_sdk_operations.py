"""The contract of operations as a test: what breaks it is found, with what to do about it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pytest

from lightfast.sdk import Bench, ContextChange, Effect, Mistake, Operation, OperationCall, Outcome, World
from lightfast.sdk.testing import ContractBroken, FakeOperationBench, FakeWorld, check_operation


class Good(Operation):
    """Keeps the contract; the others break one thing of it each."""

    name = "test.good"
    summary = "Set a level."
    arguments: ClassVar[Mapping[str, Any]] = {
        "type": "object",
        "properties": {"level": {"type": "number"}},
        "required": ["level"],
        "additionalProperties": False,
    }
    possible_effects = frozenset((Effect.REVERSIBLE,))
    idempotent = True

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return ("/level",)

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        await asyncio.sleep(0)
        level = call.arguments["level"]
        return Outcome(level, (ContextChange("set", "/level", level),))


class BadSchema(Good):
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object", "properties": {"level": {"type": "nombre"}}}


class OtherArguments(Good):
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object", "properties": {"level": {"type": "string"}}}


class MoreEffects(Good):
    def effects(self, arguments: Mapping[str, Any], world: World) -> frozenset[Effect]:
        return frozenset((Effect.DESTRUCTIVE,))


class NoPattern(Good):
    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return ("level",)


class OneText(Good):
    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return "/level"


class Unsaid(Good):
    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return ()


class Doubts(Good):
    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        return [Mistake("WRONG", "this cannot be")]


class Costs(Good):
    def cost(self, arguments: Mapping[str, Any], world: World) -> float | None:
        return 1.0


class NoValue(Good):
    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        return Outcome(object())  # type: ignore[arg-type]


class NoOutcome(Good):
    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        return 3  # type: ignore[return-value]


class NoKind(Good):
    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        return Outcome(None, (ContextChange("put", "/level", 1.0),))


class Forgets(Good):
    keyed = True
    number = 0

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        self.number += 1
        return Outcome(self.number)


class Deaf(Good):
    idempotent = False
    times = 0

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        self.times += 1
        if self.times == 1:
            return Outcome()
        with contextlib.suppress(asyncio.CancelledError):  # what is cancelled a second time, at the end, ends
            await asyncio.Event().wait()
        await asyncio.Event().wait()
        return Outcome()


class TooFar(Good):
    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        bench.progress(7.0)
        return Outcome()


class Pure(Good):
    pure = True


class NotPure(Pure):
    acts = False


BROKEN: dict[type[Operation], str] = {
    BadSchema: "are no JSON Schema",
    OtherArguments: "example 0 does not fit the schema of test.good",
    MoreEffects: "may do destructive, which its possible_effects do not name",
    NoPattern: "reads 'level', which is no pattern",
    OneText: "reads '/level': return a sequence of patterns",
    Unsaid: "changes /level, which its writes do not name",
    Doubts: "finds its own example wrong: this cannot be",
    Costs: "say Effect.SPEND",
    NoValue: "the value of test.good is no value",
    NoOutcome: "performed to 3: return an Outcome",
    NoKind: "changes by 'put': use one of set, merge, delete, move",
    Forgets: "is keyed and gave another value for the same key",
    Deaf: "went on for 2 s after it was cancelled",
    TooFar: "progress of 7.0: tell 0 to 1, or -1",
    Pure: "say `acts = False`",
    NotPure: "then it has no effect but Effect.READ",
}


async def test_one_that_keeps_it_passes() -> None:
    (outcome,) = await check_operation(Good(), [{"level": 0.5}])
    assert outcome.value == 0.5


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
async def test_one_that_breaks_it_is_told_how(kind: type[Operation]) -> None:
    with pytest.raises(ContractBroken) as caught:
        await check_operation(kind(), [{"level": 0.5}])
    assert BROKEN[kind] in str(caught.value)


async def test_examples_are_needed() -> None:
    with pytest.raises(ContractBroken, match="at least one example"):
        await check_operation(Good(), [])


async def test_the_world_and_the_bench_stand_in() -> None:
    world = FakeWorld({"/a": 1}, applications={"/live": {"play": None}}, scene_names=["warm"])
    assert (world.value("/a"), world.has("/b"), world.declared("/a")) == (1, False, None)
    assert (world.mounts(), list(world.commands("/live")), world.commands("/x")) == (["/live"], ["play"], {})
    assert (world.models("text"), world.scenes(), world.workflows()) == ((), ["warm"], {})
    bench = FakeOperationBench({"/a": 1, "/b/c": 2})
    assert await bench.read(["/a", "/z"]) == {"/a": 1}
    assert await bench.read(pattern="/b//") == {"/b/c": 2}
    await bench.keep("note")
    bench.progress(-1, "on the way")
    assert (bench.notes, bench.progressed) == (["note"], [(-1, "on the way")])
