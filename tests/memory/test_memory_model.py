"""Random histories on both time axes, against a model that knows nothing of intervals."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.memory import Desk, day, open_memory, said

from lightfast.context.memory.records import FOREVER

KEYS = ("a", "b")
SUBJECTS = ("s", "t")
OBJECTS = ("x", "y", "z")
POINTS = range(7)
"""Valid times are days 0 to 6; the model says for each of them alone what is true."""


class Say(NamedTuple):
    """A fact about a key."""

    key: str
    text: str
    begin: int
    end: int | None


class Tie(NamedTuple):
    """A relation."""

    subject: str
    thing: str
    exclusive: bool
    begin: int
    end: int | None


class End(NamedTuple):
    """The end of a fact."""

    key: str
    begin: int


class Cut(NamedTuple):
    """The end of a relation."""

    subject: str
    thing: str
    begin: int


begins = st.integers(0, 5)
ends = st.one_of(st.none(), st.integers(1, 6))
steps = st.one_of(
    st.builds(Say, st.sampled_from(KEYS), st.sampled_from(("one", "two", "three")), begins, ends),
    st.builds(Tie, st.sampled_from(SUBJECTS), st.sampled_from(OBJECTS), st.booleans(), begins, ends),
    st.builds(End, st.sampled_from(KEYS), begins),
    st.builds(Cut, st.sampled_from(SUBJECTS), st.sampled_from(OBJECTS), begins),
)

Truth = dict[str, str]
"""What is true at one moment: by key the text, by `subject thing` the line of the relation."""


class Model:
    """Keeps for every record time and every valid point what is true: a table, nothing cleverer."""

    def __init__(self) -> None:
        self.known: list[tuple[int, dict[int, Truth]]] = []
        self.now: dict[int, Truth] = {point: {} for point in POINTS}
        self.ever: set[str] = set()

    def act(self, step: Say | Tie | End | Cut) -> None:
        """Change what is true at each point of the step's time."""
        last = None if isinstance(step, End | Cut) else step.end
        for point in POINTS:
            if point < step.begin or (last is not None and point >= last):
                continue
            truth = self.now[point] = dict(self.now[point])
            if isinstance(step, Say):
                truth[step.key] = step.text
            elif isinstance(step, End):
                truth.pop(step.key, None)
            elif isinstance(step, Cut):
                truth.pop(f"{step.subject} {step.thing}", None)
            else:
                if step.exclusive:
                    for thing in OBJECTS:
                        truth.pop(f"{step.subject} {thing}", None)
                truth[f"{step.subject} {step.thing}"] = f"{step.subject} has {step.thing}"
        if isinstance(step, Say):
            self.ever.add(step.key)
        elif isinstance(step, Tie):
            self.ever.add(f"{step.subject} {step.thing}")

    def keep(self, record_time: int) -> None:
        """Note what is known from *record_time* on."""
        self.known.append((record_time, dict(self.now)))


async def replay(folder: Path, kind: str, history: list[Say | Tie | End | Cut], *, reopen: bool) -> None:
    """Do all of it, then ask at every moment of both times."""
    model = Model()
    async with open_memory(folder, kind) as desk:
        desk.at(day(10))
        ids: dict[str, str] = {}
        for number, step in enumerate(history):
            desk.at(day(10) + number * 1000)
            if isinstance(step, End | Cut):
                name = step.key if isinstance(step, End) else f"{step.subject} {step.thing}"
                if name not in model.ever:
                    continue
                await desk.forget(ids.get(name, name), valid_to=day(step.begin))
            else:
                end = FOREVER if step.end is None else day(step.end)
                if end <= day(step.begin):
                    continue
                if isinstance(step, Say):
                    await desk.fact(step.text, step.key, valid_from=day(step.begin), valid_to=end)
                else:
                    made = await desk.relate(
                        step.subject,
                        "has",
                        step.thing,
                        exclusive=step.exclusive,
                        valid_from=day(step.begin),
                        valid_to=end,
                    )
                    ids[f"{step.subject} {step.thing}"] = made.relation.relation_id
            model.act(step)
            model.keep(desk.clock.now_ns())
        if not reopen:
            await compare(desk, model)
            return
        clock = desk.clock
    async with open_memory(folder, kind, clock=clock) as desk:
        await compare(desk, model)


async def compare(desk: Desk, model: Model) -> None:
    """Ask for everything at every moment."""
    for record_time, points in model.known:
        for point, truth in points.items():
            hits = await desk.ask(known=record_time, valid=day(point))
            assert sorted(said(hit.thing) for hit in hits) == sorted(truth.values()), (record_time, point)
    for key in KEYS:
        if key in model.ever:
            versions = (await desk.memory.get(key)).versions
            some = [version for version in versions if version.valid_from < version.valid_to]
            for one, other in itertools.combinations(some, 2):
                apart = other.valid_to <= one.valid_from or one.valid_to <= other.valid_from
                never = other.superseded_time <= one.record_time or one.superseded_time <= other.record_time
                assert apart or never, "two truths at one moment"


@pytest.mark.parametrize("kind", ["store", "twin", "server"])
@settings(max_examples=40, deadline=None)
@given(history=st.lists(steps, max_size=12))
def test_every_moment_of_both_times(kind: str, history: list[Say | Tie | End | Cut]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(replay(Path(folder), kind, history, reopen=kind != "twin" and len(history) % 2 == 1))
