"""Leases: what was written under one goes when it goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.store import House, open_store

from lightfast.context import drafting
from lightfast.context.entry import Declaration, EventType, Move, Set
from lightfast.context.leases import SWEEP_INTERVAL, Leases
from lightfast.context.records import RequestKey
from lightfast.core.clock import StillClock
from lightfast.core.errors import Denied, InvalidArgument, LightfastError, NotFound


@asynccontextmanager
async def open_leases(folder: Path, clock: StillClock) -> AsyncIterator[tuple[House, Leases]]:
    async with open_store(folder, clock=clock) as house:
        leases = Leases(house.store, house.db, clock)
        await leases.start()
        try:
            yield house, leases
        finally:
            await leases.stop()


async def test_an_expired_lease_takes_its_entries(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_leases(tmp_path, clock) as (house, leases):
        lease = await leases.open(5, "client:x")
        await house.set(("/p/a", 1), ("/p/b", 1), lease=lease)
        await house.set(("/p/free", 1))
        assert house.store.get("/p/a").lease == lease  # type: ignore[union-attr]
        clock.advance(4)
        assert await leases.sweep() == 0
        assert await leases.keep(lease) == 5
        clock.advance(4)
        assert await leases.sweep() == 0
        clock.advance(1)
        assert await leases.sweep() == 1
        assert house.values() == {"/p/free": 1}
        last = house.news.transactions[-1]
        assert (last.origin, [event.type for event in last.events]) == ("lease", [EventType.DELETE] * 2)
        for call in (leases.keep(lease), leases.close(lease)):
            with pytest.raises(NotFound) as caught:
                await call
            assert caught.value.reason == "LEASE_GONE"
        with pytest.raises(NotFound):
            await house.set(("/p/a", 1), lease=lease)
        assert await house.db.query("SELECT * FROM leases") == []


async def test_closing_returns_the_revision(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (house, leases):
        lease, other = await leases.open(0, "x"), await leases.open(10, "x")
        assert leases.ttl(lease) == 10
        await house.set(("/a", 1), lease=lease)
        assert await leases.close(lease) == 2
        assert await leases.close(other) == 0
        assert house.values() == {}


@pytest.mark.parametrize("count", [3, 3 * drafting.SLICE])
async def test_what_somebody_else_writes_as_a_lease_ends_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    async with open_leases(tmp_path, StillClock()) as (house, leases):
        lease = await leases.open(10, "x")
        await house.set(*((f"/p/{number}", 1) for number in range(count)), lease=lease)
        drain = house.store.drain
        others: list[asyncio.Task[int]] = []

        async def drained() -> None:
            await drain()
            if len(others) < 2:  # on its way to the disk, so that the entry still goes with the lease
                others.append(asyncio.create_task(house.set((f"/p/{len(others)}", 2), origin="client:other")))
                await asyncio.sleep(0)

        monkeypatch.setattr(house.store, "drain", drained)
        assert await leases.close(lease) == 4
        assert await asyncio.gather(*others) == [2, 3]
        assert house.values() == {"/p/0": 2, "/p/1": 2}


async def test_a_write_without_the_lease_frees_an_entry(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (house, leases):
        lease = await leases.open(10, "x")
        await house.set(("/a", 1), ("/b", 1), ("/c", 1), lease=lease)
        await house.set(("/a", 2))
        await house.apply(Move("/b", "/moved"))
        assert house.store.leased(lease) == ["/c", "/moved"]
        await leases.close(lease)
        assert house.values() == {"/a": 2}


async def test_what_is_being_written_goes_too(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (house, leases):
        lease = await leases.open(10, "x")
        writing = asyncio.ensure_future(house.set(("/a", 1), lease=lease))
        await asyncio.sleep(0)
        assert await leases.close(lease) == 2
        assert await writing == 1
        assert house.values() == {}


async def test_leases_live_on_over_a_restart_with_a_fresh_time(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_leases(tmp_path, clock) as (house, leases):
        lease = await leases.open(5, "x")
        await house.set(("/a", 1), lease=lease)
        clock.advance(4)
    clock.advance(100)
    async with open_leases(tmp_path, clock) as (house, leases):
        assert await leases.sweep() == 0
        assert house.values() == {"/a": 1}
        await house.set(("/b", 1), lease=lease)
        clock.advance(5)
        assert await leases.sweep() == 1
        assert house.values() == {}


async def test_leases_of_the_last_run_have_no_end_before_their_owners_can_keep_them(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_leases(tmp_path, clock) as (house, leases):
        old = await leases.open(5, "x")
        await house.set(("/a", 1), lease=old)
    async with open_store(tmp_path, clock=clock) as house:
        leases = Leases(house.store, house.db, clock)
        await leases.start(hold=True)
        try:
            await house.set(("/b", 1), lease=await leases.open(5, "y"))
            clock.advance(100)  # a slow start
            assert await leases.sweep() == 1
            assert house.values() == {"/a": 1}
            leases.begin()
            clock.advance(4)
            assert await leases.sweep() == 0
            assert await leases.keep(old, by="x") == 5
            clock.advance(5)
            assert await leases.sweep() == 1
            assert house.values() == {}
        finally:
            await leases.stop()


async def test_the_wall_clock_ends_no_lease(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_leases(tmp_path, clock) as (_, leases):
        await leases.open(5, "x")
        clock._now_ns += 10**15
        assert await leases.sweep() == 0


async def test_the_sweep_runs_by_itself(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_leases(tmp_path, clock) as (house, leases):
        lease = await leases.open(1, "x")
        await house.set(("/a", 1), lease=lease)
        clock.advance(1)
        deadline = asyncio.get_running_loop().time() + 60
        while house.store.get("/a"):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)


async def test_a_process_that_stood_still_reads_what_came_meanwhile_before_it_ends_a_lease(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_leases(tmp_path, clock) as (house, leases):
        for _ in range(5):  # one sweep alone is put off: that before may have been late, too, on a slow machine
            lease = await leases.open(1, "x")
            await house.set(("/a", 1), lease=lease)
            clock.advance(2)
            time.sleep(2.5 * SWEEP_INTERVAL)  # this is what is tested
            for _ in range(20):
                await asyncio.sleep(0)
            try:
                assert await leases.keep(lease, by="x") == 1, "the beat that waited"
                break
            except NotFound:
                while house.store.get("/a"):
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.1)  # and the sweep waits again
        else:
            raise AssertionError("it was ended before its beat was read")
        assert house.values() == {"/a": 1}
        clock.advance(2)
        async with asyncio.timeout(60):
            while house.store.get("/a"):
                await asyncio.sleep(0.01)


async def test_a_lease_whose_opener_goes_away_ends_in_its_time(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_leases(tmp_path, clock) as (house, leases):
        for steps in range(12):  # it goes away at each step between the question and the answer
            opener = asyncio.ensure_future(leases.open(5, "x"))
            for _ in range(steps):
                await asyncio.sleep(0)
            opener.cancel()
            await asyncio.wait([opener])
        await house.db.commit(house.db.unit())  # what went before it is on disk
        clock.advance(5)
        await leases.sweep()
        assert await house.db.query("SELECT * FROM leases") == []


async def test_signals_go_with_a_lease(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (house, leases):
        await house.store.declare([Declaration("/s/*", signal=True)], owner="x")
        lease = await leases.open(10, "x")
        await house.store.apply([Set("/s/a", 1)], origin="x", lease=lease)
        assert house.store.leased(lease) == ["/s/a"]
        await leases.close(lease)
        assert house.values() == {}


@pytest.mark.parametrize("ttl", [0.5, 3601, -1, float("nan")])
async def test_odd_times_are_refused(tmp_path: Path, ttl: float) -> None:
    async with open_leases(tmp_path, StillClock()) as (_, leases):
        with pytest.raises(InvalidArgument) as caught:
            await leases.open(ttl, "x")
        assert caught.value.field == "ttl"


async def test_a_lease_that_cannot_be_ended_stays(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (house, leases):
        lease = await leases.open(10, "x")
        await house.set(("/a", 1), lease=lease)
        house.db._write_connection.execute("PRAGMA query_only = 1")  # type: ignore[union-attr]
        with pytest.raises(LightfastError):
            await leases.close(lease)
        house.db._write_connection.execute("PRAGMA query_only = 0")  # type: ignore[union-attr]
        assert await leases.keep(lease) == 10
        await house.set(("/b", 1), lease=lease)
        await leases.close(lease)
        assert house.values() == {}


async def test_a_lease_is_its_openers(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (_, leases):
        lease = await leases.open(5, "client:me#one")
        for call in (leases.keep(lease, by="client:you"), leases.close(lease, by="client:you")):
            with pytest.raises(Denied, match=f"the lease {lease} is that of client:me: only its opener") as caught:
                await call
            assert caught.value.reason == "LEASE_OF_ANOTHER"
        assert await leases.keep(lease, by="client:me") == 5
        leases.check_owner("lease-gone", "client:you")  # a lease that has ended is nobody's
        assert await leases.close(lease, by="client:me") == 0


async def test_the_owner_is_known_after_a_restart(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (_, leases):
        lease = await leases.open(5, "client:me#one")
    async with open_leases(tmp_path, StillClock()) as (_, leases):
        with pytest.raises(Denied):
            await leases.close(lease, by="client:you")
        assert await leases.close(lease, by="client:me") == 0


async def test_a_repeated_request_is_answered_after_the_lease_has_ended(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (house, leases):
        lease = await leases.open(5, "client:me")
        key = RequestKey("client:me", "Apply", "1", "hash")
        assert await house.set(("/p", 1), lease=lease, request=key) == 1
        await leases.close(lease)
        assert await house.set(("/p", 1), lease=lease, request=key) == 1
        assert house.values() == {}


async def test_many_leases_end_together_and_in_time(tmp_path: Path) -> None:
    clock = StillClock()
    async with open_leases(tmp_path, clock) as (house, leases):
        found = await asyncio.gather(*[leases.open(5, "client:me") for _ in range(600)])
        await asyncio.gather(*[house.set((f"/p/{index}", 1), lease=lease) for index, lease in enumerate(found)])
        clock.advance(5)
        async with asyncio.timeout(120):  # against hanging; how fast it is depends on who else works here
            assert await leases.sweep() == 600
            while house.values():  # the house sweeps by itself, too: some may be ending by its hand
                await asyncio.sleep(0)


async def test_what_an_undo_brings_back_does_not_hang_on_a_dead_lease(tmp_path: Path) -> None:
    async with open_leases(tmp_path, StillClock()) as (house, leases):
        lease = await leases.open(5, "client:me")
        await house.set(("/p", 1), lease=lease)
        ended = await leases.close(lease)
        await house.store.undo(revision=ended, origin="client:me")
        back = house.store.get("/p")
        assert back is not None
        assert (back.value, back.lease) == (1, "")
