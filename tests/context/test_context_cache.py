"""The bound on what is in memory: what may leave, what must stay, and that nothing ever comes back wrong."""

from __future__ import annotations

import asyncio
import pickle
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.store import House, News

from lightfast.context.cache import DEFAULT_SIZE
from lightfast.context.entry import Declaration, Delete, Entry, Move, Precondition, Report, Set, Status
from lightfast.context.footprint import footprint
from lightfast.context.leases import Leases
from lightfast.context.store import Store
from lightfast.context.stub import Stub
from lightfast.context.watch import Bus, WatchSpec, watch
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Conflict
from lightfast.storage.database import Database
from lightfast_link.value import Value

ME = "client:test"
DOCUMENT = 4000


def document(number: int, length: int = DOCUMENT) -> str:
    return f"{number:06d}" + "x" * (length - 6)


@asynccontextmanager
async def opened(folder: Path, size: int = DEFAULT_SIZE, *, watched: bool = False) -> AsyncIterator[House]:
    """A store whose values may take *size* bytes."""
    db = await Database.open(folder / "store.db")
    news = News()
    store = await Store.open(
        db, clock=SYSTEM, bus=Bus(db.store_id) if watched else news, settle_after=60.0, cache_size=size
    )
    try:
        yield House(db, store, news)
    finally:
        await store.close()
        await db.close()


def is_cold(store: Store, path: str) -> bool:
    return type(store.peek(path)) is Stub


async def fill(house: House, count: int, length: int = DOCUMENT, under: str = "/docs") -> None:
    for start in range(0, count, 50):
        await house.set(*[(f"{under}/{n}", document(n, length)) for n in range(start, min(count, start + 50))])


async def test_ten_times_the_bound_stays_within_it(tmp_path: Path) -> None:
    size = 400_000
    async with opened(tmp_path, size) as house:
        await fill(house, 1000)
        cache = house.store.cache
        assert 0 < cache.used <= size
        assert cache.counted + cache.cold == 1000
        assert cache.cold > 850
        in_memory = [entry for path in range(1000) if type(entry := house.store.peek(f"/docs/{path}")) is Entry]
        assert len(in_memory) == cache.counted
        for number in range(0, 1000, 37):  # every one is there, wherever it is
            assert house.store.get(f"/docs/{number}").value == document(number)  # type: ignore[union-attr]
        assert cache.used <= size


async def test_a_start_leaves_large_values_on_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await fill(house, 200)
        await house.set(("/small/number", 1.5), ("/lightfast/large", document(7)), trusted=True)
        assert house.store.cache.cold == 0
    async with opened(tmp_path) as house:
        cache = house.store.cache
        assert (cache.cold, cache.used) == (200, 0)
        assert not is_cold(house.store, "/small/number")
        assert not is_cold(house.store, "/lightfast/large")
        stub = house.store.peek("/docs/3")
        assert type(stub) is Stub
        assert (stub.revision, stub.path) == (1, "/docs/3")
        assert house.store.entry_count == 202
        assert cache.disk == cache.waited == 0


