"""A small world for the pipeline: operations on a context and on outside things, a journal, and plain serial execution."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from lightfast.core.errors import InvalidArgument, LightfastError, NotFound, Unavailable
from lightfast.engine.pipeline.faults import fault_of
from lightfast.engine.programs.expression import compile_expression
from lightfast.engine.programs.program import Instruction, Program
from lightfast.engine.programs.references import references, resolve
from lightfast.engine.runs.records import Step, StepState
from lightfast.sdk import Bench, ContextChange, Operation, OperationCall, Outcome, World
from lightfast_link.path import compile_pattern, is_under
from lightfast_link.value import Value, check_value

NO_WORLD = cast("World", None)


class Outside:
    """What is outside of the context: things that remember what was done to them, in order."""

    def __init__(self) -> None:
        self.done: dict[str, list[str]] = defaultdict(list)
        self.keys: set[str] = set()
        self.attempts: dict[str, int] = defaultdict(int)
        self.under_way = 0
        self.most = 0

    def do(self, thing: str, key: str, what: str) -> None:
        """Do something to a thing."""
        self.keys.add(key)
        self.done[thing].append(what)


def changed(values: Mapping[str, Value], changes: Sequence[ContextChange]) -> dict[str, Value]:
    """Return the context after *changes*; raise what a store would refuse."""
    found = dict(values)
    for change in changes:
        if change.kind in ("set", "merge"):
            try:
                check_value(change.value)
            except ValueError as error:
                raise InvalidArgument(str(error), reason="NO_VALUE") from None
        if change.kind == "set":
            if change.value == "refused":
                raise InvalidArgument("the store takes no such value", reason="REFUSED")
            found[change.path] = cast("Value", change.value)
        elif change.kind == "merge":
            old = found.get(change.path, {})
            if not isinstance(old, dict):
                raise InvalidArgument("no map", reason="NOT_A_MAP")
            found[change.path] = {**old, **cast("dict[str, Value]", change.value)}
        elif change.kind == "delete":
            found = {path: value for path, value in found.items() if not is_under(path, change.path)}
        else:
            moved = [path for path in found if is_under(path, change.source)]
            if not moved or any(is_under(path, change.path) for path in found):
                raise NotFound("nothing there, or the place is taken", reason="MOVE_REFUSED")
            for path in moved:
                found[change.path + path[len(change.source) :]] = found.pop(path)
    return found


async def idle(turns: int) -> None:
    """Let others go first, so many times."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Change(Operation):
    """`set`, `merge`, `delete` or `move`: changes of the context."""

    summary = "Change the context."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}
    acts, quick = False, True

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"context.{kind}"  # type: ignore[misc]

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        deep = "" if self.kind in ("set", "merge") else "//"
        found = [str(arguments["path"]) + deep]
        return [*found, str(arguments["source"]) + deep] if self.kind == "move" else found

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        path, source = str(call.arguments["path"]), str(call.arguments.get("source", ""))
        value = call.arguments.get("value")
        return Outcome(value=path, changes=(ContextChange(self.kind, path, value, source),))


class Get(Operation):
    """Reads paths or a pattern, slowly or quickly."""

    summary = "Read the context."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}
    acts = False

    def __init__(self, name: str, *, quick: bool) -> None:
        self.name = name  # type: ignore[misc]
        self.quick = quick  # type: ignore[misc]

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return [str(arguments["pattern"])]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        await idle(0 if self.quick else int(call.arguments.get("delay", 0)))
        found = await bench.read((), str(call.arguments["pattern"]))
        return Outcome(value={path[1:].replace("/", "_"): value for path, value in found.items()})


