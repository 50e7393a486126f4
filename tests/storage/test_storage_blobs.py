"""Assets: whole or not at all, named by their content, within a quota."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lightfast.core.clock import StillClock
from lightfast.core.errors import (
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    OutOfRange,
    Unavailable,
)
from lightfast.storage.blobs import BlobStore, Provenance
from lightfast.storage.database import Database

PLAIN = Provenance("client:test")


@asynccontextmanager
async def open_blobs(folder: Path, quota: int = 1 << 30, clock: StillClock | None = None) -> AsyncIterator[BlobStore]:
    clock = clock or StillClock()
    db = await Database.open(folder / "store.db", clock=clock)
    blobs = await BlobStore.open(folder / "assets", db, quota, clock)
    try:
        yield blobs
    finally:
        await blobs.close()
        await db.close()


async def content(blobs: BlobStore, sha256: str, offset: int = 0, length: int = 0) -> bytes:
    return b"".join([chunk async for chunk in blobs.read(sha256, offset, length)])


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "assets").rglob("*") if path.is_file()]


async def test_an_asset_is_what_was_put(tmp_path: Path) -> None:
    source = hashlib.sha256(b"source").hexdigest()
    provenance = Provenance("client:a", "studio/shapes", "a red cube", '{"seed": 7}', (source,))
    async with open_blobs(tmp_path) as blobs:
        record = await blobs.put(b"pixels", "image/png", "cube ü.png", provenance)
        sha256 = hashlib.sha256(b"pixels").hexdigest()
        assert (record.sha256, record.size, record.media_type, record.name) == (sha256, 6, "image/png", "cube ü.png")
        assert record.uri == "asset:" + sha256
        assert record.path == tmp_path / "assets" / sha256[:2] / sha256
        assert record.path.read_bytes() == b"pixels"
        assert record.path.stat().st_mode & 0o222 == 0
        assert record.provenance == provenance
        assert blobs.total_bytes == 6
    async with open_blobs(tmp_path) as blobs:
        assert await blobs.get(sha256) == record
        assert await content(blobs, sha256) == b"pixels"
        assert blobs.total_bytes == 6


async def test_it_is_read_in_chunks_and_parts(tmp_path: Path) -> None:
    data = bytes(range(256)) * 4096
    async with open_blobs(tmp_path) as blobs:
        writer = blobs.writer("application/octet-stream", "", PLAIN)
        for start in range(0, len(data), 100_000):
            await writer.write(data[start : start + 100_000])
        record = await writer.commit()
        sizes = [len(chunk) async for chunk in blobs.read(record.sha256)]
        assert sizes == [256 << 10] * 4
        assert await content(blobs, record.sha256) == data
        assert await content(blobs, record.sha256, 1000, 2000) == data[1000:3000]
        assert await content(blobs, record.sha256, len(data) - 5, 2000) == data[-5:]
        assert await content(blobs, record.sha256, len(data)) == b""
        with pytest.raises(OutOfRange):
            await content(blobs, record.sha256, len(data) + 1)
        with pytest.raises(InvalidArgument):
            await content(blobs, record.sha256, -1)


async def test_an_empty_asset(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        record = await blobs.put(b"", "text/plain", "", PLAIN)
        assert record.size == 0
        assert await content(blobs, record.sha256) == b""
        writer = blobs.writer("text/plain", "", PLAIN)
        assert await writer.commit() == record


@pytest.mark.parametrize("sha256", ["", "x" * 64, "A" * 64, "../../../etc/passwd", "0" * 63])
async def test_a_malformed_hash_is_refused(tmp_path: Path, sha256: str) -> None:
    async with open_blobs(tmp_path) as blobs:
        with pytest.raises(InvalidArgument):
            await blobs.get(sha256)


async def test_a_missing_asset_is_named(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        with pytest.raises(NotFound) as caught:
            await content(blobs, "0" * 64)
        assert caught.value.reason == "ASSET_NOT_FOUND"


async def test_what_does_not_match_is_thrown_away(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        for expected, reason in (
            ({"expect_sha256": "0" * 64}, "ASSET_HASH_MISMATCH"),
            ({"expect_size": 3}, "ASSET_SIZE_MISMATCH"),
        ):
            writer = blobs.writer("text/plain", "", PLAIN, **expected)
            await writer.write(b"data")
            with pytest.raises(InvalidArgument) as caught:
                await writer.commit()
            assert caught.value.reason == reason
            with pytest.raises(FailedPrecondition):
                await writer.write(b"more")
        assert files(tmp_path) == []
        writer = blobs.writer("text/plain", "", PLAIN, hashlib.sha256(b"data").hexdigest(), 4)
        await writer.write(b"data")
        assert (await writer.commit()).size == 4


async def test_the_quota_refuses_and_names_sizes(tmp_path: Path) -> None:
    async with open_blobs(tmp_path, quota=100) as blobs:
        await blobs.put(b"x" * 60, "text/plain", "", PLAIN)
        with pytest.raises(Exhausted) as caught:
            await blobs.put(b"y" * 41, "text/plain", "", PLAIN)
        assert caught.value.reason == "ASSET_QUOTA"
        assert "60 of 100 bytes are taken, 41 more" in caught.value.message
        with pytest.raises(Exhausted):
            blobs.writer("text/plain", "", PLAIN, expect_size=41)
        first, second = (blobs.writer("text/plain", "", PLAIN) for _ in range(2))
        await first.write(b"a" * 30)
        with pytest.raises(Exhausted):
            await second.write(b"b" * 30)
        await first.abort()
        await first.abort()
        await blobs.put(b"z" * 40, "text/plain", "", PLAIN)
        assert blobs.total_bytes == 100
        # What is there already needs no more room once it is written, but must be written to be known.
        assert len(files(tmp_path)) == 2


async def test_the_same_content_at_once_is_one_asset(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        names = [f"copy {number}" for number in range(8)]
        records = await asyncio.gather(*[blobs.put(b"same" * 9999, "text/plain", name, PLAIN) for name in names])
        assert len({record.name for record in records}) == 1
        assert records[0].name in names
        assert blobs.total_bytes == 4 * 9999
        assert len(files(tmp_path)) == 1
        assert len(await blobs.list()) == 1


async def test_a_crash_leaves_whole_assets_only(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        kept = await blobs.put(b"kept", "text/plain", "", PLAIN)
        (tmp_path / "assets" / "parts" / "part-torn").write_bytes(b"to")
        unended = blobs.writer("text/plain", "", PLAIN)
        await unended.write(b"never committed")
        # As after a crash between the renaming and the row: a note, the file, no row.
        orphan = hashlib.sha256(b"orphan").hexdigest()
        path = blobs.path_of(orphan)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"orphan")
        (tmp_path / "assets" / "parts" / (orphan + ".note")).touch()
        # And between the row and the removal of its note.
        (tmp_path / "assets" / "parts" / (kept.sha256 + ".note")).touch()
    async with open_blobs(tmp_path) as blobs:
        assert files(tmp_path) == [kept.path]
        assert await content(blobs, kept.sha256) == b"kept"
        with pytest.raises(NotFound):
            await blobs.get(orphan)


async def test_a_row_that_cannot_be_written_leaves_no_file(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        writer = blobs.writer("text/plain", "", PLAIN)
        await writer.write(b"data")
        await blobs._db.close()
        with pytest.raises(LightfastError):
            await writer.commit()
        assert files(tmp_path) == []
        assert blobs.total_bytes == 0


async def test_a_lost_file_is_named_and_can_be_brought_back(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        record = await blobs.put(b"precious" * 100_000, "text/plain", "first", PLAIN)
        record.path.chmod(0o644)
        record.path.write_bytes(b"precious")
        with pytest.raises(Unavailable) as caught:
            await content(blobs, record.sha256)
        assert caught.value.reason == "ASSET_LOST"
        record.path.unlink()
        with pytest.raises(Unavailable):
            await content(blobs, record.sha256)
        again = await blobs.put(b"precious" * 100_000, "text/plain", "second", PLAIN)
        assert again == record
        assert await content(blobs, record.sha256) == b"precious" * 100_000
        assert blobs.total_bytes == 800_000


async def test_assets_are_listed_newest_first(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        records = [
            await blobs.put(b"%d" % number, "image/png" if number % 2 else "audio/wav", str(number), PLAIN)
            for number in range(6)
        ]
        assert [record.name for record in await blobs.list()] == ["5", "4", "3", "2", "1", "0"]
        assert [record.name for record in await blobs.list("image/")] == ["5", "3", "1"]
        assert [record.name for record in await blobs.list("image/", 2)] == ["5", "3"]
        assert [record.name for record in await blobs.list("image/", 2, records[3].sha256)] == ["1"]
        assert await blobs.list("video/") == []


@pytest.mark.parametrize(
    ("media_type", "name", "provenance", "field"),
    [
        ("png", "", PLAIN, "asset.media_type"),
        ("image/png\n", "", PLAIN, "asset.media_type"),
        ("image/png", "a\x00b", PLAIN, "asset.name"),
        ("image/png", "x" * 256, PLAIN, "asset.name"),
        ("image/png", "", Provenance(settings="{nope"), "asset.provenance.settings"),
        ("image/png", "", Provenance(sources=("nope",)), "asset.provenance.sources"),
    ],
)
async def test_odd_descriptions_are_refused(
    tmp_path: Path, media_type: str, name: str, provenance: Provenance, field: str
) -> None:
    async with open_blobs(tmp_path) as blobs:
        with pytest.raises(InvalidArgument) as caught:
            blobs.writer(media_type, name, provenance)
        assert caught.value.field == field


async def test_who_is_cancelled_while_a_thread_still_opens_the_file_leaves_nothing(tmp_path: Path) -> None:
    async with open_blobs(tmp_path) as blobs:
        writer = blobs.writer("a/b", "", PLAIN)
        inside, go_on = threading.Event(), threading.Event()
        real = writer._append

        def slowly(data: bytes) -> None:
            inside.set()
            go_on.wait(60)
            real(data)

        writer._append = slowly  # type: ignore[method-assign]
        writing = asyncio.ensure_future(writer.write(b"x" * 100))
        assert await asyncio.to_thread(inside.wait, 60)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        go_on.set()
    assert not files(tmp_path)
