"""Reading: live and past, both time axes, pages pinned to one revision, history, compaction."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.support.store import House, open_store

from lightfast.context import history
from lightfast.context.entry import Declaration, Delete, Entry, Event, Move, Set, Transaction
from lightfast.context.records import Page
from lightfast.core.clock import StillClock
from lightfast.core.errors import InvalidArgument, NotFound, OutOfRange

SECOND = 1_000_000_000


async def pages(house: House, size: int, **query: object) -> list[Page]:
    """Read all pages."""
    found = [await house.store.read(page_size=size, **query)]  # type: ignore[arg-type]
    while found[-1].next_page_token:
        found.append(await house.store.read(page_size=size, page_token=found[-1].next_page_token, **query))  # type: ignore[arg-type]
        assert len(found) < 10_000
    return found


def paths(found: list[Page]) -> list[str]:
    return [entry.path for page in found for entry in page.entries]


async def test_paths_and_patterns(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a/x", 1), ("/a/y", 2), ("/b/x", 3))
        page = await house.store.read(["/b/x", "/a/x", "/a/x"])
        assert [entry.path for entry in page.entries] == ["/a/x", "/b/x"]
        assert (page.revision, page.tier, page.oldest_revision) == (1, "live", 0)
        page = await house.store.read(["/b/x", "/none"], "/a/*")
        assert [entry.path for entry in page.entries] == ["/a/x", "/a/y", "/b/x"]
        with pytest.raises(NotFound) as caught:
            await house.store.read(["/a/x", "/none"])
        assert caught.value.reason == "PATH_NOT_FOUND"
        with pytest.raises(NotFound):
            await house.store.read(["/a/x", "/none"], page_size=1)
        with pytest.raises(NotFound):
            await house.store.read(["/a/x", "/none"], at_revision=1)
        assert (await house.store.read(pattern="/none//")).entries == ()


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"paths": ["a"]},
        {"pattern": "a"},
        {"pattern": "/[a"},
        {"pattern": "//", "page_size": -1},
        {"pattern": "//", "page_token": "bm9uc2Vuc2U="},
        {"pattern": "//", "page_token": "ü"},
        {"pattern": "//", "at_revision": 1, "at_time": 1},
        {"pattern": "//", "at_revision": -1},
        {"paths": ["/x"] * 10_001},
    ],
)
async def test_malformed_reads_are_refused(tmp_path: Path, query: dict[str, object]) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1))
        with pytest.raises(InvalidArgument):
            await house.store.read(**query)  # type: ignore[arg-type]


async def test_the_past_by_revision(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), ("/b", 1))
        await house.set(("/a", 2))
        await house.apply(Delete("/b"))
        await house.apply(Move("/a", "/c"))
        await house.set(("/a", 5), ("/b", 5))
        assert await house.values_at(0) == {}
        assert await house.values_at(1) == {"/a": 1, "/b": 1}
        assert await house.values_at(2) == {"/a": 2, "/b": 1}
        assert await house.values_at(3) == {"/a": 2}
        assert await house.values_at(4) == {"/c": 2}
        assert await house.values_at(5) == {"/a": 5, "/b": 5, "/c": 2}
        page = await house.store.read(["/c"], at_revision=4)
        assert page.entries == (house.store.get("/c"),)
        assert page.tier == "history"
        with pytest.raises(OutOfRange) as caught:
            await house.store.read(pattern="//", at_revision=6)
        assert caught.value.reason == "REVISION_FUTURE"


async def test_the_past_by_both_times(tmp_path: Path) -> None:
    clock = StillClock()
    start = clock.now_ns()
    async with open_store(tmp_path, clock=clock) as house:
        for number in range(1, 6):
            await house.apply(Set("/a", number, event_time=start + (10 - number) * SECOND), Set(f"/n/{number}", number))
            clock.advance(1)

        async def at(seconds: float, *, event: bool = False) -> dict[str, object]:
            page = await house.store.read(pattern="/a", at_time=start + int(seconds * SECOND), event_axis=event)
            return {entry.path: entry.value for entry in page.entries}

        assert await at(-0.1) == {}
        assert [await at(n) for n in (0, 0.5, 1, 3.9, 4, 99)] == [{"/a": n} for n in (1, 1, 2, 4, 5, 5)]
        # What happened is told in the wrong order here: the last one told happened first.
        assert await at(4.9, event=True) == {}
        assert [await at(n, event=True) for n in (5, 6.5, 9, 99)] == [{"/a": n} for n in (5, 4, 1, 1)]
        everything = await house.store.read(pattern="//", at_time=start + 99 * SECOND, event_axis=True)
        assert len(everything.entries) == 6
        exact = await house.store.read(["/a"], at_time=start + 6 * SECOND, event_axis=True)
        assert exact.entries[0].value == 4


async def test_pages_show_one_revision_whatever_is_written(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(*[(f"/x/{number:03}", 0) for number in range(100)])
        expected = [f"/x/{number:03}" for number in range(100)]
        token = ""
        found: list[Entry] = []
        turn = 0
        while True:
            page = await house.store.read(pattern="/x/*", page_size=7, page_token=token)
            assert page.revision == 1
            found += page.entries
            token = page.next_page_token
            if not token:
                break
            turn += 1
            await house.apply(
                Delete(f"/x/{turn * 7 + 1:03}"),
                Set(f"/x/{turn * 7:03}x", 1),
                Set("/x/099", turn),
                Move("/x/098", f"/y/{turn}"),
            ) if turn == 1 else await house.set(("/x/097", turn))
        assert [entry.path for entry in found] == expected
        assert {entry.value for entry in found} == {0}
        with pytest.raises(InvalidArgument) as caught:
            await house.store.read(
                pattern="/x//", page_token=(await house.store.read(pattern="/x/*", page_size=7)).next_page_token
            )
        assert caught.value.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
async def test_pages_are_complete_and_ordered(tmp_path: Path, size: int) -> None:
    async with open_store(tmp_path) as house:
        names = ["/a", "/a!b", "/a!b/c", "/a/b", "/a/b/c", "/a0", "/ab", "/b", "/ü", "/ü/x", "/z/deep/er/path"]
        await house.set(*[(name, 1) for name in reversed(names)])
        ordered = sorted(names)
        for query in (
            {"pattern": "//"},
            {"pattern": "//", "at_revision": 1},
            {"paths": names},
            {"paths": names, "at_revision": 1},
        ):
            assert paths(await pages(house, size, **query)) == ordered
        for at_revision in (None, 1):
            both = {"pattern": "/a//", "paths": ["/z/deep/er/path", "/b"], "at_revision": at_revision}
            found = paths(await pages(house, size, **both))
            assert found == ["/a", "/a/b", "/a/b/c", "/b", "/z/deep/er/path"]


async def test_pages_are_bounded_in_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_PAGE_SIZE", 5000)
    async with open_store(tmp_path) as house:
        await house.set(*[(f"/x/{number}", "v" * 1000) for number in range(9)], ("/x/huge", "h" * 9000))
        for query in ({"pattern": "//"}, {"pattern": "//", "at_revision": 1}):
            found = await pages(house, 1000, **query)
            assert len(found) > 2
            assert len(paths(found)) == 10
        transactions = await house.store.replay(0, 1, 10)
        assert len(transactions[0].events) == 10


async def test_a_page_that_was_compacted_away_says_so(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), ("/b", 1), ("/c", 1))
        page = await house.store.read(pattern="//", page_size=1)
        await house.set(("/b", 2))
        await house.store.compact(2)
        with pytest.raises(OutOfRange) as caught:
            await house.store.read(pattern="//", page_size=1, page_token=page.next_page_token)
        assert caught.value.metadata["compact_revision"] == "2"


async def test_signals_on_later_pages(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.store.declare([Declaration("/s/*", signal=True)], owner="x")
        await house.set(*[(f"/a/{number}", number) for number in range(5)], ("/z", 1))
        await house.set(("/s/1", 0.5), ("/s/2", 0.5))
        await house.set(("/b", 1))
        found = await pages(house, 2, pattern="//")
        assert paths(found) == [*[f"/a/{n}" for n in range(5)], "/b", "/s/1", "/s/2", "/z"]
        assert "/s/1" not in await house.values_at(house.store.revision)


async def test_history_is_newest_first_and_paged(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        for number in range(1, 31):
            await house.apply(
                Set("/a", number), Set(f"/n/{number}", number), origin=f"client:{number % 3}", label=f"l{number}"
            )
        page = await house.store.history("/a", page_size=4)
        assert [t.revision for t in page.transactions] == [30, 29, 28, 27]
        assert page.transactions[0].label == "l30"
        (event,) = page.transactions[0].events
        assert event.entry == house.store.get("/a")
        assert event.previous is not None
        assert event.previous.value == 29
        token, revisions = page.next_page_token, [30, 29, 28, 27]
        await house.set(("/a", 99))
        while token:
            page = await house.store.history("/a", page_size=4, page_token=token)
            assert page.revision == 30
            revisions += [t.revision for t in page.transactions]
            token = page.next_page_token
        assert revisions == list(range(30, 0, -1))
        bounded = await house.store.history("//", after=5, until=8)
        assert [t.revision for t in bounded.transactions] == [8, 7, 6]
        assert [len(t.events) for t in bounded.transactions] == [2, 2, 2]
        assert (await house.store.history("/n/7")).transactions[0].revision == 7
        assert [t.revision for t in (await house.store.history("/n/1*")).transactions] == [*range(19, 9, -1), 1]
        for empty in ({"pattern": "/none"}, {"pattern": "//", "after": 31}, {"pattern": "//", "after": 99}):
            assert (await house.store.history(**empty)).transactions == ()


async def test_a_page_of_history_looks_at_the_rows_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at beyond the page costs the interpreter's time, which everybody shares."""
    looked: list[int] = []
    rows = history._rows

    def count(*arguments: Any) -> list[tuple[int, int]]:
        found = rows(*arguments)
        looked.append(len(found))
        return found

    monkeypatch.setattr(history, "_rows", count)
    async with open_store(tmp_path) as house:
        for number in range(1, 61):
            await house.apply(Set("/a", number), Set(f"/n/{number}", number))
        page = await house.store.history("/a", page_size=10)
        assert [t.revision for t in page.transactions] == [*range(60, 50, -1)]
        assert looked == [11], "one more says that there are more"
        page = await house.store.history("//", page_size=10)  # two rows each: the first look is not enough
        assert [t.revision for t in page.transactions] == [*range(60, 50, -1)]
        assert [len(t.events) for t in page.transactions] == [2] * 10


