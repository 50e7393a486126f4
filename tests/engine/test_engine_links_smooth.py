"""Smoothing: a follower moves in steps, and arrives exactly; it neither echoes nor overshoots.

The glides here take seconds: a machine that stands still for one of them shows steps all the same.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.test_engine_links import quiet
from tests.support.desk import App, Desk, hello, open_desk, until

from lightfast.context.entry import Declaration, Event, Set, Status
from lightfast.context.watch import Batch
from lightfast.engine.links.glide import Glide, like, numbers_of
from lightfast.engine.links.links import Link


class Seen:
    """The values that a path took."""

    def __init__(self, desk: Desk, path: str) -> None:
        self.events: list[Event] = []
        desk.store.bus.listen([path], self._take)  # type: ignore[union-attr]

    def _take(self, batch: Batch) -> None:
        self.events += batch.events

    @property
    def values(self) -> list[object]:
        return [event.entry.value for event in self.events]


async def still(desk: Desk) -> None:
    """Wait until nothing glides, and everything is quiet."""
    await until(lambda: all(c.gliding is None and not c.paused for c in desk.links._carriers.values()))
    await quiet(desk)


async def test_a_number_moves_in_steps_and_arrives(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 0.0)
        await desk.links.create(Link("/a", "/b", smooth_s=0.4))
        assert desk.entry("/b").value == 0.0
        seen = Seen(desk, "/b")
        await desk.set("/a", 100.0)
        await desk.holds("/b", 100.0)
        await still(desk)
        values = [float(value) for value in seen.values]  # type: ignore[arg-type]
        assert values == sorted(values)
        assert values[-1] == 100.0
        assert len(values) > 3
        assert max(values[:-1]) < 100.0


async def test_a_new_goal_on_the_way_takes_over_from_there(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.set("/a", 0.0)
        await desk.links.create(Link("/a", "/b", smooth_s=0.4, expression="x * 2"))
        seen = Seen(desk, "/b")
        await desk.set("/a", 500.0)
        await until(lambda: desk.entry("/b").value > 1.0)  # type: ignore[operator]
        await desk.set("/a", -50.0)
        await desk.holds("/b", -100.0)
        await still(desk)
        values = [float(value) for value in seen.values]  # type: ignore[arg-type]
        turn = values.index(max(values))
        assert values[: turn + 1] == sorted(values[: turn + 1])
        assert values[turn:] == sorted(values[turn:], reverse=True)
        assert max(values) < 1000.0


async def test_vectors_and_ints_move_too_and_texts_jump(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration("/n", kind="int")], owner="test")
        for path, value in (("/v", (0.0, 10.0)), ("/m", 0.0), ("/s", "a")):
            await desk.set(path, value)
        for source, target in (("/v", "/w"), ("/m", "/n"), ("/s", "/t")):
            await desk.links.create(Link(source, target, smooth_s=0.4))
        seen = {path: Seen(desk, path) for path in ("/w", "/n", "/t")}
        await desk.set("/v", (10.0, 0.0))
        await desk.set("/m", 90.0)
        await desk.set("/s", "b")
        await desk.holds("/w", (10.0, 0.0))
        await desk.holds("/n", 90)
        await desk.holds("/t", "b")
        await still(desk)
        assert len(seen["/w"].values) > 2
        assert all(type(value) is int for value in seen["/n"].values)
        assert len(seen["/n"].values) > 2
        assert seen["/t"].values == ["b"]


async def test_both_ways_without_an_echo(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        left = App({"tracks/0/volume": 0.0}, rounds=lambda _, v: round(float(v), 2), echoes=True)
        right = App({"tracks/0/volume": 0.0}, rounds=lambda _, v: float(v) + 2e-6, echoes=True, answers=False)
        await desk.live(left, hello("i1", "a", name="left"))
        await desk.live(right, hello("i2", "b", name="right"))
        source, target = "/left/tracks/0/volume", "/right/tracks/0/volume"
        link = await desk.links.create(Link(source, target, two_way=True, smooth_s=0.05, tolerance=0.01))
        await still(desk)
        for app, value, path in ((left, -20.0, target), (right, -3.0, source)):
            app.turn("tracks/0/volume", value)
            await until(lambda p=path, v=value: desk.entry(p).value == pytest.approx(v, abs=0.01))  # type: ignore[misc]
            await still(desk)
            assert desk.entry(source).value == pytest.approx(value, abs=0.01)
            assert desk.entry(target).value == pytest.approx(value, abs=0.01)
        await desk.status(source, Status.SETTLED)
        await desk.status(target, Status.SETTLED)
        revision = desk.store.revision
        await still(desk)
        assert desk.store.revision == revision
        assert desk.links.get(link.link_id).last_error == ""


async def test_signals_glide_as_signals_and_a_rate_bounds_them(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration(p, kind="double", signal=True) for p in ("/s", "/t")], owner="test")
        desk.store.publish([Set("/s", 0.0)], origin="client:test")
        link = await desk.links.create(Link("/s", "/t", smooth_s=0.4, max_rate_hz=20.0))
        await until(lambda: desk.store.get("/t") is not None)
        seen = Seen(desk, "/t")
        desk.store.publish([Set("/s", 1.0)], origin="client:test")
        await desk.holds("/t", 1.0)
        await still(desk)
        assert all(event.entry.revision == 0 for event in seen.events if event.entry.value != 1.0)
        # Ten time constants, at 20 steps each second, is the most a glide can take.
        assert 3 <= desk.links.get(link.link_id).carried <= 82


async def test_a_refused_step_ends_the_glide_and_the_next_change_tries_again(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.store.declare([Declaration("/b", kind="double", minimum=0.0, maximum=1.0)], owner="test")
        await desk.set("/a", 0.5)
        link = await desk.links.create(Link("/a", "/b", smooth_s=0.02))
        await desk.set("/a", 1000.0)
        await until(lambda: "its range is 0 to 1" in desk.links.get(link.link_id).last_error)
        await still(desk)
        await desk.set("/a", 0.75)
        await desk.holds("/b", 0.75)
        await until(lambda: desk.links.get(link.link_id).last_error == "")


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4),
    st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4),
    st.floats(0.001, 10.0),
    st.lists(st.floats(0.0, 0.5), min_size=1, max_size=30),
)
def test_a_glide_never_overshoots_and_always_ends_exactly(
    start: list[float], goals: list[float], constant: float, ticks: list[float]
) -> None:
    now = 0.0
    glide = Glide(tuple(start), now)
    goal = tuple(goals[: len(start)])
    at = tuple(start)
    for tick in ticks:
        now += tick
        after = glide.step(goal, now, constant)
        for before, value, end in zip(at, after, goal, strict=True):
            assert min(before, end) - 1e-9 <= value <= max(before, end) + 1e-9
        at = after
        if glide.arrived:
            break
    steps = 0
    while not glide.arrived:
        now += constant / 4
        at = glide.step(goal, now, constant)
        steps += 1
        assert steps <= 41
    assert at == goal


def test_what_can_glide() -> None:
    assert numbers_of(3) == (3.0,)
    assert numbers_of((1.0, 2.0)) == (1.0, 2.0)
    for value in (True, "a", math.inf, (math.nan,), [1.0], None, ()):
        assert numbers_of(value) is None
    assert like((2.6,), 5) == 3
    assert like((2.6,), 5.0) == 2.6
