"""Recalls: what is planned, written, undone and verified, and what is named because it could not be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import App, Desk, bounded, hello, open_desk, until

from lightfast.context.entry import Declaration, Delete, Move, Set, Status
from lightfast.context.scenes.records import Wanted
from lightfast.context.scenes.scenes import Scenes
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted, FailedPrecondition, InvalidArgument, NotFound
from lightfast.engine.scenes import plan as planning
from lightfast.engine.scenes.recalls import Recalls
from lightfast.engine.scenes.records import Applied, Asked, Planned, Problem, Step, Verified

ME = "client:me"
APP: dict[str, Any] = {
    "song/tempo": 120.0,
    "song/name": "one",
    "tracks/0/volume": 0.5,
    "tracks/0/send": 0.25,
    "song/length": 60.0,
}


@dataclass
class Stage:
    desk: Desk
    scenes: Scenes
    recalls: Recalls

    async def save(self, name: str, *patterns: str) -> None:
        await self.scenes.save(Wanted(name, patterns=patterns), origin=ME)

    async def recall(self, name: str, **how: Any) -> list[Step]:
        async with asyncio.timeout(60):
            return [step async for step in self.recalls.recall(Asked(name, **how), origin=ME)]

    def values(self, pattern: str = "//") -> dict[str, Any]:
        found = self.desk.store.select(pattern)
        return {entry.path: entry.value for entry in found if not entry.path.startswith("/lightfast")}


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    async with open_desk(folder) as desk:
        scenes = Scenes(desk.store, desk.db, SYSTEM)
        recalls = Recalls(desk.store, scenes, desk.registry, desk.links, SYSTEM)
        try:
            yield Stage(desk, scenes, recalls)
        finally:
            await recalls.close()


def changes(steps: list[Step]) -> dict[str, tuple[Any, Any]]:
    planned = [step for step in steps if isinstance(step, Planned)]
    return {each.path: (each.before, each.after) for step in planned for each in step.changes}


def planned_problems(steps: list[Step]) -> dict[str, Problem]:
    return {each.path: each for step in steps if isinstance(step, Planned) for each in step.problems}


def applied(steps: list[Step]) -> Applied:
    (found,) = [step for step in steps if isinstance(step, Applied)]
    return found


def verified(steps: list[Step]) -> tuple[int, dict[str, Problem]]:
    found = [step for step in steps if isinstance(step, Verified)]
    assert steps[-1] is found[-1]
    return found[0].settled, {each.path: each for step in found for each in step.problems}


async def test_a_recall_is_one_group_and_one_undo(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.desk.store.apply([Set("/a", 1), Set("/b", "x"), Set("/c", 0.5), Set("/same", 1)], origin=ME)
        await at.save("s")
        await at.desk.store.apply([Set("/a", 2), Set("/b", "y"), Delete("/c"), Set("/new", 1)], origin=ME)
        before, revision = at.values(), at.desk.store.revision
        dry = await at.recall("s", validate_only=True)
        expected = {"/a": (2, 1), "/b": ("y", "x"), "/c": (None, 0.5)}
        assert changes(dry) == expected
        assert all(isinstance(step, Planned) and not step.group for step in dry)
        assert at.values() == before
        steps = await at.recall("s")
        assert changes(steps) == expected
        done = applied(steps)
        assert done.revision == revision + 1  # one transaction
        assert at.values() == {"/a": 1, "/b": "x", "/c": 0.5, "/same": 1, "/new": 1}
        assert verified(steps) == (0, {})
        (transaction,) = (await at.desk.store.history("//", after=revision)).transactions
        assert (transaction.origin, transaction.group, transaction.label) == (ME, done.group, "recall of s")
        # What is not there yet comes first, then what flips.
        assert [event.entry.path for event in transaction.events] == ["/c", "/b", "/a"]
        await at.desk.store.undo(group=done.group, origin=ME)
        assert at.values() == before
        await at.desk.store.redo(group=done.group, origin=ME)
        assert at.values()["/a"] == 1
        # Nothing to do is no group.
        again = await at.recall("s")
        assert (applied(again).group, changes(again)) == ("", {})
        with pytest.raises(NotFound):
            await at.recall("none")
        assert changes(await at.recall("s", validate_only=True, patterns=("/a", "/b"), exclude=("/b",))) == {}


async def test_only_what_is_chosen(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.desk.store.apply([Set(f"/{name}/x", 1) for name in "abc"], origin=ME)
        await at.save("s")
        await at.desk.store.apply([Set(f"/{name}/x", 2) for name in "abc"], origin=ME)
        await at.recall("s", patterns=("/a//", "/b//"), exclude=("/b//",))
        assert at.values() == {"/a/x": 1, "/b/x": 2, "/c/x": 2}


async def test_applications_report_the_values(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App(APP)
        await at.desk.live(app, hello())
        await at.save("s")
        app.turn("tracks/0/volume", 0.9)
        await at.desk.holds("/live/tracks/0/volume", 0.9)
        await at.desk.set("/live/song/tempo", 90.0)
        await at.desk.set("/live/song/name", "two")
        await at.desk.status("/live/song/name", Status.SETTLED)
        steps = await at.recall("s")
        assert verified(steps) == (5, {})  # the two that were the same count, too
        assert app.values == APP
        undone = await at.desk.store.undo(group=applied(steps).group, origin=ME)
        assert undone.conflicts == ()
        await until(lambda: app.values["song/tempo"] == 90.0 and app.values["tracks/0/volume"] == 0.9)


async def test_what_is_not_reported_is_named(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App(APP)
        await at.desk.live(app, hello())
        await at.save("s")
        values: dict[str, Any] = {"tempo": 90.0, "name": "two"}
        for name, value in values.items():
            await at.desk.set(f"/live/song/{name}", value)
            await at.desk.status(f"/live/song/{name}", Status.SETTLED)
        await at.desk.set("/live/tracks/0/volume", 0.7)
        await at.desk.status("/live/tracks/0/volume", Status.SETTLED)
        app.refuses = {"song/name": "it is locked"}
        app.rounds = lambda path, value: 119.0 if path == "song/tempo" else value
        settled, problems = verified(await at.recall("s"))
        assert problems.keys() == {"/live/song/name", "/live/song/tempo"}
        assert problems["/live/song/name"].reason == "it is locked"
        tempo = problems["/live/song/tempo"]
        assert (tempo.wished, tempo.found, tempo.queued) == (120.0, 119.0, False)
        assert "holds 119.0" in tempo.reason
        assert settled == 3
        # A refused one is asked for again; one that is silent is named when its time is over.
        app.refuses, app.rounds, app.deaf = {}, lambda path, value: value, True
        settled, problems = verified(await at.recall("s", verify=0.3))
        assert problems.keys() == {"/live/song/name", "/live/song/tempo"}
        assert all(problem.queued and "not answered within" in problem.reason for problem in problems.values())
        app.deaf = False


async def test_an_application_that_is_away_is_named_and_gets_it_later(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app, other = App(APP), App({"song/tempo": 100.0})
        await at.desk.live(app, hello())
        await at.desk.live(other, hello("i2", "b", kind="other"))
        await at.save("s")
        await at.desk.set("/live/song/tempo", 90.0)
        await at.desk.set("/other/song/tempo", 80.0)
        await at.desk.status("/live/song/tempo", Status.SETTLED)
        await at.desk.status("/other/song/tempo", Status.SETTLED)
        await at.desk.leave(app, "it crashed")
        dry = await at.recall("s", validate_only=True)
        assert planned_problems(dry)["/live/song/tempo"].queued
        steps = await at.recall("s")
        settled, problems = verified(steps)
        assert (settled, set(problems)) == (1, {"/live/song/tempo"})
        assert "it crashed" in problems["/live/song/tempo"].reason
        assert problems["/live/song/tempo"].queued
        assert other.values["song/tempo"] == 100.0
        back = App({**APP, "song/tempo": 90.0})
        await at.desk.live(back, hello())
        await until(lambda: back.values["song/tempo"] == 120.0)
        # Away with nothing to change: it is named all the same.
        await at.desk.leave(back)
        _, problems = verified(await at.recall("s"))
        assert set(problems) == {"/live"}


async def test_it_goes_away_while_it_is_waited_for(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App(APP)
        await at.desk.live(app, hello())
        await at.save("s")
        await at.desk.set("/live/song/tempo", 90.0)
        await at.desk.status("/live/song/tempo", Status.SETTLED)
        app.deaf = True
        recalling = asyncio.ensure_future(at.recall("s", verify=15))
        await until(lambda: any(wish.value == 120.0 for wish in app.wishes))
        await at.desk.leave(app, "power cut")
        _, problems = verified(await bounded(recalling))
        assert "power cut" in problems["/live/song/tempo"].reason


async def test_what_cannot_be_recalled_is_said_before(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        app = App(
            {**APP, "objects/Cube/location": (0.0, 0.0, 0.0), "objects/Ball/count": 1, "objects/Ball/shown": True}
        )
        await at.desk.live(app, hello())
        store = at.desk.store
        await store.apply([Set("/free", 5.0), Set("/cas", 1), Set("/owned", 1)], origin=ME)
        await at.save("s")
        app.turn("song/length", 90.0)
        app.joined.report([_gone("objects/Cube/location"), _gone("objects/Ball/count")])
        await until(
            lambda: store.get("/live/objects/Cube/location") is None and store.get("/live/objects/Ball/count") is None
        )
        await at.desk.holds("/live/song/length", 90.0)
        await store.apply([Set("/free", 1.0), Set("/cas", 2), Set("/owned", 2)], origin=ME)
        await store.declare(
            [
                Declaration("/free", kind="double", maximum=2.0),
                Declaration("/cas", policy="compare_and_set"),
                Declaration("/owned", policy="owner", owner_hold=3600),
            ],
            owner=ME,
        )
        await store.apply([Set("/owned", 3)], origin="client:hand")
        steps = await at.recall("s", validate_only=True)
        problems = planned_problems(steps)
        assert set(problems) == {"/free", "/owned", "/live/song/length", "/live/objects/Cube/location"}
        assert "its range is" in problems["/free"].reason
        assert "client:hand has its hand on" in problems["/owned"].reason
        assert "can only be read" in problems["/live/song/length"].reason
        assert "make /live/objects/Cube there again" in problems["/live/objects/Cube/location"].reason
        assert changes(steps) == {"/cas": (2, 1), "/live/objects/Ball/count": (None, 1)}
        assert verified(await at.recall("s"))[1] == {}
        assert (store.get("/cas").value, store.get("/owned").value) == (1, 3)  # type: ignore[union-attr]
        assert app.values["objects/Ball/count"] == 1


def _gone(path: str) -> Any:
    from lightfast.sdk import Change

    return Change(path, None)


async def test_a_renamed_object_is_found(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        await at.desk.store.apply([Set("/o/Cube/x", 1, object_id="c")], origin=ME)
        await at.save("s")
        await at.desk.store.apply([Move("/o/Cube", "/o/Box"), Set("/o/Box/x", 2)], origin=ME)
        assert changes(await at.recall("s")) == {"/o/Box/x": (2, 1)}


async def test_a_panic_refuses_and_bounds_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as at:
        await at.desk.store.apply([Set("/a", 1), Set("/b", 1)], origin=ME)
        await at.save("s")
        at.recalls.hold("panic")
        with pytest.raises(FailedPrecondition) as caught:
            await at.recall("s")
        assert caught.value.reason == "PANIC"
        await at.recall("s", validate_only=True)
        at.recalls.release()
        for wrong in ({"morph": -1.0}, {"morph": 3601.0}, {"verify": -1.0}, {"curve": "wild"}, {"patterns": ("/a[",)}):
            with pytest.raises(InvalidArgument):
                await at.recall("s", **wrong)
        await at.desk.store.apply([Set("/a", 2), Set("/b", 2)], origin=ME)
        monkeypatch.setattr(planning, "MAX_CHANGES", 1)
        with pytest.raises(Exhausted, match="in parts"):
            await at.recall("s")
        assert at.values() == {"/a": 2, "/b": 2}
        await until(lambda: at.recalls.running == 0)


async def test_many_values_are_a_few_transactions_of_one_group(tmp_path: Path) -> None:
    async with stage(tmp_path) as at:
        store = at.desk.store
        for value in (1, 2):
            for start in range(0, 12_000, 6000):
                await store.apply([Set(f"/n/{number:05}", value) for number in range(start, start + 6000)], origin=ME)
            if value == 1:
                await at.save("s")
        before = store.revision
        steps = await at.recall("s")
        assert len(changes(steps)) == 12_000
        assert store.revision - before == 2
        undone = await store.undo(group=applied(steps).group, origin=ME)
        assert len(undone.undone) == 2
        assert set(at.values().values()) == {2}
