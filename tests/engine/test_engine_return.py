"""Applications that leave and return, and daemons that do: nothing acknowledged is lost in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.desk import App, bounded, conflicts, hello, open_desk, until

from lightfast.context.entry import Delete, Status
from lightfast.engine.apps.records import AppState
from lightfast.sdk import BridgeError, Change, Hello, Wish

TEMPO = "/live/song/tempo"


async def test_leaving_makes_settled_stale_and_keeps_wishes(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x", "objects/A/count": 1})
        await desk.live(app, hello())
        app.deaf = True
        await desk.set("/live/song/name", "wished")
        await until(lambda: app.wishes)
        await desk.leave(app, "it crashed")
        entry = desk.entry(TEMPO)
        assert (entry.status, entry.status_reason, entry.value) == (Status.STALE, "/live is away: it crashed", 120.0)
        assert desk.entry("/live/objects/A/count").revision == entry.revision, "in one transaction"
        assert desk.entry("/live/song/name").status is Status.PENDING
        record = desk.registry.get("/live")
        assert (record.state, record.state_reason, record.pending) == (AppState.GONE, "it crashed", 1)
        await desk.holds("/lightfast/apps/live/state", "gone")
        revision = await desk.set(TEMPO, 60.0)
        assert desk.entry(TEMPO).status is Status.PENDING, "a wish for one that is away waits"
        assert revision > 0


async def test_the_same_document_is_put_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x", "objects/A/count": 1})
        await desk.live(app, hello())
        app.turn("song/tempo", 150.0)
        await desk.holds(TEMPO, 150.0)
        await desk.leave(app)
        await desk.set("/live/song/name", "wished while away")
        again = App({"song/tempo": 120.0, "song/name": "x", "objects/A/count": 1, "objects/B/count": 9})
        session = await desk.live(again, hello("i2"))
        assert session.mount == "/live"
        await until(lambda: again.values["song/tempo"] == 150.0)
        assert again.values == {
            "song/tempo": 150.0,
            "song/name": "wished while away",
            "objects/A/count": 1,
            "objects/B/count": 9,
        }
        for path in (TEMPO, "/live/song/name", "/live/objects/A/count", "/live/objects/B/count"):
            await desk.status(path, Status.SETTLED)
        assert desk.registry.get("/live").lost_paths == ()
        assert conflicts(desk) == []


async def test_what_cannot_be_put_back_is_lost_by_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "objects/Mesh/count": 3, "song/length": 9.0})
        await desk.live(app, hello())
        await desk.leave(app)
        again = App(
            {"song/tempo": 100.0}, refuses={"objects/Mesh/count": "there is no object Mesh", "song/tempo": "locked"}
        )
        await desk.live(again, hello("i2"))
        lost = ("/live/objects/Mesh/count", "/live/song/length", "/live/song/tempo")
        assert tuple(sorted(desk.registry.get("/live").lost_paths)) == lost
        await desk.holds("/live/objects/Mesh/count", None)
        await desk.holds("/live/song/length", None)
        entry = await desk.status(TEMPO, Status.REJECTED)
        assert (entry.value, entry.reported, entry.status_reason) == (120.0, 100.0, "locked")
        await until(lambda: len(desk.entry("/lightfast/apps/live/lost").value) == 3)  # type: ignore[arg-type]


async def test_another_document_holds_in_one_transaction(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "objects/Old/count": 3})
        await desk.live(app, hello())
        await desk.leave(app)
        revision = await desk.set(TEMPO, 90.0)
        again = App({"song/tempo": 100.0, "objects/New/count": 4})
        session = await desk.live(again, hello("i2", "b"))
        assert session.mount == "/live"
        assert again.wishes == []
        entry = desk.entry(TEMPO)
        assert (entry.value, entry.status) == (100.0, Status.SETTLED)
        assert desk.store.get("/live/objects/Old/count") is None
        assert desk.entry("/live/objects/New/count").revision == entry.revision
        (conflict,) = conflicts(desk)
        assert (conflict["path"], conflict["wished"], conflict["reported"], conflict["revision"]) == (
            TEMPO,
            90.0,
            100.0,
            revision,
        )
        (transaction,) = [t for t in (await desk.store.history(TEMPO)).transactions if t.revision == entry.revision]
        assert transaction.origin == "app:live"
        page = await desk.store.history("/live/objects/Old/count")
        assert page.transactions[0].revision == entry.revision


async def test_an_edit_outside_our_sight_holds_but_wishes_do_too(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x"})
        await desk.live(app, hello(generation=1))
        await desk.leave(app)
        await desk.set("/live/song/name", "wish")
        again = App({"song/tempo": 100.0, "song/name": "y"})
        await desk.live(again, hello(generation=2))
        assert desk.entry(TEMPO).value == 100.0
        await until(lambda: again.values["song/name"] == "wish")
        assert [wish.path for wish in again.wishes] == ["song/name"]


@pytest.mark.parametrize(("policy", "tempo"), [("app", 100.0), ("daemon", 120.0), ("newest", 100.0)])
async def test_the_user_may_say_who_wins(tmp_path: Path, policy: str, tempo: float) -> None:
    async with open_desk(tmp_path, {"live": {"resync_policy": policy}}) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.leave(app)
        again = App({"song/tempo": 100.0})
        await desk.live(again, hello())
        await desk.holds(TEMPO, tempo)
        await until(lambda: again.values["song/tempo"] == tempo)


async def test_reports_while_returning_are_not_lost(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.leave(app)
        again = App({"song/tempo": 100.0})
        session = desk.join(again, hello("i2", "b"))
        session.report([Change("song/tempo", 120.0)])  # the full report is not committed yet
        await bounded(session.live.wait())
        await desk.holds(TEMPO, 120.0)
        assert desk.entry(TEMPO).status is Status.SETTLED


async def test_wishes_while_returning_are_not_lost(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x"})
        await desk.live(app, hello())
        await desk.leave(app)
        again = App({"song/tempo": 120.0, "song/name": "x"})
        session = desk.join(again, hello("i2"), snapshot=False)
        first = asyncio.ensure_future(desk.set(TEMPO, 91.0))
        await asyncio.sleep(0)
        again.report_all()
        second = asyncio.ensure_future(desk.set("/live/song/name", "y"))
        await asyncio.gather(first, second)
        await bounded(session.live.wait())
        await until(lambda: again.values == {"song/tempo": 91.0, "song/name": "y"})
        await desk.status(TEMPO, Status.SETTLED)
        await desk.status("/live/song/name", Status.SETTLED)


async def test_two_instances_stay_apart(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        one, two = App({"song/tempo": 1.0}), App({"song/tempo": 2.0})
        await desk.live(one, hello("i1", "a"))
        await desk.live(two, hello("i2", "b"))
        assert [record.mount for record in desk.registry.list()] == ["/live", "/live-2"]
        await desk.set("/live-2/song/tempo", 50.0)
        await desk.status("/live-2/song/tempo", Status.SETTLED)
        assert (one.values["song/tempo"], two.values["song/tempo"]) == (1.0, 50.0)
        assert desk.entry(TEMPO).value == 1.0
        for app in (one, two):
            await desk.leave(app)
        await desk.live(App({"song/tempo": 2.0}), hello("i3", "b"))
        assert desk.registry.get("/live-2").state is AppState.LIVE
        assert desk.registry.get("/live").state is AppState.GONE


async def test_a_second_session_of_one_instance_replaces_the_first(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        one, two = App({"song/tempo": 1.0}), App({"song/tempo": 2.0})
        await desk.live(one, hello("i1"))
        await desk.live(two, hello("i1"))
        assert one.closed == "i1 said hello again"
        (record,) = desk.registry.list()
        assert (record.mount, record.state) == ("/live", AppState.LIVE)
        await until(lambda: two.values["song/tempo"] == 1.0)
        one.joined.report([Change("song/tempo", 99.0)])
        two.turn("song/name", "end")
        await desk.holds("/live/song/name", "end")
        assert desk.entry(TEMPO).value == 1.0, "the old session has nothing to say any more"


async def test_a_new_hello_on_the_same_channel_keeps_it_open(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 1.0})
        await desk.live(app, hello("i1", "a"))
        app.values = {"song/tempo": 7.0}
        await desk.live(app, hello("i1", "b"))
        assert app.closed == ""
        assert desk.entry(TEMPO).value == 7.0


async def test_a_daemon_that_was_killed_forgets_neither_mounts_nor_wishes(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x"})
        await desk.live(app, hello("i1", "a"))
        app.deaf = True
        await desk.set(TEMPO, 90.0, group="g")
        # The daemon dies here: no goodbye is recorded before the next one opens the same store.
        desk.registry.close = _nothing  # type: ignore[method-assign]
    async with open_desk(tmp_path) as desk:
        (record,) = desk.registry.list()
        assert (record.mount, record.state, record.pending) == ("/live", AppState.GONE, 1)
        assert desk.entry(TEMPO).status is Status.PENDING
        assert desk.entry("/live/song/name").status is Status.STALE
        await desk.holds("/lightfast/apps/live/state", "gone")
        await desk.set("/live/song/name", "y")
        again = App({"song/tempo": 120.0, "song/name": "x"})
        await desk.live(again, hello("i9", "a"))
        await until(lambda: again.values == {"song/tempo": 90.0, "song/name": "y"})
        await desk.status(TEMPO, Status.SETTLED)


async def _nothing() -> None:
    return None


async def test_what_was_deleted_while_it_was_away_is_deleted_when_it_returns(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/A/count": 1, "objects/A/shown": True, "objects/B/count": 2})
        await desk.live(app, hello())
        await desk.leave(app)
        await desk.store.apply([Delete("/live/objects/A", recursive=True)], origin="client:test")
        again = App({"objects/A/count": 1, "objects/A/shown": True, "objects/B/count": 2})
        await desk.live(again, hello("i2"))
        await until(lambda: again.values == {"objects/B/count": 2})
        assert desk.store.get("/live/objects/A/count") is None


async def test_an_absent_application_is_shown(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        desk.registry.absent("live", "nothing answers on port 11000: start Live and load AbletonOSC")
        (record,) = desk.registry.list()
        assert (record.mount, record.state) == ("/live", AppState.ABSENT)
        assert "port 11000" in record.state_reason
        await desk.holds("/lightfast/apps/live/state", "absent")
        app = App({"song/tempo": 1.0})
        await desk.live(app, hello())
        desk.registry.absent("live", "not this one")
        assert desk.registry.get("/live").state is AppState.LIVE


async def test_a_malformed_hello_is_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        with pytest.raises(BridgeError, match="needs a kind"):
            desk.registry.hello(Hello("", "i"), App(), transport="test")
        assert desk.registry.list() == []


async def test_undo_takes_the_wish_and_the_answer_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.set(TEMPO, 90.0, group="gesture")
        await desk.status(TEMPO, Status.SETTLED)
        undone = await desk.store.undo(group="gesture", origin="client:test")
        assert len(undone.undone) == 2
        assert undone.conflicts == ()
        await until(lambda: app.values["song/tempo"] == 120.0)
        assert (await desk.status(TEMPO, Status.SETTLED)).value == 120.0


class Talkative(App):
    """Answers within the call that brings the wish; and tells, before, another value that it had for a moment."""

    def apply(self, wishes: Sequence[Wish]) -> None:
        self.wishes += wishes
        for wish in wishes:
            if wish.value is not None and not wish.signal:
                self.turn(wish.path, 60.0)
                self._take(wish)


async def test_an_answer_does_not_pass_a_report_that_came_before_it(tmp_path: Path) -> None:
    """Ardour tells a fader that was put back and then the gain that was wished: the gain holds."""
    async with open_desk(tmp_path) as desk:
        first = App({"song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        await desk.set(TEMPO, 97.0)
        back = Talkative({"song/tempo": 120.0})
        await desk.live(back, hello())
        back.turn("song/name", "the last word")
        await desk.holds("/live/song/name", "the last word")
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert back.values["song/tempo"] == 97.0
        assert (entry.value, entry.reported) == (97.0, 97.0)


async def test_a_refusal_does_not_pass_a_report_that_came_before_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = App({"song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        await desk.set(TEMPO, 97.0)
        back = Talkative({"song/tempo": 120.0}, refuses={"song/tempo": "it is locked"})
        await desk.live(back, hello())
        entry = await desk.status(TEMPO, Status.REJECTED)
        assert (entry.value, entry.reported, entry.status_reason) == (97.0, 60.0, "it is locked")
