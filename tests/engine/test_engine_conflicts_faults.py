"""Conflict records answered twice, in vain, or after the application has gone; a diagnosis that nobody waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_conflicts import ASK, TEMPO, VALUES, records, returned
from tests.support.desk import App, hello, open_desk, until

from lightfast.context.entry import Delete, Set, Status
from lightfast.context.store import Store
from lightfast.core.errors import Conflict, Exhausted, LightfastError, NotFound
from lightfast.engine.apps.diagnosis import of_bridge
from lightfast.engine.apps.resolve import Choice
from lightfast.sdk import Bridge, BridgeHost, Finding, Parameter

COUNT = "/live/objects/A/count"


async def test_two_answers_at_once_count_once_and_leave_nothing_behind(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"objects/A/count": None})
        answers = await asyncio.gather(
            *[desk.registry.resolve(records(desk)[COUNT], Choice.REPORTED, origin=f"client:{n}") for n in range(3)],
            return_exceptions=True,
        )
        assert sum(isinstance(answer, (Conflict, NotFound)) for answer in answers) == 2
        await until(lambda: desk.store.get(COUNT) is None)
        assert app.wishes == [], "it never had it"
        app.turn("objects/A/count", 3)
        await desk.status(COUNT, Status.SETTLED)
        await desk.store.apply([Delete(COUNT)], origin="client:test")
        await until(lambda: [wish.path for wish in app.wishes] == ["objects/A/count"])


async def test_one_answered_while_the_application_is_away_hides_no_later_deletion(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"objects/A/count": None})
        await desk.leave(app)
        await desk.registry.resolve(records(desk)[COUNT], Choice.REPORTED, origin="client:ann")
        again = App(dict(VALUES))
        await desk.live(again, hello("i3"))
        assert desk.entry(COUNT).value == 1
        await desk.store.apply([Delete(COUNT)], origin="client:test")
        await until(lambda: [wish.path for wish in again.wishes] == ["objects/A/count"])


async def test_an_answer_that_cannot_be_written_leaves_the_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"song/tempo": 100.0, "objects/A/count": None})
        ids = records(desk)
        apply = Store.apply

        async def full(self: Store, *args: Any, **how: Any) -> Any:
            if how.get("label", "").startswith("conflict"):
                raise Exhausted("the disk is full", reason="DISK_FULL")
            return await apply(self, *args, **how)

        monkeypatch.setattr(Store, "apply", full)
        for path in (TEMPO, COUNT):
            with pytest.raises(Exhausted):
                await desk.registry.resolve(ids[path], Choice.REPORTED, origin="client:ann")
        monkeypatch.undo()
        assert set(records(desk)) == {TEMPO, COUNT}
        app.turn("song/tempo", 101.0)  # still a question: it is not taken over
        await until(lambda: desk.entry(TEMPO).reported == 101.0)
        assert (desk.entry(TEMPO).value, desk.entry(TEMPO).status) == (120.0, Status.PENDING)
        await desk.registry.resolve(ids[TEMPO], Choice.WISHED, origin="client:ann")
        await desk.status(TEMPO, Status.SETTLED)
        assert app.values["song/tempo"] == 120.0


async def test_a_value_of_ones_own_is_taken_as_the_path_is_declared(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"song/tempo": 100.0})
        resolved = await desk.registry.resolve(records(desk)[TEMPO], 90, origin="client:ann")
        assert resolved.entry is not None
        assert type(resolved.entry.value) is float
        await until(lambda: app.values["song/tempo"] == 90.0)


async def test_a_diagnosis_nobody_waits_for_ends(tmp_path: Path) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    class Slow(Bridge):
        kind = "slow"

        async def run(self, host: BridgeHost) -> None:
            await asyncio.Event().wait()

        async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return ()

    looking = asyncio.ensure_future(of_bridge(Slow(), {}, 60.0))
    async with asyncio.timeout(60):
        await began.wait()
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        await ended.wait()


async def test_the_error_of_an_answer_is_one_of_ours(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        await returned(desk, **{"song/tempo": 100.0})
        await desk.store.apply([Set("/free", 1)], origin="client:test")
        for wrong in ("", "..", "a/b", "//", "*", "nope", "/"):
            with pytest.raises(LightfastError):
                await desk.registry.resolve(wrong, Choice.WISHED, origin="client:ann")


async def test_of_two_declarations_at_once_the_later_one_holds(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(VALUES))
        session = await desk.live(app, hello())
        session.declare([Parameter("song/tempo"), Parameter("old/value")])
        session.declare([Parameter("song/tempo"), Parameter("new/value")])
        await until(lambda: desk.store.declaration("/live/new/value") is not None)
        await until(lambda: desk.store.declaration("/live/old/value") is None)
        await desk.store.drain()
        assert {each.pattern for each in desk.store.describe("/live//")} == {"/live/song/tempo", "/live/new/value"}
