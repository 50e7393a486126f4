"""Signals in a watch: conflated, bounded, held back by a rate, and after them the committed value."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tests.support.watch_store import MemoryStore

from lightfast.context.watch import Batch, WatchSpec, watch

EVERYTHING = WatchSpec(("//",))


async def get(stream: AsyncIterator[Batch]) -> Batch:
    async with asyncio.timeout(60):
        return await anext(stream)


def paths(batch: Batch) -> list[str]:
    return [event.entry.path for event in batch.events]


def values(batch: Batch) -> list[object]:
    return [event.entry.value for event in batch.events]


async def tick() -> None:
    """Let the bus hand out what is pending, and what follows from it."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_signals_of_one_tick_are_conflated() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING)
    await get(stream)
    for number in range(10):
        store.signal("/fader", float(number))
        store.signal("/other", number)
    batch = await get(stream)
    assert [(event.entry.path, event.entry.value) for event in batch.events] == [("/fader", 9.0), ("/other", 9)]


async def test_what_one_wrote_is_not_lost_in_what_another_writes_in_the_same_tick() -> None:
    store = MemoryStore()
    stream, leaving_out = watch(store, EVERYTHING), watch(store, WatchSpec(("//",), exclude_origins=("app:desk",)))
    await get(stream)
    await get(leaving_out)
    for number in range(10):
        store.signal("/fader", number)
        store.signal("/fader", number + 100, "app:desk")
    assert values(await get(stream)) == [9, 109]
    assert values(await get(leaving_out)) == [9]
    store.signal("/fader", 1, "app:desk")
    store.signal("/fader", 2)
    store.signal("/fader", 3)
    assert values(await get(stream)) == [1, 3]
    assert values(await get(leaving_out)) == [3]


async def test_what_is_conflated_tells_what_was_there_before_all_of_it() -> None:
    def told(batch: Batch) -> list[tuple[object, object]]:
        return [(event.previous and event.previous.value, event.entry.value) for event in batch.events]

    store = MemoryStore()
    stream = watch(store, EVERYTHING)
    await get(stream)
    for value in (1, 2, 2):
        store.signal("/fader", value)
    assert told(await get(stream)) == [(None, 2)], "else it looks as if it had been there, and had not changed"
    for writer, value in (("one", 3), ("other", 4), ("one", 4), ("one", 5)):
        store.signal("/fader", value, writer)
    assert told(await get(stream)) == [(2, 4), (4, 5)]
    store.signal("/fader", 6)
    await tick()
    for value in (7, 8, 8):
        store.signal("/fader", value)
        await tick()
    assert told(await get(stream)) == [(5, 6), (6, 8)], "and so for a slow reader"


async def test_signals_conflate_for_a_slow_reader_who_is_not_cut() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING, max_events=10)
    await get(stream)
    for number in range(1000):
        store.signal("/fader", number)
        await tick()
    assert [event.entry.value for event in (await get(stream)).events] == [0, 999]
    assert store.bus.watchers == 1


async def test_conflated_signals_are_bounded() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING, max_events=10)
    await get(stream)
    store.signal("/first", 0)
    await tick()
    for number in range(100):
        store.signal(f"/fader/{number}", number)
        await tick()
    assert paths(await get(stream)) == ["/first"] + [f"/fader/{number}" for number in range(90, 100)]


async def test_a_committed_value_takes_the_place_of_the_signal() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING)
    await get(stream)
    store.signal("/x", "shared")
    await tick()
    store.signal("/fader", "volatile")
    store.signal("/moved", "volatile")
    await tick()
    store.set(("/fader", "committed"))
    store.move("/moved", "/there")
    await tick()
    values = [event.entry.value for event in (await get(stream)).events]
    assert values == ["shared", "committed", "volatile"]


async def test_states_and_signals_of_a_slow_reader_come_together() -> None:
    store = MemoryStore()
    stream = watch(store, EVERYTHING)
    await get(stream)
    for number in range(5):
        store.set(("/state", number))
        store.signal("/fader", number)
        await tick()
    batch = await get(stream)
    assert batch.revision == 5
    assert [event.entry.value for event in batch.events if event.entry.path == "/state"] == [0, 1, 2, 3, 4]
    assert [event.entry.value for event in batch.events if event.entry.path == "/fader"][-1] == 4
    assert [event for part in batch.parts for event in part.events] == list(batch.events)


async def test_max_rate_holds_signals_back_but_not_states() -> None:
    store = MemoryStore()
    stream = watch(store, WatchSpec(("//",), max_rate_hz=0.001))
    await get(stream)
    store.signal("/fader", 0)
    assert paths(await get(stream)) == ["/fader"]
    store.signal("/fader", 1)
    store.set(("/state", "now"))
    assert paths(await get(stream)) == ["/state"]


async def test_what_max_rate_holds_back_comes_when_its_time_has_come_and_the_latest_of_it() -> None:
    store = MemoryStore()
    loop = asyncio.get_running_loop()
    stream = watch(store, WatchSpec(("//",), max_rate_hz=20.0))
    await get(stream)
    began = loop.time()
    store.signal("/fader", 0)
    assert [event.entry.value for event in (await get(stream)).events] == [0]
    store.signal("/fader", 1)
    store.signal("/fader", 2)
    assert [event.entry.value for event in (await get(stream)).events] == [2]
    assert loop.time() - began >= 0.05
