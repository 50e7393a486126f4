"""Undo and redo: a group with all it caused, unless others have built on it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.store import House, open_store

from lightfast.context import undo as plans
from lightfast.context.entry import Declaration, Delete, Entry, Event, EventType, Merge, Move, Report, Set, Status
from lightfast.context.records import RequestKey, Undone
from lightfast.core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange

ME = "client:me"


async def undo(house: House, **target: object) -> Undone:
    return await house.store.undo(origin=ME, **target)  # type: ignore[arg-type]


async def redo(house: House, **target: object) -> Undone:
    return await house.store.redo(origin=ME, **target)  # type: ignore[arg-type]


async def test_each_kind_of_change_is_taken_back(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.apply(
            Set("/a", 1, object_id="o"),
            Set("/gone", {"x": (1.0,)}),
            Set("/m", {"a": 1}),
            Set("/t/x", 7),
            Set("/t/y", 8),
        )
        before = house.values()
        await house.apply(
            Set("/a", 2), Set("/new", 1), Delete("/gone"), Merge("/m", {"b": 2}), Move("/t", "/u"), Set("/u/x", 70)
        )
        after = house.values()
        done = await undo(house, revision=2)
        assert done == Undone(3, (2,), ())
        assert house.values() == before
        transaction = house.news.transactions[2]
        assert (transaction.origin, transaction.label, transaction.undone) == (ME, "undo", (2,))
        moves = [(e.source, e.entry.path) for e in transaction.events if e.type is EventType.MOVE]
        assert moves == [("/u/y", "/t/y"), ("/u/x", "/t/x")]
        assert house.store.get("/t/y").create_revision == 1  # type: ignore[union-attr]
        assert house.store.get("/a").object_id == "o"  # type: ignore[union-attr]
        assert await redo(house, revision=2) == Undone(4, (3,), ())
        assert house.values() == after
        assert house.store.get("/u/y").create_revision == 1  # type: ignore[union-attr]
        assert (await undo(house, revision=2)).revision == 5
        assert house.values() == before
        assert (await redo(house, revision=5)).revision == 6
        assert house.values() == after


async def test_a_group_goes_with_what_it_caused(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/tempo", 100.0), ("/bpm", 100.0), ("/other", 1))
        first = await house.set(("/tempo", 110.0), group="gesture")
        linked = await house.set(("/bpm", 110.0), origin="link:l", cause=first)
        await house.set(("/further", 1), origin="app:x", cause=linked)
        await house.set(("/other", 2))
        second = await house.set(("/tempo", 120.0), group="gesture")
        await house.set(("/bpm", 120.0), origin="link:l", cause=second, group="gesture")
        dry = await undo(house, group="gesture", validate_only=True)
        assert dry == Undone(0, (7, 6, 4, 3, 2))
        assert house.store.revision == 7
        assert await undo(house, group="gesture") == Undone(8, (7, 6, 4, 3, 2))
        assert house.values() == {"/tempo": 100.0, "/bpm": 100.0, "/other": 2}
        with pytest.raises(FailedPrecondition, match="gesture was taken back already, by revision 8: redo") as again:
            await undo(house, group="gesture")
        assert (again.value.reason, again.value.metadata) == ("ALREADY_UNDONE", {"revision": "8"})
        assert await redo(house, group="gesture") == Undone(9, (8,))
        assert house.values() == {"/tempo": 120.0, "/bpm": 120.0, "/other": 2, "/further": 1}
        with pytest.raises(FailedPrecondition) as twice:
            await redo(house, group="gesture")
        assert twice.value.reason == "NOT_UNDONE"


async def test_a_run_is_found_by_its_group_or_origin(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), origin="operation:r1")
        await house.set(("/b", 1), group="r1")
        assert await undo(house, run="r1") == Undone(3, (2, 1))
        assert house.values() == {}
        assert await redo(house, run="r1") == Undone(4, (3,))


async def test_what_others_wrote_since_stands_in_the_way(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), ("/b", 1))
        await house.set(("/a", 2), ("/b", 2), group="g")
        await house.set(("/a", 3), origin="client:other")
        done = await undo(house, group="g")
        assert (done.revision, done.undone) == (0, ())
        assert [(entry.path, entry.value, entry.origin) for entry in done.conflicts] == [("/a", 3, "client:other")]
        assert house.values() == {"/a": 3, "/b": 2}
        # The same value again, set by someone else, is a will of its own.
        await house.apply(Delete("/a"))
        done = await undo(house, group="g")
        assert [entry.path for entry in done.conflicts] == ["/a"]


async def test_a_redo_may_conflict_too(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), group="g")
        await undo(house, group="g")
        await house.set(("/a", 5))
        done = await redo(house, group="g")
        assert [entry.value for entry in done.conflicts] == [5]
        assert house.values() == {"/a": 5}


async def test_undos_are_looked_through(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/x", 0))
        await house.set(("/x", 1), group="one")
        await house.set(("/x", 2), group="two")
        assert (await undo(house, group="one")).conflicts
        assert (await undo(house, group="two")).revision == 4
        assert (await undo(house, group="one")).revision == 5
        assert house.values() == {"/x": 0}
        # What "two" was built on is gone now: it cannot come back alone.
        assert [entry.value for entry in (await redo(house, group="two")).conflicts] == [0]
        assert (await redo(house, group="one")).revision == 6
        assert (await redo(house, group="two")).revision == 7
        assert house.values() == {"/x": 2}


async def test_moved_and_changed_and_deleted(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a/x", 1), ("/a/y", 2))
        await house.apply(Move("/a", "/b"), group="g")
        await house.apply(Set("/b/x", 5), Delete("/b/y"), group="g")
        await house.apply(Set("/a/x", 9), group="g")
        assert (await undo(house, group="g")).revision == 5
        assert house.values() == {"/a/x": 1, "/a/y": 2}
        assert (await redo(house, group="g")).revision == 6
        assert house.values() == {"/b/x": 5, "/a/x": 9}


async def test_what_took_the_old_place_gives_way(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        await house.apply(Move("/a", "/b"), group="g")
        await house.set(("/a", 2), group="g")
        assert (await undo(house, group="g")).revision == 4
        assert house.values() == {"/a": 1}
        assert (await redo(house, group="g")).revision == 5
        assert house.values() == {"/a": 2, "/b": 1}


async def test_a_taken_old_place_is_a_conflict(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        await house.apply(Move("/a", "/b"), group="g")
        await house.set(("/a", 2))
        assert [entry.path for entry in (await undo(house, group="g")).conflicts] == ["/a"]


async def mounted(house: House) -> None:
    house.store.add_mount("/app")
    await house.store.declare(
        [Declaration("/app/v", kind="double"), Declaration("/app/meter", kind="double", access="r")], owner="app:app"
    )
    report = [Report("/app/v", Status.SETTLED, reported=1.0), Report("/app/meter", Status.SETTLED, reported=0.0)]
    await house.apply(*report, origin="app:app", trusted=True)


async def test_under_a_mount_an_undo_is_a_wish(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await mounted(house)
        wish = await house.set(("/app/v", 2.0), group="g")
        settled = Report("/app/v", Status.SETTLED, reported=2.0000002, value=2.0)
        await house.apply(settled, origin="app:app", cause=wish, trusted=True)
        # The same report once more, without a cause, and going away: neither changes the value.
        await house.apply(Report("/app/v", Status.SETTLED, reported=2.0), origin="app:app", trusted=True)
        await house.apply(Report("/app/v", Status.STALE, reason="gone"), origin="daemon", trusted=True)
        done = await undo(house, group="g")
        assert done.conflicts == ()
        assert done.undone == (3, 2)
        entry = house.store.get("/app/v")
        assert entry is not None
        assert (entry.value, entry.status, entry.reported, entry.status_reason) == (1.0, Status.PENDING, 2.0, "")
        # Turned in the application, it is someone else's.
        await house.apply(
            Report("/app/v", Status.SETTLED, reported=1.0), origin="app:app", cause=done.revision, trusted=True
        )
        redone = await redo(house, group="g")
        assert house.store.get("/app/v").value == 2.0  # type: ignore[union-attr]
        turned = Report("/app/v", Status.SETTLED, reported=5.0, value=5.0)
        await house.apply(turned, origin="app:app", trusted=True)
        assert [entry.value for entry in (await undo(house, group="g")).conflicts] == [5.0]
        assert redone.revision == done.revision + 2


async def test_what_only_the_application_changes_is_left(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await mounted(house)
        wish = await house.set(("/app/v", 2.0))
        meter = Report("/app/meter", Status.SETTLED, reported=0.7, value=0.7)
        await house.apply(meter, origin="app:app", cause=wish, trusted=True)
        assert (await undo(house, revision=wish)).undone == (3, 2)
        assert (house.store.get("/app/v").value, house.store.get("/app/meter").value) == (1.0, 0.7)  # type: ignore[union-attr]


async def test_nothing_changes_when_nothing_would(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        await house.set(("/a", 1), group="g")
        assert await undo(house, group="g") == Undone(0)
        assert house.store.revision == 2


@pytest.mark.parametrize("target", [{}, {"group": "g", "revision": 1}, {"revision": -1}, {"group": "g", "run": "r"}])
async def test_exactly_one_target(tmp_path: Path, target: dict[str, object]) -> None:
    async with open_store(tmp_path) as house:
        with pytest.raises(InvalidArgument):
            await undo(house, **target)


async def test_unknown_and_dropped_targets(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), group="g")
        for target in ({"group": "none"}, {"run": "none"}, {"revision": 99}):
            with pytest.raises(NotFound) as caught:
                await undo(house, **target)
            assert caught.value.reason == "UNDO_TARGET_UNKNOWN"
        await house.set(("/b", 1), group="h")
        await house.store.compact(1)
        with pytest.raises(OutOfRange):
            await undo(house, group="g")
        assert (await undo(house, group="h")).revision == 3
        assert house.values() == {"/a": 1}


async def test_a_repeated_request_undoes_once(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), group="g")
        key = RequestKey(ME, "Undo", "id", "hash")
        first = await undo(house, group="g", request=key)
        assert await undo(house, group="g", request=key) == first == Undone(2, (1,))
        with pytest.raises(AlreadyExists):
            await undo(house, group="g", request=RequestKey(ME, "Undo", "id", "other"))


async def test_concurrent_undos_of_one_group_undo_once(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        await house.set(("/a", 2), group="g")
        results = await asyncio.gather(*[undo(house, group="g") for _ in range(5)], return_exceptions=True)
        assert [result for result in results if isinstance(result, Undone)] == [Undone(3, (2,))]
        refusals = [result for result in results if isinstance(result, FailedPrecondition)]
        assert [refusal.reason for refusal in refusals] == ["ALREADY_UNDONE"] * 4
        assert house.values() == {"/a": 1}


async def test_an_undo_that_is_overtaken_looks_again(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        await house.set(("/a", 2), group="g")
        undoing = asyncio.ensure_future(undo(house, group="g"))
        writing = asyncio.ensure_future(house.set(("/a", 3)))
        done, written = await asyncio.gather(undoing, writing)
        if done.revision:
            assert house.values()["/a"] == (3 if written > done.revision else 1)
            assert written > done.revision
        else:
            assert [entry.value for entry in done.conflicts] == [3]


def test_events_compare_by_content() -> None:
    entry = Entry("/a", 1, 1, 1, 1, "x", 0, 0, 0)
    assert Event(EventType.SET, entry) == Event(EventType.SET, entry)


async def test_an_undo_of_too_much_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(tmp_path) as house:
        for number in range(20):
            await house.set(("/a", "x" * 1000), ("/b", number))
        monkeypatch.setattr(plans, "MAX_SIZE", 10_000)
        with pytest.raises(InvalidArgument) as caught:
            await undo(house, revision=1)
        assert caught.value.reason == "UNDO_TOO_LARGE"
        assert (await undo(house, revision=20)).revision == 21


async def test_what_the_daemon_lays_out_is_not_taken_back(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/transport/leader", "internal"), origin="transport", trusted=True)
        await house.set(("/transport/tempo", 120.0), origin="transport", trusted=True)
        await house.set(("/lightfast/apps/x/state", "absent"), origin="daemon", trusted=True)
        await house.set(("/lightfast/apps/x/state", "live"), origin="daemon", trusted=True)
        before = house.values()
        for revision in (1, 2, 3, 4):
            with pytest.raises(FailedPrecondition, match="the daemon's own housekeeping") as caught:
                await undo(house, revision=revision)
            assert caught.value.reason == "UNDO_OF_HOUSEKEEPING"
            with pytest.raises(FailedPrecondition):
                await undo(house, revision=revision, validate_only=True)
        assert house.values() == before
        # What the timeline does for somebody later, and what others write beside it, can be taken back.
        await house.set(("/transport/tempo", 90.0), origin="transport", trusted=True)
        assert (await undo(house, revision=5)).undone == (5,)
        await house.set(("/mine", 1))
        assert (await undo(house, revision=7)).undone == (7,)