async def test_warm_reads_never_touch_the_disk(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await fill(house, 20)
    async with opened(tmp_path) as house:
        cache = house.store.cache
        for round_number in range(3):
            for number in range(20):
                (entry,) = (await house.store.read([f"/docs/{number}"])).entries
                assert entry.value == document(number)
            assert (cache.disk, cache.waited, cache.hits) == (20, 0, 20 * round_number)


async def test_a_page_of_a_pattern_reads_what_is_cold_off_the_loop(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await fill(house, 120)
        await house.set(("/docs/small", 1))
    async with opened(tmp_path, 100_000) as house:
        found: list[Entry] = []
        token = ""
        while True:
            page = await house.store.read(pattern="/docs/*", page_size=50, page_token=token)
            found += page.entries
            token = page.next_page_token
            if not token:
                break
        assert [entry.path for entry in found] == sorted([f"/docs/{n}" for n in range(120)] + ["/docs/small"])
        assert all(entry.value == document(int(entry.path[6:])) for entry in found if entry.path != "/docs/small")
        assert house.store.cache.waited == 0
        assert house.store.cache.used <= 100_000


async def test_what_lives_stays_in_memory(tmp_path: Path) -> None:
    """Signals, leased entries, what an application reported or is to answer, and all of a mount that is held."""
    async with opened(tmp_path, 20_000) as house:
        store = house.store
        leases = Leases(store, house.db)
        lease = await leases.open(60, ME)
        await store.declare([Declaration("/wave", signal=True)], owner=ME)
        await store.apply([Set("/wave", document(1))], origin=ME)
        await store.apply([Set("/presence", document(2))], origin=ME, lease=lease)
        store.add_mount("/app")
        await store.declare([Declaration("/app//")], owner="app:app")
        await store.apply(
            [Report(f"/app/{n}", Status.SETTLED, reported=document(n)) for n in range(10)],
            origin="app:app",
            trusted=True,
        )
        await store.cache.hold("/held")
        await fill(house, 30, under="/held")
        await fill(house, 100)
        living = ["/wave", "/presence", *[f"/app/{n}" for n in range(10)], *[f"/held/{n}" for n in range(30)]]
        assert not [path for path in living if is_cold(store, path)]
        assert store.cache.used <= 20_000
        # The application goes: what was settled is stale, and has its place by use from then on.
        await store.apply(
            [Report(f"/app/{n}", Status.STALE, reason="away") for n in range(10)], origin="daemon", trusted=True
        )
        await store.cache.release("/held")
        await fill(house, 30, under="/new")
        assert [path for path in living[2:] if not is_cold(store, path)] == []
        assert store.resident("/app//") == []
        entry = store.get("/app/3")
        assert entry is not None
        assert (entry.status, entry.reported) == (Status.STALE, document(3))
        await store.cache.hold("/app")  # it returns
        assert not [n for n in range(10) if is_cold(store, f"/app/{n}")]
        await leases.stop()


async def test_small_values_of_applications_that_are_gone_have_their_place_by_use(tmp_path: Path) -> None:
    async with opened(tmp_path, 20_000) as house:
        store = house.store
        store.add_mount("/app")
        await store.declare([Declaration("/app//")], owner="app:app")
        await store.apply(
            [Report(f"/app/{n}", Status.STALE, reported=float(n), reason="away") for n in range(200)],
            origin="daemon",
            trusted=True,
        )
        assert store.cache.cold > 150
        assert store.get("/app/7").reported == 7.0  # type: ignore[union-attr]
    async with opened(tmp_path, 20_000) as house:
        assert house.store.cache.cold == 200
        house.store.add_mount("/app")
        await house.store.cache.hold("/app")
        assert [entry.reported for entry in house.store.resident("/app//")].count(None) == 0
        assert len(house.store.resident("/app//")) == 200


async def test_writing_over_what_is_cold_knows_what_was_there(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await fill(house, 6)
        await house.set(("/docs/map", {"a": document(9), "b": 1}))
    async with opened(tmp_path) as house:
        store = house.store
        assert is_cold(store, "/docs/1")
        await house.set(("/docs/1", "short"))
        (event,) = house.news.transactions[-1].events
        assert event.previous is not None
        assert (event.previous.value, event.entry.version, event.entry.create_revision) == (document(1), 2, 1)
        with pytest.raises(Conflict):
            await house.set(("/docs/2", 1), preconditions=[Precondition("/docs/2", value="other")])
        await house.set(("/docs/2", 1), preconditions=[Precondition("/docs/2", value=document(2))])
        await house.apply(Move("/docs/3", "/moved/3"))
        assert store.get("/moved/3").value == document(3)  # type: ignore[union-attr]
        await house.apply(Delete("/docs", recursive=True))
        gone = {event.entry.path: event.previous for event in house.news.transactions[-1].events}
        assert set(gone) == {"/docs/0", "/docs/1", "/docs/2", "/docs/4", "/docs/5", "/docs/map"}
        assert gone["/docs/4"].value == document(4)  # type: ignore[union-attr]
        assert store.cache.waited == 0  # all of it was read off the loop
        assert store.cache.cold == 0
        await store.undo(revision=store.revision, origin=ME)
        assert store.get("/docs/map").value == {"a": document(9), "b": 1}  # type: ignore[union-attr]


async def test_a_snapshot_has_what_is_cold(tmp_path: Path) -> None:
    async with opened(tmp_path) as house:
        await fill(house, 700, 1000)
    async with opened(tmp_path, 50_000, watched=True) as house:
        batches = watch(house.store, WatchSpec(("//",), include_snapshot=True))
        found: dict[str, Any] = {}
        async for batch in batches:
            found |= {event.entry.path: event.entry.value for event in batch.events}
            if batch.synced:
                break
        await batches.aclose()
        assert found == {f"/docs/{n}": document(n, 1000) for n in range(700)}
        assert house.store.cache.counted == 0  # a scan empties nothing, and fills nothing


async def test_use_decides_who_stays(tmp_path: Path) -> None:
    """What is asked for again and again survives a scan of ten times the bound."""
    async with opened(tmp_path) as house:
        await fill(house, 500)
    async with opened(tmp_path, 50 * 5000) as house:
        store = house.store
        loved = [f"/docs/{n}" for n in range(10)]
        for _ in range(3):
            for path in loved:
                await store.read([path])
        for number in range(10, 500):
            await store.read([f"/docs/{number}"])
        assert [path for path in loved if is_cold(store, path)] == []


async def test_an_old_value_never_comes_back(tmp_path: Path) -> None:
    """A read of a stub is under way while the path is written: the reader gets its revision, the tree the new one."""
    async with opened(tmp_path) as house:
        await fill(house, 2)
    async with opened(tmp_path) as house:
        store = house.store
        stub = store.peek("/docs/0")
        assert type(stub) is Stub
        loading = asyncio.ensure_future(store.cache.load([stub]))
        await house.set(("/docs/0", document(5)))
        assert [entry.value for entry in await loading if entry] == [document(0)]
        assert store.get("/docs/0").value == document(5)  # type: ignore[union-attr]
        assert [entry.value for entry in await store.cache.load([stub]) if entry] == [document(0)]
        assert store.get("/docs/0").value == document(5)  # type: ignore[union-attr]


async def test_a_document_that_becomes_a_signal_stays(tmp_path: Path) -> None:
    async with opened(tmp_path, 20_000) as house:
        store = house.store
        await house.set(("/wave", document(1)))
        await store.declare([Declaration("/wave", signal=True)], owner=ME)
        store.publish([Set("/wave", document(2))], origin=ME)
        await fill(house, 50)
        assert not is_cold(store, "/wave")
        assert store.get("/wave").value == document(2)  # type: ignore[union-attr]


async def test_twice_written_in_one_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path, 1000) as house:
        await house.set(("/a", document(1)), ("/a", document(2)))
        assert is_cold(house.store, "/a")
        assert house.store.get("/a").value == document(2)  # type: ignore[union-attr]
        await house.apply(Set("/b", document(3)), Delete("/b"), Set("/c", document(4)), Move("/c", "/d"))
        assert [entry.value for entry in house.store.select("//")] == [document(2), document(4)]
        assert house.store.cache.cold + house.store.cache.counted == 2


VALUES: list[Value] = [
    "ascii" * 2000,
    "ü€" * 5000,
    b"\x00" * 20_000,
    (1.5,) * 3000,
    [float(n) for n in range(3000)],
    {f"name-{n}": n + 1000 for n in range(800)},
    [{"x": 0.5 + n, "label": f"label {n}"} for n in range(300)],
]


def test_the_estimate_is_close_to_what_python_takes() -> None:
    """Copies are made until they take megabytes, and the allocator says how many bytes each one took."""
    for value in VALUES:
        data = pickle.dumps(value)
        copies = max(4, 2_000_000 // len(data))
        tracemalloc.start()
        try:
            kept = [pickle.loads(data) for _ in range(copies)]
            real = tracemalloc.get_traced_memory()[0] / len(kept)
        finally:
            tracemalloc.stop()
        estimate = footprint(kept[0])
        assert 0.7 < estimate / real < 1.5, (type(value), estimate, real)
