"""The store and the bus together: what is watched is what is committed."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from tests.support.store import open_store

from lightfast.context.entry import Declaration, Delete, Move, Set
from lightfast.context.store import Store
from lightfast.context.watch import Bus, WatchSpec, watch
from lightfast.storage.database import Database


async def follow(store: Store, spec: WatchSpec, until: int) -> tuple[dict[str, object], list[int]]:
    """Watch until *until* and return the tree rebuilt from events, and the revisions seen."""
    tree: dict[str, object] = {}
    revisions: list[int] = []
    async with asyncio.timeout(60), aclosing(watch(store, spec)) as batches:
        async for batch in batches:
            for event in batch.events:
                if event.source:
                    tree.pop(event.source, None)
                if event.type == "DELETE":
                    tree.pop(event.entry.path, None)
                else:
                    tree[event.entry.path] = event.entry.value
                if not revisions or revisions[-1] != event.entry.revision:
                    revisions.append(event.entry.revision)
            if batch.revision >= until:
                return tree, revisions
    raise AssertionError("the watch ended")


async def test_snapshot_then_live_and_resume(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        for number in range(10):
            await house.set((f"/x/{number % 4}", number))
    db = await Database.open(tmp_path / "store.db")
    store = await Store.open(db)
    assert isinstance(store.bus, Bus)
    assert store.bus.revision == 10
    everything = WatchSpec(("//",), include_snapshot=True)
    from_five = WatchSpec(("//",), start_revision=5, store_id=store.store_id)
    watching = [asyncio.ensure_future(follow(store, spec, 110)) for spec in (everything, from_five)]
    await asyncio.sleep(0)
    for number in range(98):
        await store.apply([Set(f"/y/{number % 7}", number), Set("/z", number)], origin="client:w")
    await store.apply([Move("/y", "/moved"), Delete("/z")], origin="client:w")
    await store.apply([Set("/last", 1)], origin="client:w")
    live = {entry.path: entry.value for entry in store.select("//")}
    (snapshot, _), (resumed, revisions) = await asyncio.gather(*watching)
    assert snapshot == live
    assert revisions == list(range(6, 111))
    assert {path: value for path, value in live.items() if path in resumed} == resumed
    late, revisions = await follow(store, WatchSpec(("//",), start_revision=0), 110)
    assert late == live
    assert revisions == list(range(1, 111))
    await store.close()
    await db.close()


async def test_a_bus_of_the_caller_begins_where_the_store_is(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
    db = await Database.open(tmp_path / "store.db")
    bus = Bus(db.store_id)
    store = await Store.open(db, bus=bus)
    assert store.bus is bus
    assert bus.revision == 1
    heard: list[str] = []
    bus.listen(["/s//"], lambda batch: heard.extend(event.entry.path for event in batch.events))
    await store.declare([Declaration("/s/*", signal=True)], owner="x")
    await store.apply([Set("/s/a", 0.5)], origin="x")
    await store.apply([Set("/b", 1)], origin="x")
    assert heard == ["/s/a"]
    await store.close()
    await db.close()
