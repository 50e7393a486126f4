"""A full disk: a clear refusal, reads go on, and writing works again when there is room."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.disk import fill, small_disk
from tests.support.store import open_store

from lightfast.core.errors import Exhausted
from lightfast.storage.blobs import BlobStore, Provenance
from lightfast.storage.database import Database


async def test_a_full_disk_is_named_and_outlived(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with open_store(disk) as house:
            first = await house.set(("/a", 1), ("/b", 1))
            ballast = fill(disk)
            # What fits into pages that exist may still succeed: write until the disk says no.
            written = first
            refused: list[BaseException] = []
            for number in range(200):
                results = await asyncio.gather(
                    *[house.set((f"/x/{number}/{i}", "v" * 1000)) for i in range(5)], return_exceptions=True
                )
                refused = [result for result in results if isinstance(result, BaseException)]
                written += 5 - len(refused)
                if refused:
                    break
            assert refused
            for error in refused:
                assert isinstance(error, Exhausted)
                assert error.reason == "DISK_FULL"
                assert str(disk) in error.message
                assert error.retry_after
            assert house.store.revision == written
            assert house.store.get("/a") is not None
            assert (await house.values_at(first)) == {"/a": 1, "/b": 1}
            await house.db.check(timeout=60.0)
            with pytest.raises(Exhausted):
                await house.set(("/a", "w" * 100_000))
            assert house.values()["/a"] == 1

            ballast.unlink()
            assert await house.set(("/a", 2)) == written + 1
            assert house.values()["/a"] == 2
            revisions = [transaction.revision for transaction in house.news.transactions]
            assert revisions == list(range(1, written + 2))
            live = house.values()
        async with open_store(disk) as house:
            assert house.values() == live
            assert house.store.revision == written + 1


async def test_assets_on_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "4m") as disk:
        db = await Database.open(tmp_path / "store.db")
        blobs = await BlobStore.open(disk / "assets", db, 1 << 30)
        kept = await blobs.put(b"kept", "text/plain", "kept", Provenance())
        ballast = fill(disk)
        with pytest.raises(Exhausted) as caught:
            await blobs.put(b"x" * (1 << 20), "image/png", "big", Provenance())
        assert caught.value.reason == "DISK_FULL"
        assert blobs.total_bytes == 4
        assert b"".join([chunk async for chunk in blobs.read(kept.sha256)]) == b"kept"
        ballast.unlink()
        record = await blobs.put(b"x" * (1 << 20), "image/png", "big", Provenance())
        assert record.path.stat().st_size == 1 << 20
        assert [path.name for path in (disk / "assets" / "parts").iterdir()] == []
        await blobs.close()
        await db.close()
