"""A snapshot gathered in slices, while others write: it is whole, ordered, and true of the revision that it names."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.watch_store import MemoryStore

from lightfast.context import tree, watch_snapshot
from lightfast.context.entry import Declaration, Delete, Event, EventType, Move, Mutation, Set
from lightfast.context.store import Store
from lightfast.context.watch import Batch, Bus, WatchSpec, bus_of, watch
from lightfast.core.errors import LightfastError, Unavailable
from lightfast.storage.database import Database

ENTRIES = 600


@asynccontextmanager
async def open_store(folder: Path) -> AsyncIterator[Store]:
    """Open a store with some hundred entries, nested and flat, put there in no order."""
    db = await Database.open(folder / "store.db")
    store = await Store.open(db, bus=Bus(db.store_id))
    await store.declare([Declaration("/meter/*", signal=True)], owner="test")
    paths = [f"/deep/{number % 9}/{number}" for number in range(ENTRIES // 2)]
    paths += [f"/flat/{number}" for number in range(ENTRIES // 2)]
    random.Random(1).shuffle(paths)
    await store.apply([Set(path, 0) for path in paths], origin="test")
    try:
        yield store
    finally:
        bus_of(store).close()
        await store.close()
        await db.close()


@pytest.fixture(autouse=True)
def tiny_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the loop its turn wherever it may have one, and cut and sort in tiny runs."""
    monkeypatch.setattr(watch_snapshot, "SLICE", -1.0)
    monkeypatch.setattr(watch_snapshot, "RUN", 16)
    monkeypatch.setattr(watch_snapshot, "STEP", 4)
    monkeypatch.setattr(watch_snapshot, "ENTRIES", 25)
    monkeypatch.setattr(tree, "VISITED", 7)


def disturbance(chance: random.Random, turn: int) -> Mutation:
    """Return any write: to what is there, to what is new, or to what goes."""
    number = chance.randrange(ENTRIES)
    known = chance.choice((f"/deep/{number % 9}/{number}", f"/flat/{number}"))
    return chance.choice(
        (
            Set(known, turn),
            Set(f"/fresh/{number}/x", turn),
            Delete(known),
            Delete(f"/deep/{number % 9}", recursive=True),
            Move(known, f"/moved/{turn}"),
            Move(f"/deep/{number % 9}", f"/deep/{turn + 100}"),
        )
    )


async def disturb(store: Store, chance: random.Random, stop: asyncio.Event) -> int:
    """Write until *stop*; return how many writes were made."""
    made = 0
    while not stop.is_set():
        made += 1
        try:
            await store.apply([disturbance(chance, made) for _ in range(chance.randrange(1, 4))], origin="test")
        except LightfastError:  # a move of what is gone
            await asyncio.sleep(0)
    return made


def slow(monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    """Let others commit in every tenth rest."""
    rests = 0

    async def rest(_: watch_snapshot.Snapshot) -> None:
        nonlocal rests
        rests += 1
        revision = store.revision
        while rests % 10 == 1 and store.revision == revision:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)

    monkeypatch.setattr(watch_snapshot.Snapshot, "rest", rest)


async def snapshot(stream: AsyncIterator[Batch]) -> list[Batch]:
    """Read up to the batch that says `synced`."""
    found: list[Batch] = []
    async with asyncio.timeout(60):
        async for batch in stream:
            found.append(batch)
            if batch.synced:
                break
    return found


def follow(values: dict[str, object], event: Event) -> None:
    """Bring *values* on by one event of the watch."""
    if event.source:
        values.pop(event.source, None)
    if event.type is EventType.DELETE:
        values.pop(event.entry.path, None)
    else:
        values[event.entry.path] = event.entry.value


