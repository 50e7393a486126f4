"""Conflicts: questions to the user when an application returns, conflict records answered, policies of a mount."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.desk import App, Desk, bounded, conflicts, hello, open_desk, until

from lightfast.context.entry import Declaration, Delete, Set, Status
from lightfast.core.clock import StillClock
from lightfast.core.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, OutOfBounds
from lightfast.engine.apps.records import AppState
from lightfast.engine.apps.resolve import Choice
from lightfast.engine.apps.settings import AppsConfig
from lightfast.engine.links.link import Link
from lightfast.sdk import Change

TEMPO = "/live/song/tempo"
ASK = {"live": {"resync_policy": "ask"}}
VALUES: dict[str, Any] = {"song/tempo": 120.0, "song/name": "x", "song/length": 9.0, "objects/A/count": 1}


def records(desk: Desk) -> dict[str, str]:
    """Return the ids of the conflict records by the path they are about."""
    found = {}
    for entry in desk.store.select("/lightfast/conflicts//"):
        assert isinstance(entry.value, dict)
        found[str(entry.value["path"])] = entry.path.rpartition("/")[2]
    return found


async def asked(desk: Desk, reported: float) -> None:
    """Wait until the question says that the application holds *reported*."""
    await until(lambda: conflicts(desk)[0]["reported"] == reported)


async def returned(desk: Desk, **changes: Any) -> App:
    """Let an application join, leave, and return with other values."""
    await desk.live(app := App(dict(VALUES)), hello())
    await desk.leave(app)
    again = App({path: value for path, value in {**VALUES, **changes}.items() if value is not None})
    await desk.live(again, hello("i2"))
    return again


async def test_nothing_is_pushed_and_nothing_taken_over(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(
            desk, **{"song/tempo": 100.0, "song/length": 10.0, "objects/A/count": None, "objects/B/count": 2}
        )
        assert app.wishes == []
        assert desk.registry.get("live").state is AppState.LIVE
        entry = desk.entry(TEMPO)
        assert (entry.value, entry.reported, entry.status) == (120.0, 100.0, Status.PENDING)
        ids = records(desk)
        assert set(ids) == {TEMPO, "/live/objects/A/count"}
        assert f"lightfast apps resolve {ids[TEMPO]}" in entry.status_reason
        (tempo,) = [body for body in conflicts(desk) if body["path"] == TEMPO]
        assert (tempo["wished"], tempo["reported"], tempo["open"]) == (120.0, 100.0, True)
        (missing,) = [body for body in conflicts(desk) if body["path"] != TEMPO]
        assert missing["wished"] == 1
        assert "reported" not in missing
        assert desk.entry("/live/song/name").status is Status.SETTLED
        assert desk.entry("/live/song/length").value == 10.0, "there is nothing to ask about what can only be read"
        assert desk.entry("/live/objects/B/count").value == 2, "nor about what only one side knows of"


async def test_the_wish_is_chosen(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"song/tempo": 100.0, "objects/A/count": None})
        ids = records(desk)
        question = desk.entry(f"/lightfast/conflicts/{ids[TEMPO]}")
        resolved = await desk.registry.resolve(ids[TEMPO], Choice.WISHED, origin="client:ann")
        assert resolved.path == TEMPO
        (transaction,) = [t for t in (await desk.store.history("//")).transactions if t.revision == resolved.revision]
        assert (transaction.origin, transaction.cause) == ("client:ann", question.revision)
        assert {event.entry.path for event in transaction.events} == {TEMPO, question.path}, "one transaction"
        entry = await desk.status(TEMPO, Status.SETTLED)
        assert (entry.value, app.values["song/tempo"]) == (120.0, 120.0)
        await desk.registry.resolve(ids["/live/objects/A/count"], Choice.WISHED, origin="client:ann")
        await until(lambda: app.values.get("objects/A/count") == 1)
        assert conflicts(desk) == []
        with pytest.raises(NotFound, match="was resolved, or never was"):
            await desk.registry.resolve(ids[TEMPO], Choice.WISHED, origin="client:ann")


async def test_the_report_is_chosen(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"song/tempo": 100.0, "objects/A/count": None})
        ids = records(desk)
        await desk.registry.resolve(ids[TEMPO], Choice.REPORTED, origin="client:ann")
        assert (await desk.status(TEMPO, Status.SETTLED)).value == 100.0
        await desk.registry.resolve(ids["/live/objects/A/count"], Choice.REPORTED, origin="client:ann")
        await desk.holds("/live/objects/A/count", None)
        await desk.set("/live/song/name", "end")
        await desk.status("/live/song/name", Status.SETTLED)
        assert not [wish for wish in app.wishes if wish.value is None], "what it never had is not wished gone"
        assert conflicts(desk) == []


async def test_another_value_is_checked_like_any_write(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"song/tempo": 100.0})
        found = records(desk)[TEMPO]
        with pytest.raises(OutOfBounds):
            await desk.registry.resolve(found, 5000.0, origin="client:ann")
        assert records(desk) == {TEMPO: found}
        await desk.registry.resolve(found, 111.0, origin="client:ann")
        await until(lambda: app.values["song/tempo"] == 111.0)
        assert conflicts(desk) == []


async def test_what_it_reports_meanwhile_goes_into_the_question(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"song/tempo": 100.0})
        for value in (101.0, 102.0):
            app.turn("song/tempo", value)
            await asked(desk, value)
        entry = desk.entry(TEMPO)
        assert (entry.value, entry.reported, entry.status) == (120.0, 102.0, Status.PENDING)
        await bounded(desk.registry.resync("live"))
        assert app.wishes == [], "a comparison does not push it either"
        app.turn("song/tempo", 120.0)
        assert (await desk.status(TEMPO, Status.SETTLED)).value == 120.0
        await until(lambda: conflicts(desk) == [])


async def test_a_newer_wish_answers_the_question(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"song/tempo": 100.0})
        await desk.set(TEMPO, 90.0)
        await desk.status(TEMPO, Status.SETTLED)
        assert app.values["song/tempo"] == 90.0
        await until(lambda: conflicts(desk) == [])


async def test_a_question_survives_the_daemon_and_is_asked_once(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        await returned(desk, **{"song/tempo": 100.0})
        before = records(desk)
    async with open_desk(tmp_path, ASK) as desk:
        app = App({**VALUES, "song/tempo": 99.0})
        await desk.live(app, hello("i3"))
        assert records(desk) == before
        assert conflicts(desk)[0]["reported"] == 99.0
        assert app.wishes == []
        app.joined.report([Change("song", None)])
        await until(lambda: conflicts(desk)[0].get("open") is None)
        assert "deleted in the application" in str(conflicts(desk)[0]["reason"])


async def test_a_hold_does_not_push_it_either(tmp_path: Path) -> None:
    async with open_desk(tmp_path, ASK) as desk:
        app = await returned(desk, **{"song/tempo": 100.0})
        desk.registry.hold("panic")
        desk.registry.release()
        await desk.set("/live/song/name", "end")
        await desk.status("/live/song/name", Status.SETTLED)
        assert [wish.path for wish in app.wishes] == ["song/name"]


async def test_an_overwritten_wish_can_be_wished_again(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(VALUES))
        await desk.live(app, hello())
        await desk.leave(app)
        await desk.set(TEMPO, 90.0)
        again = App({**VALUES, "song/tempo": 100.0})
        await desk.live(again, hello("i2", "another document"))
        found = records(desk)[TEMPO]
        assert desk.entry(TEMPO).value == 100.0
        await desk.registry.resolve(found, Choice.WISHED, origin="client:ann")
        await until(lambda: again.values["song/tempo"] == 90.0)
        assert conflicts(desk) == []


async def test_a_record_without_a_value_says_so(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(VALUES), refuses={"objects/A/count": "it is locked"})
        await desk.live(app, hello())
        await desk.store.apply([Delete("/live/objects/A/count")], origin="client:test")
        await until(lambda: conflicts(desk))
        found = records(desk)["/live/objects/A/count"]
        with pytest.raises(FailedPrecondition, match="choose reported to let it be"):
            await desk.registry.resolve(found, Choice.WISHED, origin="client:ann")
        await desk.registry.resolve(found, Choice.REPORTED, origin="client:ann")
        assert conflicts(desk) == []
        assert desk.entry("/live/objects/A/count").value == 1


@pytest.mark.parametrize("unknown", ["", "conflict_x", "../apps/live/state", "a/b"])
async def test_an_unknown_record_is_not_found(tmp_path: Path, unknown: str) -> None:
    async with open_desk(tmp_path) as desk:
        await desk.live(App(dict(VALUES)), hello())
        with pytest.raises(NotFound) as caught:
            await desk.registry.resolve(unknown, Choice.WISHED, origin="client:ann")
        assert caught.value.reason == "CONFLICT_UNKNOWN"
        await desk.holds("/lightfast/apps/live/state", "live")


async def test_the_settings_give_policies_to_patterns_of_a_mount(tmp_path: Path) -> None:
    config = {"live": {"policies": {"tracks/*/volume": "owner", "song/name": "compare_and_set"}, "owner_hold_s": 60}}
    async with open_desk(tmp_path, config) as desk:
        app = App({**VALUES, "tracks/0/volume": 0.5})
        await desk.live(app, hello())
        volume = "/live/tracks/0/volume"
        await desk.set(volume, 0.6)
        await desk.status(volume, Status.SETTLED)
        with pytest.raises(Conflict) as caught:
            await desk.store.apply([Set(volume, 0.7)], origin="client:other")
        assert caught.value.metadata["owner"] == "client:test", "what the application answered is no hand"
        app.turn("tracks/0/volume", 0.9)
        await desk.holds(volume, 0.9)
        with pytest.raises(Conflict) as caught:
            await desk.set(volume, 0.1)
        assert caught.value.metadata["owner"] == "app:live"
        with pytest.raises(FailedPrecondition):
            await desk.set("/live/song/name", "y")
        await desk.set(TEMPO, 100.0)
    async with open_desk(tmp_path, config) as desk:
        with pytest.raises(FailedPrecondition):
            await desk.set("/live/song/name", "while it is away")


async def test_a_link_waits_until_the_hand_lets_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"live": {"policies": {"tracks/*/volume": "owner"}, "owner_hold_s": 0.1}}
    async with open_desk(tmp_path, config) as desk:
        clock = StillClock()  # the hand stays on, however long the disk takes
        monkeypatch.setattr(desk.store._ledger, "_clock", clock)
        app = App({**VALUES, "tracks/0/volume": 0.5})
        await desk.live(app, hello())
        await desk.set("/free/knob", 0.5)
        link = await desk.links.create(Link("/free/knob", "/live/tracks/0/volume"))
        app.turn("tracks/0/volume", 0.9)
        await desk.holds("/live/tracks/0/volume", 0.9)
        await desk.set("/free/knob", 0.2)
        await until(lambda: "has its hand on" in desk.links.get(link.link_id).last_error)
        await asyncio.sleep(0.3)  # it tries again and again: nothing else tells that it is refused each time
        assert desk.entry("/live/tracks/0/volume").value == 0.9
        await desk.set("/free/knob", 0.3)
        clock.advance(0.1)
        await desk.holds("/live/tracks/0/volume", 0.3)
        await until(lambda: app.values["tracks/0/volume"] == 0.3)
        await until(lambda: desk.links.get(link.link_id).last_error == "")


async def test_a_declared_policy_survives_the_return_of_the_application(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(VALUES))
        await desk.live(app, hello())
        (known,) = desk.store.describe(TEMPO)
        await desk.store.declare(
            [Declaration(TEMPO, kind=known.kind, minimum=20, maximum=999, policy="compare_and_set")], owner="client:x"
        )
        await desk.leave(app)
        await desk.live(App(dict(VALUES)), hello("i2"))
        (known,) = desk.store.describe(TEMPO)
        assert (known.owner, known.policy, known.unit) == ("app:live", "compare_and_set", "bpm")
        with pytest.raises(FailedPrecondition):
            await desk.set(TEMPO, 90.0)


def test_wrong_policies_are_named() -> None:
    with pytest.raises(InvalidArgument) as caught:
        AppsConfig({"live": {"policies": {"tracks/*/volume": "ownr"}, "owner_hold_s": 0}, "b": {"policies": 3}})
    assert "apps.live.policies" in caught.value.message
    assert "did you mean owner?" in caught.value.message
    assert "apps.live.owner_hold_s is 0" in caught.value.message
    assert "apps.b.policies is 3" in caught.value.message


def test_the_table_of_a_mount_may_be_named_as_the_user_wrote_it() -> None:
    config = AppsConfig({"front of house": {"allow_code": True}})
    assert config.of("/front%20of%20house", "ardour").allow_code
