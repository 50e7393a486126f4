"""The event log on a real database: numbered by the writer, watched without a gap, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted, InvalidArgument, OutOfRange, Unavailable
from lightfast.engine.events import log as module
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import Event, Wanted, wanted
from lightfast.storage.database import Database


@asynccontextmanager
async def opened(folder: Path, kept: int = 1000) -> AsyncIterator[tuple[Database, EventLog]]:
    db = await Database.open(folder / "lightfast.db", clock=SYSTEM)
    log = await EventLog.open(db, SYSTEM, kept)
    try:
        yield db, log
    finally:
        await log.close()
        await db.close()


async def put(db: Database, log: EventLog, *kinds: str, entity: str = "r1") -> None:
    unit = db.unit()
    for kind in kinds:
        log.add(unit, kind, "run", entity, {"kind": kind})
    await db.commit(unit)
    log.poke()


async def taken(log: EventLog, count: int, asked: Wanted, after: int | None = None) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(60):
        async for events, _ in log.watch(asked, after):
            found += events
            if len(found) >= count:
                return found
    raise AssertionError("the watch ended")


async def test_what_is_committed_is_sent_and_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as (db, log):
        await put(db, log, "run.started", "step.done", "run.succeeded")
        found = await taken(log, 2, wanted(["run.*"]), 0)
        assert [(event.sequence, event.kind, event.payload) for event in found] == [
            (1, "run.started", {"kind": "run.started"}),
            (3, "run.succeeded", {"kind": "run.succeeded"}),
        ]
        assert [event.kind for event in await log.page(1, wanted(), 10)] == ["step.done", "run.succeeded"]
        assert await log.page(0, wanted(entity_id="other"), 10) == []
    async with opened(tmp_path) as (db, log):
        assert log.newest == 3
        await put(db, log, "run.failed")
        assert [event.sequence for event in await taken(log, 1, wanted(), 3)] == [4]


async def test_few_new_events_take_no_reader_and_of_many_none_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as (db, log):
        asked = 0
        read = db.read

        async def counted(function: Callable[[Any], Any], *, one: bool = False) -> Any:
            nonlocal asked
            asked += 1
            return await read(function, one=one)

        monkeypatch.setattr(db, "read", counted)
        few, many = ["a", "b", "c"], [f"k{number}" for number in range(3 * module._FEW)]
        watching = asyncio.create_task(taken(log, len(few) + len(many), wanted()))
        while not log.watchers:
            await asyncio.sleep(0)
        await put(db, log, *few)
        async with asyncio.timeout(60):
            while log.newest < len(few):
                await asyncio.sleep(0.001)
        assert asked == 0
        await put(db, log, *many)
        assert [event.kind for event in await watching] == [*few, *many]
        assert asked == 1


async def test_a_unit_that_is_not_committed_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as (db, log):
        unit = db.unit()
        log.add(unit, "run.started", "run", "r", {})
        unit.execute("INSERT INTO no_such_table VALUES(1)")
        with pytest.raises(Exception, match="no_such_table"):
            await db.commit(unit)
        await put(db, log, "run.failed")
        assert [event.kind for event in await taken(log, 1, wanted(), 0)] == ["run.failed"]


@pytest.mark.limit(600)  # 150 syncs, one after the other
async def test_nobody_who_comes_back_misses_or_doubles_anything(tmp_path: Path) -> None:
    async with opened(tmp_path, 100_000) as (db, log):
        total, writers = 600, 4

        async def write(number: int) -> None:
            for each in range(total // writers):
                await put(db, log, "job.progress", entity=f"{number}-{each}")

        async def read(leave_after: int) -> list[int]:
            seen: list[int] = []
            after = 0
            while len(seen) < total:
                count = 0
                async for events, reached in log.watch(wanted(), after):
                    seen += [event.sequence for event in events]
                    after, count = reached, count + len(events)
                    if count >= leave_after or len(seen) >= total:
                        break  # the reader goes away, and comes back with the last number
            return seen

        results = await asyncio.gather(*(write(each) for each in range(writers)), *(read(n) for n in (1, 7, 10_000)))
        for seen in results[writers:]:
            assert seen == list(range(1, total + 1))


async def test_late_commits_come_without_a_poke(tmp_path: Path) -> None:
    async with opened(tmp_path) as (db, log):
        unit = db.unit()
        log.add(unit, "run.started", "run", "r", {})
        await db.commit(unit)
        assert [event.kind for event in await taken(log, 1, wanted(), 0)] == ["run.started"]


async def test_the_oldest_go_and_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLACK", 5)
    async with opened(tmp_path, 10) as (db, log):
        for _ in range(30):
            await put(db, log, "run.started")
        await taken(log, 1, wanted(), 29)
        async with asyncio.timeout(60):
            while log.oldest < 10:
                await asyncio.sleep(0.01)
        with pytest.raises(OutOfRange, match="no longer kept") as caught:
            await taken(log, 1, wanted(), 1)
        assert caught.value.reason == "EVENTS_COMPACTED"
        assert caught.value.metadata["oldest_sequence"] == str(log.oldest)
        assert (await log.page(0, wanted(), 100))[0].sequence == log.oldest


async def test_a_slow_watcher_is_cut_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE", 20)
    async with opened(tmp_path) as (db, log):
        batches = log.watch(wanted(), 0)
        assert await anext(batches) == ((), 0)
        waiting = asyncio.ensure_future(anext(batches))
        await put(db, log, "run.started")
        events, reached = await waiting
        for _ in range(40):
            await put(db, log, "run.started")
        async with asyncio.timeout(60):
            while log.newest < 41:
                await asyncio.sleep(0.01)
        seen = [event.sequence for event in events]

        async def rest() -> None:
            nonlocal reached
            async for more, position in batches:
                seen.extend(event.sequence for event in more)
                reached = position

        with pytest.raises(Exhausted, match="go on from the last one") as caught:
            await rest()
        assert caught.value.reason == "TOO_SLOW"
        seen += [event.sequence for event in await taken(log, 41 - len(seen), wanted(), reached)]
        assert seen == list(range(1, 42))


async def test_another_store_and_the_future_are_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as (_, log):
        for asked in ({"after": 5}, {"after": 0, "store_id": "another"}):
            with pytest.raises(OutOfRange) as caught:
                await anext(log.watch(wanted(), **asked))
            assert caught.value.reason == "STORE_CHANGED"


@pytest.mark.parametrize("kinds", [["Run"], ["run."], ["*.done"], ["run.*"] * 33])
def test_what_is_no_kind_is_refused(kinds: Sequence[str]) -> None:
    with pytest.raises(InvalidArgument):
        wanted(kinds)


def test_kinds_match() -> None:
    event = Event(1, 0, "run.succeeded", "run", "r", {})
    for kinds, matches in (
        ((), True),
        (("run.*",), True),
        (("*",), True),
        (("run.succeeded",), True),
        (("runs.*", "job.*"), False),
    ):
        assert wanted(kinds).matches(event) is matches, kinds


async def test_a_watch_that_begins_while_the_daemon_stops_ends(tmp_path: Path) -> None:
    async with opened(tmp_path) as (db, log):
        await put(db, log, "run.started")
        await taken(log, 1, wanted(), 0)
        early = log.watch(wanted(), guest=True)
        assert await anext(early) == ((), 1)
        log.send_away()
        late = log.watch(wanted(), 0, guest=True)
        await log.close()
        last = log.watch(wanted(), 0)
        async with asyncio.timeout(60):
            with pytest.raises(Unavailable, match="the daemon stops"):
                await anext(early)
            for watch in (late, last):
                assert await anext(watch) == ((), 0)
                ((told,), _) = await anext(watch)
                assert told.kind == "run.started", "what is there is still told"
            with pytest.raises(Unavailable, match="the daemon stops"):
                await anext(late)
            with pytest.raises(StopAsyncIteration):
                await anext(last)
