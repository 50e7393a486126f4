"""Operations that wait. Every wait has a deadline, and none looks more often than something happens."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from lightfast.context.entry import EventType
from lightfast.context.watch import WatchSpec, bus_of
from lightfast.core.errors import DeadlineExceeded, LightfastError
from lightfast.engine.operations.built import SECONDS, TEXT, Built, missing, needed, said, schema
from lightfast.engine.operations.built import within as bounded
from lightfast.engine.operations.paths import check_pattern
from lightfast.sdk import EVERYTHING, Bench, Mistake, OperationCall, Outcome, World

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.engine.transport.transport import Transport
    from lightfast_link.value import Value

BEATS_PER_BAR = 4
"""The timeline counts four beats to a bar."""
_NAMES = frozenset(("item", "path"))
_TIMELINE = "/transport//"


class _Wait(Built):
    """One that waits. What comes after it in the program comes after it in time, so it keeps clear of everything."""

    idempotent = True
    acts = False

    def reads(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return everything: what comes before is over by then."""
        return EVERYTHING

    def writes(self, arguments: Mapping[str, Any]) -> Sequence[str]:
        """Return everything: what comes after waits for it."""
        return EVERYTHING


class WaitPattern(_Wait):
    """Waits for a value."""

    name = "wait.pattern"
    summary = "Wait until something that a pattern matches changes, or is such that a condition holds."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("pattern",),
        pattern=said(TEXT, "The pattern, such as /ableton/tracks/*/volume."),
        condition=said(TEXT, "An expression over `item` (the value) and `path`; it may hold already.", maxLength=4000),
        timeout=said(SECONDS, "How long to wait at most, in seconds."),
    )
    result: ClassVar[Mapping[str, Any]] = {"type": "object", "description": "path, value (null: it was deleted)."}
    timeout = 3600.0

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check pattern and condition."""
        found = check_pattern(arguments.get("pattern"), "arguments.pattern")
        condition = arguments.get("condition", "")
        if condition:
            try:
                _condition(condition, self.rooms.store)
            except LightfastError as error:
                found.append(Mistake(error.reason, error.message, "arguments.condition"))
        return found

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Wait."""
        pattern, store = call.arguments["pattern"], self.rooms.store
        text = call.arguments.get("condition", "")
        holds = _condition(text, store) if text else None
        patience = min(call.deadline_s, float(call.arguments.get("timeout", math.inf)))
        # Subscribed first and then looked, with nothing awaited between them: nothing is missed.
        subscription = bus_of(store).subscribe(WatchSpec((pattern,)), store.revision)
        try:
            async with asyncio.timeout(patience):
                if holds is not None:
                    for entry in await store.entries(pattern):
                        if entry.value is not None and holds(entry.path, entry.value):
                            return Outcome({"path": entry.path, "value": entry.value})
                while True:
                    for event in (await subscription.next()).events:
                        value = None if event.type is EventType.DELETE else event.entry.value
                        if holds is None or (value is not None and holds(event.entry.path, value)):
                            return Outcome(_told(event.entry.path, value))
        except TimeoutError:
            told = f"nothing at {pattern}" + (f" was such that {text}" if text else " changed")
            raise DeadlineExceeded(f"{told} within {patience:g} s", reason="WAIT_OVER") from None
        finally:
            subscription.close()


def _told(path: str, value: Value | None) -> dict[str, Any]:
    return {"path": path} if value is None else {"path": path, "value": value}


def _condition(text: str, store: Store) -> Callable[[str, Value], bool]:
    """Return what says whether the condition holds of a path and its value; raises for a malformed one."""
    from lightfast.core.errors import InvalidArgument
    from lightfast.engine.programs.expression import compile_expression

    expression = compile_expression(text)
    unknown = sorted(expression.names - _NAMES)
    if unknown:
        raise InvalidArgument(
            f"the condition uses {', '.join(unknown)}: it knows `item`, the value, and `path`",
            reason="EXPRESSION_INVALID",
        )

    def read(path: str) -> Value | None:
        entry = store.get(path)
        return None if entry is None else entry.value

    def holds(path: str, value: Value) -> bool:
        return bool(expression.evaluate({"item": value, "path": path}, read))

    return holds


class WaitBeat(_Wait):
    """Waits for the timeline."""

    name = "wait.beat"
    summary = "Wait so many beats of the timeline, or until the next bar begins (every so many bars)."
    arguments: ClassVar[Mapping[str, Any]] = {
        **schema(
            beats={"type": ["number", "string"], "minimum": 0, "description": "How many beats from now."},
            bar={"type": ["integer", "string"], "minimum": 1, "description": "1: the next bar, 4: the next of four."},
        ),
        "minProperties": 1,
        "maxProperties": 1,
    }
    result: ClassVar[Mapping[str, Any]] = {"type": "object", "description": "beats: where the timeline is."}
    timeout = 600.0

    def check(self, arguments: Mapping[str, Any], world: World) -> Sequence[Mistake]:
        """Check that there is a timeline, and tell where it stands."""
        found = missing(self.rooms.transport, "a timeline")
        if not found and self.rooms.transport is not None and not self.rooms.transport.record().playing:
            told = "the timeline stands still now: this waits until it plays"
            found = [Mistake("TIMELINE_STOPPED", told, warning=True)]
        return found

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Wait; a timeline that is moved is followed."""
        transport = needed(self.rooms.transport, "a timeline")
        now = target = transport.record().beats
        if "bar" in call.arguments:
            length = BEATS_PER_BAR * int(call.arguments["bar"])
            target = (math.floor(now / length) + 1.0) * length
        else:
            target += float(call.arguments["beats"])
        async with bounded(call.deadline_s, self.name):
            await _reached(transport, self.rooms.store, target, bench)
        return Outcome({"beats": transport.record().beats})


async def _reached(transport: Transport, store: Store, target: float, bench: Bench) -> None:
    """Wait until the timeline is at the beat *target*, or beyond; one that stands still is waited for."""
    news = asyncio.Event()
    stop = bus_of(store).listen([_TIMELINE], lambda _: news.set())
    try:
        while (record := transport.record()).beats < target:
            left = (target - record.beats) * 60.0 / record.tempo if record.playing else None
            bench.progress(-1.0, f"{target - record.beats:.1f} beats to go")
            news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await news.wait()
    finally:
        stop()


class WaitSeconds(_Wait):
    """Waits for time to pass."""

    name = "wait.seconds"
    summary = "Wait so many seconds."
    arguments: ClassVar[Mapping[str, Any]] = schema(
        ("seconds",),
        seconds={"type": ["number", "string"], "minimum": 0, "maximum": 86000, "description": "How many seconds."},
    )
    timeout = 86_400.0

    async def perform(self, call: OperationCall, bench: Bench) -> Outcome:
        """Wait; a wait that a restart has broken off begins anew."""
        async with bounded(call.deadline_s, self.name):
            await asyncio.sleep(float(call.arguments["seconds"]))
        return Outcome()


WAITING = (WaitPattern, WaitBeat, WaitSeconds)
