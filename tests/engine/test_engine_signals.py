"""Signals of applications: what is wished of one arrives once, as the last word, whatever else happens at that moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.engine.test_engine_order import before, labelled
from tests.support.desk import App, Desk, hello, open_desk, until

from lightfast.context.entry import EventType, Set, Transaction
from lightfast.sdk import Change

SEND = "/live/tracks/0/send"


def write(desk: Desk, value: float, path: str = SEND) -> None:
    """Let a client write a signal."""
    assert desk.store.publish([Set(path, value)], origin="client:test").accepted == 1


def heard(app: App) -> list[object]:
    """Return the values of the signals that *app* was sent."""
    return [wish.value for wish in app.wishes if wish.signal]


async def settled(desk: Desk, path: str = SEND) -> None:
    """Wait until a signal is committed, and whoever listens has heard of it."""
    await until(lambda: desk.entry(path).revision, lambda: desk.entry(path))
    await desk.set("/after", 1)


async def live(desk: Desk) -> App:
    app = App({"song/tempo": 120.0, "tracks/0/send": 0.0})
    await desk.live(app, hello())
    return app


async def test_a_signal_that_went_on_while_it_settled_does_not_go_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = await live(desk)
        write(desk, 0.3)
        await until(lambda: heard(app) == [0.3], lambda: app.wishes)
        committing = asyncio.ensure_future(desk.store._settle([SEND]))
        await asyncio.sleep(0)  # it is on its way to the disk
        write(desk, 0.8)
        await committing
        await settled(desk)
        assert desk.entry(SEND).value == 0.8
        assert heard(app) == [0.3, 0.8], "what settles is no news to the application"


async def test_what_is_wished_stands_though_the_application_reported_something_else_just_before(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = await live(desk)
        app.turn("tracks/0/send", 0.7)
        write(desk, 0.3)
        await until(lambda: app.values["tracks/0/send"] == 0.3, lambda: app.wishes)
        await settled(desk)
        assert desk.entry(SEND).value == 0.3, "both hold the same"


async def test_a_held_signal_is_sent_as_it_was_wished_and_not_as_the_application_reports_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = await live(desk)
        desk.registry.hold("a test")
        write(desk, 0.2)
        await asyncio.sleep(0)
        write(desk, 0.3)
        await settled(desk)
        app.turn("tracks/0/send", 0.7)
        await desk.holds(SEND, 0.7)
        assert app.wishes == []
        desk.registry.release()
        await until(lambda: app.wishes)
        assert heard(app) == [0.3]


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_held_signal_follows_a_rename_in_the_application(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    async with open_desk(tmp_path) as desk:
        app = await live(desk)
        desk.registry.hold("a test")
        publish = desk.store.bus.publish

        def published(transaction: Transaction) -> None:
            publish(transaction)
            if at_once and any(event.type is EventType.MOVE for event in transaction.events):
                desk.registry.release()  # nobody has been told of the rename yet

        monkeypatch.setattr(desk.store.bus, "publish", published)
        write(desk, 0.3)
        await asyncio.sleep(0)
        app.values = {"song/tempo": 120.0, "tracks/1/send": 0.0}
        app.joined.report([Change("tracks/1", None, moved_from="tracks/0")])
        await desk.holds("/live/tracks/1/send", 0.3)
        desk.registry.release()
        await until(lambda: app.wishes)
        assert [(wish.path, wish.value) for wish in app.wishes] == [("tracks/1/send", 0.3)]


async def test_a_signal_that_was_sent_before_a_hold_and_settles_in_it_is_not_sent_again(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = await live(desk)
        write(desk, 0.3)
        await until(lambda: heard(app) == [0.3], lambda: app.wishes)
        desk.registry.hold("a test")
        await settled(desk)
        app.turn("tracks/0/send", 0.7)
        await desk.holds(SEND, 0.7)
        desk.registry.release()
        await desk.set("/live/song/tempo", 90.0)
        await until(lambda: app.values["song/tempo"] == 90.0)
        assert heard(app) == [0.3], "a hand at the application is not taken back by the release"


@pytest.mark.parametrize("newer", [None, 0.9])
async def test_a_signal_that_is_put_back_does_not_undo_a_newer_one(tmp_path: Path, newer: float | None) -> None:
    async with open_desk(tmp_path, {"live": {"resync_policy": "daemon"}}) as desk:
        app = await live(desk)
        write(desk, 0.3)
        await settled(desk)
        await desk.leave(app)
        again = App({"song/tempo": 120.0, "tracks/0/send": 0.0})

        async def meanwhile() -> None:
            if newer is not None:
                write(desk, newer)

        before(desk, labelled("reported everything"), meanwhile)
        await desk.live(again, hello())
        assert heard(again) == [newer or 0.3]
