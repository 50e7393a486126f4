"""The hold: panic stops commands and wishes at once, and what was wished goes out when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import App, Desk, bounded, conflicts, hello, open_desk, until

from lightfast.context.entry import Delete, Move, Mutation, Set, Status
from lightfast.core.errors import Cancelled, FailedPrecondition
from lightfast.engine.apps.hold import MAX_STRUCTURE, Waiting
from lightfast.engine.apps.records import AppState
from lightfast.sdk import Change

TEMPO = "/live/song/tempo"


async def reported(desk: Desk, value: float) -> None:
    """Wait until the application is known to hold *value*."""
    await until(lambda: desk.entry(TEMPO).reported == value)


async def test_commands_end_and_new_ones_are_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        one, two = App({"song/tempo": 1.0}), App({"song/tempo": 2.0})
        await desk.live(one, hello("i1", "a"))
        await desk.live(two, hello("i2", "b"))
        running = []
        for mount in ("/live", "/live-2"):
            steps = await desk.registry.invoke(mount, "render", {"path": "/x"}, 30.0)
            running.append(asyncio.ensure_future(anext(steps)))
        late = await desk.registry.invoke("/live", "render", {"path": "/late"}, 30.0)
        await until(lambda: one.calls and two.calls)
        desk.registry.hold("somebody fell off the stage")
        assert desk.registry.held == "somebody fell off the stage"
        for app, step in zip((one, two), running, strict=True):
            with pytest.raises(Cancelled, match="was given up: somebody fell off the stage") as caught:
                await bounded(step)
            assert caught.value.reason == "HELD"
            assert app.cancelled == [app.calls[0].call_id]
        with pytest.raises(FailedPrecondition) as refused:
            await desk.registry.invoke("/live", "render", {"path": "/x"})
        assert (refused.value.reason, refused.value.metadata["held"]) == ("HELD", "somebody fell off the stage")
        with pytest.raises(FailedPrecondition, match="somebody fell"):
            await anext(late)
        assert len(one.calls) == 1
        desk.registry.release()
        assert desk.registry.held == ""
        steps = await desk.registry.invoke("/live", "render", {"path": "/x"}, 30.0)
        again = asyncio.ensure_future(anext(steps))
        await until(lambda: len(one.calls) == 2)
        one.joined.result(one.calls[1].call_id, None)
        await bounded(again)


async def test_wishes_wait_durably_and_go_out_in_order(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x", "objects/A/count": 1, "objects/B/count": 2})
        await desk.live(app, hello())
        desk.registry.hold("panic")
        await desk.set("/live/song/name", "first")
        await desk.set(TEMPO, 90.0)
        await desk.set("/live/objects/A/count", 5)
        await desk.set("/live/song/name", "second")
        await desk.store.apply([Delete("/live/objects/B/count")], origin="client:test")
        desk.store.publish([Set("/live/tracks/0/send", 0.25)], origin="client:test")
        await until(lambda: desk.store.get("/live/objects/B/count") is None)
        await asyncio.sleep(0.1)  # several ticks: nothing else tells that nothing goes out
        assert app.wishes == []
        assert all(desk.entry(path).status is Status.PENDING for path in (TEMPO, "/live/song/name"))
        desk.registry.release()
        await desk.status("/live/song/name", Status.SETTLED)
        await desk.status(TEMPO, Status.SETTLED)
        await until(lambda: app.values.get("tracks/0/send") == 0.25)
        sent = [(wish.path, wish.value) for wish in app.wishes if not wish.signal]
        assert sent == [
            ("objects/B/count", None),
            ("song/tempo", 90.0),
            ("objects/A/count", 5),
            ("song/name", "second"),
        ]


async def test_reports_are_recorded_and_do_not_overwrite_what_waits(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x"})
        await desk.live(app, hello())
        desk.registry.hold("panic")
        await desk.set(TEMPO, 90.0)
        app.turn("song/name", "turned by hand")
        await desk.holds("/live/song/name", "turned by hand")
        for value in (100.0, 101.0, 102.0):
            app.turn("song/tempo", value)
            await reported(desk, value)
            assert (desk.entry(TEMPO).value, desk.entry(TEMPO).status) == (90.0, Status.PENDING)
        desk.registry.release()
        await until(lambda: app.values["song/tempo"] == 90.0)
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert (entry.value, entry.reported) == (90.0, 90.0)


async def test_one_that_joins_while_held_gets_nothing_until_the_release(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.leave(app)
        desk.registry.hold("panic")
        await desk.set(TEMPO, 90.0)
        again = App({"song/tempo": 120.0, "song/name": "new"})
        session = desk.join(again, hello("i2"))
        await desk.holds("/live/song/name", "new")
        await until(lambda: desk.registry.get("live").state_reason.endswith("once it is released: panic"))
        assert again.wishes == []
        desk.registry.release()
        await bounded(session.live.wait())
        assert again.values["song/tempo"] == 90.0
        await desk.status(TEMPO, Status.SETTLED)


async def test_one_that_is_not_compared_yet_gets_nothing_by_the_release(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.leave(app)
        await desk.set(TEMPO, 90.0)
        desk.registry.hold("panic")
        again = App({"song/tempo": 120.0})
        session = desk.join(again, hello("i2", "another document"), snapshot=False)
        await until(lambda: desk.registry.get("live").state is AppState.RESYNCING)
        desk.registry.release()
        again.report_all()
        await bounded(session.live.wait())
        assert again.wishes == [], "its own document holds"
        assert desk.entry(TEMPO).value == 120.0


async def test_one_that_leaves_while_held_gets_it_when_it_returns(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        desk.registry.hold("panic")
        await desk.set(TEMPO, 90.0)
        await desk.leave(app)
        desk.registry.release()
        assert desk.registry.get("live").state is AppState.GONE
        assert desk.entry(TEMPO).status is Status.PENDING
        again = App({"song/tempo": 120.0})
        await desk.live(again, hello())
        assert again.values["song/tempo"] == 90.0


async def test_what_the_application_deleted_meanwhile_is_not_wished(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "objects/A/count": 1})
        await desk.live(app, hello())
        desk.registry.hold("panic")
        await desk.set("/live/objects/A/count", 5)
        app.joined.report([Change("objects/A", None)])
        await desk.holds("/live/objects/A/count", None)
        desk.registry.release()
        await desk.set(TEMPO, 90.0)
        await desk.status(TEMPO, Status.SETTLED)
        assert [wish.path for wish in app.wishes] == ["song/tempo"]


async def test_more_deletions_than_are_remembered_end_in_a_comparison(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x"})
        await desk.live(app, hello())
        desk.registry.hold("panic")
        waiting = app.joined._outgoing._waiting
        assert waiting is not None
        waiting.overflowed = True
        desk.registry.release()
        await until(lambda: app.resyncs == 1)


def test_what_waits_is_bounded() -> None:
    from lightfast.context.entry import Entry, Event, EventType

    def event(kind: EventType, path: str, revision: int) -> Event:
        return Event(kind, Entry(path, 1, revision, 1, 1, "client:x", 0, 0, 0))

    waiting = Waiting()
    waiting.take(event(EventType.DELETE, f"/live/{n}", n) for n in range(MAX_STRUCTURE + 5))
    assert len(waiting.structure) == MAX_STRUCTURE
    assert waiting.overflowed
    waiting.take(event(EventType.SET, "/live/x", n) for n in range(100))
    assert waiting.paths == {"/live/x": 99}


RENAME = frozenset({"rename"})
MOVE = [Move("/live/objects/Cube", "/live/objects/Box")]


async def test_what_was_wished_after_a_held_rename_goes_out_by_the_new_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1, "objects/Cube/shown": True})
        await desk.live(app, hello(capabilities=RENAME))
        desk.registry.hold("a test")
        await desk.set("/live/objects/Cube/shown", False)
        await desk.store.apply(MOVE, origin="client:test")
        await desk.set("/live/objects/Box/count", 5)
        desk.registry.release()
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        await desk.status("/live/objects/Box/shown", Status.SETTLED)
        assert app.values == {"objects/Box/count": 5, "objects/Box/shown": False}


async def test_what_is_reported_by_the_old_name_of_a_held_rename_belongs_to_the_new(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1, "objects/Cube/shown": True})
        await desk.live(app, hello(capabilities=RENAME))
        desk.registry.hold("a test")
        await desk.store.apply(MOVE, origin="client:test")
        app.turn("objects/Cube/count", 7)
        await desk.holds("/live/objects/Box/count", 7)
        compared = await desk.registry.resync("/live", 10.0)
        assert compared.lost_paths == ()
        desk.registry.release()
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        await until(lambda: app.values == {"objects/Box/count": 7, "objects/Box/shown": True}, lambda: app.values)
        await desk.status("/live/objects/Box/shown", Status.SETTLED)
        assert [entry.path for entry in desk.store.select("/live/objects//")] == [
            "/live/objects/Box/count",
            "/live/objects/Box/shown",
        ]


async def test_a_held_wish_follows_a_rename_in_the_application(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1})
        await desk.live(app, hello())
        desk.registry.hold("a test")
        await desk.set("/live/objects/Cube/count", 5)
        app.values = {"objects/Box/count": 1}
        app.joined.report([Change("objects/Box", None, moved_from="objects/Cube")])
        await desk.holds("/live/objects/Box/count", 5)
        app.turn("objects/Box/count", 2)
        await until(lambda: desk.entry("/live/objects/Box/count").reported == 2)
        assert desk.entry("/live/objects/Box/count").value == 5
        desk.registry.release()
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        assert app.values == {"objects/Box/count": 5}


async def test_a_held_wish_that_goes_with_its_object_goes_on_record(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1})
        await desk.live(app, hello())
        desk.registry.hold("a test")
        real, done = desk.store.apply, False

        async def apply(mutations: Sequence[Mutation], **more: Any) -> Any:
            nonlocal done
            if not done and any(isinstance(each, Delete) for each in mutations):
                done = True
                await desk.set("/live/objects/Cube/count", 5)
            return await real(mutations, **more)

        desk.store.apply = apply  # type: ignore[method-assign]
        app.values.clear()
        app.joined.report([Change("objects/Cube", None)])
        await until(lambda: conflicts(desk))
        (record,) = conflicts(desk)
        assert (record["path"], record["wished"]) == ("/live/objects/Cube/count", 5)


async def test_a_held_wish_is_not_settled_by_what_was_reported_before_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0}, refuses={"song/tempo": "no"})
        await desk.live(app, hello())
        await desk.set(TEMPO, 97.0)
        await desk.status(TEMPO, Status.REJECTED)
        app.refuses = {}
        desk.registry.hold("a test")
        real, done = desk.store.apply, False

        async def apply(mutations: Sequence[Mutation], **more: Any) -> Any:
            nonlocal done
            if not done and more["origin"] == "app:live":
                done = True
                await desk.set(TEMPO, 99.0)
            return await real(mutations, **more)

        desk.store.apply = apply  # type: ignore[method-assign]
        app.turn("song/tempo", 97.0)
        await reported(desk, 97.0)
        assert (desk.entry(TEMPO).value, desk.entry(TEMPO).status) == (99.0, Status.PENDING)
        desk.registry.release()
        await desk.status(TEMPO, Status.SETTLED)
        assert app.values["song/tempo"] == 99.0


async def test_a_held_wish_answers_the_question_that_was_asked_before_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"resync_policy": "ask"}}) as desk:
        first = App({"song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        back = App({"song/tempo": 60.0})
        await desk.live(back, hello())
        assert [record["wished"] for record in conflicts(desk)] == [120.0]
        desk.registry.hold("a test")
        await desk.set(TEMPO, 97.0)
        await asyncio.sleep(0.02)  # its event comes by
        desk.registry.release()
        await desk.status(TEMPO, Status.SETTLED)
        assert back.values["song/tempo"] == 97.0
        await until(lambda: not conflicts(desk))