@pytest.mark.parametrize("patterns", [("//",), ("/deep//", "/flat/*", "/fresh//", "/moved//", "//x"), ("/flat/*",)])
@pytest.mark.parametrize("seed", range(4))
async def test_it_is_true_of_one_revision_while_others_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patterns: tuple[str, ...], seed: int
) -> None:
    async with open_store(tmp_path) as store:
        slow(monkeypatch, store)
        stop = asyncio.Event()
        began = store.revision
        writing = asyncio.ensure_future(disturb(store, random.Random(seed), stop))
        stream = watch(store, WatchSpec(patterns, include_snapshot=True), max_events=1_000_000, max_size=1 << 30)
        batches = await snapshot(stream)
        stop.set()
        await writing
        revision = batches[-1].revision
        assert revision > began
        assert all(batch.revision == 0 and not batch.synced for batch in batches[:-1])
        listed = [event.entry.path for batch in batches for event in batch.events]
        assert listed == sorted(set(listed))
        values: dict[str, object] = {event.entry.path: event.entry.value for b in batches for event in b.events}
        past: dict[str, object] = {}
        for pattern in patterns:
            page = await store.read(pattern=pattern, at_revision=revision, page_size=10_000)
            past.update({entry.path: entry.value for entry in page.entries})
        assert values == past
        # And from there on nothing is missed.
        last = await store.apply([Set("/flat/end", 1)], origin="test")
        while revision < last.revision:
            batch = await asyncio.wait_for(anext(stream), 60)
            revision = batch.revision
            for event in batch.events:
                follow(values, event)
        await stream.aclose()
        now = {entry.path for pattern in patterns for entry in store.select(pattern)}
        assert {path: value for path, value in values.items() if path in now} == {
            path: entry.value for path in now if (entry := store.get(path)) is not None
        }


async def test_signals_that_move_meanwhile_have_one_value(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        stop = asyncio.Event()
        sent = 0

        async def move() -> None:
            nonlocal sent
            while not stop.is_set():
                sent += 1
                store.publish([Set(f"/meter/{number}", sent) for number in range(5)], origin="test")
                await asyncio.sleep(0)

        moving = asyncio.ensure_future(move())
        await asyncio.sleep(0)
        stream = watch(store, WatchSpec(("//",), include_snapshot=True))
        batches = await snapshot(stream)
        stop.set()
        await moving
        meters = [e.entry.value for b in batches for e in b.events if e.entry.path.startswith("/meter/")]
        # Those of one tick: an older one would stay for ever if it did not move again.
        assert len(meters) == 5
        assert len(set(meters)) == 1
        await stream.aclose()


async def test_one_that_leaves_while_it_is_gathered_leaves_nothing_behind(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        stream = watch(store, WatchSpec(("//",), include_snapshot=True))
        first = asyncio.ensure_future(anext(stream))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not first.done()
        assert bus_of(store)._groups  # changes are noted
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await stream.aclose()
        assert not bus_of(store)._groups


async def test_a_daemon_that_stops_meanwhile_says_so(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        stream = watch(store, WatchSpec(("//",), include_snapshot=True))
        first = asyncio.ensure_future(anext(stream))
        for _ in range(20):
            await asyncio.sleep(0)
        bus_of(store).close()
        with pytest.raises(Unavailable):
            await asyncio.wait_for(first, 60)


async def test_others_get_their_turn(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        turns = 0
        done = asyncio.Event()

        async def others() -> None:
            nonlocal turns
            while not done.is_set():
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.ensure_future(others())
        stream = watch(store, WatchSpec(("//",), include_snapshot=True))
        await asyncio.wait_for(anext(stream), 60)
        done.set()
        await counting
        assert turns > ENTRIES / 16
        await stream.aclose()


async def test_what_is_committed_and_not_yet_handed_out_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    store.set(*[(f"/n/{number:03}", 0) for number in range(100)])
    made = 0

    async def rest(_: watch_snapshot.Snapshot) -> None:
        nonlocal made
        await asyncio.sleep(0)
        made += 1
        store.set(("/n/000", made), (f"/n/{made % 100:03}", made))  # goes to the listeners at the end of the tick

    monkeypatch.setattr(watch_snapshot.Snapshot, "rest", rest)
    stream = watch(store, WatchSpec(("//",), include_snapshot=True))
    batches = [await anext(stream)]
    then, revision = dict(store.entries), store.revision
    batches += await snapshot(stream)
    assert batches[-1].revision == revision
    assert {e.entry.path: e.entry.value for b in batches for e in b.events} == {p: e.value for p, e in then.items()}
    await stream.aclose()
