"""No window ever holds more than its limit, whoever comes, goes, fails and gives back; and nobody is left waiting."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.sessions import Sessions, sessions, settled

from lightfast.core.errors import LightfastError
from lightfast.sdk import Limit, Limits, ProviderError, Usage

MODELS = ("one", "two")
KEYS = ("env:A", "env:B", "env:C")
WINDOWS = {"requests": 60.0, "tokens": 60.0, "input_tokens": 60.0, "output_tokens": 60.0, "requests_day": 86_400.0}


@dataclass
class Entry:
    """What the oracle knows of one that went: when, where, and what it counts now."""

    time: float
    account: str
    model: str
    amounts: dict[str, int]
    place: Any
    open: bool = True


@dataclass
class Oracle:
    """Looks at every window there is, the simple way."""

    each: dict[str, float]
    of_model: dict[str, float]
    together: dict[str, float]
    entries: list[Entry]

    def check(self, now: float) -> None:
        for account in {entry.account for entry in self.entries}:
            mine = [entry for entry in self.entries if entry.account == account]
            self._within(self.each, mine, now, account)
            self._within(self.of_model, [entry for entry in mine if entry.model == "two"], now, f"{account} two")
        self._within(self.together, self.entries, now, "together")

    def _within(self, limits: dict[str, float], entries: list[Entry], now: float, where: str) -> None:
        for name, limit in limits.items():
            if name == "concurrency":
                assert sum(entry.open for entry in entries) <= limit, (where, name)
                continue
            for end in {now, *(entry.time for entry in entries)}:
                kind = name.removesuffix("_day")
                held = [e.amounts[kind] for e in entries if e.time <= end and end - e.time < WINDOWS[name]]
                assert sum(held) <= limit, (where, name, end, held, limit)


AMOUNT = st.integers(0, 40)
OPS = st.one_of(
    st.tuples(st.just("reserve"), st.sampled_from(MODELS), AMOUNT, st.integers(1, 40)),
    st.tuples(st.just("settle"), st.integers(0, 99), st.floats(0, 1)),
    st.tuples(st.just("release"), st.integers(0, 99)),
    st.tuples(st.just("cancel"), st.integers(0, 99)),
    st.tuples(st.just("refused"), st.integers(0, 99), st.sampled_from(("limit", "overloaded", "unavailable", "places")),
              st.sampled_from((-1.0, 0.0, 0.5, 30.0))),
    st.tuples(st.just("tell"), st.integers(0, 99), st.integers(80, 200), st.integers(0, 80), st.floats(0, 90)),
    st.tuples(st.just("advance"), st.one_of(st.floats(0.0, 0.3), st.floats(0.3, 70.0), st.just(60.0))),
)  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    def pick(low: int, names: tuple[str, ...]) -> dict[str, float]:
        return {name: float(draw(st.integers(low, 200))) for name in names if draw(st.booleans())}

    tokens = ("tokens", "input_tokens", "output_tokens")
    return {
        "accounts": draw(st.integers(1, 3)),
        "each": {**pick(80, tokens), **pick(1, ("requests", "concurrency", "requests_day"))},
        "of_model": {**pick(80, tokens), **pick(1, ("requests", "concurrency"))},
        "together": {**pick(80, tokens), **pick(1, ("requests", "concurrency"))},
        "ops": draw(st.lists(OPS, min_size=20, max_size=80)),
    }


def _named(limits: dict[str, float]) -> dict[str, float]:
    names = {"concurrency": "concurrency", "requests_day": "requests_per_day"}
    return {names.get(name, f"{name}_per_minute"): number for name, number in limits.items()}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(world=worlds())
def test_no_window_is_ever_over_its_limit_and_nobody_is_left_waiting(
    world: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    asyncio.run(_run(world, tmp_path_factory.getbasetemp()))


async def _run(world: dict[str, Any], folder: Path) -> None:
    oracle = Oracle(world["each"], world["of_model"], world["together"], [])
    more: list[dict[str, Any]] = [
        {"model": "two", **_named(world["of_model"])},
        {"together": True, **_named(world["together"])},
    ]
    async with sessions(
        folder,
        environ={key.removeprefix("env:"): f"sk-{key}-0123456789" for key in KEYS},
        keys=KEYS[: world["accounts"]],
        limits=_named(world["each"]),
        more=more,
    ) as rooms:
        waiting: list[asyncio.Task[None]] = []
        for op in world["ops"]:
            await _step(rooms, oracle, waiting, op)
            await settled()
            oracle.check(rooms.clock.monotonic())
        for _ in range(60 * (len(waiting) + 2)):
            for entry in oracle.entries:
                if entry.open:
                    _end(entry, 0.5)
            await settled()
            oracle.check(rooms.clock.monotonic())
            for task in waiting:
                if task.done() and not task.cancelled():
                    task.result()  # raises what it could not do
            waiting = [task for task in waiting if not task.done()]
            if not waiting:
                return
            await rooms.advance(30.0 if "requests_day" not in world["each"] else 7200.0)
        raise AssertionError(f"{len(waiting)} are left waiting")


async def _step(rooms: Sessions, oracle: Oracle, waiting: list[asyncio.Task[None]], op: tuple[Any, ...]) -> None:
    match op:
        case ("reserve", model, tokens, answer):
            waiting.append(asyncio.get_running_loop().create_task(_reserve(rooms, oracle, model, tokens, answer)))
        case ("settle", index, part):
            if entry := _pick(oracle, index):
                _end(entry, part)
        case ("release", index):
            if entry := _pick(oracle, index):
                entry.open = False
                entry.amounts = dict.fromkeys(entry.amounts, 0)
                entry.place.release()
        case ("cancel", index):
            if waiting:
                waiting[index % len(waiting)].cancel()
        case ("refused", index, kind, after):
            if entry := _pick(oracle, index):
                if kind == "places":
                    told = Limits((Limit("concurrency", 0.0, float(1 + index % 4), 0.0),))
                    entry.place.refused(ProviderError("too many at once", kind="limit", limits=told))
                else:
                    entry.place.refused(ProviderError("no", kind=kind, retry_after=after))
                entry.open = False
                entry.amounts = {name: int(name == "requests") for name in entry.amounts}
                entry.place.release()
        case ("tell", index, limit, remaining, reset):
            if entry := _pick(oracle, index):
                entry.place.tell(Limits((Limit("tokens", 60.0, limit, min(limit, remaining), reset),)))
        case ("advance", seconds):
            await rooms.advance(seconds)


def _pick(oracle: Oracle, index: int) -> Entry | None:
    able = [entry for entry in oracle.entries if entry.open]
    return able[index % len(able)] if able else None


def _end(entry: Entry, part: float) -> None:
    entry.open = False
    asked, answered = (round(entry.amounts[kind] * part) for kind in ("input_tokens", "output_tokens"))
    if asked + answered:  # else the service has told nothing, and all stays counted
        entry.amounts = {"requests": 1, "tokens": asked + answered, "input_tokens": asked, "output_tokens": answered}
    entry.place.settle(Usage(asked, answered), 0.1)


async def _reserve(rooms: Sessions, oracle: Oracle, model: str, tokens: int, answer: int) -> None:
    try:
        place = await rooms.reserve(tokens, answer, model=model)
    except LightfastError as error:
        raise AssertionError(f"everything here fits: {error}") from error
    amounts = {"requests": 1, "tokens": tokens + answer, "input_tokens": tokens, "output_tokens": answer}
    oracle.entries.append(Entry(rooms.clock.monotonic(), place.session.account, model, amounts, place))
