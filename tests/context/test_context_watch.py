"""Watch and the bus, case by case."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest
from tests.support.watch_store import MemoryStore

from lightfast.context.entry import Event, EventType, Transaction
from lightfast.context.watch import Batch, WatchSpec, watch
from lightfast.core.errors import Exhausted, InvalidArgument, OutOfRange, Unavailable

EVERYTHING = WatchSpec(("//",))


async def get(stream: AsyncIterator[Batch]) -> Batch:
    async with asyncio.timeout(60):
        return await anext(stream)


def paths(batch: Batch) -> list[str]:
    return [event.entry.path for event in batch.events]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


async def tick() -> None:
    """Let the bus hand out what is pending, and what follows from it."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_first_batch_says_from_where() -> None:
    store = MemoryStore(revision=41)
    stream = watch(store, EVERYTHING)
    first = await get(stream)
    assert (first.events, first.revision, first.synced) == ((), 41, True)
    store.set(("/a", 1))
    batch = await get(stream)
    assert (paths(batch), batch.revision, batch.synced) == (["/a"], 42, False)


async def test_all_of_one_tick_is_one_batch_shared_by_equal_filters() -> None:
    store = MemoryStore()
    streams = [watch(store, WatchSpec(("/a//", "/b")), max_events=100) for _ in range(3)]
    other = watch(store, WatchSpec(("/b", "/a//")))
    for stream in [*streams, other]:
        await get(stream)
    store.set(("/a/x", 1), ("/c", 2))
    store.set(("/b", 3))
    batches = [await get(stream) for stream in [*streams, other]]
    assert paths(batches[0]) == ["/a/x", "/b"]
    assert batches[0].revision == 2
    assert all(batch is batches[0] for batch in batches)


async def test_snapshot_comes_in_parts_and_only_the_last_is_synced() -> None:
    store = MemoryStore()
    for number in range(1200):
        store.set((f"/n/{number:04}", number))
    await tick()
    stream = watch(store, WatchSpec(("//",), include_snapshot=True))
    parts = [await get(stream)]
    while not parts[-1].synced:
        store.set(("/n/0000", "later"))
        parts.append(await get(stream))
    assert [len(part.events) for part in parts] == [500, 500, 200]
    assert [part.revision for part in parts] == [0, 0, 1200]
    assert [path for part in parts for path in paths(part)] == [f"/n/{n:04}" for n in range(1200)]
    assert {event.entry.value for part in parts for event in part.events} == set(range(1200))
    live: list[Event] = []
    while len(live) < 2:  # in one batch, or two: a slow machine gives the loop a turn between two parts
        live += (await get(stream)).events
    assert [event.entry.value for event in live] == ["later", "later"]


async def test_snapshot_is_cut_by_size_too() -> None:
    store = MemoryStore()
    store.set(*[(f"/n/{number}", "x" * 500_000) for number in range(5)])
    stream = watch(store, WatchSpec(("//",), include_snapshot=True))
    assert [len((await get(stream)).events) for _ in range(2)] == [3, 2]


async def test_snapshot_of_overlapping_patterns_has_each_entry_once() -> None:
    store = MemoryStore()
    store.set(("/a/x", 1), ("/a/y", 2), ("/b", 3))
    batch = await get(watch(store, WatchSpec(("/a//", "/a/x", "/b"), include_snapshot=True)))
    assert paths(batch) == ["/a/x", "/a/y", "/b"]
    assert batch.synced


async def test_empty_snapshot_is_synced() -> None:
    batch = await get(watch(MemoryStore(), WatchSpec(("/none",), include_snapshot=True)))
    assert batch.synced
    assert not batch.events


@pytest.mark.parametrize("behind", [0, 1, 200, 201, 650])
async def test_resume_gives_everything_after_the_revision(behind: int) -> None:
    store = MemoryStore()
    for number in range(700):
        store.set(("/a" if number % 2 else "/b", number))
    start = 700 - behind
    stream = watch(store, WatchSpec(("/a",), start_revision=start, store_id=store.store_id))
    seen: list[int] = []
    synced = False
    while not synced:
        batch = await get(stream)
        seen += [event.entry.revision for event in batch.events]
        synced = batch.synced
    assert seen == [revision for revision in range(start + 1, 701) if revision % 2 == 0]
    store.set(("/a", "live"))
    assert [event.entry.value for event in (await get(stream)).events] == ["live"]


async def test_a_transaction_of_the_same_tick_is_not_sent_twice() -> None:
    store = MemoryStore()
    early = watch(store, EVERYTHING)
    await get(early)
    store.set(("/a", 1))
    stream = watch(store, WatchSpec(("//",), include_snapshot=True))
    assert paths(await get(stream)) == ["/a"]
    store.set(("/b", 2))
    assert paths(await get(stream)) == ["/b"]
    first = await get(early)
    rest = [] if first.revision == 2 else paths(await get(early))
    assert paths(first) + rest == ["/a", "/b"]


