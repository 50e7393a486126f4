"""Applications on the desk: reports, wishes, echoes, silence, leaving, on the real store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.desk import App, Desk, bounded, conflicts, hello, open_desk, until

from lightfast.context.entry import Delete, Move, Set, Status
from lightfast.core.errors import (
    DeadlineExceeded,
    InvalidArgument,
)
from lightfast.engine.apps.records import AppState, Result
from lightfast.sdk import Change

TEMPO = "/live/song/tempo"
QUICK = {"live": {"wish_timeout_s": 0.15}}


async def history(desk: Desk, path: str) -> list[tuple[object, str, str]]:
    """Return the value, status and origin of every revision of *path*, oldest first."""
    page = await desk.store.history(path)
    events = [event for transaction in page.transactions for event in transaction.events]
    return [(event.entry.value, str(event.entry.status), event.entry.origin) for event in reversed(events)]


async def test_an_application_joins_and_is_shown(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "one"})
        await desk.live(app, hello(pid=7, simulator=True))
        entry = desk.entry(TEMPO)
        assert (entry.value, entry.reported, entry.status, entry.origin) == (120.0, 120.0, Status.SETTLED, "app:live")
        (record,) = desk.registry.list()
        assert (record.mount, record.kind, record.state, record.pid, record.simulator) == (
            "/live",
            "live",
            AppState.LIVE,
            7,
            True,
        )
        assert record.recovery_s is not None
        assert record.recovery_s >= 0
        await desk.holds("/lightfast/apps/live/state", "live")
        assert desk.entry("/lightfast/apps/live/kind").value == "live"
        assert desk.entry("/lightfast/apps/live/state").origin == "daemon"
        assert any(d.pattern == "/live/song/tempo" and d.owner == "app:live" for d in desk.store.describe("//"))


async def test_an_applications_own_change_is_one_revision(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.turn("song/tempo", 121.0)
        await desk.holds(TEMPO, 121.0)
        before = desk.entry(TEMPO).version
        app.turn("song/tempo", 121.0)
        app.turn("song/tempo", 121.00000001)
        app.turn("song/tempo", 125.0)
        await desk.holds(TEMPO, 125.0)
        assert desk.entry(TEMPO).version == before + 1, "an equal value is no change"
        assert app.wishes == [], "nothing goes back to where it came from"


async def test_back_and_forth_before_the_commit_is_not_lost(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        for value in (130.0, 120.0):
            app.turn("song/tempo", value)
        app.turn("song/name", "end")
        await desk.holds("/live/song/name", "end")
        assert desk.entry(TEMPO).value == 120.0


async def test_a_wish_is_pending_then_settled_with_its_cause_and_group(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        revision = await desk.set(TEMPO, 90.0, group="gesture")
        assert desk.entry(TEMPO).status is Status.PENDING
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert (entry.value, entry.reported, entry.cause) == (90.0, 90.0, revision)
        (latest, *_) = (await desk.store.history(TEMPO)).transactions
        assert (latest.cause, latest.group) == (revision, "gesture")
        (wish,) = app.wishes
        assert (wish.path, wish.value, wish.revision, wish.signal) == ("song/tempo", 90.0, revision, False)


async def test_a_rounded_echo_settles_and_changes_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"tracks/0/volume": 0.0}, rounds=lambda _, v: v + 0.000002, answers=False, echoes=True)
        await desk.live(app, hello())
        await desk.set("/live/tracks/0/volume", -12.0)
        entry = await desk.status("/live/tracks/0/volume", Status.SETTLED)
        assert entry.value == -12.0
        assert entry.reported == pytest.approx(-11.999998)
        app.joined.report([Change("tracks/0/volume", -11.999998), Change("song/name", "end")])
        await desk.holds("/live/song/name", "end")
        assert desk.entry("/live/tracks/0/volume") == entry, "a second echo is no news"
        assert len(app.wishes) == 1
        assert conflicts(desk) == []


async def test_an_application_that_clamps_leaves_a_conflict_record(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0}, rounds=lambda _, v: min(v, 200.0))
        await desk.live(app, hello())
        revision = await desk.set(TEMPO, 500.0)
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert (entry.value, entry.reported) == (200.0, 200.0)
        assert entry.status_reason == "the application holds 200.0, not 500.0"
        (conflict,) = conflicts(desk)
        assert conflict["path"] == TEMPO
        assert conflict["wished"] == 500.0
        assert conflict["reported"] == 200.0
        assert conflict["origin"] == "client:test"
        assert conflict["revision"] == revision


async def test_a_rejected_wish_stays_visible(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0}, refuses={"song/tempo": "the tempo is locked"})
        await desk.live(app, hello())
        await desk.set(TEMPO, 90.0)
        entry = await desk.status(TEMPO, Status.REJECTED)
        assert (entry.value, entry.reported, entry.status_reason) == (90.0, 120.0, "the tempo is locked")
        app.turn("song/tempo", 130.0)
        assert (await desk.status(TEMPO, Status.SETTLED)).value == 130.0


async def test_a_silent_application_is_read_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x"}, answers=False, echoes=False)
        await desk.live(app, hello())
        await desk.set(TEMPO, 90.0)
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert (entry.value, entry.reported) == (90.0, 90.0)
        assert app.resyncs == 1


async def test_a_silent_application_that_did_nothing_is_found_out(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App({"song/tempo": 120.0}, rounds=lambda _, value: 120.0, answers=False)
        await desk.live(app, hello())
        await desk.set(TEMPO, 90.0)
        entry = await desk.status(TEMPO, Status.REJECTED)
        assert (entry.value, entry.reported) == (90.0, 120.0)
        assert entry.status_reason == "no answer within 0.15 s; the application holds 120.0"


async def test_a_deaf_application_is_named_and_its_late_answer_counts(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.deaf = True
        await desk.set(TEMPO, 90.0)
        entry = await desk.status(TEMPO, Status.REJECTED)
        assert entry.status_reason == "no answer within 0.15 s, nor to being read back"
        assert entry.value == 90.0
        record = desk.registry.get("live")
        assert (record.state, record.state_reason) == (AppState.DEGRADED, "it does not answer")
        app.joined.settle(app.wishes[-1].wish_id, 90.0)
        assert (await desk.status(TEMPO, Status.SETTLED)).reported == 90.0
        assert desk.registry.get("live").state is AppState.LIVE


async def test_a_busy_application_is_not_hurried(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.deaf = True
        steps = await desk.registry.invoke("/live", "render", {"path": "/tmp/x"}, 60.0)
        rendering = asyncio.ensure_future(anext(steps))
        await until(lambda: app.calls)
        await desk.set(TEMPO, 90.0)
        await asyncio.sleep(0.4)  # longer than two deadlines: nothing else tells that none has struck
        assert desk.entry(TEMPO).status is Status.PENDING
        app.joined.settle(app.wishes[-1].wish_id, 90.0)
        app.joined.result(app.calls[0].call_id, "done")
        assert await bounded(rendering) == Result("done")
        await desk.status(TEMPO, Status.SETTLED)


async def test_newer_wishes_supersede_older_ones(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.joined._wishes.window = 60.0  # an echo is late, however long the disk takes in between
        app.deaf = True
        for value in (91.0, 92.0, 93.0):
            await desk.set(TEMPO, value)
        await until(lambda: len(app.wishes) == 3)
        for wish in app.wishes:
            app.joined.report([Change("song/tempo", wish.value)])
            app.joined.settle(wish.wish_id, wish.value)
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert entry.value == 93.0
        values = [value for value, _, _ in await history(desk, TEMPO)]
        assert values[-4:] == [91.0, 92.0, 93.0, 93.0], "no echo of an older wish came into the tree"
        assert conflicts(desk) == []


async def test_a_late_echo_waits_and_the_last_word_wins(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        for value in (91.0, 92.0):
            await desk.set(TEMPO, value)
            await desk.status(TEMPO, Status.SETTLED)
        app.joined.report([Change("song/tempo", 91.0)])
        app.joined.report([Change("song/tempo", 92.0), Change("song/name", "end")])
        await desk.holds("/live/song/name", "end")
        assert desk.entry(TEMPO).value == 92.0
        for value in (93.0, 94.0):
            await desk.set(TEMPO, value)
            await desk.status(TEMPO, Status.SETTLED)
        app.turn("song/tempo", 93.0)
        await desk.holds(TEMPO, 93.0)


async def test_a_report_that_overtakes_a_wish_does_not_hide_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.deaf = True
        setting = asyncio.ensure_future(desk.set(TEMPO, 90.0))
        await asyncio.sleep(0)  # the wish is on its way to the disk, and nobody has seen it
        app.turn("song/tempo", 77.0)
        await setting
        await until(lambda: desk.entry(TEMPO).reported == 77.0)
        entry = await desk.status(TEMPO, Status.PENDING)
        assert entry.value == 90.0
        app.joined.settle(app.wishes[-1].wish_id, 90.0)
        assert (await desk.status(TEMPO, Status.SETTLED)).value == 90.0


async def test_a_wish_that_differs_keeps_what_was_reported(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.deaf = True
        await desk.set(TEMPO, 90.0)
        await until(lambda: app.wishes)
        app.joined.report([Change("song/tempo", 100.0)])
        await until(lambda: desk.entry(TEMPO).reported == 100.0)
        assert (desk.entry(TEMPO).value, desk.entry(TEMPO).status) == (90.0, Status.PENDING)


async def test_signals_go_both_ways_without_answers(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "tracks/0/send": 0.0})
        await desk.live(app, hello())
        app.joined.report([Change("tracks/0/meter", 0.5)])
        await desk.holds("/live/tracks/0/meter", 0.5)
        meter = desk.entry("/live/tracks/0/meter")
        assert (meter.revision, meter.reported, meter.status) == (0, 0.5, Status.SETTLED), "a signal is volatile"
        await until(lambda: desk.entry("/live/tracks/0/meter").revision)
        revision = desk.store.revision
        published = desk.store.publish([Set("/live/tracks/0/send", 0.3)], origin="client:test")
        assert published.accepted == 1
        await until(lambda: app.wishes)
        assert (app.wishes[-1].signal, app.wishes[-1].revision, app.wishes[-1].value) == (True, 0, 0.3)
        desk.store.publish([Set("/live/tracks/0/send", 0.4)], origin="client:test")
        await until(lambda: app.wishes[-1].value == 0.4)
        app.joined.report([Change("tracks/0/send", 0.3)])
        assert desk.entry("/live/tracks/0/send").value == 0.4, "a late echo of a signal is held back"
        await until(lambda: desk.entry("/live/tracks/0/send").revision > revision)
        assert len(app.wishes) == 2, "the settled value of a signal is not sent again"


@pytest.mark.parametrize("ticks", range(4))
async def test_a_signal_is_sent_although_the_application_reports_its_own_in_the_same_tick(
    tmp_path: Path, ticks: int
) -> None:
    def wish(more: int) -> None:
        if more:
            asyncio.get_running_loop().call_soon(wish, more - 1)
        else:
            desk.store.publish([Set("/live/tracks/0/send", 0.3)], origin="client:test")

    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "tracks/0/send": 0.0})
        await desk.live(app, hello())
        asyncio.get_running_loop().call_soon(wish, ticks)
        app.turn("tracks/0/send", 0.7)
        await until(lambda: app.wishes)
        assert (app.wishes[0].signal, app.wishes[0].value) == (True, 0.3)


async def test_a_rename_moves_everything_and_wishes_follow(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/location": (0.0, 0.0, 0.0), "objects/Cube/count": 3})
        await desk.live(app, hello())
        app.deaf = True
        await desk.set("/live/objects/Cube/count", 4)
        await until(lambda: app.wishes)
        app.joined.report([Change("objects/Box", None, moved_from="objects/Cube")])
        await desk.holds("/live/objects/Box/location", (0.0, 0.0, 0.0))
        assert desk.store.get("/live/objects/Cube/location") is None
        assert desk.entry("/live/objects/Box/count").status is Status.PENDING
        app.joined.settle(app.wishes[-1].wish_id, 4)
        assert (await desk.status("/live/objects/Box/count", Status.SETTLED)).value == 4


async def test_a_deletion_in_the_application_and_one_from_outside(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        values = {f"objects/{name}/{what}": 1 for name in ("A", "B", "C") for what in ("count", "extra")}
        app = App(dict(values))
        session = desk.join(app, hello(), snapshot=False)
        session.report([Change(path, value, object_id=path.split("/")[1]) for path, value in app.values.items()])
        session.synced()
        await bounded(session.live.wait())
        session.report([Change("objects/A", None)])
        await desk.holds("/live/objects/A/count", None)
        assert app.wishes == []
        await desk.store.apply([Delete("/live/objects/B", recursive=True)], origin="client:test")
        await until(lambda: app.wishes)
        assert [(wish.path, wish.value) for wish in app.wishes] == [("objects/B", None)], "an object goes as a whole"
        await until(lambda: "objects/B/count" not in app.values)
        app.refuses["objects/C"] = "it is locked"
        await desk.store.apply([Delete("/live/objects/C", recursive=True)], origin="client:test")
        await desk.holds("/live/objects/C/count", 1)
        assert desk.entry("/live/objects/C/count").status_reason == "it is locked"
        assert [conflict["reason"] for conflict in conflicts(desk)] == ["not deleted: it is locked"]


async def test_deleted_and_set_again_arrives_in_that_order(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/A/count": 1, "song/tempo": 120.0})
        await desk.live(app, hello())
        path = "/live/objects/A/count"
        await asyncio.gather(
            desk.store.apply([Delete(path)], origin="client:test"),
            desk.store.apply([Set(path, 5)], origin="client:test"),
        )
        await until(lambda: app.values.get("objects/A/count") == 5)
        assert [wish.value for wish in app.wishes] == [None, 5]
        assert (await desk.status(path, Status.SETTLED)).value == 5


async def test_a_late_answer_does_not_hide_a_newer_wish(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.deaf = True
        await desk.set(TEMPO, 90.0)
        await desk.status(TEMPO, Status.REJECTED)
        await desk.set(TEMPO, 80.0)
        await until(lambda: len(app.wishes) == 2)
        app.joined.settle(app.wishes[0].wish_id, 90.0)
        app.joined.report([Change("song/name", "end")])
        await desk.holds("/live/song/name", "end")
        assert desk.entry(TEMPO).value == 80.0
        assert desk.entry(TEMPO).status is not Status.SETTLED
        app.joined.settle(app.wishes[1].wish_id, 80.0)
        assert (await desk.status(TEMPO, Status.SETTLED)).value == 80.0


async def test_a_move_from_outside_is_taken_back_on_the_record(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/A/count": 1, "objects/A/shown": True})
        await desk.live(app, hello())
        await desk.store.apply([Move("/live/objects/A", "/live/objects/Z")], origin="client:test")
        await desk.holds("/live/objects/A/count", 1)
        await desk.holds("/live/objects/A/shown", True)
        assert desk.store.get("/live/objects/Z/count") is None
        assert app.wishes == []
        assert conflicts(desk)


async def test_a_malformed_report_is_left_out_and_shown(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        session = await desk.live(app, hello())
        session.report([Change("song//x", 1.0), Change("song/tempo", 1 << 80), Change("song/name", "good")])
        await desk.holds("/live/song/name", "good")
        record = desk.registry.get("/live")
        assert record.state is AppState.DEGRADED
        assert "does not fit 64 bits" in record.state_reason
        session.degraded("")
        assert desk.registry.get("/live").state is AppState.LIVE


async def test_what_lies_out_of_range_is_recorded_and_flagged(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.turn("song/tempo", 5000.0)
        await desk.holds(TEMPO, 5000.0)
        assert "5000" in desk.entry(TEMPO).status_reason


async def test_a_silent_full_report_ends_by_itself(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"resync_timeout_s": 0.1}}) as desk:
        app = App()
        session = desk.join(app, hello(), snapshot=False)
        session.report([Change("song/tempo", 100.0)])
        await bounded(session.live.wait())
        assert desk.entry(TEMPO).value == 100.0


async def test_resync_on_demand_finds_what_nobody_said(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x", "song/length": 3.0})
        await desk.live(app, hello())
        app.values["song/tempo"] = 99.0
        del app.values["song/length"]
        report = await bounded(desk.registry.resync("live"))
        assert (report.taken, report.restored, report.lost_paths) == (1, 0, ("/live/song/length",))
        assert desk.entry(TEMPO).value == 99.0
        assert desk.store.get("/live/song/length") is None
        app.deaf = True
        with pytest.raises(DeadlineExceeded, match=r"did not report everything within 0\.05 s"):
            await desk.registry.resync("live", timeout=0.05)


def test_a_wrong_configuration_names_all_mistakes() -> None:
    from lightfast.engine.apps.settings import AppsConfig

    with pytest.raises(InvalidArgument) as caught:
        AppsConfig({"live": {"resync_polcy": "app", "allow_code": 1}, "blender": {"resync_policy": "asks"}, "x": 3})
    assert "apps.live.resync_polcy is not known: did you mean resync_policy?" in caught.value.message
    assert "apps.live.allow_code is 1: it must be true or false" in caught.value.message
    assert "apps.blender.resync_policy is 'asks'" in caught.value.message
    assert "apps.x must be a table" in caught.value.message


async def test_a_channel_may_report_everything_before_resync_returns(tmp_path: Path) -> None:
    class Prompt(App):
        def resync(self) -> None:
            self.report_all()

    async with open_desk(tmp_path) as desk:
        app = Prompt({"song/tempo": 120.0})
        await desk.live(app, hello())
        app.values["song/tempo"] = 99.0
        report = await bounded(desk.registry.resync("live"))
        assert report.taken == 1
