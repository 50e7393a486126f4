"""Signals: volatile, conflated, settled when idle."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.store import House, crashed, open_store

from lightfast.context.entry import Declaration, Delete, Merge, Precondition, Report, Set, Status
from lightfast.context.records import RequestKey
from lightfast.core.errors import AlreadyExists, Conflict, Denied, InvalidArgument, OutOfBounds

FADER = Declaration("/s/*", signal=True, kind="double", minimum=0, maximum=1)


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


async def declared(house: House) -> None:
    await house.store.declare(
        [FADER, Declaration("/m/*", signal=True), Declaration("/r/*", signal=True, access="r")], owner="x"
    )


async def test_signals_are_live_at_once_and_not_committed(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house)
        first = await house.store.apply([Set("/s/a", 0.25, event_time=5), Set("/s/b", 1)], origin="client:x")
        assert first.revision == 0
        a, b = first.entries
        assert (a.value, a.revision, a.create_revision, a.version, a.signal, a.event_time) == (0.25, 0, 0, 1, True, 5)
        assert b.value == 1.0
        assert house.store.get("/s/a") == a
        await house.store.apply([Set("/s/a", 0.5)], origin="client:x")
        assert house.store.get("/s/a").version == 2  # type: ignore[union-attr]
        assert [event.entry.value for event in house.news.updates] == [0.25, 1.0, 0.5]
        assert house.news.updates[2].previous == a
        assert (house.store.revision, house.news.transactions) == (0, [])
        await house.store.apply([Merge("/m/map", {"a": 1})], origin="x")
        await house.store.apply([Merge("/m/map", {"b": 2})], origin="x")
        assert house.store.get("/m/map").value == {"a": 1, "b": 2}  # type: ignore[union-attr]


async def test_a_refused_signal_changes_nothing(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house)
        for mutations, error in (
            ([Set("/s/a", 0.5), Set("/s/b", 2.0)], OutOfBounds),
            ([Set("/s/a", "x")], OutOfBounds),
            ([Set("/r/a", 0.5)], Denied),
            ([Set("/m/a", object())], InvalidArgument),  # type: ignore[arg-type]
            ([Report("/s/a", Status.SETTLED, reported=1.0)], InvalidArgument),
            ([Merge("/m/a", 1)], InvalidArgument),  # type: ignore[arg-type]
        ):
            with pytest.raises(error):
                await house.store.apply(mutations, origin="x")
        with pytest.raises(Conflict):
            await house.store.apply([Set("/s/a", 0.5)], origin="x", preconditions=[Precondition("/s/a", absent=False)])
        dry = await house.store.apply([Set("/s/a", 0.5)], origin="x", validate_only=True)
        assert dry.entries[0].value == 0.5
        assert (house.values(), house.news.updates) == ({}, [])
        await house.store.apply([Set("/r/a", 0.5)], origin="x", trusted=True)


async def test_publish_counts_what_it_drops(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house)
        published = house.store.publish(
            [Set("/s/a", 0.1), Set("/s/b", 7.0), Set("/state", 1), Delete("/s/a"), Set("/s/c", 0.3)], origin="osc:1"
        )
        assert (published.accepted, published.dropped) == (2, 3)
        assert "/s/b cannot be 7.0" in published.first_reason
        assert house.values() == {"/s/a": 0.1, "/s/c": 0.3}
        assert [event.entry.path for event in house.news.updates] == ["/s/a", "/s/c"]
        assert house.store.publish([], origin="x").accepted == 0


async def test_an_idle_signal_settles(tmp_path: Path) -> None:
    async with open_store(tmp_path, settle_after=0.02) as house:
        await declared(house)
        house.store.publish([Set("/s/a", 0.1), Set("/s/a", 0.2)], origin="osc:one")
        house.store.publish([Set("/s/b", 0.3)], origin="osc:two")
        await until(lambda: house.store.revision == 2)
        a, b = house.store.get("/s/a"), house.store.get("/s/b")
        assert a is not None
        assert b is not None
        assert {(a.origin, a.value, a.version, a.signal), (b.origin, b.value, b.version, b.signal)} == {
            ("osc:one", 0.2, 2, True), ("osc:two", 0.3, 1, True),
        }  # fmt: skip
        assert a.revision == a.create_revision > 0
        assert {t.origin for t in house.news.transactions} == {"osc:one", "osc:two"}
        house.store.publish([Set("/s/a", 0.9)], origin="osc:one")
        live = house.store.get("/s/a")
        assert live is not None
        assert (live.revision, live.create_revision, live.version) == (0, a.revision, 3)
        await until(lambda: house.store.revision == 3)
        assert await house.values_at(2) == {"/s/a": 0.2, "/s/b": 0.3}
        assert (await house.values_at(3))["/s/a"] == 0.9


async def test_a_moving_signal_does_not_settle(tmp_path: Path) -> None:
    async with open_store(tmp_path, settle_after=0.1) as house:
        await declared(house)
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.5
        while loop.time() < end:
            house.store.publish([Set("/s/a", 0.5)], origin="x")
            assert house.store.revision == 0
            await asyncio.sleep(0.005)
        await until(lambda: house.store.revision == 1)


async def test_what_moves_while_it_settles_keeps_the_newer_value(tmp_path: Path) -> None:
    async with open_store(tmp_path, settle_after=0.02) as house:
        await declared(house)
        house.store.publish([Set("/s/a", 0.1)], origin="x")
        settling = house.store._settle(["/s/a"])
        task = asyncio.ensure_future(settling)
        await asyncio.sleep(0)
        house.store.publish([Set("/s/a", 0.6)], origin="x")
        house.store.publish([Set("/s/a", 0.7)], origin="x")
        assert [event.entry.version for event in house.news.updates] == [1, 2, 3]
        committing = asyncio.ensure_future(house.set(("/s/a", 0.65), ("/state", 1)))
        await asyncio.sleep(0)
        house.store.publish([Set("/s/a", 0.7)], origin="x")
        await asyncio.gather(task, committing)
        live = house.store.get("/s/a")
        assert live is not None
        assert (live.value, live.revision, live.version) == (0.7, 0, 5)
        assert await house.values_at(1) == {"/s/a": 0.1}
        assert await house.values_at(2) == {"/s/a": 0.65, "/state": 1}
        await until(lambda: house.store.revision == 3)
        assert (await house.values_at(3))["/s/a"] == 0.7


async def test_with_state_beside_it_a_signal_is_committed(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house)
        assert await house.set(("/s/a", 0.5), ("/state", 1)) == 1
        entry = house.store.get("/s/a")
        assert entry is not None
        assert (entry.revision, entry.signal) == (1, True)
        house.store.publish([Set("/s/a", 0.6)], origin="x")
        assert await house.apply(Delete("/s/a")) == 2
        assert house.values() == {"/state": 1}
        house.store.publish([Set("/s/new", 0.6)], origin="x")
        assert await house.apply(Delete("/s/new")) == 3
    async with open_store(tmp_path) as house:
        assert house.values() == {"/state": 1}


async def test_closing_settles_and_a_crash_does_not(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house)
        await house.set(("/s/a", 0.5), ("/state", 1))
        house.store.publish([Set("/s/a", 0.6), Set("/s/b", 0.7)], origin="x")
        copy = crashed(tmp_path, tmp_path / "copy")
    async with open_store(copy) as house:
        assert house.values() == {"/s/a": 0.5, "/state": 1}
    async with open_store(tmp_path) as house:
        assert house.values() == {"/s/a": 0.6, "/s/b": 0.7, "/state": 1}


async def test_signals_under_a_mount(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house)
        house.store.add_mount("/s")
        await house.store.apply([Report("/s/a", Status.SETTLED, reported=0.5)], origin="app:s", trusted=True)
        entry = house.store.get("/s/a")
        assert entry is not None
        assert (entry.value, entry.reported, entry.status, entry.revision) == (0.5, 0.5, Status.SETTLED, 0)
        house.store.publish([Set("/s/a", 0.7)], origin="client:x")
        entry = house.store.get("/s/a")
        assert entry is not None
        assert (entry.value, entry.reported, entry.status) == (0.7, 0.5, Status.SETTLED)


async def test_a_request_id_holds_for_signals_too(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await declared(house)
        key = RequestKey("client:x", "Apply", "1", "hash")
        calls = [house.store.apply([Set("/s/a", 0.5)], origin="client:x", request=key) for _ in range(3)]
        answers = await asyncio.gather(*calls)
        assert [answer.revision for answer in answers] == [0, 0, 0]
        assert len({answer.entries for answer in answers}) == 1
        house.store.publish([Set("/s/a", 0.75)], origin="x")
        again = await house.store.apply([Set("/s/a", 0.5)], origin="client:x", request=key)
        assert again.entries == answers[0].entries
        live = house.store.get("/s/a")
        assert live is not None
        assert (live.value, live.version) == (0.75, 2)
        other = RequestKey("client:x", "Apply", "1", "another")
        with pytest.raises(AlreadyExists):
            await house.store.apply([Set("/s/a", 0.1)], origin="client:x", request=other)


async def test_a_settled_signal_is_there_after_a_restart(tmp_path: Path) -> None:
    async with open_store(tmp_path, settle_after=0.02) as house:
        await declared(house)
        for value in (0.1, 0.2, 0.3):
            house.store.publish([Set("/s/a", value)], origin="client:x")
        await until(lambda: house.store.revision == 1)
        settled = house.store.get("/s/a")
        copy = crashed(tmp_path, tmp_path / "copy")
    async with open_store(copy) as house:
        found = house.store.get("/s/a")
        assert found == settled
        assert found is not None
        assert (found.value, found.revision, found.signal, found.origin) == (0.3, 1, True, "client:x")
