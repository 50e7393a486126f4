"""History that moves to the archive: when, how it is read then, and what happens when the archive fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.frames import Frames
from tests.support.store import House, open_store

from lightfast.context.entry import Delete, Move, Set
from lightfast.context.tiers.tiers import TierOptions
from lightfast.context.upkeep.purge_target import make_target
from lightfast.context.watch import Bus, WatchSpec, watch
from lightfast.core.clock import StillClock
from lightfast.core.compression import zstd
from lightfast.core.errors import Exhausted, FailedPrecondition, Unavailable
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import Options
from lightfast_link.path import compile_pattern

DAY = 86_400.0
SMALL = TierOptions(block_rows=10)


@asynccontextmanager
async def tiered(folder: Path, frames: Any = None, options: TierOptions = SMALL, **how: Any) -> AsyncIterator[House]:
    async with open_store(folder, archive=Frames() if frames is None else frames, tiers=options, **how) as house:
        yield house


async def filled(house: House, count: int = 50) -> None:
    """Write *count* revisions of `/a`, and one of `/still` first."""
    await house.set(("/still", "here"), ("/a", 0))
    for number in range(1, count):
        await house.set(("/a", number), ("/text", f"number {number}"))


async def tiers_of(house: House, revision: int) -> dict[str, str]:
    page = await house.store.read(pattern="//", at_revision=revision)
    return {entry.path: page.tier_of(entry) for entry in page.entries}


async def test_every_entry_says_which_tier_it_comes_from(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        await filled(house)
        assert (await house.store.tiers.demote(30)).until == 30
        assert await tiers_of(house, 20) == {"/a": "archive", "/still": "history", "/text": "archive"}
        assert await tiers_of(house, 40) == {"/a": "history", "/still": "history", "/text": "history"}
        live = await house.store.read(pattern="//")
        assert {live.tier_of(entry) for entry in live.entries} == {"live"}
        # The last value of a path is kept for the live tree; older ones are not.
        await house.apply(Delete("/still"))
        assert await tiers_of(house, 31) == {"/a": "history", "/still": "history", "/text": "history"}


async def test_history_moves_by_age_but_never_the_last_transaction(tmp_path: Path) -> None:
    clock = StillClock()
    async with tiered(tmp_path, clock=clock, options=TierOptions(keep_days=7, block_rows=10)) as house:
        for number in range(20):
            await house.set(("/a", number))
            clock.advance(DAY)
        assert (await house.store.tiers.demote()).until == 13
        clock.advance(100 * DAY)
        moved = await house.store.tiers.demote()
        assert moved.until == 19
        assert (await house.store.tiers.demote()).blocks == 0
        assert await house.db.query("SELECT min(revision), max(revision) FROM transactions") == [(20, 20)]
        for revision in range(21):
            assert await house.values_at(revision) == ({"/a": revision - 1} if revision else {})
    async with open_store(tmp_path, clock=clock) as house:
        assert house.store.revision == 20
        assert house.values() == {"/a": 19}


async def test_history_moves_when_it_takes_too_much(tmp_path: Path) -> None:
    options = TierOptions(quota=40_000, block_rows=50)
    async with tiered(tmp_path, options=options) as house:
        for number in range(400):
            await house.set(("/a", "x" * 100 + str(number)))
        before = (await house.store.tiers.demoter.measure()).bytes
        assert before > options.quota
        moved = await house.store.tiers.demote()
        assert moved.rows > 100
        left = await house.store.tiers.demoter.measure()
        assert left.bytes <= options.quota
        assert left.rows + moved.rows == 400
        assert (await house.store.tiers.demote()).rows == 0


async def test_demotion_stops_at_the_bytes_it_may_move(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        await filled(house, 200)
        moved = await house.store.tiers.demote(150, size=1)
        assert 0 < moved.until < 150
        assert (await house.store.tiers.demote(150)).until == 150


async def test_the_background_task_moves_what_is_old(tmp_path: Path) -> None:
    clock = StillClock()
    async with tiered(tmp_path, clock=clock) as house:
        await filled(house)
        clock.advance(31 * DAY)
        await house.set(("/a", "new"))
        house.store.tiers.start()
        async with asyncio.timeout(60):
            while house.store.tiers.demoter.total.until < 50:
                await asyncio.sleep(0.01)
        assert await house.values_at(10) == {"/still": "here", "/a": 9, "/text": "number 9"}


async def test_a_full_archive_pauses_demotion_and_loses_nothing(tmp_path: Path) -> None:
    frames = Frames()
    async with tiered(tmp_path, frames, TierOptions(block_rows=10, archive_quota=1500)) as house:
        await filled(house)
        with pytest.raises(Exhausted, match="quota") as caught:
            await house.store.tiers.demote(49)
        assert caught.value.reason == "ARCHIVE_FULL"
        for revision in range(1, 51):
            assert (await house.values_at(revision))["/a"] == revision - 1
        clock_days = house.store.tiers.demoter
        clock_days.keep_days = -1.0  # all of it is due
        house.store.tiers.start()
        async with asyncio.timeout(60):
            while clock_days.paused != "ARCHIVE_FULL":
                await asyncio.sleep(0.01)
        clock_days.archive_quota = 0
        await house.store.tiers.demote(49)
        assert clock_days.paused == ""


async def test_a_block_that_cannot_be_read_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    frames = Frames()
    async with tiered(tmp_path, frames) as house:
        await filled(house)
        await house.store.tiers.demote(49)
        ((frame, first, last),) = await house.db.query(
            "SELECT frame, first_revision, last_revision FROM blocks WHERE first_revision <= 20 AND last_revision >= 20"
        )
        frames.lost[frame] = "damaged: 2026/11/chunk-000001.lfch at 4711 has another checksum"
        house.store.tiers.forget()
        for call in (
            house.store.read(["/a"], at_revision=20),
            house.store.replay(19, 30, 5),
            house.store.undo(revision=20, origin="client:test"),
        ):
            with pytest.raises(Unavailable, match=r"chunk-000001\.lfch at 4711") as caught:
                await call
            assert caught.value.reason == "BLOCK_UNREADABLE"
            assert caught.value.metadata["frame"] == frame
        assert (await house.values_at(first - 1))["/a"] == first - 2
        assert (await house.values_at(last + 5))["/a"] == last + 4


async def test_a_rebuild_keeps_what_is_known_of_a_lost_block(tmp_path: Path) -> None:
    frames = Frames()
    async with tiered(tmp_path, frames) as house:
        await filled(house)
        await house.store.tiers.demote(49)
        before = await house.db.query("SELECT * FROM block_paths ORDER BY path, block")
        ((frame, first),) = await house.db.query(
            "SELECT frame, first_revision FROM blocks WHERE first_revision <= 20 AND last_revision >= 20"
        )
        del frames.kept[frame]
        rebuilt = await house.store.tiers.rebuild()
        assert rebuilt.lost == 1
        assert await house.db.query("SELECT * FROM block_paths ORDER BY path, block") == before
        with pytest.raises(Unavailable, match=frame):
            await house.store.read(["/a"], at_revision=20)
        assert (await house.values_at(first - 1))["/a"] == first - 2
        assert (await house.values_at(45))["/a"] == 44


async def test_without_its_archive_the_rest_of_the_history_can_be_read(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        await filled(house)
        await house.store.tiers.demote(30)
    async with open_store(tmp_path) as house:
        assert (await house.values_at(40))["/a"] == 39
        with pytest.raises(Unavailable) as caught:
            await house.values_at(10)
        assert caught.value.reason == "ARCHIVE_MISSING"
        with pytest.raises(Unavailable):
            await house.store.tiers.demote(35)


async def test_a_frame_that_does_not_read_back_leaves_everything_in_place(tmp_path: Path) -> None:
    class Forgetful(Frames):
        async def append(self, frames: Any) -> list[str]:
            ids = await super().append(frames)
            self.lost[ids[0]] = "damaged"
            return ids

    frames = Forgetful()
    async with tiered(tmp_path, frames) as house:
        await filled(house)
        with pytest.raises(FailedPrecondition) as caught:
            await house.store.tiers.demote(30)
        assert caught.value.reason == "BLOCK_DIFFERS"
        assert await house.db.query("SELECT count(*) FROM blocks") == [(0,)]
        assert (await house.values_at(10))["/a"] == 9
        frames.lost.clear()
        frames.append = Frames.append.__get__(frames)  # type: ignore[method-assign]
        await house.store.tiers.demote(30)
        assert len(frames.kept) == (await house.db.query("SELECT count(*) FROM blocks"))[0][0]


async def test_undo_of_what_lies_in_the_archive(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        await house.set(("/a", 1), ("/b", 1))
        await house.set(("/a", 2), group="g")
        await house.apply(Move("/b", "/c"), group="g")
        await house.set(("/effect", 1), cause=3)
        for number in range(30):
            await house.set(("/other", number))
        await house.store.tiers.demote(30)
        done = await house.store.undo(group="g", origin="client:test")
        assert done.undone == (4, 3, 2)
        assert {path: value for path, value in house.values().items() if path != "/other"} == {"/a": 1, "/b": 1}
        await house.store.tiers.demote(done.revision)
        await house.set(("/end", 1))
        await house.store.tiers.demote(done.revision)
        again = await house.store.redo(group="g", origin="client:test")
        assert again.undone == (done.revision,)
        assert house.values()["/a"] == 2
        assert house.values()["/c"] == 1


async def test_a_watch_resumes_from_the_archive(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        await filled(house)
        await house.store.tiers.demote(40)
        bus = Bus(house.store.store_id, revision=house.store.revision)
        house.store.bus = bus
        seen: list[int] = []
        stream = watch(house.store, WatchSpec(("/a",), start_revision=0))
        async with asyncio.timeout(60):
            async for batch in stream:
                seen += [event.entry.revision for event in batch.events]
                if batch.synced:
                    break
        await stream.aclose()
        bus.close()
        assert seen == list(range(1, 51))


async def test_the_history_of_a_moved_entry_goes_on_page_by_page(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        for number in range(15):
            await house.set(("/old", number))
        await house.apply(Move("/old", "/new"))
        for number in range(15):
            await house.set(("/new", number), ("/other", number))
        for until in (0, 10, 20, 30):
            await house.store.tiers.demote(until)
            for size in (1, 4, 100):
                found: list[int] = []
                token = ""
                while True:
                    page = await house.store.history("/new", page_size=size, page_token=token)
                    found += [each.revision for each in page.transactions]
                    token = page.next_page_token
                    if not token:
                        break
                assert found == list(range(31, 0, -1)), (until, size)


async def test_a_page_token_stays_pinned_while_history_moves(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        for number in range(30):
            await house.set(*[(f"/many/{index}", number) for index in range(10)])
        first = await house.store.read(pattern="/many/*", at_revision=12, page_size=3)
        await house.store.tiers.demote(29)
        found = list(first.entries)
        token = first.next_page_token
        while token:
            page = await house.store.read(pattern="/many/*", at_revision=12, page_size=3, page_token=token)
            found += page.entries
            token = page.next_page_token
        assert [(entry.path, entry.value) for entry in found] == [(f"/many/{index}", 11) for index in range(10)]


async def test_large_values_come_page_by_page_from_the_archive(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        for index in range(12):
            await house.set((f"/large/{index:02}", "x" * 400_000))
        await house.apply(Delete("/large", recursive=True))
        await house.set(("/end", 1))
        await house.store.tiers.demote(13)
        found: list[str] = []
        token = ""
        pages = 0
        while True:
            page = await house.store.read(pattern="/large/*", at_revision=12, page_token=token)
            found += [entry.path for entry in page.entries]
            pages += 1
            token = page.next_page_token
            if not token:
                break
        assert found == [f"/large/{index:02}" for index in range(12)]
        assert pages > 1


async def test_rows_are_rewritten_out_of_every_block(tmp_path: Path) -> None:
    frames = Frames()
    async with tiered(tmp_path, frames) as house:
        await filled(house)
        await house.store.tiers.demote(49)
        pattern = compile_pattern("/text")
        assert await house.store.tiers.rewrite(lambda row: pattern.matches(row.path)) == 48
        assert all(
            b"number 7" not in frame.content for frame in frames.kept.values() if isinstance(frame.content, bytes)
        )
        assert await house.values_at(20) == {"/still": "here", "/a": 19}
        transactions = await house.store.replay(10, 40, 10)
        assert [each.revision for each in transactions] == list(range(11, 21))


async def test_a_purge_takes_a_text_out_of_every_block(tmp_path: Path) -> None:
    archive = await Archive.open(tmp_path / "archive")
    try:
        async with tiered(tmp_path, archive) as house:
            await filled(house, 20)
            await house.set(("/note", "my pass-phrase 4711"), label="sets pass-phrase 4711")
            await house.apply(Move("/note", "/moved"))
            await house.set(("/moved", "harmless"))
            await filled(house, 20)
            await house.store.tiers.demote(40)
            target = make_target(text="pass-phrase 4711")
            edits = [edit async for some in house.store.tiers.find_edits(target) for edit in some]
            # The value, the row that marks where the move began, the moved value, and the label.
            assert sorted(map(str, edits)) == ["l21", "~41", "~42", "~43"]
            assert await house.store.tiers.edit(edits, "purge-1") == 4
            assert [edit async for some in house.store.tiers.find_edits(target) for edit in some] == []
            contents = await archive.run(lambda reader: [frame.content for frame in reader.scan(kinds=("history",))])
            texts = b"".join(zstd().decompress(content) for content in contents)
            assert b"4711" not in texts
            assert b"harmless" in texts
            assert (await house.values_at(21)).get("/note") is None
            assert (await house.values_at(23))["/moved"] == "harmless"
            (transaction,) = await house.store.replay(20, 21, 1)
            assert transaction.label == "purged by purge-1"
    finally:
        await archive.close()


async def test_results_are_kept_and_never_stale(tmp_path: Path) -> None:
    async with tiered(tmp_path) as house:
        await filled(house)
        counts = house.store.tiers.results.counts
        for _ in range(3):
            assert (await house.values_at(50))["/a"] == 49
        assert counts.hits == 2
        revision = await house.set(("/a", "new"))
        assert (await house.values_at(revision))["/a"] == "new"
        assert (await house.values_at(50))["/a"] == 49
        now = house.db.clock.now_ns()
        page = await house.store.read(["/a"], at_time=now)
        assert page.entries[0].value == "new"
        await house.set(("/a", "newer"))
        assert (await house.store.read(["/a"], at_time=house.db.clock.now_ns())).entries[0].value == "newer"
        assert (await house.store.read(["/a"], at_time=now)).entries[0].value == "new"


async def test_steps_through_time_are_read_ahead(tmp_path: Path) -> None:
    async with tiered(tmp_path, options=TierOptions(block_rows=10, cache_size=1 << 20)) as house:
        await filled(house, 100)
        await house.store.tiers.demote(95)
        for revision in range(10, 60, 5):
            page = await house.store.read(["/a"], at_revision=revision, client="client:hand")
            assert page.entries[0].value == revision - 1
            await house.store.ahead.idle()
        counts = house.store.tiers.results.counts
        assert counts.ahead_hits >= 6
        assert counts.hits == counts.ahead_hits


async def test_without_prefetch_nothing_is_read_ahead(tmp_path: Path) -> None:
    async with tiered(tmp_path, options=TierOptions(block_rows=10, prefetch=False)) as house:
        await filled(house, 60)
        for revision in range(10, 60, 5):
            await house.store.read(["/a"], at_revision=revision)
        assert house.store.tiers.results.counts.ahead == 0


async def test_a_real_archive_keeps_what_moved(tmp_path: Path) -> None:
    archive = await Archive.open(tmp_path / "archive", options=Options())
    try:
        async with tiered(tmp_path, archive) as house:
            await filled(house, 300)
            await house.store.tiers.demote(299)
            for revision in (1, 57, 298):
                assert (await house.values_at(revision))["/a"] == revision - 1
            await house.store.compact(100)
            assert (await house.values_at(100))["/a"] == 99
            rebuilt = await house.store.tiers.rebuild()
            assert rebuilt.rows > 300
            assert (await house.values_at(100))["/a"] == 99
    finally:
        await archive.close()
    archive = await Archive.open(tmp_path / "archive", options=Options())
    try:
        async with tiered(tmp_path, archive) as house:
            assert (await house.values_at(150))["/a"] == 149
            assert [t.revision for t in await house.store.replay(120, 140, 100)] == list(range(121, 141))
    finally:
        await archive.close()


async def test_set_with_an_event_time_is_found_on_its_axis_in_both_tiers(tmp_path: Path) -> None:
    clock = StillClock()
    start = clock.now_ns()
    async with tiered(tmp_path, clock=clock) as house:
        for number in range(40):  # what happened last is written first
            clock.advance(1)
            await house.apply(Set("/a", number, event_time=start - number * 1000))
        for until in (0, 20, 39):
            await house.store.tiers.demote(until)
            for number in range(40):
                page = await house.store.read(["/a"], at_time=start - number * 1000, event_axis=True)
                assert page.entries[0].value == number
