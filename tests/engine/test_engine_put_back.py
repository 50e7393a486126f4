"""What is put back into an application that returns: whatever becomes of it, the application is in step in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_order import CUBE, QUICK, before, labelled
from tests.engine.test_engine_order_names import BECAME_BOX, by_client, moving
from tests.support.desk import App, Desk, bounded, hello, open_desk, until

from lightfast.context.entry import Delete, Move, Mutation, Report, Status
from lightfast.core.errors import Exhausted, OutOfBounds
from lightfast.engine.apps import put_back
from lightfast.engine.apps.health import NO_ANSWER
from lightfast.engine.apps.records import AppState
from lightfast.engine.apps.session import Session
from lightfast.sdk import Change

SEND = "/live/tracks/0/send"


async def returning(desk: Desk, app: App, held: str) -> Session:
    """Let *app* return with another value of the cube than the tree has; what is put back is held."""
    first = App({"objects/Cube/count": 7})
    await desk.live(first, hello())
    await desk.leave(first)
    desk.registry.hold(held)
    session = desk.join(app, hello())
    await until(lambda: desk.registry.get("/live").state_reason.startswith("putting back"))
    return session


def rename(app: App) -> None:
    """Let the user of *app* call the cube a box."""
    app.values = {"objects/Box/count": app.values["objects/Cube/count"]}
    app.joined.report([BECAME_BOX])


def refuse(desk: Desk, wrong: Callable[[Mutation], bool]) -> None:
    """Let the store leave out what is *wrong*."""
    real = desk.store.apply

    async def apply(mutations: Sequence[Mutation], **more: Any) -> Any:
        if any(wrong(each) for each in mutations):
            raise OutOfBounds("not this one", field="value")
        return await real(mutations, **more)

    desk.store.apply = apply  # type: ignore[method-assign]


async def settled(desk: Desk, app: App, values: dict[str, Any]) -> None:
    """Wait until the application and the tree hold *values*, and nothing is under way."""

    def agree() -> bool:
        entries = desk.store.select("/live//")
        told = {entry.path.removeprefix("/live/"): entry.reported for entry in entries}
        return app.values == told == values and all(entry.status is not Status.PENDING for entry in entries)

    await until(agree, lambda: (app.values, desk.store.select("/live//"), app.joined._wishes))


async def test_one_deleted_as_the_application_renames_it_is_waited_for_no_more(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        back = App({"objects/Cube/count": 1})
        session = await returning(desk, back, "a test")
        before(desk, moving, lambda: by_client(desk, Delete(CUBE)))
        rename(back)
        await desk.holds(CUBE, None)
        desk.registry.release()
        await bounded(session.live.wait())
        assert desk.registry.get("/live").state is AppState.LIVE


async def test_one_whose_rename_is_not_taken_and_that_is_deleted_then_is_waited_for_no_more(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        back = App({"objects/Cube/count": 1})
        session = await returning(desk, back, "a test")
        refuse(desk, lambda each: isinstance(each, Move))
        rename(back)
        await until(lambda: session.vitals().refused)
        await by_client(desk, Delete(CUBE))
        await desk.holds(CUBE, None)
        desk.registry.release()
        await bounded(session.live.wait())
        assert desk.registry.get("/live").state is AppState.LIVE
        await settled(desk, back, {"objects/Box/count": 1})


async def test_one_whose_rename_is_not_taken_is_answered_by_the_name_it_kept_in_the_tree(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        back = App({"objects/Cube/count": 1})
        session = await returning(desk, back, "a test")
        refuse(desk, lambda each: isinstance(each, Move))
        rename(back)
        await until(lambda: session.vitals().refused)
        desk.registry.release()
        await bounded(session.live.wait())
        assert desk.registry.get("/live").state is AppState.LIVE
        await settled(desk, back, {"objects/Box/count": 1, "objects/Cube/count": 7})


async def test_a_signal_that_was_taken_back_while_it_was_away_is_not_waited_for(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        values: dict[str, Any] = {"tracks/0/send": 0.25, "song/name": "x"}
        first = App(values)
        await desk.live(first, hello())
        begun = desk.store.revision
        await desk.set(SEND, 0.5)
        await until(lambda: desk.entry(SEND).revision > begun, lambda: desk.entry(SEND))
        written = desk.entry(SEND).revision
        await desk.leave(first)
        await desk.store.undo(revision=written, origin="client:test")
        assert desk.entry(SEND).status is Status.PENDING
        back = App({**values, "tracks/0/send": 0.75})
        session = await desk.live(back, hello())
        assert session.record().state is AppState.LIVE
        await until(lambda: desk.entry(SEND).status is Status.SETTLED, lambda: desk.entry(SEND))


async def test_what_the_store_does_not_take_is_lost_and_not_waited_for(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = App({"objects/Cube/count": 7, "song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        refuse(desk, lambda each: isinstance(each, Report) and (each.path, each.value) == (CUBE, 7))
        back = App({"objects/Cube/count": 1, "song/tempo": 60.0})
        session = await desk.live(back, hello())
        assert session.record().lost_paths == (CUBE,)
        assert back.values["song/tempo"] == 120.0


async def test_one_that_a_client_renames_meanwhile_is_put_back_where_the_application_cannot_rename(
    tmp_path: Path,
) -> None:
    async with open_desk(tmp_path) as desk:
        first, back = App({"objects/Cube/count": 7}), App({"objects/Cube/count": 1})
        await desk.live(first, hello())
        await desk.leave(first)
        before(desk, labelled("put back"), lambda: by_client(desk, Move("/live/objects/Cube", "/live/objects/Box")))
        await desk.live(back, hello())
        await settled(desk, back, {"objects/Cube/count": 7})


async def test_one_that_was_renamed_during_the_report_is_put_back_where_the_application_cannot_rename(
    tmp_path: Path,
) -> None:
    async with open_desk(tmp_path) as desk:
        first, back = App({"objects/Cube/count": 7}), App({"objects/Cube/count": 1})
        await desk.live(first, hello())
        await desk.leave(first)
        session = desk.join(back, hello(), snapshot=False)
        back.joined.report([Change("objects/Cube/count", 1)])
        await until(lambda: session.record().state is AppState.RESYNCING)
        await by_client(desk, Move("/live/objects/Cube", "/live/objects/Box"))
        back.joined.synced()
        await bounded(session.live.wait())
        await settled(desk, back, {"objects/Cube/count": 7})


async def test_what_is_deleted_again_in_one_that_returns_has_a_deadline(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        values: dict[str, Any] = {"objects/Cube/count": 1, "song/tempo": 120.0}
        first, back = App(values), App(values, answers=False)
        await desk.live(first, hello())
        await desk.leave(first)
        await by_client(desk, Delete(CUBE))
        session = await desk.live(back, hello())
        await until(lambda: session.vitals().under_way == 0, session.vitals)
        assert back.resyncs, "it did not answer, so it was asked for everything"
        assert back.values == {"song/tempo": 120.0}


async def test_a_store_that_cannot_write_is_said_while_an_application_returns(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        real, full = desk.store.apply, True

        async def apply(mutations: Sequence[Mutation], **more: Any) -> Any:
            if full and "reported everything" in more.get("label", ""):
                raise Exhausted("the disk is full", reason="DISK_FULL")
            return await real(mutations, **more)

        desk.store.apply = apply  # type: ignore[method-assign]
        session = desk.join(App({"song/tempo": 120.0}), hello())
        await until(lambda: "the disk is full" in session.record().state_reason, session.record)
        assert session.record().state is AppState.RESYNCING
        full = False
        await bounded(session.live.wait())
        assert (session.record().state, session.record().state_reason) == (AppState.LIVE, "")


async def test_what_nobody_answers_is_not_waited_for_for_ever_and_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(put_back, "UNANSWERED_S", 1.0)
    async with open_desk(tmp_path) as desk:
        back = App({"objects/Cube/count": 1})
        session = await returning(desk, back, "a test")
        session._join._put_back._waiting.add("/live/objects/Nowhere/count")  # as a bug would leave it
        back.deaf = True
        await asyncio.sleep(2.0)
        assert not session.live.is_set(), "what is held is not late"
        desk.registry.release()
        await until(lambda: back.wishes)
        for wish in back.wishes:
            back._take(wish)
        await bounded(session.live.wait())
        assert desk.registry.get("/live").state_reason == NO_ANSWER
        back.deaf = False
        await settled(desk, back, {"objects/Cube/count": 7})
        await until(lambda: desk.registry.get("/live").state is AppState.LIVE)
