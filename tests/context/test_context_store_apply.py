"""Apply: atomic transactions, one order of revisions, clear refusals."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest
from msgspec import UNSET
from tests.support.store import crashed, open_store

from lightfast.context.entry import Declaration, Delete, Entry, EventType, Merge, Move, Mutation, Precondition, Set
from lightfast.context.head import Head
from lightfast.context.records import RequestKey
from lightfast.context.tree import Tree
from lightfast.core.clock import StillClock
from lightfast.core.errors import AlreadyExists, Conflict, Denied, Exhausted, InvalidArgument, LightfastError, NotFound
from lightfast.storage.database import Unit
from lightfast_link.value import Asset, Value

VALUES: dict[str, Value] = {
    "/v/bool": True,
    "/v/int": -(1 << 63),
    "/v/double": 0.1,
    "/v/whole": 1e16,
    "/v/zero": -0.0,
    "/v/infinite": math.inf,
    "/v/string": "ü\x00\n\"'🎛",
    "/v/bytes": b"\x00\xff",
    "/v/vector": (1.0, math.nan, -math.inf),
    "/v/list": [1, 1.0, "x", [True, {"a": (1.0,)}], b"\x01"],
    "/v/map": {"$v": 1, "": [], "nested": {"a": 1}},
    "/v/asset": Asset("asset:" + "0" * 64, "image/png", "0" * 64, 12),
    "/v/empty": (),
    "/ü/ß": 1,
}


async def test_values_survive_exactly(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(*VALUES.items())
        live = house.values()
    async with open_store(tmp_path) as house:
        assert repr(house.values()) == repr(live) == repr(dict(sorted(VALUES.items())))
        assert repr(await house.values_at(1)) == repr(live)


async def test_a_transaction_is_one_revision(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_store(tmp_path, clock=clock) as house:
        applied = await house.store.apply(
            [Set("/a", 1, event_time=5), Set("/b", 2.0)], origin="client:x", label="two", group="g", cause=0
        )
        assert applied.revision == house.store.revision == 1
        a, b = applied.entries
        assert (a.path, a.value, a.revision, a.create_revision, a.version) == ("/a", 1, 1, 1, 1)
        assert (a.origin, a.event_time, a.record_time) == ("client:x", 5, clock.now_ns())
        assert b.event_time == b.record_time
        clock.advance(1)
        again = await house.store.apply([Set("/a", 3, object_id="o")], origin="client:y", cause=1)
        (a,) = again.entries
        assert (a.revision, a.create_revision, a.version, a.origin, a.cause, a.object_id) == (
            2,
            1,
            2,
            "client:y",
            1,
            "o",
        )
        assert house.store.get("/a") == a
        assert house.store.get("/nothing") is None
        first, second = house.news.transactions
        assert (first.origin, first.label, first.group, [event.previous for event in first.events]) == (
            "client:x", "two", "g", [None, None],
        )  # fmt: skip
        assert (second.cause, second.events[0].type, second.events[0].entry) == (1, EventType.SET, a)
        assert second.events[0].previous == applied.entries[0]
        assert house.store.entry_count == 2


async def test_mutations_build_on_each_other(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.apply(
            Set("/a/x", 1), Move("/a", "/b"), Set("/b/x", 2), Delete("/b/x"), Set("/a/y", 3), Set("/a/y", 4)
        )
        assert house.values() == {"/a/y": 4}
        types = [event.type for event in house.news.transactions[0].events]
        assert types == [EventType.SET, EventType.MOVE, EventType.SET, EventType.DELETE, EventType.SET, EventType.SET]
        assert house.store.get("/a/y").version == 2  # type: ignore[union-attr]


async def test_readers_never_see_what_is_not_committed(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        waiting = [asyncio.ensure_future(house.set(("/a", number))) for number in range(50)]
        await asyncio.sleep(0)
        assert house.store.get("/a") is None
        assert house.store.revision == 0
        assert await asyncio.gather(*waiting) == list(range(1, 51))
        assert house.store.get("/a").version == 50  # type: ignore[union-attr]
        assert [t.revision for t in house.news.transactions] == list(range(1, 51))
        previous = [t.events[0].previous for t in house.news.transactions[1:]]
        assert [entry.revision for entry in previous if entry] == list(range(1, 50))


async def test_a_bad_mutation_fails_all(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        with pytest.raises(InvalidArgument) as caught:
            await house.apply(Set("/a", 1), Set("b", 1))
        assert caught.value.field == "mutations[1]"
        assert "does not begin with '/': write '/b'" in caught.value.message
        assert house.values() == {}
        assert await house.set(("/a", 1)) == 1


@pytest.mark.parametrize(
    ("mutation", "words"),
    [
        (Set("/a//b", 1), "empty segment"),
        (Set("/", 1), "root"),
        (Set("/a b", 1), "percent-encode it as %20"),
        (Set("/a", 1 << 63), "does not fit 64 bits"),
        (Set("/a", None), "NoneType"),  # type: ignore[arg-type]
        (Set("/a", "\ud800"), "surrogate"),
        (Set("/a", "x" * (1 << 20) + "x"), "store an asset"),
        (Set("/a", [[1, {"b": object()}]]), "/a[0][1].b"),
        (Delete("a"), "does not begin"),
        (Merge("/map", 1), "only a map can be merged"),  # type: ignore[arg-type]
        (Merge("/number", {"a": 1}), "holds a int"),
        (Move("/map", "/map/x"), "which lies in itself"),
        (Move("/map", "/map"), "which lies in itself"),
        (Set("/" + "x" * 1024, 1), "longer than 1024 bytes"),
    ],
)
async def test_what_is_malformed_is_named(tmp_path: Path, mutation: Mutation, words: str) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/map", {"a": 1}), ("/number", 1))
        with pytest.raises(InvalidArgument) as caught:
            await house.apply(mutation)
        assert words in caught.value.message
        assert (caught.value.field or "").startswith("mutations[0]")
        assert house.store.revision == 1


async def test_a_transaction_is_bounded(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        many: list[Mutation] = [Set(f"/x/{number}", number) for number in range(10_000)]
        assert await house.apply(*many) == 1
        with pytest.raises(InvalidArgument) as caught:
            await house.apply(*many, Set("/y", 1))
        assert caught.value.reason == "TRANSACTION_TOO_LARGE"
        big = "x" * (1 << 20)
        with pytest.raises(InvalidArgument) as caught:
            await house.set(("/a", big), ("/b", big), ("/c", 1))
        assert caught.value.reason == "TRANSACTION_TOO_LARGE"
        with pytest.raises(InvalidArgument):
            await house.set(("/a", 1), label="x" * 1001)


async def test_merge(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.apply(Merge("/m", {"a": 1}))
        await house.apply(Merge("/m", {"b": 2, "a": {"c": 3}}))
        assert house.values() == {"/m": {"a": {"c": 3}, "b": 2}}
        assert await house.values_at(1) == {"/m": {"a": 1}}


async def test_delete(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), ("/a/b", 2), ("/a/b/c", 3), ("/ab", 4))
        assert await house.apply(Delete("/a/b"), Delete("/missing")) == 2
        assert set(house.values()) == {"/a", "/a/b/c", "/ab"}
        event = house.news.transactions[1].events[0]
        assert (event.type, event.entry.path, event.entry.value, event.entry.revision) == (
            EventType.DELETE,
            "/a/b",
            2,
            2,
        )
        await house.apply(Delete("/a", recursive=True))
        assert set(house.values()) == {"/ab"}
        assert [event.entry.path for event in house.news.transactions[2].events] == ["/a", "/a/b/c"]
        await house.set(("/a", 5))
        assert (house.store.get("/a").version, house.store.get("/a").create_revision) == (1, 4)  # type: ignore[union-attr]


async def test_nothing_to_do_takes_no_revision(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        assert await house.apply(Delete("/missing", recursive=True)) == 1
        assert await house.apply() == 1
        assert house.store.revision == 1
        unit = house.db.unit()
        unit.execute("INSERT INTO settings VALUES('k', 1)")
        assert await house.apply(unit=unit) == 1
        assert await house.db.query("SELECT key FROM settings") == [("k",)]


async def test_move_takes_the_subtree(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/o/Cube", 1), ("/o/Cube/location", (1.0, 2.0, 3.0)), ("/o/Cube2", 2))
        await house.apply(Set("/o/Cube", 9, object_id="id-1"))
        revision = await house.apply(Move("/o/Cube", "/o/Dice"))
        assert set(house.values()) == {"/o/Dice", "/o/Dice/location", "/o/Cube2"}
        dice = house.store.get("/o/Dice")
        assert dice is not None
        assert (dice.object_id, dice.create_revision, dice.version, dice.revision) == ("id-1", 1, 3, revision)
        events = house.news.transactions[-1].events
        assert [(event.type, event.source, event.entry.path) for event in events] == [
            (EventType.MOVE, "/o/Cube", "/o/Dice"),
            (EventType.MOVE, "/o/Cube/location", "/o/Dice/location"),
        ]
        assert events[0].previous is not None
        assert events[0].previous.path == "/o/Cube"
        with pytest.raises(AlreadyExists) as caught:
            await house.apply(Move("/o/Cube2", "/o/Dice"))
        assert caught.value.reason == "TARGET_TAKEN"
        with pytest.raises(AlreadyExists):
            await house.apply(Set("/p/x", 1), Move("/o/Cube2", "/p"))
        with pytest.raises(NotFound):
            await house.apply(Move("/o/Cube", "/o/Elsewhere"))
        assert await house.apply(Move("/o/Dice", "/o/Cube")) == revision + 1
        assert await house.values_at(revision) == {"/o/Cube2": 2, "/o/Dice": 9, "/o/Dice/location": (1.0, 2.0, 3.0)}


async def test_a_move_of_what_is_not_committed_yet(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a/old", 0))
        first = asyncio.ensure_future(house.apply(Set("/a/b", 1), Delete("/a/old")))
        second = asyncio.ensure_future(house.apply(Move("/a", "/z")))
        third = asyncio.ensure_future(house.apply(Delete("/z", recursive=True), Set("/z/q", 1)))
        assert list(await asyncio.gather(first, second, third)) == [2, 3, 4]
        assert house.values() == {"/z/q": 1}
        assert await house.values_at(3) == {"/z/b": 1}


async def test_a_move_leaves_what_was_deleted_before_it(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 0), ("/a/x", 1), ("/a/y", 2))
        await house.apply(Delete("/a/x"), Delete("/a"), Move("/a", "/b"))
        assert house.values() == {"/b/y": 2}
        with pytest.raises(NotFound):
            await house.apply(Delete("/b/y"), Move("/b", "/c"))


def test_a_commit_leaves_later_changes_on_top() -> None:
    head = Head(Tree())
    one, two, three = (Entry("/a", number, number, 1, number, "x", 0, 0, 0) for number in (1, 2, 3))
    head.push({"/a": one, "/b": one}, 1)
    head.push({"/a": two, "/b": None}, 2)
    head.settle({"/a": one, "/b": one}, 1)
    assert (head.get("/a"), head.tree.entries["/a"]) == (two, one)
    assert (head.get("/b"), head.below("/")) == (None, ["/a"])
    head.push({"/a": three}, 3)
    head.settle({"/a": two, "/b": None}, 2)
    assert (head.get("/a"), head.tree.entries) == (three, {"/a": two})
    head.drop()
    assert head.get("/a") == two


async def test_preconditions(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        for good in (
            Precondition("/a", revision=1),
            Precondition("/a", value=1),
            Precondition("/a", absent=False),
            Precondition("/none", absent=True),
            Precondition("/none", revision=0),
        ):
            applied = await house.store.apply([Set("/b", 1)], origin="x", preconditions=[good], validate_only=True)
            assert applied.revision == 0
        for bad in (
            Precondition("/a", revision=2),
            Precondition("/a", revision=0),
            Precondition("/a", value=1.0),
            Precondition("/a", value=True),
            Precondition("/a", absent=True),
            Precondition("/none", absent=False),
            Precondition("/none", value=1),
        ):
            with pytest.raises(Conflict) as caught:
                await house.set(("/b", 1), preconditions=[Precondition("/a", revision=1), bad])
            assert caught.value.reason == "PRECONDITION_FAILED"
            assert bad.path in caught.value.message
            assert [entry.path for entry in caught.value.details] == (["/a"] if bad.path == "/a" else [])
        with pytest.raises(InvalidArgument):
            await house.set(("/b", 1), preconditions=[Precondition("/a")])
        with pytest.raises(InvalidArgument):
            await house.set(("/b", 1), preconditions=[Precondition("/a", revision=1, absent=UNSET, value=1)])
        assert house.values() == {"/a": 1}


async def test_one_of_many_wins_a_compare_and_set(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 0))

        async def increment() -> None:
            while True:
                entry = house.store.get("/a")
                assert entry is not None
                assert isinstance(entry.value, int)
                try:
                    await house.set(
                        ("/a", entry.value + 1), preconditions=[Precondition("/a", revision=entry.revision)]
                    )
                except Conflict:
                    await house.store.drain()
                else:
                    return

        await asyncio.gather(*[increment() for _ in range(20)])
        assert house.values() == {"/a": 20}
        assert house.store.revision == 21


async def test_validate_only_changes_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        applied = await house.store.apply([Set("/a", 1)], origin="x", validate_only=True)
        assert [entry.value for entry in applied.entries] == [1]
        assert (applied.revision, house.store.revision, house.values()) == (0, 0, {})
        with pytest.raises(InvalidArgument):
            await house.store.apply([Set("a", 1)], origin="x", validate_only=True)


def key(request_id: str, payload: str = "p") -> RequestKey:
    return RequestKey("client:x", "Apply", request_id, payload)


async def test_a_request_id_is_applied_once(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        mutations: list[Mutation] = [Set("/m", {"a": (1.0,)}), Set("/b", 1), Delete("/b")]
        first = await house.store.apply(mutations, origin="x", request=key("1"))
        await house.set(("/m", 2))
        assert await house.store.apply(mutations, origin="x", request=key("1")) == first
        assert [entry.path for entry in first.entries] == ["/m"]
        assert house.values() == {"/m": 2}
        with pytest.raises(AlreadyExists) as caught:
            await house.store.apply([Set("/m", 3)], origin="x", request=key("1", "q"))
        assert caught.value.reason == "REQUEST_ID_REUSED"
        together = await asyncio.gather(
            *[house.store.apply([Set("/n", 1)], origin="x", request=key("2")) for _ in range(5)]
        )
        assert {applied.revision for applied in together} == {3}
        empty = await house.store.apply([Delete("/none")], origin="x", request=key("3"))
        assert await house.store.apply([Delete("/none")], origin="x", request=key("3")) == empty
    async with open_store(tmp_path) as house:
        assert await house.store.apply(mutations, origin="x", request=key("1")) == first
        assert house.store.revision == 3


async def test_a_failed_request_may_be_tried_again(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        with pytest.raises(Conflict):
            await house.set(("/b", 1), request=key("1"), preconditions=[Precondition("/a", absent=True)])
        await house.apply(Delete("/a"))
        assert await house.set(("/b", 1), request=key("1"), preconditions=[Precondition("/a", absent=True)]) == 3


async def test_rows_of_other_floors_are_written_with_it(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        unit = house.db.unit()
        unit.execute("INSERT INTO settings VALUES('k', 1)")
        assert await house.set(("/a", 1), unit=unit) == 1
        assert await house.db.query("SELECT key FROM settings") == [("k",)]


async def test_rows_that_fail_take_their_transaction_alone(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:

        def unit() -> Unit:
            unit = house.db.unit()
            unit.execute("INSERT INTO settings VALUES('taken', 1)")
            return unit

        await house.set(("/a", 0), unit=unit())
        calls = [house.set(("/a", number), unit=unit() if number == 3 else None) for number in range(1, 8)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(results[2], Conflict)
        assert results[2].reason == "ROW_CONFLICT"
        numbers = [result for result in results if isinstance(result, int)]
        assert sorted(numbers) == list(range(2, 8))
        assert [t.revision for t in house.news.transactions] == list(range(1, 8))
        assert house.values() == {"/a": 7}
        assert len(await house.db.query("SELECT * FROM transactions")) == 7
        assert house.store.get("/a").version == 7  # type: ignore[union-attr]


async def test_a_failed_disk_fails_what_was_built_on_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 0))
        house.db._write_connection.execute("PRAGMA query_only = 1")  # type: ignore[union-attr]
        results = await asyncio.gather(*[house.set(("/a", n), ("/b", n)) for n in range(5)], return_exceptions=True)
        assert all(isinstance(result, LightfastError) and result.reason == "STORE_IO" for result in results)
        assert house.values() == {"/a": 0}
        house.db._write_connection.execute("PRAGMA query_only = 0")  # type: ignore[union-attr]
        assert await house.set(("/a", 9), preconditions=[Precondition("/b", absent=True)]) == 2
        assert [t.revision for t in house.news.transactions] == [1, 2]


async def test_a_busy_store_refuses_without_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightfast.storage import writer

    async with open_store(tmp_path) as house:
        monkeypatch.setattr(writer, "MAX_WAITING_UNITS", 3)
        results = await asyncio.gather(*[house.set(("/a", n)) for n in range(8)], return_exceptions=True)
        refused = [result for result in results if isinstance(result, Exhausted)]
        assert len(refused) == 5
        assert {error.reason for error in refused} == {"STORE_BUSY"}
        assert await house.set(("/a", "after")) == 4
        assert house.values() == {"/a": "after"}


async def test_a_caller_that_goes_away_changes_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        gone = asyncio.ensure_future(house.set(("/a", 1)))
        await asyncio.sleep(0)
        gone.cancel()
        assert await house.set(("/b", 2)) == 2
        assert house.values() == {"/a": 1, "/b": 2}


async def test_it_goes_on_where_it_ended(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        for number in range(20):
            await house.set((f"/x/{number % 7}", number), ("/last", number))
        await house.apply(Delete("/x/3"), Move("/x/4", "/y"))
        copy = crashed(tmp_path, tmp_path / "copy")
        live, store_id = house.store.select("//"), house.store.store_id
    for folder in (tmp_path, copy):
        async with open_store(folder) as house:
            assert house.store.select("//") == live
            assert (house.store.revision, house.store.store_id) == (21, store_id)
            assert await house.set(("/x/3", 1)) == 22
            assert await house.values_at(20) == {**{f"/x/{n % 7}": n for n in range(13, 20)}, "/last": 19}


async def test_record_times_only_grow(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_store(tmp_path, clock=clock) as house:
        await house.set(("/a", 1))
        first = house.news.transactions[0].record_time
    early = StillClock(first - 10**12)
    async with open_store(tmp_path, clock=early) as house:
        await house.set(("/a", 2))
        assert house.news.transactions[0].record_time == first


async def test_a_cause_is_a_revision_there_is(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        for cause in (-1, 2, 1 << 62):
            with pytest.raises(InvalidArgument, match=f"the cause {cause} is no revision: the last one is 1") as caught:
                await house.set(("/b", 1), cause=cause)
            assert caught.value.field == "cause_revision"
        assert await house.set(("/b", 1), cause=1) == 2


async def test_what_the_daemon_tells_is_not_for_clients_to_write(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        with pytest.raises(Denied, match="/lightfast/apps/x can only be read: it is what daemon reports"):
            await house.store.apply([Set("/lightfast/apps/x", 1)], origin="client:a")
        await house.store.apply([Set("/lightfast/apps/x", 1)], origin="daemon", trusted=True)
        with pytest.raises(Denied):
            await house.store.apply([Delete("/lightfast", recursive=True)], origin="client:a")
        assert house.store.get("/lightfast/apps/x") is not None


async def test_an_object_of_an_application_is_renamed_and_deleted_whole(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        store = house.store
        store.add_mount("/blender")
        declared = [
            Declaration("/blender/objects/*/type", kind="string", access="r"),
            Declaration("/blender/objects/*/scale", kind="double"),
        ]
        await store.declare(declared, [], owner="app:blender")
        for leaf, value in (("type", "MESH"), ("scale", 1.0)):
            await store.apply([Set(f"/blender/objects/Cube/{leaf}", value)], origin="app:blender", trusted=True)
        await store.apply([Move("/blender/objects/Cube", "/blender/objects/Box")], origin="client:a")
        assert store.get("/blender/objects/Box/type") is not None
        with pytest.raises(Denied, match="/blender/objects/Box/type can only be read"):
            await store.apply([Delete("/blender/objects/Box/type")], origin="client:a")
        with pytest.raises(Denied):
            await store.apply([Delete("/blender", recursive=True)], origin="client:a")
        await store.apply([Delete("/blender/objects/Box", recursive=True)], origin="client:a")
        assert store.select("/blender//") == []
