"""The pipeline: 1,000 mixed instructions against the same one after the other, and what it adds to a commit."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

from tests.bench.measure import Row, compare, interleave
from tests.bench.world import World as BenchWorld
from tests.support.store import House, open_store

from lightfast.context.entry import Delete, Set
from lightfast.core.clock import SYSTEM
from lightfast.engine.events.log import EventLog
from lightfast.engine.pipeline.pools import Pools
from lightfast.engine.pipeline.runner import run as run_program
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.references import resolve
from lightfast.engine.runs.journal import Journal, Room
from lightfast.engine.runs.records import Step
from lightfast.engine.runs.rows import RunRows
from lightfast.sdk import Bench, ContextChange, Operation, OperationCall, Outcome, World
from lightfast_link.value import Value

COUNT = 1_000
APPS = 8
NO_WORLD = cast("World", None)


class SetValue(Operation):
    """Sets."""

    name, summary = "context.set", "Set."
    arguments: ClassVar[Mapping[str, Any]] = {}
    acts, quick = False, True

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return [str(arguments["path"])]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        path = str(call.arguments["path"])
        return Outcome(changes=(ContextChange("set", path, call.arguments["value"]),))


class GetValue(Operation):
    """Reads."""

    name, summary = "context.get", "Get."
    arguments: ClassVar[Mapping[str, Any]] = {}
    acts, quick = False, True

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return [str(arguments["path"])]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        path = str(call.arguments["path"])
        return Outcome(value=(await bench.read([path])).get(path))


class Command(Operation):
    """Takes as long as an application does."""

    name, summary = "app.command", "Command."
    arguments: ClassVar[Mapping[str, Any]] = {}
    pool = "application"

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return [f"{arguments['app']}//"]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        await asyncio.sleep(float(call.arguments["seconds"]))
        return Outcome(value=call.step_id)


class Generate(Command):
    """Takes as long as a service does; it writes nothing that others read."""

    name = "generate.text"
    pool = "provider"
    keyed = True

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return ()


class Book:
    """The operations of the case."""

    def __init__(self) -> None:
        self._operations = {each.name: each for each in (SetValue(), GetValue(), Command(), Generate())}

    def find(self, name: str) -> Operation | None:
        return self._operations.get(name)

    def names(self) -> Sequence[str]:
        return sorted(self._operations)

    def plugin(self, name: str) -> str:
        return ""


class Plain:
    """A journal that keeps no rows: what is left is the pipeline, and the commits."""

    def __init__(self, house: House) -> None:
        self.house = house

    async def started(self, step: Step) -> None:
        raise AssertionError(step)

    async def kept(self, step_id: str, note: str) -> None:
        raise AssertionError(step_id)

    async def committed(self, step: Step, changes: Sequence[ContextChange]) -> int:
        mutations = [Set(change.path, cast("Value", change.value)) for change in changes]
        return (await self.house.store.apply(mutations, origin="run:r", group="r")).revision

    async def ended(self, step: Step) -> None:
        raise AssertionError(step)

    def progressed(self, step_id: str, fraction: float, message: str) -> None:
        raise AssertionError(step_id)

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        raise AssertionError(paths)


class Bureau:
    """Makes journals as the daemon has them, with rows and events."""

    def __init__(self, house: House, events: EventLog) -> None:
        self.house = house
        self._room = Room(house.db, house.store, RunRows(house.db, events, SYSTEM), SYSTEM)
        self._made = 0

    async def journal(self, program: Program) -> Journal:
        """Return the journal of the next run, of *program*, on an empty context."""
        self._made += 1
        run_id = f"run-{self._made}"
        opened = asyncio.Event()
        opened.set()
        await self.house.store.apply([Delete("/bench", recursive=True)], origin="client:bench")
        return Journal(self._room, run_id, f"run:{run_id}", opened, program)


def mixed(seed: int) -> Program:
    """Return 1,000 instructions: half on the context, the rest at eight applications and at services, some ms each."""
    chance = random.Random(seed)
    made: list[Instruction] = []
    for number in range(COUNT):
        identity, before = f"s{number}", f"s{max(0, number - chance.randint(1, 40))}"
        kind = chance.choice(("set", "set", "get", "get", "app", "app", "provider"))
        seconds = chance.uniform(0.002, 0.008)
        path = f"/bench/{chance.randrange(200)}"
        app = f"/app{chance.randrange(APPS)}"
        linked = {"told": f"${{{before}}}"} if number and chance.random() < 0.2 else {}
        arguments: dict[str, Any]
        match kind:
            case "set":
                op, arguments = "context.set", {"path": path, "value": number}
            case "get":
                op, arguments = "context.get", {"path": path}
            case "app":
                op, arguments = "app.command", {"app": app, "seconds": seconds, **linked}
            case _:
                op, arguments = "generate.text", {"seconds": seconds, **linked}
        made.append(Instruction(identity, op, arguments))
    return Program(tuple(made))


def sets() -> Program:
    """Return 1,000 independent sets."""
    return Program(tuple(Instruction(f"s{n}", "context.set", {"path": f"/set/{n}", "value": n}) for n in range(COUNT)))


async def piped(program: Program, journal: Journal | Plain, pools: Pools) -> float:
    """Run a program in the pipeline; return the seconds."""
    began = time.perf_counter()
    run_id = journal.run_id if isinstance(journal, Journal) else "r"
    end = await run_program(program, Book(), journal, pools, run_id=run_id, origin="run:r", world=NO_WORLD)
    assert end.state == "SUCCEEDED", end
    return time.perf_counter() - began


async def serial(program: Program, journal: Journal) -> float:
    """Run a program one instruction after the other, with the same records; return the seconds."""
    book, results = Book(), dict[str, Any]()
    bench = cast("Bench", journal)
    began = time.perf_counter()
    for each in program.instructions:
        operation = book.find(each.op)
        assert operation is not None
        run_id = journal.run_id
        call = OperationCall(run_id, each.id, f"{run_id}/{each.id}", resolve(each.arguments, results))
        if operation.acts:
            await journal.started(Step(each.id, each.op, arguments=json.dumps(call.arguments)))
        outcome = await operation.perform(call, bench)
        await journal.committed(Step(each.id, each.op, result=outcome.value), outcome.changes)
        results[each.id] = outcome.value
    return time.perf_counter() - began


async def same(program: Program, bureau: Bureau, pools: Pools) -> None:
    """Check that both bring the same."""
    one, two = await bureau.journal(program), await bureau.journal(program)
    await piped(program, one, pools)
    first = bureau.house.values()
    await bureau.house.store.apply([Delete("/bench", recursive=True)], origin="client:bench")
    await serial(program, two)
    assert first == bureau.house.values()
    results = {name: step.result for name, step in one.steps.items()}
    assert results == {name: step.result for name, step in two.steps.items()}
    assert len(results) == COUNT


async def run(world: BenchWorld, pairs: int) -> list[Row]:
    """Measure both on a store of their own, on the disk."""
    rows = []
    pools = Pools()
    with tempfile.TemporaryDirectory(dir=world.home.parent) as folder:
        async with open_store(Path(folder)) as house:
            events = await EventLog.open(house.db, SYSTEM)
            bureau, program = Bureau(house, events), mixed(6)

            async def ours() -> float:
                return await piped(program, await bureau.journal(program), pools)

            async def theirs() -> float:
                return await serial(program, await bureau.journal(program))

            await same(program, bureau, pools)
            found = await interleave(min(pairs, 3), theirs, ours)
            what = "a run of 1,000 mixed instructions, one after the other against the pipeline"
            waits = sum(float(each.arguments.get("seconds", 0.0)) for each in program.instructions)
            note = (
                f"{waits:.1f} s of waiting in it, {APPS} applications, 16 places at services; rows and events written"
            )
            rows.append(compare(what, found, "s", least=3.0, note=note))

            plain = sets()

            async def pipeline() -> float:
                return await piped(plain, Plain(house), pools) / COUNT * 1e6

            async def applied() -> float:
                began = time.perf_counter()
                for number in range(COUNT):
                    await house.store.apply([Set(f"/set/{number}", number)], origin="run:r", group="r")
                return (time.perf_counter() - began) / COUNT * 1e6

            async def batched() -> float:
                began = time.perf_counter()
                each = (
                    house.store.apply([Set(f"/set/{number}", number)], origin="run:r", group="r")
                    for number in range(COUNT)
                )
                await asyncio.gather(*each)
                return (time.perf_counter() - began) / COUNT * 1e6

            what = "an instruction that sets a value, in a run against store.apply one by one"
            rows.append(compare(what, await interleave(pairs, pipeline, applied), "µs", most=1.3))
            what = "an instruction that sets a value, in a run against store.apply all at once"
            row = compare(what, await interleave(pairs, pipeline, batched), "µs")
            rows.append(dataclasses.replace(row, note=f"what one fsync for many would bring; {row.note}"))
            await events.close()
    await pools.close()
    return rows