class Act(Operation):
    """Does something to a thing outside, and may change the context with it, or fail."""

    summary = "Act."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}
    pool = "application"

    def __init__(self, outside: Outside, name: str, *, keyed: bool = False, blind: bool = False) -> None:
        self.name, self.keyed = name, keyed  # type: ignore[misc]
        self.blind = blind
        self.outside = outside

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        found = [f"/thing/{arguments['thing']}//"]
        return [*found, str(arguments["path"])] if "path" in arguments else found

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        outside = self.outside
        outside.under_way += 1
        outside.most = max(outside.most, outside.under_way)
        try:
            await idle(int(call.arguments.get("delay", 0)))
            outside.attempts[call.key] += 1
            if outside.attempts[call.key] <= call.arguments.get("passing", 0):
                raise Unavailable("away for now")
            if call.arguments.get("fails"):
                raise InvalidArgument("it does not want to", reason="UNWILLING")
            thing = str(call.arguments["thing"])
            if not (self.keyed and call.key in outside.keys):
                outside.do(thing, call.key, f"{call.step_id}:{call.arguments.get('what')}")
            await idle(int(call.arguments.get("after", 0)))
            return self.outcome(call)
        finally:
            outside.under_way -= 1

    def outcome(self, call: OperationCall) -> Outcome:
        """Return what it brings."""
        path = call.arguments.get("path")
        changes = (ContextChange("set", str(path), str(call.arguments.get("what"))),) if path else ()
        return Outcome(value={"did": str(call.arguments.get("what"))}, changes=changes, cost_usd=0.01)

    async def recover(self, call: OperationCall, bench: Bench) -> Outcome | None:
        if self.blind:
            return None
        return self.outcome(call) if call.key in self.outside.keys else await self.perform(call, bench)


class Peek(Operation):
    """Says how often something was done to a thing."""

    name = "peek"
    summary = "Peek."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}
    pool = "provider"
    acts = False

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        return [f"/thing/{arguments['thing']}/state"]

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        await idle(int(call.arguments.get("delay", 0)))
        return Outcome(value=len(self.outside.done[str(call.arguments["thing"])]))


class Rude(Operation):
    """A plugin's that raises whatever it likes."""

    name = "rude"
    summary = "Be rude."
    arguments: ClassVar[Mapping[str, Any]] = {"type": "object"}

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        match call.arguments.get("how"):
            case "exit":
                raise SystemExit(3)
            case "cancel":
                raise asyncio.CancelledError
            case "nothing":
                return cast("Outcome", None)
            case "object":
                return Outcome(value=cast("Value", object()))
            case _:
                raise RuntimeError("rude")


class Book:
    """The operations of the small world."""

    def __init__(self, *more: Operation, outside: Outside | None = None) -> None:
        self.outside = outside or Outside()
        operations: list[Operation] = [
            *(Change(kind) for kind in ("set", "merge", "delete", "move")),
            *(Get("context.get", quick=True), Get("slow.get", quick=False)),
            *(Act(self.outside, "act"), Act(self.outside, "act.keyed", keyed=True)),
            *(Act(self.outside, "act.blind", blind=True), Peek(self.outside), Rude()),
            *more,
        ]
        self._operations = {each.name: each for each in operations}

    def find(self, name: str) -> Operation | None:
        """Return one."""
        return self._operations.get(name)

    def names(self) -> Sequence[str]:
        """Return the names."""
        return sorted(self._operations)

    def plugin(self, name: str) -> str:
        """Return the plugin."""
        return "odd" if name == "rude" else ""


class Memory:
    """A journal in memory. At the record numbered *cut* the daemon dies, before or after it is on the disk."""

    def __init__(self, cut: int = 0, *, before: bool = False, delay: int = 0) -> None:
        self.rows: dict[str, Step] = {}
        self.values: dict[str, Value] = {}
        self.order: list[str] = []
        self.history: list[tuple[str, Step]] = []
        self.records = 0
        self.dead = asyncio.Event()
        self.delay = delay
        self.committing = 0
        self.changing = False
        self.reads = 0
        self._cut, self._before = cut, before

    async def started(self, step: Step) -> None:
        """Keep a row."""
        await self._record("started", step)

    async def kept(self, step_id: str, note: str) -> None:
        """Keep a note."""
        await self._record("kept", _replaced(self.rows[step_id], note=note))

    async def committed(self, step: Step, changes: Sequence[ContextChange]) -> int:
        """Change the context and keep the row."""
        assert not self.committing or not (changes or self.changing), "one that changes something is alone"
        self.committing += 1
        self.changing = bool(changes)
        try:
            await self._record("committed", step, changes)
        finally:
            self.committing -= 1
        return len(self.order)

    async def ended(self, step: Step) -> None:
        """Keep a row."""
        await self._record("ended", step)

    def progressed(self, step_id: str, fraction: float, message: str) -> None:
        """Forget it."""

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        """Return what is committed."""
        self.reads += 1
        match = compile_pattern(pattern).matches if pattern else (lambda _: False)
        return {path: value for path, value in sorted(self.values.items()) if path in paths or match(path)}

    async def _record(self, kind: str, step: Step, changes: Sequence[ContextChange] = ()) -> None:
        await idle(self.delay)
        values = changed(self.values, changes)
        if self.dead.is_set():
            await asyncio.Event().wait()
        self.records += 1
        dies = self.records == self._cut
        if not (dies and self._before):
            self.values = values
            self.rows[step.step_id] = step
            self.history.append((kind, step))
            if kind in ("committed", "ended"):
                self.order.append(step.step_id)
        if dies:
            self.dead.set()
            await asyncio.Event().wait()

    def again(self, cut: int = 0, *, before: bool = False) -> Memory:
        """Return the journal as the next daemon finds it."""
        found = Memory(cut, before=before, delay=self.delay)
        found.rows, found.values, found.order = dict(self.rows), dict(self.values), list(self.order)
        return found


