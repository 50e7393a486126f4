"""Names that cross: objects without ids are renamed and deleted on both sides at once, and both end with the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_engine_order import BOX, CUBE, TEMPO, Mute, before, renaming
from tests.support.desk import App, Desk, bounded, conflicts, hello, open_desk, until

from lightfast.context.entry import Delete, Move, Mutation, Report, Set, Status
from lightfast.sdk import Change

CUBE_AT, BOX_AT = "/live/objects/Cube", "/live/objects/Box"
TO_BOX = Move(CUBE_AT, BOX_AT)
BECAME_BOX = Change("objects/Box", None, moved_from="objects/Cube")


def moving(mutations: list[Mutation], _label: str) -> bool:
    return any(isinstance(each, Move) for each in mutations)


def saying(**what: Any) -> Any:
    """Return whether a transaction holds a report with these fields."""

    def is_it(mutations: list[Mutation], _label: str) -> bool:
        reports = [each for each in mutations if isinstance(each, Report)]
        return any(all(getattr(each, name) == value for name, value in what.items()) for each in reports)

    return is_it


async def by_client(desk: Desk, *mutations: Mutation) -> None:
    await desk.store.apply(mutations, origin="client:test")


async def recorded(app: App) -> None:
    """Wait until everything the application has said is in the tree."""
    await until(lambda: not app.joined.backlog)


async def test_what_the_application_deletes_as_it_is_compared_is_not_lost(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1, "song/tempo": 120.0})
        await desk.live(app, hello())
        del app.values["objects/Cube/count"]
        app.joined.report([Change("objects/Cube", None)])
        assert (await desk.registry.resync("/live")).lost_paths == ()
        await desk.holds(CUBE, None)


async def test_what_it_takes_while_it_reports_everything_is_there_although_it_did_not_say_so(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"song/tempo": 120.0}, deaf=True)
        await desk.live(app, hello())
        app.joined._doubt.begin()
        await until(lambda: app.resyncs)
        app.joined.report([Change("song/tempo", 120.0)])
        await desk.set(CUBE, 5)
        await until(lambda: app.wishes)
        app.joined.settle(app.wishes[0].wish_id, 5)
        await desk.status(CUBE, Status.SETTLED)
        app.joined.synced()
        await until(lambda: app.joined._read_back._reading is None)
        await recorded(app)
        assert desk.entry(CUBE).value == 5


async def test_a_new_object_takes_the_name_of_one_that_was_renamed_with_the_same_value(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1})
        await desk.live(app, hello())
        app.values = {"objects/Box/count": 1, "objects/Cube/count": 1}
        app.joined.report([BECAME_BOX, Change("objects/Cube/count", 1)])
        await desk.holds(BOX, 1)
        await recorded(app)
        assert desk.entry(CUBE).value == 1


async def test_what_was_refused_and_is_gone_since_is_gone_from_the_tree_once_it_is_compared(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1, "song/tempo": 120.0}, refuses={"objects/Cube/count": "no"})
        await desk.live(app, hello())
        await desk.set(CUBE, 5)
        await desk.status(CUBE, Status.REJECTED)
        del app.values["objects/Cube/count"]
        assert (await desk.registry.resync("/live")).lost_paths == (CUBE,)
        await desk.holds(CUBE, None)


async def test_what_was_refused_and_never_was_there_stays_visible(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0}, refuses={"objects/Cube/count": "no such object"})
        await desk.live(app, hello())
        await desk.set(CUBE, 5)
        await desk.status(CUBE, Status.REJECTED)
        assert (await desk.registry.resync("/live")).lost_paths == ()
        assert desk.entry(CUBE).status_reason == "no such object"


async def test_what_is_new_by_the_name_of_something_that_was_just_deleted_is_there(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, hello())
        await by_client(desk, Delete(CUBE))
        await until(lambda: app.wishes)
        app.turn("objects/Cube/count", 3)  # it has deleted it, and somebody makes another one
        app.joined.settle(app.wishes[0].wish_id)
        await desk.holds(CUBE, 3)


async def test_what_is_new_by_the_name_of_something_that_was_just_renamed_is_there(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, renaming())
        await by_client(desk, TO_BOX)
        await until(lambda: app.wishes)
        app.values = {"objects/Box/count": 1}
        app.turn("objects/Cube/count", 3)
        app.joined.settle(app.wishes[0].wish_id)
        await desk.holds(CUBE, 3)
        await until(lambda: desk.entry(BOX).reported == 1, lambda: desk.entry(BOX))


async def test_a_turn_is_not_taken_for_one_of_the_object_that_is_to_get_the_old_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, renaming())
        await by_client(desk, TO_BOX)
        await desk.set(CUBE, 64)
        await until(lambda: len(app.wishes) == 2)
        app.turn("objects/Cube/count", 75)  # before it renames, and makes another one
        app.values = {"objects/Box/count": 75, "objects/Cube/count": 64}
        app.joined.settle(app.wishes[0].wish_id)
        app.joined.settle(app.wishes[1].wish_id, 64)
        await desk.holds(BOX, 75)
        await desk.holds(CUBE, 64)


async def test_what_is_deleted_after_it_took_a_wish_is_gone_although_the_answer_comes_later(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, hello())
        await desk.set(CUBE, 5)
        await until(lambda: app.wishes)
        app.values = {}
        app.joined.report([Change("objects/Cube", None)])
        app.joined.settle(app.wishes[0].wish_id, 5)
        await until(lambda: app.resyncs)
        await desk.holds(CUBE, None)


async def test_objects_with_ids_that_cross_wishes_are_not_compared(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({})
        session = desk.join(app, hello(), snapshot=False)
        app.joined.report([Change("objects/Cube/count", 1, object_id="1"), Change("song/tempo", 120.0)])
        app.joined.synced()
        await bounded(session.live.wait())
        await desk.set(TEMPO, 97.0)
        await until(lambda: app.wishes)
        app.joined.report([Change("objects/Cube", None)])
        await desk.holds(CUBE, None)
        assert not session._doubt


async def test_a_rename_of_what_is_gone_does_not_take_wishes_for_the_old_name_along(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, hello())
        await by_client(desk, Delete(CUBE))
        app.joined.report([BECAME_BOX])
        await desk.set(CUBE, 5)
        await until(lambda: [wish for wish in app.wishes if wish.value == 5])
        assert app.wishes[-1].path == "objects/Cube/count"


async def test_a_rename_that_the_store_refuses_does_not_take_wishes_for_the_old_name_along(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1, "song/tempo": 120.0})
        await desk.live(app, hello())
        await by_client(desk, Delete(CUBE))
        app.joined.report([Change("song/tempo", 90.0), BECAME_BOX])
        await recorded(app)
        await desk.set(CUBE, 5)
        await until(lambda: [wish for wish in app.wishes if wish.value == 5])
        assert app.wishes[-1].path == "objects/Cube/count"


async def test_a_wish_refused_by_the_new_name_before_the_tree_follows_is_shown_as_refused(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, hello())

        async def refused() -> None:
            await desk.set(CUBE, 5)
            await until(lambda: app.wishes)
            app.joined.reject(app.wishes[0].wish_id, "no")

        before(desk, moving, refused)
        app.values = {"objects/Box/count": 1}
        app.joined.report([BECAME_BOX])
        await desk.holds(BOX, 5)
        entry = await desk.status(BOX, Status.REJECTED)
        assert (entry.value, entry.status_reason) == (5, "no")


async def test_an_older_answer_leaves_a_newer_wish_alone_whose_object_is_being_renamed(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, hello())
        await desk.set(CUBE, 4)
        await until(lambda: app.wishes)

        async def crossed() -> None:
            await desk.set(CUBE, 5)
            await until(lambda: len(app.wishes) == 2)
            app.joined.report([BECAME_BOX])

        before(desk, saying(value=4), crossed)
        app.joined.settle(app.wishes[0].wish_id, 4)
        await until(lambda: desk.store.get(BOX) is not None)
        await desk.leave(app)
        assert (desk.entry(BOX).value, desk.entry(BOX).status) == (5, Status.PENDING)


@pytest.mark.parametrize("renamed", [True, False])
async def test_a_late_echo_goes_with_what_a_client_renames_or_deletes(tmp_path: Path, renamed: bool) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({})
        session = desk.join(app, renaming(), snapshot=False)
        session._wishes.window = 0.2
        whole = {"objects/Cube/count": 1, "objects/Cube/shown": True}
        app.joined.report([Change(path, value, object_id="1") for path, value in whole.items()])
        app.joined.synced()
        await bounded(session.live.wait())
        for value in (4, 5):
            await desk.set(CUBE, value)
            await until(lambda: app.wishes)
            app.joined.settle(app.wishes.pop().wish_id, value)
        await desk.status(CUBE, Status.SETTLED)
        app.joined.report([Change("objects/Cube/count", 4)])
        assert session._incoming.waiting
        session._wishes.window = 0.0
        await by_client(desk, TO_BOX if renamed else Delete(CUBE_AT, recursive=True))
        await until(lambda: app.wishes)
        app.joined.settle(app.wishes.pop().wish_id)
        await until(lambda: not session._incoming.waiting)
        await recorded(app)
        assert desk.store.get(CUBE) is None
        await desk.holds(BOX, 4 if renamed else None)


async def test_a_refusal_after_what_looked_like_a_late_echo_tells_what_that_said(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"song/tempo": 120.0})
        session = await desk.live(app, hello())
        for value in (80.0, 90.0):
            await desk.set(TEMPO, value)
            await until(lambda: app.wishes)
            app.joined.settle(app.wishes.pop().wish_id, value)
        app.turn("song/tempo", 80.0)  # back to what was sent before
        assert session._incoming.waiting
        await desk.set(TEMPO, 97.0)
        await until(lambda: app.wishes)
        app.joined.reject(app.wishes[0].wish_id, "no")
        entry = await desk.status(TEMPO, Status.REJECTED)
        assert (entry.value, entry.reported) == (97.0, 80.0)


async def test_the_mark_of_a_rename_does_not_cover_a_newer_wish(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, renaming())
        before(desk, saying(path=BOX, status=Status.PENDING), lambda: desk.set(BOX, 5))
        await by_client(desk, TO_BOX)
        await until(lambda: len(app.wishes) == 2)
        await recorded(app)
        entry = desk.entry(BOX)
        assert (entry.value, entry.status, entry.status_reason) == (5, Status.PENDING, "")


async def test_the_answer_to_a_deletion_leaves_what_was_wished_there_since(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1, "song/tempo": 120.0})
        await desk.live(app, hello())
        await by_client(desk, Delete(CUBE))
        await until(lambda: app.wishes)
        before(desk, saying(path=TEMPO), lambda: desk.set(CUBE, 5))
        app.joined.report([Change("song/tempo", 90.0)])
        app.joined.settle(app.wishes[0].wish_id)
        await until(lambda: len(app.wishes) == 2)
        await recorded(app)
        assert (desk.entry(CUBE).value, desk.entry(CUBE).status) == (5, Status.PENDING)
        assert conflicts(desk) == []


async def test_a_refused_rename_does_not_go_back_to_a_name_that_is_wished_for_anew(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, renaming())
        await by_client(desk, TO_BOX)
        await desk.set(CUBE, 5)
        await desk.set(BOX, 6)
        await until(lambda: len(app.wishes) == 3)
        rename, cube, box = app.wishes
        app.joined.reject(rename.wish_id, "it keeps its name")
        app.joined.reject(box.wish_id, "no such object")
        app.values["objects/Cube/count"] = 5
        app.joined.settle(cube.wish_id, 5)
        assert (await desk.status(CUBE, Status.SETTLED)).value == 5
        assert (await desk.status(BOX, Status.REJECTED)).value == 6


async def test_what_goes_back_to_its_old_name_shows_what_was_reported_last(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, renaming())
        await by_client(desk, TO_BOX)
        await until(lambda: app.wishes)
        await recorded(app)

        async def refused() -> None:
            app.joined.reject(app.wishes[0].wish_id, "it keeps its name")

        before(desk, saying(path=BOX, reported=7), refused)
        app.turn("objects/Cube/count", 7)
        await desk.holds(CUBE, 7)
        await recorded(app)
        await desk.status(CUBE, Status.SETTLED)
        assert desk.entry(CUBE).reported == 7


async def test_a_question_goes_on_although_the_tree_does_not_show_the_new_name_yet(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"resync_policy": "ask"}}) as desk:
        first = App({"objects/Cube/count": 1})
        await desk.live(first, hello())
        await desk.leave(first)
        back = App({"objects/Cube/count": 5})
        await desk.live(back, hello())
        back.values = {"objects/Box/count": 9}
        back.joined.report([BECAME_BOX, Change("objects/Box/count", 9)])
        await until(lambda: [record["reported"] for record in conflicts(desk)] == [9])
        entry = desk.entry(BOX)
        assert (entry.value, entry.reported, entry.status) == (1, 9, Status.PENDING)


async def test_a_comparison_under_a_hold_leaves_what_waits_in_its_order(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0, "song/name": "x"})
        await desk.live(app, hello())
        desk.registry.hold("a test")
        await by_client(desk, Set(TEMPO, 97.0))
        await by_client(desk, Set("/live/song/name", "y"))
        assert (await desk.registry.resync("/live")).restored == 0
        desk.registry.release()
        await until(lambda: len(app.wishes) == 2)
        assert [wish.path for wish in app.wishes] == ["song/tempo", "song/name"]


async def test_two_comparisons_at_once_end_and_the_second_sees_what_came_after_the_first(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1}, deaf=True)
        session = await desk.live(app, hello())
        for _ in range(2):
            session._doubt.begin()
            await until(lambda: not session._doubt)
        assert app.resyncs == 1
        app.report_all()
        app.values = {}
        await until(lambda: app.resyncs == 2)
        app.report_all()
        await desk.holds(CUBE, None)


async def test_what_was_put_back_and_came_back_with_another_value_is_not_deleted(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"wish_timeout_s": 0.1, "resync_policy": "daemon"}}) as desk:
        first = App({"song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        back = Mute({})  # it has forgotten the tempo, and makes another one of it without an answer
        session = desk.join(back, hello())
        await until(lambda: back.wishes)
        back.turn("song/tempo", 99.0)
        await bounded(session.live.wait())
        await recorded(back)
        assert (desk.entry(TEMPO).reported, desk.entry(TEMPO).status) == (99.0, Status.REJECTED)


async def test_what_is_renamed_to_a_name_that_is_still_to_be_deleted_is_not_lost(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1, "objects/Box/count": 2})
        session = desk.join(app, renaming(), snapshot=False)
        app.joined.report([Change(path, value, object_id=path) for path, value in app.values.items()])
        app.joined.synced()
        await bounded(session.live.wait())
        await by_client(desk, Delete(BOX))
        await by_client(desk, TO_BOX)
        await until(lambda: len(app.wishes) == 2)
        app.values = {"objects/Box/count": 1}
        app.joined.settle(app.wishes[0].wish_id)
        await recorded(app)
        app.joined.settle(app.wishes[1].wish_id)
        await until(lambda: app.resyncs, lambda: desk.store.select("/live//"))
        await desk.holds(BOX, 1)
        await desk.status(BOX, Status.SETTLED)


async def test_what_was_renamed_there_while_its_deletion_is_held_is_shown_by_its_new_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1})
        await desk.live(app, hello())
        desk.registry.hold("a test")
        await by_client(desk, Delete(CUBE))
        app.values = {"objects/Box/count": 1}
        app.joined.report([BECAME_BOX])
        desk.registry.release()
        await desk.holds(BOX, 1)


async def test_what_took_the_name_of_something_deleted_on_both_sides_and_went_with_it_is_gone(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        session = desk.join(app, hello(), snapshot=False)
        app.joined.report([Change("objects/Cube/count", 1, object_id="1")])
        app.joined.synced()
        await bounded(session.live.wait())
        await by_client(desk, Delete(CUBE))
        await until(lambda: app.wishes)
        app.joined.report([Change("objects/Cube/count", None)])  # its user did so, too, and makes another one
        app.joined.report([Change("objects/Cube/count", 3, object_id="2")])
        await desk.holds(CUBE, 3)
        app.values = {}  # which our deletion hits
        app.joined.settle(app.wishes[0].wish_id)
        await desk.holds(CUBE, None)


async def test_what_the_application_deletes_as_a_client_renames_it_in_vain_is_gone(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1, "song/tempo": 120.0})
        await desk.live(app, hello())

        def deleting(mutations: list[Mutation], _label: str) -> bool:
            return any(isinstance(each, Delete) for each in mutations)

        async def renamed() -> None:
            await by_client(desk, TO_BOX)
            await until(lambda: conflicts(desk) or app.joined.backlog > 1)  # which cannot be: it is taken back

        before(desk, deleting, renamed)
        del app.values["objects/Cube/count"]
        app.joined.report([Change("objects/Cube", None)])
        await until(lambda: app.resyncs, lambda: desk.store.select("/live//"))
        await until(lambda: not desk.store.select("/live/objects//"), lambda: desk.store.select("/live//"))