async def test_history_follows_moves(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/o/a/x", 1))
        await house.set(("/o/a/x", 2))
        await house.apply(Move("/o/a", "/o/b"))
        await house.set(("/o/a/x", 10))
        await house.set(("/o/b/x", 3))
        await house.apply(Move("/o/b", "/o/c"))

        async def revisions(pattern: str) -> list[int]:
            return [t.revision for t in (await house.store.history(pattern)).transactions]

        assert await revisions("/o/c/x") == [6, 5, 3, 2, 1]
        assert await revisions("/o/c/*") == [6, 5, 3, 2, 1]
        # At the old path, it is seen to leave.
        assert await revisions("/o/a/x") == [4, 3, 2, 1]
        assert await revisions("/o/b/x") == [6, 5, 3, 2, 1]
        assert await revisions("//") == [6, 5, 4, 3, 2, 1]
        moved = (await house.store.history("/o/a/x", until=3)).transactions[0].events[0]
        assert (moved.source, moved.entry.path) == ("/o/a/x", "/o/b/x")
        assert moved.previous is not None
        assert (moved.previous.path, moved.previous.value) == ("/o/a/x", 2)


async def test_history_of_very_many_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "_MANY_PATHS", 3)
    monkeypatch.setattr(history, "_BATCH", 2)
    async with open_store(tmp_path) as house:
        for number in range(1, 11):
            await house.set((f"/x/{number}/v", number), ("/other", number))
        await house.apply(Move("/x/1", "/gone"))
        found = await house.store.history("/x/*/v", page_size=5)
        assert [t.revision for t in found.transactions] == [11, 10, 9, 8, 7]
        rest = await house.store.history("/x/*/v", page_size=50, page_token=found.next_page_token)
        assert [t.revision for t in rest.transactions] == [6, 5, 4, 3, 2, 1]


