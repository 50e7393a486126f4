"""Renames towards an application: wished, settled, refused, crossed, and found again after an absence."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.desk import App, Desk, bounded, conflicts, hello, open_desk, until

from lightfast.context.entry import Entry, Move, Set, Status
from lightfast.engine.apps.matching import match
from lightfast.engine.apps.resolve import Choice
from lightfast.engine.links.carrier import Link
from lightfast.sdk import Change, Hello
from lightfast_link.value import Value

QUICK = {"live": {"wish_timeout_s": 0.1}}
CUBE: dict[str, Value] = {"objects/Cube/count": 1, "objects/Cube/shown": True}


def able(document: str = "a", **more: object) -> Hello:
    return hello(document=document, capabilities=frozenset({"rename"}), **more)  # type: ignore[arg-type]


async def move(desk: Desk, source: str, target: str) -> int:
    applied = await desk.store.apply([Move(f"/live/objects/{source}", f"/live/objects/{target}")], origin="client:test")
    return applied.revision


def report_with_ids(app: App, ids: dict[str, str]) -> None:
    """Report everything, each object by its name with its id."""
    app.joined.report([Change(p, v, object_id=ids.get(p.split("/")[1], "")) for p, v in app.values.items()])
    app.joined.synced()


async def test_a_move_is_wished_of_an_application_that_can_rename(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({**CUBE, "objects/Other/count": 9})
        await desk.live(app, able())
        app.answers = False
        revision = await move(desk, "Cube", "Box")
        await until(lambda: app.wishes)
        (wish,) = app.wishes
        assert (wish.moved_from, wish.path, wish.value, wish.revision) == (
            "objects/Cube",
            "objects/Box",
            None,
            revision,
        )
        entry = await desk.status("/live/objects/Box/count", Status.PENDING)
        assert entry.status_reason == "to be renamed from /live/objects/Cube"
        assert desk.entry("/live/objects/Other/count").status is Status.SETTLED
        app.joined.settle(wish.wish_id)
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        entry = await desk.status("/live/objects/Box/shown", Status.SETTLED)
        assert (entry.value, entry.reported, entry.cause, entry.status_reason) == (True, True, revision, "")
        assert not conflicts(desk)
        assert desk.registry.get("/live").pending == 0


async def test_an_answer_before_the_mark_is_committed_leaves_nothing_pending(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        await desk.live(app, able())
        for number in range(20):
            await move(desk, f"Cube{number or ''}", f"Cube{number + 1}")
        await until(lambda: "objects/Cube20/count" in app.values)
        await desk.status("/live/objects/Cube20/count", Status.SETTLED)
        await desk.status("/live/objects/Cube20/shown", Status.SETTLED)
        assert [entry.path for entry in desk.store.select("/live/objects//")] == [
            "/live/objects/Cube20/count",
            "/live/objects/Cube20/shown",
        ]


async def test_a_refused_rename_goes_back_with_the_reason_and_links_follow(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE), refuses={"objects/Box": "the name is taken"})
        await desk.live(app, able())
        link = await desk.links.create(Link("/live/objects/Cube/count", "/out"))
        await move(desk, "Cube", "Box")
        await desk.holds("/live/objects/Cube/count", 1)
        await until(lambda: desk.entry("/live/objects/Cube/shown").status is Status.SETTLED)
        assert desk.entry("/live/objects/Cube/shown").status_reason == "the name is taken"
        assert desk.store.get("/live/objects/Box/count") is None
        (conflict,) = conflicts(desk)
        assert (conflict["path"], conflict["origin"]) == ("/live/objects/Cube", "client:test")
        assert "the name is taken" in conflict["reason"]
        assert desk.links.get(link.link_id).source == "/live/objects/Cube/count"
        app.turn("objects/Cube/count", 5)
        await desk.holds("/out", 5)


async def test_undo_of_a_rename_the_application_made_renames_it_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        await desk.live(app, able())
        await desk.links.create(Link("/live/objects/Cube/count", "/out"))
        app.values = {"objects/Box" + path[len("objects/Cube") :]: value for path, value in app.values.items()}
        app.joined.report([Change("objects/Box", None, moved_from="objects/Cube")])
        await desk.holds("/live/objects/Box/count", 1)
        revision = desk.entry("/live/objects/Box/count").revision
        undone = await desk.store.undo(revision=revision, origin="client:test")
        assert not undone.conflicts
        await until(lambda: app.values == CUBE, lambda: app.values)
        assert (await desk.status("/live/objects/Cube/count", Status.SETTLED)).reported == 1
        assert [(wish.moved_from, wish.path) for wish in app.wishes] == [("objects/Box", "objects/Cube")]
        app.turn("objects/Cube/count", 7)
        await desk.holds("/out", 7)
        assert not conflicts(desk)


async def test_a_value_set_right_after_a_move_goes_out_behind_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        await desk.live(app, able())
        await desk.store.apply(
            [Move("/live/objects/Cube", "/live/objects/Box"), Set("/live/objects/Box/count", 4)], origin="client:test"
        )
        await until(lambda: app.values.get("objects/Box/count") == 4)
        assert [(wish.path, wish.value) for wish in app.wishes] == [("objects/Box", None), ("objects/Box/count", 4)]
        assert (await desk.status("/live/objects/Box/count", Status.SETTLED)).reported == 4


async def test_reports_by_the_old_name_find_the_object(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        session = desk.join(app, able(), snapshot=False)
        report_with_ids(app, {"Cube": "c1"})
        await bounded(session.live.wait())
        app.deaf = True
        await move(desk, "Cube", "Box")
        await until(lambda: app.wishes)
        session.report([Change("objects/Cube/count", 8, object_id="c1")])  # it did not know yet
        await desk.holds("/live/objects/Box/count", 8)
        session.settle(app.wishes[-1].wish_id)
        session.report([Change("objects/Cube/count", 9, object_id="c1")])  # overtaken by its answer
        await desk.holds("/live/objects/Box/count", 9)
        session.report([Change("objects/Cube/count", 10, object_id="c2")])  # another one took the name
        await desk.holds("/live/objects/Cube/count", 10)
        assert desk.entry("/live/objects/Box/count").value == 9
        await desk.status("/live/objects/Box/shown", Status.SETTLED)


async def test_a_report_and_a_move_that_are_committed_in_either_order_end_at_the_new_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({f"objects/O{number}/count": 0 for number in range(40)})
        session = desk.join(app, able(), snapshot=False)
        report_with_ids(app, {f"O{number}": f"id{number}" for number in range(40)})
        await bounded(session.live.wait())
        app.deaf = True
        for number in range(40):
            session.report([Change(f"objects/O{number}/count", 1, object_id=f"id{number}")])
            await move(desk, f"O{number}", f"N{number}")
        await until(lambda: len(app.wishes) == 40)
        for wish in app.wishes:
            session.settle(wish.wish_id)
        for number in range(40):
            await desk.holds(f"/live/objects/N{number}/count", 1)
            await desk.status(f"/live/objects/N{number}/count", Status.SETTLED)
            await desk.holds(f"/live/objects/O{number}/count", None)


async def test_the_application_may_answer_by_reporting_the_rename(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        session = await desk.live(app, able())
        app.deaf = True
        await move(desk, "Cube", "Box")
        await until(lambda: app.wishes)
        session.report([Change("objects/Box", None, moved_from="objects/Cube")])
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        session.settle(app.wishes[-1].wish_id)
        session.report([Change("objects/Box", None, moved_from="objects/Cube"), Change("objects/Box/count", 2)])
        await desk.holds("/live/objects/Box/count", 2)
        assert desk.registry.get("/live").state_reason == ""


async def test_a_chain_of_renames_in_one_report_replaces_nothing(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/A/count": 1, "objects/B/count": 2}, deaf=True)
        await desk.live(app, able())
        await desk.store.apply([Set("/live/objects/B/count", 7)], origin="client:test")
        app.joined.report(
            [
                Change("objects/C", None, moved_from="objects/B"),
                Change("objects/B", None, moved_from="objects/A"),
            ]
        )
        await until(lambda: desk.store.get("/live/objects/C/count"))
        assert desk.entry("/live/objects/C/count").value == 7
        assert desk.entry("/live/objects/C/count").status is Status.PENDING
        assert desk.entry("/live/objects/B/count").value == 1
        assert not conflicts(desk)


async def test_two_renames_that_cross_end_with_the_application_s_and_a_record(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        session = await desk.live(app, able())
        app.deaf = True
        await move(desk, "Cube", "Box")
        await until(lambda: app.wishes)
        session.report([Change("objects/Ball", None, moved_from="objects/Cube")])  # its user was quicker
        await desk.holds("/live/objects/Ball/count", 1)
        session.reject(app.wishes[-1].wish_id, "there is no object named 'Cube'")
        await until(lambda: conflicts(desk))
        await desk.status("/live/objects/Ball/count", Status.SETTLED)
        assert [entry.path for entry in desk.store.select("/live/objects//")] == [
            "/live/objects/Ball/count",
            "/live/objects/Ball/shown",
        ]


async def test_a_chain_of_renames_that_is_refused_at_its_first_link_ends_where_it_began(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        session = await desk.live(app, able())
        app.deaf = True
        await move(desk, "Cube", "Box")
        await move(desk, "Box", "Ball")
        await until(lambda: len(app.wishes) == 2)
        session.reject(app.wishes[0].wish_id, "no")
        session.reject(app.wishes[1].wish_id, "there is no object named 'Box'")
        await desk.status("/live/objects/Cube/count", Status.SETTLED)
        assert len(desk.store.select("/live/objects//")) == 2
        assert desk.registry.get("/live").state_reason == ""


async def test_a_rename_without_an_answer_is_read_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = App(dict(CUBE), answers=False)
        await desk.live(app, able())
        await move(desk, "Cube", "Box")
        await desk.status("/live/objects/Box/count", Status.PENDING)
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        assert app.resyncs
        app.refuses["objects/Ball"] = "?"
        app.joined.reject = lambda *_: None  # type: ignore[method-assign]  # it says nothing either way
        await move(desk, "Box", "Ball")
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        assert desk.store.get("/live/objects/Ball/count") is None
        assert "kept the name" in conflicts(desk)[-1]["reason"]


async def test_what_cannot_rename_keeps_its_names_with_one_record_for_each_object(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        await desk.live(app, hello())
        await move(desk, "Cube", "Box")
        await desk.holds("/live/objects/Cube/count", 1)
        await desk.holds("/live/objects/Cube/shown", True)
        assert app.wishes == []
        (conflict,) = conflicts(desk)
        assert "cannot rename on request" in conflict["reason"]


@pytest.mark.parametrize(("source", "target"), [("/live/objects/Cube", "/desk/Cube"), ("/desk", "/live/objects/New")])
async def test_nothing_is_moved_out_of_an_application_or_into_it(tmp_path: Path, source: str, target: str) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        await desk.live(app, able())
        await desk.store.apply([Set("/desk/count", 5)], origin="client:test")
        await desk.store.apply([Move(source, target)], origin="client:test")
        await desk.holds(source + "/count", 1 if source.startswith("/live") else 5)
        assert desk.store.get(target + "/count") is None
        assert app.wishes == []
        assert len(conflicts(desk)) == 1


async def test_part_of_an_object_moves_by_itself(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({**CUBE, "objects/Other/shown": False}, refuses={"objects/Other/count": "only names change"})
        await desk.live(app, able())
        await move(desk, "Cube/count", "Other/count")
        await until(lambda: app.wishes)
        assert [(wish.moved_from, wish.path) for wish in app.wishes] == [("objects/Cube/count", "objects/Other/count")]
        await desk.holds("/live/objects/Cube/count", 1)


async def test_renamed_while_the_daemon_was_away_it_is_a_move_and_links_follow(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        session = desk.join(app, able(generation=1), snapshot=False)
        report_with_ids(app, {"Cube": "c1"})
        await bounded(session.live.wait())
        link = await desk.links.create(Link("/live/objects/Cube/count", "/out"))
        await desk.leave(app)
        app.values = {"objects/Box/count": 3, "objects/Box/shown": True}
        session = desk.join(app, able(generation=2), snapshot=False)
        report_with_ids(app, {"Box": "c1"})
        await bounded(session.live.wait())
        await desk.holds("/live/objects/Box/count", 3)
        assert desk.store.get("/live/objects/Cube/count") is None
        assert desk.links.get(link.link_id).source == "/live/objects/Box/count"
        await desk.holds("/out", 3)
        assert not desk.registry.get("/live").lost_paths


async def test_a_crash_before_the_new_name_was_saved_gives_it_the_name_again(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        session = desk.join(app, able(), snapshot=False)
        report_with_ids(app, {"Cube": "c1"})
        await bounded(session.live.wait())
        await move(desk, "Cube", "Box")
        await until(lambda: "objects/Box/count" in app.values)
        await desk.set("/live/objects/Box/count", 6)
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        await desk.leave(app)
        app.values, app.wishes = dict(CUBE), []  # back from its last save
        session = desk.join(app, able(), snapshot=False)
        report_with_ids(app, {"Cube": "c1"})
        await bounded(session.live.wait())
        assert app.values == {"objects/Box/count": 6, "objects/Box/shown": True}
        assert app.wishes[0].moved_from == "objects/Cube"
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        await desk.status("/live/objects/Box/shown", Status.SETTLED)
        assert not desk.registry.get("/live").lost_paths
        assert not conflicts(desk)


@pytest.mark.parametrize(("generation", "kept"), [(1, "Box"), (2, "Box")])
async def test_a_rename_wished_while_it_was_away_is_carried_out_when_it_returns(
    tmp_path: Path, generation: int, kept: str
) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        session = desk.join(app, able(generation=1), snapshot=False)
        report_with_ids(app, {"Cube": "c1"})
        await bounded(session.live.wait())
        await desk.leave(app)
        await move(desk, "Cube", "Box")
        session = desk.join(app, able(generation=generation), snapshot=False)
        report_with_ids(app, {"Cube": "c1"})
        await bounded(session.live.wait())
        await until(lambda: f"objects/{kept}/count" in app.values)
        await desk.status(f"/live/objects/{kept}/count", Status.SETTLED)


async def test_another_document_overrules_a_rename_on_the_record(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE))
        session = desk.join(app, able(), snapshot=False)
        report_with_ids(app, {"Cube": "c1"})
        await bounded(session.live.wait())
        await desk.leave(app)
        await move(desk, "Cube", "Box")
        session = desk.join(app, able("copy"), snapshot=False)
        report_with_ids(app, {"Cube": "c1"})
        await bounded(session.live.wait())
        await desk.status("/live/objects/Cube/count", Status.SETTLED)
        assert desk.store.get("/live/objects/Box/count") is None
        assert "returned with another name" in conflicts(desk)[0]["reason"]
        assert app.wishes == []


def entries(*named: tuple[str, str]) -> Sequence[Entry]:
    return [
        Entry(
            path=f"/b/objects/{name}/{field}", value=1, revision=5, create_revision=1, version=1, origin="app:b",
            cause=0, event_time=1, record_time=1, object_id=object_id, reported=1, status=Status.SETTLED,
        )
        for name, object_id in named
        for field in ("count", "shown")
    ]  # fmt: skip


def reports(*named: tuple[str, str]) -> dict[str, Change]:
    paths = [(f"objects/{name}/{field}", object_id) for name, object_id in named for field in ("count", "shown")]
    return {"/b/" + path: Change(path, 1, object_id=object_id) for path, object_id in paths}


def test_a_chain_is_matched_in_an_order_that_works_and_a_swap_is_left_to_the_values() -> None:
    before = entries(("A", "1"), ("B", "2"), ("C", "3"), ("D", "4"))
    found = match(before, reports(("B", "1"), ("X", "2"), ("D", "3"), ("C", "4")))
    assert [(one.here, one.there) for one in found] == [
        ("/b/objects/B", "/b/objects/X"),
        ("/b/objects/A", "/b/objects/B"),
    ]
    assert match(before, reports(("A", "1"), ("B", "2"))) == []


def test_ten_thousand_renamed_objects_are_matched_in_good_time() -> None:
    before = entries(*[(f"old{number}", str(number)) for number in range(10_000)])
    found = match(before, reports(*[(f"new{number}", str(number)) for number in range(10_000)]))
    assert len(found) == 10_000


async def test_an_answer_that_crosses_the_way_back_leaves_nothing_pending(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App(dict(CUBE), answers=False)
        await desk.live(app, able())
        await move(desk, "Cube", "Box")
        await until(lambda: app.wishes)
        await desk.status("/live/objects/Box/count", Status.PENDING)
        back = asyncio.ensure_future(move(desk, "Box", "Cube"))
        await until(lambda: desk.store.get("/live/objects/Cube/count") is not None)
        app.joined.settle(app.wishes[0].wish_id)
        await bounded(back)
        await until(lambda: len(app.wishes) == 2)
        app.joined.settle(app.wishes[1].wish_id)
        await desk.status("/live/objects/Cube/count", Status.SETTLED)
        await desk.status("/live/objects/Cube/shown", Status.SETTLED)


@pytest.mark.parametrize("held", [False, True])
async def test_a_question_follows_what_a_client_renames(tmp_path: Path, held: bool) -> None:
    async with open_desk(tmp_path, {"live": {"resync_policy": "ask"}}) as desk:
        first = App(dict(CUBE))
        await desk.live(first, able())
        await desk.leave(first)
        back = App({**CUBE, "objects/Cube/count": 5})
        await desk.live(back, able())
        (record,) = conflicts(desk)
        assert record["path"] == "/live/objects/Cube/count"
        if held:
            desk.registry.hold("a test")
        await move(desk, "Cube", "Box")
        await until(lambda: conflicts(desk)[0]["path"] == "/live/objects/Box/count")
        desk.registry.release()
        await until(lambda: "objects/Box/count" in back.values)
        (asked,) = [entry.path for entry in desk.store.select("/lightfast/conflicts//")]
        await desk.registry.resolve(asked.rpartition("/")[2], Choice.WISHED, origin="client:test")
        await desk.status("/live/objects/Box/count", Status.SETTLED)
        assert back.values["objects/Box/count"] == 1


async def test_a_question_goes_with_what_is_replaced_in_the_application(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"resync_policy": "ask"}}) as desk:
        first = App({"objects/Cube/count": 1, "objects/Box/count": 2})
        await desk.live(first, able())
        await desk.leave(first)
        back = App({"objects/Cube/count": 1})
        await desk.live(back, able())
        assert [record["path"] for record in conflicts(desk)] == ["/live/objects/Box/count"]
        back.values = {"objects/Box/count": 1}
        back.joined.report([Change("objects/Box", None, moved_from="objects/Cube")])
        await desk.holds("/live/objects/Box/count", 1)
        back.turn("objects/Box/count", 3)
        await desk.holds("/live/objects/Box/count", 3)
        assert not [record for record in conflicts(desk) if record.get("open")]
