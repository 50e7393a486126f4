"""What passes what between a client, the store and an application: nothing acknowledged is lost in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.desk import App, Desk, bounded, conflicts, hello, open_desk, until

from lightfast.context.entry import Delete, EventType, Move, Mutation, Report, Set, Status
from lightfast.engine.apps.conflicts import MAX_CONFLICTS
from lightfast.engine.apps.conflicts import ROOT as CONFLICTS
from lightfast.engine.apps.ticking import STANDSTILL_S
from lightfast.sdk import Change, Wish

TEMPO = "/live/song/tempo"
QUICK = {"live": {"wish_timeout_s": 0.1}}
CUBE = "/live/objects/Cube/count"
BOX = "/live/objects/Box/count"


class Mute(App):
    """Takes wishes, and answers when the test does."""

    def apply(self, wishes: Sequence[Wish]) -> None:
        self.wishes += wishes


def before(desk: Desk, when: Callable[[list[Mutation], str], bool], act: Callable[[], Awaitable[object]]) -> None:
    """Do *act*, once, when a transaction comes to the store for which *when* is true: it is decided, not committed."""
    real = desk.store.apply
    done = False

    async def apply(mutations: Sequence[Mutation], **more: Any) -> Any:
        nonlocal done
        if not done and when(list(mutations), more.get("label", "")):
            done = True
            await act()
        return await real(mutations, **more)

    desk.store.apply = apply  # type: ignore[method-assign]


def labelled(words: str) -> Callable[[list[Mutation], str], bool]:
    return lambda _, label: words in label


def of_application(mutations: list[Mutation], _label: str) -> bool:
    return any(isinstance(mutation, Report) for mutation in mutations)


def renaming(document: str = "a") -> Any:
    return hello(document=document, capabilities=frozenset({"rename"}))


async def test_a_wish_from_the_moment_it_crashes_goes_on_waiting(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        await desk.live(app, hello())
        before(desk, labelled("is away"), lambda: desk.set(TEMPO, 97.0))
        await desk.leave(app)
        entry = desk.entry(TEMPO)
        assert (entry.value, entry.status) == (97.0, Status.PENDING)
        back = App({"song/tempo": 60.0})
        await desk.live(back, hello(document="b"))
        assert [record["wished"] for record in conflicts(desk)] == [97.0]


async def test_a_wish_during_the_farewell_is_known_to_what_is_still_committed(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.set(TEMPO, 90.0)
        await until(lambda: app.wishes)

        async def later() -> None:
            await desk.set(TEMPO, 97.0)
            await asyncio.sleep(0.01)

        before(desk, of_application, later)
        app.joined.report([Change("song/tempo", 80.0)])
        app.joined.settle(app.wishes[0].wish_id, 90.0)
        await desk.leave(app)
        entry = desk.entry(TEMPO)
        assert (entry.value, entry.reported, entry.status) == (97.0, 90.0, Status.PENDING)


async def test_what_is_put_back_gives_way_to_a_wish_from_meanwhile(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = App({"song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        before(desk, labelled("put back"), lambda: desk.set(TEMPO, 97.0))
        back = App({"song/tempo": 60.0})
        await desk.live(back, hello())
        await desk.status(TEMPO, Status.SETTLED)
        assert (desk.entry(TEMPO).value, back.values["song/tempo"]) == (97.0, 97.0)


async def test_what_is_put_back_does_not_bring_back_what_was_deleted_meanwhile(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = App({"objects/Cube/count": 1, "song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        delete = lambda: desk.store.apply([Delete(CUBE)], origin="client:test")  # noqa: E731
        before(desk, labelled("put back"), delete)
        back = App({"objects/Cube/count": 5, "song/tempo": 120.0})
        await desk.live(back, hello())
        await until(lambda: "objects/Cube/count" not in back.values)
        await desk.holds(CUBE, None)


async def test_what_was_taken_over_gives_way_to_a_held_wish_from_meanwhile(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = App({"song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        desk.registry.hold("a test")
        before(desk, labelled("reported everything"), lambda: desk.set(TEMPO, 97.0))
        back = App({"song/tempo": 60.0})
        await desk.live(back, hello(document="b"))
        assert (desk.entry(TEMPO).value, desk.entry(TEMPO).reported) == (97.0, 60.0)
        desk.registry.release()
        await desk.status(TEMPO, Status.SETTLED)
        assert back.values["song/tempo"] == 97.0


async def test_no_wish_is_late_while_answers_are_held_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:

        async def slowly() -> None:
            await desk.set(TEMPO, 97.0)
            await asyncio.sleep(0.5)

        before(desk, labelled("reported everything"), slowly)
        app = App({"song/tempo": 60.0, "song/name": "x"})
        await desk.live(app, hello())
        await desk.status(TEMPO, Status.SETTLED)
        history = await desk.store.history(TEMPO, page_size=100)
        told = {event.entry.status for each in history.transactions for event in each.events}
        assert Status.REJECTED not in told
        assert app.resyncs == 0


async def test_what_was_answered_while_this_process_stood_still_is_read_before_it_is_judged(tmp_path: Path) -> None:
    async with open_desk(tmp_path, QUICK) as desk:
        app = Mute({"song/tempo": 120.0})
        await desk.live(app, hello())
        loop = asyncio.get_running_loop()

        def stand_still() -> None:
            time.sleep(STANDSTILL_S + 0.5)
            # It is read a turn of the loop later, as what comes through a socket.
            loop.call_later(0.001, lambda: app.joined.settle(app.wishes[0].wish_id, 97.0))

        await desk.set(TEMPO, 97.0)
        await until(lambda: app.wishes)
        stand_still()
        await desk.status(TEMPO, Status.SETTLED)
        assert app.resyncs == 0


async def test_of_two_quick_crashes_the_first_is_over_before_the_next_begins(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        apps = [App({"song/tempo": 120.0}) for _ in range(3)]
        await desk.live(apps[0], hello())
        before(desk, labelled("is away"), lambda: asyncio.sleep(0.1))
        apps[0].joined.lost("it crashed")
        desk.join(apps[1], hello())
        apps[1].joined.lost("it crashed again")
        await desk.live(apps[2], hello())
        await bounded(apps[0].joined.ended.wait())
        await desk.store.drain()
        assert desk.entry(TEMPO).status is Status.SETTLED


async def test_a_refusal_after_an_older_wish_was_taken_tells_what_holds(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"song/tempo": 120.0})
        await desk.live(app, hello())
        for told in ("settles", "reports"):
            app.wishes.clear()
            await desk.set(TEMPO, 97.0)
            await desk.set(TEMPO, 98.0)
            await until(lambda: len(app.wishes) == 2)
            if told == "settles":
                app.joined.settle(app.wishes[0].wish_id, 97.0)
            else:
                app.joined.report([Change("song/tempo", 97.0)])
            app.joined.reject(app.wishes[1].wish_id, "no")
            entry = await desk.status(TEMPO, Status.REJECTED)
            assert (entry.value, entry.reported) == (98.0, 97.0), told
            app.turn("song/tempo", 120.0)
            await desk.holds(TEMPO, 120.0)


async def test_an_answer_without_a_value_after_an_older_report_is_read_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"song/tempo": 120.0})
        await desk.live(app, hello())
        await desk.set(TEMPO, 97.0)
        await until(lambda: app.wishes)
        app.turn("song/tempo", 80.0)  # before the wish arrived
        app.values["song/tempo"] = 97.0
        app.joined.settle(app.wishes[0].wish_id)
        await until(lambda: desk.entry(TEMPO).reported == 97.0, lambda: desk.entry(TEMPO))
        assert (desk.entry(TEMPO).value, desk.entry(TEMPO).status) == (97.0, Status.SETTLED)


async def test_a_deletion_reported_while_the_history_is_read_is_no_end_of_it(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = App({"objects/Cube/count": 1, "song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        await desk.store.apply([Delete(CUBE)], origin="client:test")
        back = App({"objects/Cube/count": 1, "song/tempo": 120.0})
        real = desk.store.history

        async def history(*what: Any, **more: Any) -> Any:
            found = await real(*what, **more)
            back.values.pop("objects/Cube/count", None)
            back.joined.report([Change("objects/Cube", None)])
            return found

        desk.store.history = history  # type: ignore[method-assign]
        await desk.live(back, hello())
        assert desk.store.get(CUBE) is None


async def test_one_that_cannot_be_joined_is_gone_and_says_why(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:

        async def hold(mount: str) -> None:
            raise KeyError("a bug")

        desk.store.cache.hold = hold  # type: ignore[method-assign]
        app = App({"song/tempo": 120.0})
        session = desk.join(app, hello())
        await bounded(session.ended.wait())
        assert "could not be joined" in app.closed
        assert "KeyError" in session.closing


async def test_what_is_put_back_and_renamed_in_the_application_is_answered_by_its_new_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = App({"objects/Cube/count": 7})
        await desk.live(first, renaming())
        await desk.leave(first)
        back = Mute({"objects/Cube/count": 1})
        session = desk.join(back, renaming())
        await until(lambda: back.wishes)
        back.values = {"objects/Box/count": 7}
        back.joined.report([Change("objects/Box", None, moved_from="objects/Cube")])
        back.joined.settle(back.wishes[0].wish_id, 7)
        await bounded(session.live.wait())
        await desk.holds(BOX, 7)


async def test_what_is_put_back_and_renamed_by_a_client_meanwhile_is_put_back_by_its_new_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        first = App({"objects/Cube/count": 7})
        await desk.live(first, renaming())
        await desk.leave(first)
        move = [Move("/live/objects/Cube", "/live/objects/Box")]
        before(desk, labelled("put back"), lambda: desk.store.apply(move, origin="client:test"))
        back = App({"objects/Cube/count": 1})
        await desk.live(back, renaming())
        await until(lambda: back.values == {"objects/Box/count": 7}, lambda: back.values)
        await desk.status(BOX, Status.SETTLED)
        await desk.holds(CUBE, None)


async def test_what_was_put_back_under_a_hold_and_deleted_is_waited_for_no_more(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:

        def whole(app: App, count: int) -> None:
            """Let *app* report one object with two values."""
            app.values = {"objects/Cube/count": count, "objects/Cube/shown": True}
            app.joined.report([Change(path, value, object_id="1") for path, value in app.values.items()])
            app.joined.synced()

        first, back = App(), App()
        session = desk.join(first, hello(), snapshot=False)
        whole(first, 7)
        await bounded(session.live.wait())
        await desk.leave(first)
        desk.registry.hold("a test")
        session = desk.join(back, hello(), snapshot=False)
        whole(back, 1)
        await desk.status(CUBE, Status.PENDING)
        await desk.store.apply([Delete("/live/objects", recursive=True)], origin="client:test")
        desk.registry.release()
        await bounded(session.live.wait())
        await until(lambda: not back.values)


async def test_a_rename_and_a_deletion_while_everything_is_reported_are_carried_out(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        values: dict[str, Any] = {"objects/Cube/count": 1, "objects/Old/count": 2}
        first = App(values)
        await desk.live(first, renaming())
        await desk.leave(first)
        back = App(values)
        desk.join(back, renaming(), snapshot=False)
        back.joined.report([Change(path, value) for path, value in values.items()])
        await desk.store.apply([Move("/live/objects/Cube", "/live/objects/Box")], origin="client:test")
        await desk.store.apply([Delete("/live/objects/Old", recursive=True)], origin="client:test")
        back.joined.synced()
        await until(lambda: back.values == {"objects/Box/count": 1}, lambda: back.values)
        await bounded(back.joined.live.wait())
        await desk.status(BOX, Status.SETTLED)
        await desk.holds(CUBE, None)


async def test_a_wish_by_a_name_that_the_application_has_just_given_up_goes_to_the_new_one(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1})
        await desk.live(app, hello())

        async def wished() -> None:
            await desk.set(CUBE, 5)
            await until(lambda: app.wishes)

        before(desk, lambda mutations, _: any(isinstance(each, Move) for each in mutations), wished)
        app.values = {"objects/Box/count": 1}
        app.joined.report([Change("objects/Box", None, moved_from="objects/Cube")])
        await desk.holds(BOX, 5)
        await desk.status(BOX, Status.SETTLED)
        assert app.values == {"objects/Box/count": 5}
        assert desk.store.get(CUBE) is None


async def test_a_refusal_that_comes_with_a_rename_is_shown_by_the_new_name(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, hello())
        await desk.set(CUBE, 5)
        await until(lambda: app.wishes)
        app.values = {"objects/Box/count": 1}
        app.joined.report([Change("objects/Box", None, moved_from="objects/Cube")])
        app.joined.reject(app.wishes[0].wish_id, "no such object")
        entry = await desk.status(BOX, Status.REJECTED)
        assert (entry.value, entry.reported, entry.status_reason) == (5, 1, "no such object")


async def test_what_an_older_wish_left_is_known_after_a_rename(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, renaming())
        await desk.set(CUBE, 4)
        await desk.set(CUBE, 5)
        await desk.store.apply([Move("/live/objects/Cube", "/live/objects/Box")], origin="client:test")
        await until(lambda: len(app.wishes) == 3)
        older, newer, rename = app.wishes
        app.joined.settle(older.wish_id, 4)
        app.joined.reject(newer.wish_id, "no")
        app.joined.settle(rename.wish_id)
        entry = await desk.status(BOX, Status.REJECTED)
        assert (entry.value, entry.reported) == (5, 4)


async def test_what_is_turned_while_a_rename_is_under_way_counts_whatever_was_wished_before(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Mute({"objects/Cube/count": 1})
        await desk.live(app, renaming())
        await desk.set(CUBE, 4)
        await until(lambda: app.wishes)
        app.joined.settle(app.wishes[0].wish_id)
        await desk.status(CUBE, Status.SETTLED)
        await desk.store.apply([Move("/live/objects/Cube", "/live/objects/Box")], origin="client:test")
        await until(lambda: len(app.wishes) == 2)
        app.joined.report([Change("objects/Cube/count", 7)])
        await until(lambda: desk.entry(BOX).reported == 7)
        app.joined.settle(app.wishes[1].wish_id)
        await desk.holds(BOX, 7)
        await desk.status(BOX, Status.SETTLED)


async def test_a_question_goes_with_what_a_client_deletes(tmp_path: Path) -> None:
    async with open_desk(tmp_path, {"live": {"resync_policy": "ask"}}) as desk:
        first = App({"objects/Cube/count": 1, "song/tempo": 120.0})
        await desk.live(first, hello())
        await desk.leave(first)
        back = App({"objects/Cube/count": 5, "song/tempo": 120.0})
        await desk.live(back, hello())
        assert [record["path"] for record in conflicts(desk)] == [CUBE]
        await desk.store.apply([Delete(CUBE)], origin="client:test")
        await until(lambda: "objects/Cube/count" not in back.values)
        await until(lambda: not conflicts(desk))


async def test_what_was_queued_when_a_client_renamed_follows(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"objects/Cube/count": 1, "song/tempo": 120.0})
        await desk.live(app, renaming())

        async def renamed() -> None:
            await desk.store.apply([Move("/live/objects/Cube", "/live/objects/Box")], origin="client:test")
            await until(lambda: app.values.get("objects/Box/count") == 7)

        before(desk, of_application, renamed)
        app.turn("objects/Cube/count", 7)
        await desk.holds(BOX, 7)
        await desk.holds(CUBE, None)
        await desk.status(BOX, Status.SETTLED)


class Talkative(Mute):
    """Reports everything before it returns from being asked to."""

    def resync(self) -> None:
        self.resyncs += 1
        self.report_all()


async def test_what_is_reported_at_once_is_newer_than_all_that_was_held_back(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = Talkative({"song/tempo": 60.0})

        async def crossed() -> None:
            await desk.set(TEMPO, 97.0)
            await until(lambda: app.wishes)
            app.turn("song/tempo", 80.0)
            app.joined.settle(app.wishes[0].wish_id)  # no value, after a report: everything is read back
            app.turn("song/tempo", 82.0)
            app.values["song/tempo"] = 83.0

        before(desk, labelled("reported everything"), crossed)
        await desk.live(app, hello())
        await until(lambda: app.resyncs)
        await desk.store.drain()
        await until(lambda: not app.joined.backlog)
        assert desk.entry(TEMPO).reported == 83.0


async def test_one_that_has_left_is_not_asked_for_anything(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        app = App({"song/tempo": 120.0})
        session = await desk.live(app, hello())
        await desk.leave(app)
        session.glider.end([TEMPO], read_back=True)
        assert app.resyncs == 0


async def test_very_many_wishes_that_go_with_their_object_go_on_record_once(tmp_path: Path) -> None:
    count = MAX_CONFLICTS + 50
    async with open_desk(tmp_path) as desk:
        app = Mute({f"objects/{number}/count": 1 for number in range(count)})
        await desk.live(app, hello())
        wishes = [Set(f"/live/objects/{number}/count", 5) for number in range(count)]
        await desk.store.apply(wishes, origin="client:test")
        await until(lambda: len(app.wishes) == count)
        before_it = desk.store.revision
        app.values.clear()
        app.joined.report([Change("objects", None)])
        await until(lambda: not desk.store.select("/live/objects//"))
        await desk.store.drain()
        await until(lambda: not app.joined.backlog)
        events = [
            each for made in await desk.store.replay(before_it, desk.store.revision, 1000) for each in made.events
        ]
        made = [each for each in events if each.entry.path.startswith(CONFLICTS) and each.type is EventType.SET]
        assert len(made) == count