async def test_compacted_revision() -> None:
    store = MemoryStore()
    for number in range(10):
        store.set(("/a", number))
    store.compact(5)
    with pytest.raises(OutOfRange) as caught:
        await get(watch(store, WatchSpec(("//",), start_revision=4)))
    assert caught.value.reason == "REVISION_COMPACTED"
    assert caught.value.metadata["compact_revision"] == "5"
    kept = await get(watch(store, WatchSpec(("//",), start_revision=5)))
    assert [event.entry.revision for event in kept.events] == [6, 7, 8, 9, 10]


async def test_history_dropped_during_the_replay_is_noticed() -> None:
    store = MemoryStore()
    for number in range(500):
        store.set(("/a", number))
    stream = watch(store, WatchSpec(("//",), start_revision=0))
    await get(stream)
    store.compact(400)
    with pytest.raises(OutOfRange) as caught:
        await get(stream)
    assert caught.value.reason == "REVISION_COMPACTED"


@pytest.mark.parametrize(("start", "store_id"), [(99, ""), (0, "another"), (None, "another")])
async def test_a_revision_of_another_history_is_refused(start: int | None, store_id: str) -> None:
    store = MemoryStore()
    store.set(("/a", 1))
    with pytest.raises(OutOfRange) as caught:
        await get(watch(store, WatchSpec(("//",), start_revision=start, store_id=store_id)))
    assert caught.value.reason == "STORE_CHANGED"
    assert store.bus.watchers == 0


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (WatchSpec(()), "patterns"),
        (WatchSpec(("/a[",)), "patterns"),
        (WatchSpec(("a",)), "patterns"),
        (WatchSpec(tuple(f"/{n}" for n in range(1000))), "patterns"),
        (WatchSpec(("//",), exclude_origins=tuple(str(n) for n in range(1000))), "exclude_origins"),
        (WatchSpec(("//",), start_revision=-1), "start_revision"),
        (WatchSpec(("//",), max_rate_hz=-1.0), "max_rate_hz"),
        (WatchSpec(("//",), max_rate_hz=float("nan")), "max_rate_hz"),
    ],
)
async def test_malformed_requests_name_the_field(spec: WatchSpec, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await get(watch(MemoryStore(), spec))
    assert caught.value.field == field


async def test_excluded_origins_with_and_without_session() -> None:
    store = MemoryStore()
    whole = watch(store, WatchSpec(("//",), exclude_origins=("client:me",)))
    session = watch(store, WatchSpec(("//",), exclude_origins=("client:me#1",)))
    await get(whole)
    await get(session)
    for number, origin in enumerate(("client:me", "client:me#1", "client:me#2", "client:meow")):
        store.set((f"/{number}", number), origin=origin)
        store.signal(f"/s{number}", number, origin=origin)
    assert paths(await get(whole)) == ["/3", "/s3"]
    assert paths(await get(session)) == ["/0", "/2", "/3", "/s0", "/s2", "/s3"]


async def test_a_move_is_seen_from_both_ends() -> None:
    store = MemoryStore()
    store.set(("/old/x", 1))
    await tick()
    old, new, neither = (watch(store, WatchSpec((pattern,))) for pattern in ("/old//", "/new//", "/other//"))
    for stream in (old, new, neither):
        await get(stream)
    store.move("/old", "/new")
    for stream in (old, new):
        (event,) = (await get(stream)).events
        assert (event.type, event.source, event.entry.path) == (EventType.MOVE, "/old/x", "/new/x")
    store.set(("/other/y", 2))
    assert paths(await get(neither)) == ["/other/y"]


async def test_bookmarks_when_nothing_matches() -> None:
    store = MemoryStore(bookmark_interval=0.01)
    stream = watch(store, WatchSpec(("/quiet",)))
    assert (await get(stream)).revision == 0
    store.set(("/loud", 1))
    bookmark = await get(stream)
    assert (bookmark.events, bookmark.revision, bookmark.synced) == ((), 1, False)


async def test_a_bookmark_follows_what_was_read_late() -> None:
    store = MemoryStore(bookmark_interval=0.01)
    stream = watch(store, WatchSpec(("/a",)))
    await get(stream)
    store.set(("/a", 1))
    await tick()
    store.set(("/loud", 1))
    await asyncio.sleep(0.03)  # the interval passes while the batch waits
    assert (await get(stream)).revision == 1
    assert (await get(stream)).revision == 2


async def test_no_bookmark_for_who_is_up_to_date() -> None:
    store = MemoryStore(bookmark_interval=0.01)
    loud, quiet = watch(store, WatchSpec(("/loud",))), watch(store, WatchSpec(("/quiet",)))
    await get(loud)
    await get(quiet)
    store.set(("/loud", 1))
    assert paths(await get(loud)) == ["/loud"]
    assert (await get(quiet)).revision == 1  # the bookmark is out
    store.set(("/loud", 2))
    assert [event.entry.value for event in (await get(loud)).events] == [2]


async def test_a_slow_reader_is_cut_and_told_from_where() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING, max_events=10)
    await get(stream)
    store.set(("/a", 0))
    assert (await get(stream)).revision == 1
    for number in range(30):
        store.set(("/a", number))
        await tick()
    assert store.bus.watchers == 0
    with pytest.raises(Exhausted) as caught:
        await get(stream)
    assert caught.value.reason == "WATCHER_TOO_SLOW"
    assert caught.value.metadata == {"revision": "1"}
    resumed = watch(store, WatchSpec(("//",), start_revision=1))
    assert len((await get(resumed)).events) == 30


