"""Morphs: values move, the history stays small, nobody fights, and everything that ends one ends it at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_scenes import APP, ME, Stage, applied, changes, stage, verified
from tests.support.desk import App, bounded, hello, until

from lightfast.context.entry import Declaration, Delete, Move, Set, Status
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Cancelled, FailedPrecondition
from lightfast.engine.apps.glides import Course, Glides
from lightfast.engine.links.link import Link
from lightfast.engine.scenes.morph import Way
from lightfast.engine.scenes.records import Applied, Asked, Morphing, Step
from lightfast.engine.scenes.tracks import track


async def begun(at: Stage, name: str, **how: Any) -> tuple[asyncio.Future[list[Step]], list[Step]]:
    """Begin a morph and wait until it moves."""
    steps: list[Step] = []

    async def run() -> list[Step]:
        async for step in at.recalls.recall(Asked(name, **how), origin=ME):
            steps.append(step)
        return steps

    running = asyncio.ensure_future(run())
    await until(lambda: running.done() or any(isinstance(step, Morphing) for step in steps), lambda: steps)
    return running, steps


class Paced:
    """The time of recalls, in which a machine that stands still takes at most *most* seconds between two looks."""

    def __init__(self, at: Stage) -> None:
        self.most = 0.1
        self._real = self._now = SYSTEM.monotonic()
        at.recalls._clock = self

    def monotonic(self) -> float:
        real = SYSTEM.monotonic()
        self._now += min(real - self._real, self.most)
        self._real = real
        return self._now

    def now_ns(self) -> int:
        return SYSTEM.now_ns()


def tempo(app: App) -> float:
    """Return the tempo that the application has."""
    value = app.values["song/tempo"]
    assert isinstance(value, float)
    return value


async def turned(at: Stage, app: App, path: str, value: Any) -> None:
    """Let a client set a value, and wait until the application has it."""
    await at.desk.set(f"/live/{path}", value)
    await until(lambda: app.values[path] == value)
    await at.desk.status(f"/live/{path}", Status.SETTLED)


async def test_an_application_moves_there_and_the_history_holds_only_the_end(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App({**APP, "objects/Cube/location": (0.0, 0.0, 0.0), "objects/Cube/count": 3})
        await at.desk.live(app, hello())
        await at.save("s")
        await turned(at, app, "song/tempo", 60.0)
        await turned(at, app, "objects/Cube/location", (10.0, 20.0, 0.0))
        await turned(at, app, "objects/Cube/count", 90)
        await turned(at, app, "song/name", "two")
        app.wishes.clear()
        revision = at.desk.store.revision
        steps = await at.recall("s", morph=2.5, curve="smooth")
        assert [step for step in steps if isinstance(step, Morphing)]
        tempi: list[Any] = [wish.value for wish in app.wishes if wish.path == "song/tempo"]
        assert len(tempi) > 4
        assert tempi == sorted(tempi)
        assert tempi[-1] == 120.0
        assert [wish.signal for wish in app.wishes if wish.path == "song/tempo"] == [True] * (len(tempi) - 1) + [False]
        assert all(type(wish.value) is int for wish in app.wishes if wish.path == "objects/Cube/count")
        places = [wish.value for wish in app.wishes if wish.path == "objects/Cube/location"]
        assert all(isinstance(place, tuple) and abs(place[1] - 2 * place[0]) < 1e-9 for place in places)
        assert [wish.value for wish in app.wishes if wish.path == "song/name"] == ["one"]  # it flips at the end
        assert verified(steps)[1] == {}
        # The recall and the answers to it: nothing of the way.
        found = await at.desk.store.replay(revision, at.desk.store.revision, 100)
        state = [transaction for transaction in found if transaction.events]
        assert len(state) <= 4, [(each.origin, [event.entry.path for event in each.events]) for each in state]
        assert {transaction.group for transaction in state} == {applied(steps).group}
        await at.desk.store.undo(group=applied(steps).group, origin=ME)
        await until(
            lambda: app.values["song/tempo"] == 60.0 and app.values["objects/Cube/location"] == (10.0, 20.0, 0.0)
        )


@pytest.mark.parametrize("manner", ["echoes", "rounds", "silent"])
async def test_answers_on_the_way_are_no_hand(tmp_path: Path, manner: str) -> None:
    async with stage(tmp_path) as at:
        app = _Chatty(APP, manner)
        await at.desk.live(app, hello())
        await at.save("s")
        await turned(at, app, "song/tempo", 60.0)
        revision = at.desk.store.revision
        steps = await at.recall("s", morph=0.5)
        assert verified(steps)[1] == {}
        assert app.told if manner != "silent" else not app.told
        assert app.values["song/tempo"] == 120.0
        assert at.desk.store.revision - revision <= 2
        await at.desk.holds("/live/song/tempo", 120.0)


class _Chatty(App):
    """Reports what volatile wishes made of a value, as Blender and Live do."""

    def __init__(self, values: dict[str, Any], manner: str) -> None:
        super().__init__(values)
        self.manner = manner
        self.told = 0

    def _take(self, wish: Any) -> None:
        super()._take(wish)
        if wish.signal and self.manner != "silent":
            value = float(round(wish.value)) if self.manner == "rounds" else wish.value
            self.values[wish.path] = value
            self.told += 1
            self.turn(wish.path, value)


async def test_a_hand_in_the_application_takes_its_parameter_out(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App(APP)
        await at.desk.live(app, hello())
        await at.save("s")
        await turned(at, app, "song/tempo", 60.0)
        await turned(at, app, "tracks/0/volume", 0.0)
        running, _ = await begun(at, "s", morph=2.5)
        for _ in range(3):  # it holds on
            app.turn("song/tempo", 200.0)
            await asyncio.sleep(0.02)
        steps = await bounded(running)
        _, problems = verified(steps)
        assert problems.keys() == {"/live/song/tempo"}
        assert "app:live changed it during the recall" in problems["/live/song/tempo"].reason
        assert (app.values["song/tempo"], app.values["tracks/0/volume"]) == (200.0, 0.5)
        assert at.desk.entry("/live/song/tempo").value == 200.0
        # Its undo takes back what it did, and leaves the hand.
        await at.desk.store.undo(group=applied(steps).group, origin=ME)
        await until(lambda: app.values["tracks/0/volume"] == 0.0)
        assert at.desk.entry("/live/song/tempo").value == 200.0


async def test_another_writer_takes_paths_out(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        store = at.desk.store
        await store.declare([Declaration("/sig/*", signal=True)], owner=ME)
        start = [Set("/a", 0.0), Set("/b", 0.0), Set("/gone", 0.0), Set("/name", "x"), Set("/old/x", 0.0)]
        await store.apply(start, origin=ME)
        await store.apply([Set("/sig/a", 0.0), Set("/sig/b", 0.0)], origin=ME)
        await at.save("s")
        moved = [Set(path, 100.0) for path in ("/a", "/b", "/gone", "/sig/a", "/sig/b", "/old/x")]
        await store.apply([*moved, Set("/name", "y")], origin=ME)
        clock = Paced(at)
        running, _ = await begun(at, "s", morph=0.8)
        clock.most = 0.0  # the disk may take longer than the morph
        store.publish([Set("/sig/a", 500.0)], origin="client:you")
        await store.apply(
            [Set("/a", 7.0), Set("/name", "z"), Delete("/gone"), Move("/old", "/new")], origin="client:you"
        )
        clock.most = 0.1
        steps = await bounded(running)
        _, problems = verified(steps)
        assert problems.keys() == {"/a", "/name", "/gone", "/sig/a"}
        assert problems["/gone"].reason.startswith("client:you deleted it")
        assert at.values() == {
            "/a": 7.0,
            "/b": 0.0,
            "/name": "z",
            "/sig/a": 500.0,
            "/sig/b": 0.0,
            "/new/x": 0.0,  # the renamed one is followed
        }
        # What was given way built on the way there, so it stands in the way of an undo.
        refused = await store.undo(group=applied(steps).group, origin=ME)
        assert {entry.path for entry in refused.conflicts} >= {"/a", "/gone"}
        assert at.values()["/b"] == 0.0


async def test_a_hand_in_the_very_moment_of_a_step_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as at:
        store = at.desk.store
        await store.declare([Declaration("/sig", signal=True)], owner=ME)
        await store.apply([Set("/sig", 0.0)], origin=ME)
        await at.save("s")
        await store.apply([Set("/sig", 100.0)], origin=ME)
        real, steps = Way._publish, 0

        async def publish(way: Way, part: float, now: float, origin: str) -> None:
            nonlocal steps
            steps += 1
            if steps == 5:
                store.publish([Set("/sig", 500.0)], origin="client:you")
            await real(way, part, now, origin)

        monkeypatch.setattr(Way, "_publish", publish)
        Paced(at)
        _, problems = verified(await at.recall("s", morph=0.8))
        assert steps > 5
        assert problems.keys() == {"/sig"}
        assert at.values() == {"/sig": 500.0}


async def test_a_hand_that_is_on_its_way_to_the_disk_is_not_written_over_by_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(tmp_path) as at:
        store = at.desk.store
        await store.apply([Set("/a", 0.0), Set("/gone", 0.0), Set("/b", 0.0)], origin=ME)
        await at.save("s")
        await store.apply([Set("/a", 100.0), Set("/gone", 100.0), Set("/b", 100.0)], origin=ME)
        real = store.apply
        hands: list[asyncio.Future[Any]] = []

        async def apply(mutations: Any, **more: Any) -> Any:
            if more.get("label") == "recall of s" and len(mutations) == 3 and not hands:
                hand = real([Set("/a", 7.0), Delete("/gone")], origin="client:you")
                hands.append(asyncio.ensure_future(hand))
                await asyncio.sleep(0)  # it is decided, and not committed
            return await real(mutations, **more)

        monkeypatch.setattr(store, "apply", apply)
        _, problems = verified(await at.recall("s", morph=0.8))
        await hands[0]
        assert problems.keys() == {"/a", "/gone"}
        assert at.values() == {"/a": 7.0, "/b": 0.0}


async def test_signals_are_taken_back_with_the_rest(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        store = at.desk.store
        await store.declare([Declaration("/sig/*", signal=True)], owner=ME)
        await store.apply([Set("/sig/a", 0.0), Set("/b", 0.0)], origin=ME)
        await at.save("s")
        await store.apply([Set("/sig/a", 100.0)], origin=ME)
        await until(lambda: at.desk.entry("/sig/a").revision)  # it has settled
        await store.apply([Set("/b", 100.0)], origin=ME)
        steps = await at.recall("s", morph=0.3)
        assert at.values() == {"/sig/a": 0.0, "/b": 0.0}
        assert at.desk.entry("/sig/a").revision
        undone = await store.undo(group=applied(steps).group, origin=ME)
        assert undone.conflicts == ()
        assert at.values() == {"/sig/a": 100.0, "/b": 100.0}


async def test_free_state_takes_few_steps_and_links_follow(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App(APP)
        await at.desk.live(app, hello())
        store = at.desk.store
        await store.apply([Set("/lead", 0.0)], origin=ME)
        await at.save("s", "/lead")
        await store.apply([Set("/lead", 1.0)], origin=ME)
        await at.desk.links.create(Link(source="/lead", target="/live/tracks/0/volume"))
        await at.desk.holds("/live/tracks/0/volume", 1.0)
        revision = store.revision
        steps = await at.recall("s", morph=3.0)
        await until(lambda: app.values["tracks/0/volume"] == 0.0)
        heard = [wish.value for wish in app.wishes if wish.path == "tracks/0/volume" and wish.value not in {0.0, 1.0}]
        assert len(heard) >= 2
        written = [
            transaction
            for transaction in await store.replay(revision, store.revision, 500)
            if any(event.entry.path == "/lead" for event in transaction.events)
        ]
        assert 3 <= len(written) <= 32
        assert {transaction.group for transaction in written} == {applied(steps).group}
        await store.undo(group=applied(steps).group, origin=ME)
        await until(lambda: app.values["tracks/0/volume"] == 1.0)
        assert at.values()["/lead"] == 1.0


async def test_a_panic_ends_it_at_once_and_asks_where_that_leaves_the_application(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App(APP)
        await at.desk.live(app, hello())
        await at.desk.store.apply([Set("/free", 0.0)], origin=ME)
        await at.save("s")
        await turned(at, app, "song/tempo", 60.0)
        await at.desk.store.apply([Set("/free", 1.0)], origin=ME)
        running, _ = await begun(at, "s", morph=30.0)
        await until(lambda: tempo(app) > 60.1)
        at.desk.registry.hold("stop")
        at.recalls.hold("stop")
        sent, free = len(app.wishes), at.values()["/free"]
        with pytest.raises(FailedPrecondition) as caught:
            await bounded(running)
        assert caught.value.reason == "PANIC"
        await until(lambda: at.desk.entry("/live/song/tempo").value == app.values["song/tempo"])
        assert (len(app.wishes), at.values()["/free"]) == (sent, free)
        assert 60.0 < tempo(app) < 120.0
        at.desk.registry.release()
        at.recalls.release()
        assert verified(await at.recall("s"))[1] == {}


@pytest.mark.parametrize("how", ["cancelled", "replaced", "stopped"])
async def test_what_ends_it_otherwise_leaves_it_on_the_record(tmp_path: Path, how: str) -> None:
    async with stage(tmp_path) as at:
        app = App(APP)
        await at.desk.live(app, hello())
        await at.save("s")
        await turned(at, app, "song/tempo", 60.0)
        await at.save("back")
        running, steps = await begun(at, "s", morph=30.0)
        await until(lambda: tempo(app) > 60.1)
        (group,) = {step.group for step in steps if isinstance(step, Morphing)}
        if how == "cancelled":
            running.cancel()
            await asyncio.wait([running])
        elif how == "stopped":
            await bounded(at.recalls.close())
        else:
            second = await at.recall("back")
            with pytest.raises(Cancelled) as caught:
                await bounded(running)
            assert (caught.value.reason, caught.value.metadata) == ("RECALL_REPLACED", {"group": group})
            before, after = changes(second)["/live/song/tempo"]
            assert 60.0 < before < 120.0  # it goes on from where the first one was
            assert after == 60.0 == app.values["song/tempo"]
            return
        await until(lambda: at.recalls.running == 0)
        entry = await at.desk.status("/live/song/tempo", Status.SETTLED)
        assert 60.0 < tempo(app) < 120.0
        assert tempo(app) == entry.value
        await at.desk.store.undo(group=group, origin=ME)
        await until(lambda: app.values["song/tempo"] == 60.0)


async def test_an_application_that_goes_away_on_the_way_gets_the_end_later(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App(APP)
        await at.desk.live(app, hello())
        await at.save("s")
        await turned(at, app, "song/tempo", 60.0)
        running, _ = await begun(at, "s", morph=2.5)
        await at.desk.leave(app, "it crashed")
        _, problems = verified(await bounded(running))
        assert problems["/live/song/tempo"].queued
        back = App({**APP, "song/tempo": 60.0})
        await at.desk.live(back, hello())
        await until(lambda: back.values["song/tempo"] == 120.0)


async def test_a_morph_of_nothing_that_moves_is_a_recall(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.desk.store.apply([Set("/name", "x")], origin=ME)
        await at.save("s")
        await at.desk.store.apply([Set("/name", "y")], origin=ME)
        steps = await at.recall("s", morph=60.0)
        assert isinstance(steps[-2], Applied)
        assert at.values() == {"/name": "x"}


def test_tracks() -> None:
    assert track(None, 1.0) is None
    assert track("a", "b") is None
    assert track(True, False) is None
    assert track(1.0, float("inf")) is None
    assert track((1.0,), (1.0, 2.0)) is None
    assert track(1.0, (1.0,)) is None
    whole = track(0, 3)
    assert whole is not None
    assert [whole(part) for part in (0.0, 0.4, 1.0)] == [0, 1, 3]
    pair = track((0.0, 1.0), (1.0, 0.0))
    assert pair is not None
    assert pair(0.25) == (0.25, 0.75)
    # Light mixes: half of red and green is brighter than half of the code.
    red, green = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)
    coded = track(red, green, "color.rgb")
    assert coded is not None
    assert coded(0.5) == pytest.approx((0.7354, 0.7354, 0.0), abs=1e-3)
    text = track("#FF0000", "#00FF00", "color.hex")
    assert text is not None
    assert (text(0.0), text(0.5), text(1.0)) == ("#FF0000FF", "#BCBC00FF", "#00FF00FF")
    assert track("red", "#00FF00", "color.hex") is None
    linear = track(red, green, "color.linear")
    assert linear is not None
    assert linear(0.5) == (0.5, 0.5, 0.0)


def test_a_course_is_a_corridor_of_a_second() -> None:
    course = Course()
    assert not course.answers(1.0, 0.0, 0.0)
    for number in range(10):
        course.put((float(number), 0.0), number * 0.1)
    assert course.answers((4.5, 0.0), 0.9, 0.0)
    assert course.answers((9.1, 0.0), 0.9, 0.0)
    assert not course.answers((10.0, 0.0), 0.9, 0.0)
    assert not course.answers((4.5, 0.1), 0.9, 0.0)
    assert not course.answers("x", 0.9, 0.0)
    assert not course.answers((1.0, 0.0), 1.9, 0.0)  # that was too long ago
    glides = Glides()
    glides.sent("/a", 1.0, 0.0)
    assert glides.under_way("/a")
    glides.take("/a")
    assert glides.taken("/a")
    assert not glides.under_way("/a")
    glides.end("/a")
    assert not glides.taken("/a")
    assert glides.answers("/a", 1.0, 0.5, 0.0)
    glides.sweep(2.0)
    assert len(glides) == 0