async def test_replay_gives_what_was_published(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), ("/b/x", (1.0, 2.0)), group="g", label="l")
        await house.apply(Set("/a", 2, object_id="o"), Delete("/b/x"), Set("/b/x", 3), cause=1)
        await house.apply(Move("/b", "/c"), Move("/c", "/d"), Set("/d/x", 4))
        await house.store.undo(revision=3, origin="client:u")
        published = house.news.transactions
        assert await house.store.replay(0, 4, 100) == published
        assert await house.store.replay(1, 3, 100) == published[1:3]
        assert await house.store.replay(0, 4, 1) == published[:1]
        assert await house.store.replay(4, 99, 5) == []
        with pytest.raises(OutOfRange):
            await house.store.replay(5, 9, 5)


async def test_compaction_keeps_what_still_counts(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        for number in range(1, 11):
            await house.set(("/a", number), (f"/n/{number}", number))
        await house.apply(Delete("/n/3"), Move("/n/4", "/m"))
        await house.set(("/n/5", 55))
        states = {revision: await house.values_at(revision) for revision in range(13)}
        compacted = await house.store.compact(11)
        # Ten of /a but the last, /n/3 and its deletion, /n/4 and its old place.
        assert compacted == (11, 9 + 2 + 2)
        assert house.store.oldest_revision == 11
        assert await house.values_at(11) == states[11]
        assert await house.values_at(12) == states[12] == house.values()
        for revision in (0, 5, 10):
            with pytest.raises(OutOfRange) as caught:
                await house.values_at(revision)
            assert caught.value.reason == "REVISION_COMPACTED"
            assert caught.value.metadata["compact_revision"] == "11"
        with pytest.raises(OutOfRange):
            await house.store.replay(10, 12, 10)
        (transaction,) = await house.store.replay(11, 12, 10)
        assert transaction == house.news.transactions[11]
        assert [t.revision for t in (await house.store.history("//")).transactions] == [12]
        assert await house.store.compact(3) == (11, 0)
        with pytest.raises(OutOfRange):
            await house.store.compact(13)
        with pytest.raises(OutOfRange):
            await house.store.read(pattern="//", at_time=1)
        await house.apply(Delete("//".replace("//", "/n"), recursive=True))
        await house.store.compact(13)
        live = house.values()
    async with open_store(tmp_path) as house:
        assert house.values() == live == {"/a": 10, "/m": 4}
        assert house.store.oldest_revision == house.store.revision == 13
        assert await house.set(("/n/5", 1)) == 14
        assert await house.values_at(13) == live
        assert await house.store.replay(13, 14, 10) == house.news.transactions


async def test_writes_go_on_during_compaction(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        for number in range(200):
            await house.set(("/a", number), ("/b", number))
        compacting = asyncio.ensure_future(house.store.compact(150))
        revisions = [await house.set(("/a", number)) for number in range(20)]
        assert revisions == list(range(201, 221))
        assert (await compacting).dropped == 298
        assert await house.values_at(150) == {"/a": 149, "/b": 149}


async def test_children(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        await house.set(("/a", 1), ("/a/b%20c", 2), ("/d/e", 3))
        children = house.store.children("/")
        assert [(c.path, c.name, c.has_value, c.has_children) for c in children] == [
            ("/a", "a", True, True),
            ("/d", "d", False, True),
        ]
        assert [(c.path, c.name) for c in house.store.children("/a")] == [("/a/b%20c", "b c")]
        assert house.store.children("/a/b%20c") == []
        await house.apply(Delete("/d/e"))
        assert [c.path for c in house.store.children("/")] == ["/a"]


def test_records_are_plain() -> None:
    entry = Entry("/a", 1, 1, 1, 1, "x", 0, 0, 0)
    assert Transaction(1, 0, "x", events=(Event("SET", entry),)).undone == ()  # type: ignore[arg-type]


async def test_pages_of_long_paths_and_wide_letters_fit_a_message(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        names = [f"/{number}/" + "長" * 330 for number in range(1500)]
        await house.set(*[(name, 1) for name in names])
        wide = "長" * 340_000
        for number in range(4):
            await house.set((f"/wide/{number}", wide))
        for query in ({"pattern": "//"}, {"pattern": "//", "at_revision": house.store.revision}):
            found = await pages(house, 10_000, **query)
            assert sorted(paths(found)) == sorted([*names, *[f"/wide/{number}" for number in range(4)]])
            for page in found:
                size = sum(len(entry.path.encode()) + len(str(entry.value).encode()) for entry in page.entries)
                assert size < 3 << 20


async def test_pages_of_history_are_bounded_before_they_are_read(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        for number in range(12):
            await house.set(("/large", bytes([number]) * 700_000), (f"/small/{number}", 1))
        token, seen = "", []
        while True:
            page = await house.store.history("//", page_size=1000, page_token=token)
            events = [event for transaction in page.transactions for event in transaction.events]
            entries = [entry for event in events for entry in (event.entry, event.previous) if entry is not None]
            size = sum(len(entry.value) for entry in entries if isinstance(entry.value, bytes))
            assert size <= history.MAX_PAGE_SIZE or len(page.transactions) == 1
            assert all(len(transaction.events) == 2 for transaction in page.transactions)
            seen += [transaction.revision for transaction in page.transactions]
            token = page.next_page_token
            if not token:
                break
        assert seen == list(range(12, 0, -1))
        replayed = await house.store.replay(0, 12, 1000)
        assert 1 <= len(replayed) < 5


async def test_replay_of_very_many_rows_is_cut(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        for number in range(5):
            await house.set(*[(f"/{number}/{row}", 1) for row in range(9000)])
        found: list[int] = []
        while len(found) < 5:
            found += [transaction.revision for transaction in await house.store.replay(len(found), 5, 200)]
        assert found == [1, 2, 3, 4, 5]


async def test_an_event_time_before_what_was_dropped_says_so(tmp_path: Path) -> None:
    clock = StillClock()
    start = clock.now_ns()
    async with open_store(tmp_path, clock=clock) as house:
        for value in range(4):
            await house.set(("/a", value))
            clock.advance(10)
        await house.store.compact(3)
        with pytest.raises(OutOfRange) as caught:
            await house.store.read(["/a"], at_time=start + 15 * SECOND, event_axis=True)
        assert (caught.value.reason, caught.value.metadata["compact_revision"]) == ("REVISION_COMPACTED", "3")
        kept = await house.store.read(["/a"], at_time=start + 25 * SECOND, event_axis=True)
        assert [entry.value for entry in kept.entries] == [2]


async def test_negative_revisions_of_a_history_are_refused(tmp_path: Path) -> None:
    async with open_store(tmp_path) as house:
        with pytest.raises(InvalidArgument, match="after_revision is -1"):
            await house.store.history("//", after=-1)
        with pytest.raises(InvalidArgument, match="until_revision is -1"):
            await house.store.history("//", until=-1)
        with pytest.raises(InvalidArgument, match="revision is -1"):
            await house.store.compact(-1)


async def test_a_search_of_a_large_tree_runs_beside_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(tmp_path) as house:
        await house.set(*[(f"/{number}/{name}", number) for number in range(300) for name in ("tempo", "level")])
        expected = [await pages(house, 7, pattern=pattern) for pattern in ("//tempo", "//1*/level", "//none")]
        monkeypatch.setattr("lightfast.context.reader.SEARCH_OFF_LOOP", 10)
        for pattern, here in zip(("//tempo", "//1*/level", "//none"), expected, strict=True):
            assert paths(await pages(house, 7, pattern=pattern)) == paths(here)
        assert len(paths(expected[0])) == 300
        # What is written meanwhile is not in it: it shows the revision it began at.
        reading = asyncio.ensure_future(house.store.read(pattern="//tempo", page_size=1000))
        await asyncio.sleep(0)
        await house.set(("/new/tempo", 1))
        page = await reading
        assert (page.revision, len(page.entries)) == (1, 300)
        both = await house.store.read(["/1/level", "/1/tempo"], "//tempo")
        assert [entry.path for entry in both.entries if "/1/" in entry.path] == ["/1/level", "/1/tempo"]
