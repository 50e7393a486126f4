"""Search of a whole archive: streams that can be stopped, deadlines, private frames, damage, many at once."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.archives import still

from lightfast.core.errors import DeadlineExceeded, Denied, FailedPrecondition
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import Match, NewFrame, Order, Query

JANUARY = 1_767_225_600_000


class Toy:
    """A sealer for tests: it hides nothing well, but what it sealed cannot be read without it."""

    def __init__(self) -> None:
        self.unlocked = True

    def _mask(self, content: bytes, context: bytes) -> bytes:
        if not self.unlocked:
            raise Denied("locked", reason="ARCHIVE_LOCKED")
        stream = hashlib.shake_256(context).digest(len(content))
        return bytes(one ^ other for one, other in zip(content, stream, strict=True))

    def seal(
        self, content: bytes, context: bytes, metadata: Mapping[str, Any] | None = None
    ) -> tuple[bytes, Mapping[str, Any]]:
        return self._mask(content, context), {}

    def open(self, sealed: bytes, context: bytes, fields: Mapping[str, Any]) -> bytes:
        return self._mask(sealed, context)


@contextlib.asynccontextmanager
async def opened(folder: Path, **options: Any) -> AsyncIterator[Archive]:
    archive = await Archive.open(folder / "archive", **options)
    try:
        yield archive
    finally:
        await archive.close()


def texts(hits: Any) -> list[str]:
    return [hit.frame.content for hit in hits]


async def test_queries(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append(
            [
                NewFrame("warm light on the cube", time_ms=JANUARY + 3),
                NewFrame("the light is warm", kind="idea", time_ms=JANUARY + 1),
                NewFrame("cold light", time_ms=JANUARY + 2),
                NewFrame("warm light of memory", kind="memory", time_ms=JANUARY + 4),
                NewFrame(b"warm light", time_ms=JANUARY + 5),
            ]
        )
        assert texts(await archive.search(Query("light warm"))) == ["warm light on the cube", "the light is warm"]
        assert texts(await archive.search(Query("warm cold", match=Match.ANY))) == [
            "warm light on the cube",
            "cold light",
            "the light is warm",
        ]
        assert texts(await archive.search(Query("Warm light", match=Match.PHRASE))) == ["warm light on the cube"]
        assert texts(await archive.search(Query("light", kinds=("idea", "memory")))) == [
            "warm light of memory",
            "the light is warm",
        ]
        assert texts(await archive.search(Query("light", after_ms=JANUARY + 1, before_ms=JANUARY + 3))) == [
            "cold light"
        ]
        assert texts(await archive.search(Query())) == [
            b"warm light",
            "warm light on the cube",
            "cold light",
            "the light is warm",
        ]
        ranked = await archive.search(Query("warm light", match=Match.ANY, order=Order.RELEVANCE))
        assert texts(ranked)[0] == "warm light on the cube"
        assert texts(ranked)[-1] == "cold light"
        assert [hit.score for hit in ranked] == sorted((hit.score for hit in ranked), reverse=True)


async def test_an_archive_that_is_not_there_has_nothing_and_stays_away(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        assert await archive.search(Query("anything")) == []
        assert [batch async for batch in archive.stream(Query())] == []
    assert not (tmp_path / "archive").exists()


async def test_hits_come_in_batches_and_frames_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append([NewFrame(f"cube {number}") for number in range(500)])
        sizes = [len(batch.hits) async for batch in archive.stream(Query("cube", limit=100))]
        assert sum(sizes) == 100
        assert max(sizes) <= 32
        archive.caches.frames.clear()
        misses = archive.caches.frames.misses
        async with contextlib.aclosing(archive.stream(Query("cube", limit=500))) as batches:
            async for _ in batches:
                break
        assert archive.caches.frames.misses - misses <= 64
        everything = [hit async for batch in archive.stream(Query("cube", limit=10_000)) for hit in batch.hits]
        assert texts(everything) == [f"cube {number}" for number in range(499, -1, -1)]


async def test_a_search_that_takes_too_long_says_so_and_gives_what_it_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append([NewFrame(f"a b {'x' if number else 'a b a'} {number}") for number in range(300)])
        found: list[Any] = []

        async def search() -> None:
            async for batch in archive.stream(Query("a b", limit=1000), deadline=0.0):
                found.extend(batch.hits)

        with pytest.raises(DeadlineExceeded) as caught:
            await search()
        assert caught.value.reason == "SEARCH_DEADLINE"
        assert 0 < len(found) < 300


async def test_a_search_that_finds_nothing_can_be_cancelled(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        await archive.append([NewFrame(f"a b{' x' * 50} {number}") for number in range(3000)])

        async def search() -> None:
            async for _ in archive.stream(Query("b a", match=Match.PHRASE, limit=10_000), deadline=1000):
                raise AssertionError("nothing has the phrase")

        task = asyncio.get_running_loop().create_task(search())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await archive.search(Query("a", limit=3))) == 3


async def test_private_frames_are_found_only_while_they_are_open(tmp_path: Path) -> None:
    sealer = Toy()
    async with opened(tmp_path, sealer=sealer) as archive:
        await archive.append([NewFrame("zzhidden cube", private=True, kind="idea"), NewFrame("open cube")])
        assert texts(await archive.search(Query("cube"))) == ["open cube", "zzhidden cube"]
        assert texts(await archive.search(Query("cube", kinds=("idea",)))) == ["zzhidden cube"]
        assert texts(await archive.search(Query("hidden zzhidden", match=Match.ANY, order=Order.RELEVANCE)))
        sealer.unlocked = False
        await archive.locked()
        for query in (Query("zzhidden"), Query("zzhidden", order=Order.RELEVANCE), Query("", kinds=("idea",))):
            assert await archive.search(query) == []
            assert await archive.search_ids(query) == []
        assert texts(await archive.search(Query("cube"))) == ["open cube"]
        sealer.unlocked = True
        assert texts(await archive.search(Query("zzhidden"))) == ["zzhidden cube"]
        await asyncio.get_running_loop().run_in_executor(None, archive.index.seal)
    assert not any(b"zzhidden" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    sealer.unlocked = False
    async with opened(tmp_path, sealer=sealer) as archive:
        assert texts(await archive.search(Query("cube"))) == ["open cube"]
        sealer.unlocked = True
        assert texts(await archive.search(Query("cube"))) == ["open cube", "zzhidden cube"]
        (frame_id,) = await archive.search_ids(Query("zzhidden"))
        await archive.remove([frame_id], reason="test")
        assert await archive.search(Query("zzhidden")) == []


async def test_damaged_frames_are_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        ids = await archive.append([NewFrame(f"cube {number}") for number in range(3)])
        assert len(await archive.search(Query("cube"))) == 3
        reader = await archive.run(lambda reader: reader)
        place = reader.find(ids[1])
        assert place is not None
        location = reader.locate(place)
        path = next((tmp_path / "archive").rglob(location.file))
        with path.open("r+b") as file:
            file.seek(location.offset + 40)
            file.write(b"\xff")
        archive.caches.frames.clear()
        batches = [batch async for batch in archive.stream(Query("cube"))]
        assert texts([hit for batch in batches for hit in batch.hits]) == ["cube 2", "cube 0"]
        assert sum(batch.unreadable for batch in batches) == 1


async def test_searches_and_appends_at_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as archive:
        acknowledged = 0

        async def append() -> None:
            nonlocal acknowledged
            for _ in range(60):
                await archive.append([NewFrame("cube") for _ in range(20)])
                acknowledged += 20

        async def search() -> None:
            while acknowledged < 1200:
                least = acknowledged
                found = await archive.search_ids(Query("cube", limit=10_000))
                assert len(found) >= least
                assert len(set(found)) == len(found)

        await asyncio.gather(append(), search(), search())
        assert len(await archive.search_ids(Query("cube", limit=10_000))) == 1200


async def test_nothing_is_found_twice_or_lost_over_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightfast.storage.archive.search import layout

    monkeypatch.setattr(layout, "MAX_FRAMES", 64)
    for round_number in range(4):
        async with opened(tmp_path) as archive:
            await archive.append([NewFrame(f"cube {number}") for number in range(100)])
            found = await archive.search_ids(Query("cube", limit=10_000))
            assert len(found) == len(set(found)) == 100 * (round_number + 1)
    assert len(list((tmp_path / "archive" / "words").rglob("*.words"))) == 6


async def test_a_closed_archive_says_so(tmp_path: Path) -> None:
    archive = await Archive.open(tmp_path / "archive")
    await archive.append([NewFrame("cube")])
    await archive.close()
    with pytest.raises(FailedPrecondition):
        await archive.search(Query("cube"))


async def test_frames_beside_each_other_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightfast.storage.archive import stock

    monkeypatch.setattr(stock, "MAX_TAIL_FRAMES", 120)
    still(monkeypatch)
    async with opened(tmp_path) as archive:
        ids = [one for begin in range(0, 300, 60) for one in await archive.append([NewFrame(f"cube {begin}")] * 60)]
        assert len(await archive.get(ids)) == 300
        archive.caches.frames.clear()
        archive.caches.chunks.clear()
        before = archive.caches.chunks.misses
        found = await archive.get(ids[:100])
        assert [frame.content for frame in found.values()] == ["cube 0"] * 60 + ["cube 60"] * 40
        assert archive.caches.chunks.misses == before + 2
        assert len(archive.caches.chunks) == 2
        await archive.remove(ids[:1], reason="test")
        assert len(archive.caches.chunks) == 0
        assert set(await archive.get(ids[:100])) == set(ids[1:100])