async def test_the_queue_is_bounded_by_size_too() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING, max_size=100_000)
    await get(stream)
    for _ in range(4):
        store.set(("/a", "x" * 40_000))
        await tick()
    with pytest.raises(Exhausted):
        await get(stream)


async def test_one_transaction_larger_than_the_bound_still_passes() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING, max_events=10)
    await get(stream)
    store.set(*[(f"/n/{number}", number) for number in range(100)])
    assert len((await get(stream)).events) == 100


async def test_a_large_tick_is_cut_between_transactions() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING)
    await get(stream)
    for _ in range(5):
        store.set(*[(f"/n/{number}", number) for number in range(2_000)])
    sizes, revision = [], 0
    while revision < 5:
        batch = await get(stream)
        assert {event.entry.revision for event in batch.events} <= set(range(revision + 1, batch.revision + 1))
        revision = batch.revision
        sizes.append(len(batch.events))
    assert sum(sizes) == 10_000
    assert all(size % 2_000 == 0 for size in sizes)


async def test_a_listener_that_raises_is_kept() -> None:
    store = MemoryStore()
    seen: list[list[str]] = []

    def broken(_: Batch) -> None:
        seen.append(["broken"])
        raise RuntimeError("no")

    store.bus.listen(["//"], broken)
    leave = store.bus.listen(["/a"], lambda batch: seen.append(paths(batch)))
    for _ in range(2):
        store.set(("/a", 1))
        store.set(("/b", 1))
        await tick()
    assert seen == [["broken"], ["/a"], ["broken"], ["/a"]]
    leave()
    store.set(("/a", 2))
    await tick()
    assert seen[4:] == [["broken"]]


async def test_a_listener_may_publish() -> None:
    store = MemoryStore()
    seen: list[str] = []
    store.bus.listen(["//"], lambda batch: seen.extend(paths(batch)))

    def carry(_: Batch) -> None:
        store.set(("/target", 1), origin="link:1")

    store.bus.listen(["/source"], carry)
    store.set(("/source", 1))
    await until(lambda: seen == ["/source", "/target"])


async def test_closing_the_bus_ends_every_watch() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING)
    await get(stream)
    store.bus.close()
    with pytest.raises(Unavailable) as caught:
        await get(stream)
    assert caught.value.reason == "SHUTTING_DOWN"
    with pytest.raises(Unavailable):
        await get(watch(store, EVERYTHING))


async def test_a_watch_that_is_closed_leaves_the_bus() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING)
    await get(stream)
    assert store.bus.watchers == 1
    await stream.aclose()
    assert store.bus.watchers == 0


async def test_signals_before_any_commit_carry_the_revision_of_the_store() -> None:
    store = MemoryStore(revision=7)
    stream = watch(store, EVERYTHING)
    await get(stream)
    store.signal("/fader", 1)
    assert (await get(stream)).revision == 7


async def test_a_hundred_watchers_lose_nothing() -> None:
    store = MemoryStore()
    specs = [WatchSpec((("//", "/a//", "/b//", f"/a/{n % 5}")[n % 4],)) for n in range(100)]
    expected = 300

    async def read(spec: WatchSpec) -> list[int]:
        stream = watch(store, spec)
        seen, revision = [], 0
        async for batch in stream:
            seen += [event.entry.revision for event in batch.events]
            revision = batch.revision
            if revision == expected:
                break
        await stream.aclose()
        return seen

    readers = [asyncio.ensure_future(read(spec)) for spec in specs]
    await until(lambda: store.bus.watchers == 100)
    for number in range(expected - 1):
        store.set((f"/{'ab'[number % 2]}/{number % 5}", number))
        if number % 7 == 0:
            await asyncio.sleep(0)
    store.set(*[(f"/{root}/{n}", "end") for root in "ab" for n in range(5)])
    async with asyncio.timeout(60):
        results = await asyncio.gather(*readers)
    from lightfast.context.watch_batch import Filter

    for spec, seen in zip(specs, results, strict=True):
        wanted = Filter(spec.patterns)
        assert seen == [item.revision for item in store.log for _ in wanted.select(item)]


@pytest.mark.parametrize("late", [False, True])
async def test_a_signal_that_went_on_while_it_settled_is_kept(late: bool) -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING)
    await get(stream)
    if late:  # something waits already, so the rest waits in the watcher's own queue
        store.signal("/other", 0)
        await tick()
    old = store.signal("/fader", "old")
    store.signal("/fader", "newer")
    if late:
        await tick()
    settled = msgspec.structs.replace(old, revision=1)
    store.revision = 1
    store.bus.publish(Transaction(1, 0, "local", events=(Event(EventType.SET, settled),)))
    await tick()
    seen = [event.entry.value for event in (await get(stream)).events if event.entry.path == "/fader"]
    assert seen == ["old", "newer"]