def _replaced(step: Step, **changes: Any) -> Step:
    return Step(**{**{name: getattr(step, name) for name in Step.__slots__}, **changes})


class Serial:
    """Plain serial execution: one instruction after the other, as the words of the program say."""

    def __init__(self, book: Book, run_id: str = "r") -> None:
        self.book = book
        self.run_id = run_id
        self.values: dict[str, Value] = {}
        self.rows: dict[str, tuple[StepState, Any, str]] = {}
        self.order: list[str] = []
        self.failed = ""

    async def read(self, paths: Sequence[str] = (), pattern: str = "") -> Mapping[str, Value]:
        """Return values."""
        match = compile_pattern(pattern).matches if pattern else (lambda _: False)
        return {path: value for path, value in sorted(self.values.items()) if path in paths or match(path)}

    async def keep(self, note: str) -> None:
        """Keep nothing."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Tell nobody."""

    async def run(self, program: Program) -> Any:
        """Run it; return what it gives back."""
        names: dict[str, Any] = {"params": dict(program.parameters)}
        if await self._block(program.instructions, names, "") and program.returns:
            return resolve(program.returns, names)
        return None

    async def _block(self, block: Sequence[Instruction], names: dict[str, Any], prefix: str) -> bool:
        for each in block:
            step_id = prefix + each.id
            names[each.id] = None
            try:
                if each.when and not compile_expression(each.when).holds(names, self.values.get):
                    self._row(step_id, StepState.SKIPPED, None, "")
                    continue
                if each.blocks:
                    value = await self._control(each, names, step_id)
                    if self.failed:
                        return False
                else:
                    value = await self._one(each, names, step_id)
            except LightfastError as error:
                fault = fault_of(error)
                self._row(step_id, StepState.FAILED, None, fault.reason)
                if each.on_failure != "continue":
                    self.failed = step_id
                    return False
            else:
                names[each.id] = value
                self._row(step_id, StepState.DONE, value, "")
        return True

    async def _one(self, each: Instruction, names: dict[str, Any], step_id: str) -> Any:
        if each.op == "value.compute":
            return compile_expression(each.arguments["expression"]).evaluate(names, self.values.get)
        operation = self.book.find(each.op)
        assert operation is not None, each.op
        arguments = resolve(each.arguments, {name: names[name] for name in references(each.arguments)})
        attempt = 1
        while True:
            call = OperationCall(self.run_id, step_id, f"{self.run_id}/{step_id}", arguments, attempt=attempt)
            try:
                outcome = await operation.perform(call, self)
            except LightfastError as error:
                again = operation.keyed or not operation.acts
                if attempt > each.retries or not fault_of(error).retryable or not again:
                    raise
                attempt += 1
            else:
                self.values = changed(self.values, outcome.changes)
                return outcome.value

    async def _control(self, each: Instruction, names: dict[str, Any], step_id: str) -> Any:
        if each.op == "flow.branch":
            taken = compile_expression(each.arguments["condition"]).holds(names, self.values.get)
            name = "then" if taken else "else"
            return await self._turn(each.blocks.get(name, ()), {**names}, f"{step_id}.{name}.")
        found = []
        for index, item in enumerate(resolve(each.arguments["items"], names) or ()):
            inner = {**names, "item": item, str(each.arguments.get("as", "item")): item, "index": index}
            value = await self._turn(each.blocks["do"], inner, f"{step_id}[{index}].")
            if self.failed:
                return None
            found.append({} if value is None else value)
        return found

    async def _turn(self, block: Sequence[Instruction], names: dict[str, Any], prefix: str) -> Any:
        return names[block[-1].id] if await self._block(block, names, prefix) and block else None

    def _row(self, step_id: str, state: StepState, value: Any, reason: str) -> None:
        self.rows[step_id] = (state, value, reason)
        self.order.append(step_id)
