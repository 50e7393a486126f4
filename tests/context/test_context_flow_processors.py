"""Processors: each kind by itself, bounded, and never in the way of a write; media and statistics that go through them."""

from __future__ import annotations

import asyncio
import io
import struct
import threading
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.support.store import open_store

from lightfast.context.entry import Declaration, Delete, Set
from lightfast.context.flow.flow import Flow
from lightfast.context.flow.media import Media
from lightfast.context.flow.probe import Facts, probe
from lightfast.context.flow.processors import BOUNDS, Bound, Kind, Processors
from lightfast.context.flow.statistics import Statistics, measured
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.errors import DeadlineExceeded, Exhausted
from lightfast.storage.blobs import BlobStore, Provenance
from lightfast.storage.database import Database

ME = "client:test"


class Blocked:
    """A processor that is stuck until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.go.wait(150)
        return "done"


@asynccontextmanager
async def pools(**bounds: Bound) -> AsyncIterator[Processors]:
    processors = Processors({Kind(name): bound for name, bound in bounds.items()})
    try:
        yield processors
    finally:
        await processors.close()


async def test_each_kind_works_by_itself() -> None:
    async with pools() as processors:
        blocked = Blocked()
        stuck = asyncio.ensure_future(processors.media.run(blocked))
        try:
            for pool in (processors.text, processors.numeric, processors.structure):
                assert await pool.run(sorted, [2, 1]) == [1, 2]
            assert not stuck.done()
            assert processors.media.waiting == 1
        finally:
            blocked.go.set()
        assert await stuck == "done"
        assert {pool.kind: pool.done for pool in processors.pools} == dict.fromkeys(Kind, 1)


async def test_a_pool_has_a_bound_and_a_deadline() -> None:
    async with pools(media=Bound(2, 0.05)) as processors:
        blocked = Blocked()
        try:
            waiting = [asyncio.ensure_future(processors.media.run(blocked, deadline=600)) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Exhausted) as refused:
                await processors.media.run(sorted, [])
            assert refused.value.reason == "WORKER_BUSY"
            waiting.pop().cancel()
            await asyncio.sleep(0)
            with pytest.raises(DeadlineExceeded):
                await processors.media.run(sorted, [])
            assert (processors.media.refused, processors.media.failed) == (1, 1)
        finally:
            blocked.go.set()
        await asyncio.gather(*waiting)
    assert set(BOUNDS) == set(Kind)


async def test_writes_go_on_while_media_are_stuck(tmp_path: Path) -> None:
    """Counted, not timed: with the media pool full and stuck, every write and every search of the tree goes through."""
    async with pools(media=Bound(4, 600.0)) as processors, open_store(tmp_path) as house:
        house.store.use(processors.structure.run)
        blocked = Blocked()
        stuck = [asyncio.ensure_future(processors.media.run(blocked)) for _ in range(4)]
        assert await asyncio.to_thread(blocked.began.wait, 60)
        try:
            await house.set(*[(f"/many/{n}/name", n) for n in range(1000)])
            for number in range(100):
                assert await house.set(("/fader", float(number))) == number + 2
            assert not any(task.done() for task in stuck)
        finally:
            blocked.go.set()
        assert await asyncio.gather(*stuck) == ["done"] * 4


async def test_a_search_goes_through_the_structure_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightfast.context.reader.SEARCH_OFF_LOOP", 10)
    async with pools() as processors, open_store(tmp_path) as house:
        house.store.use(processors.structure.run)
        await house.set(*[(f"/many/{n}/name", n) for n in range(50)])
        page = await house.store.read(pattern="//name")
        assert len(page.entries) == 50
        assert processors.structure.done == 1


# ---- media


def png() -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (12, 7)).save(data, "PNG")
    return data.getvalue()


def gif() -> bytes:
    data = io.BytesIO()
    frames = [Image.new("RGB", (4, 3), (color, 0, 0)) for color in (0, 100, 200)]
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:], duration=40)
    return data.getvalue()


def wav() -> bytes:
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(4 * 4000))
    return data.getvalue()


def flac() -> bytes:
    packed = (44_100 << 44) | (1 << 41) | (15 << 36) | 88_200
    return b"fLaC" + b"\x80\x00\x00\x22" + bytes(10) + packed.to_bytes(8, "big") + bytes(16)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def mp4() -> bytes:
    mvhd = box(b"mvhd", bytes(12) + struct.pack(">II", 1000, 2500) + bytes(80))
    tkhd = box(b"tkhd", bytes(76) + struct.pack(">II", 640 << 16, 360 << 16))
    return box(b"ftyp", b"isom") + box(b"mdat", bytes(100)) + box(b"moov", mvhd + box(b"trak", tkhd))


MEDIA = [
    ("image/png", png(), Facts("PNG", 12, 7, "RGB")),
    ("image/gif", gif(), Facts("GIF", 4, 3, "P", 3, 120)),
    ("audio/wav", wav(), Facts("WAV", channels=2, sample_rate=8000, duration_ms=500)),
    ("audio/flac", flac(), Facts("FLAC", channels=2, sample_rate=44_100, duration_ms=2000)),
    ("video/mp4", mp4(), Facts("MP4", 640, 360, duration_ms=2500)),
]


@pytest.mark.parametrize(("media_type", "data", "facts"), MEDIA)
def test_what_a_medium_is_like(tmp_path: Path, media_type: str, data: bytes, facts: Facts) -> None:
    path = tmp_path / "asset"
    path.write_bytes(data)
    found = probe(path, media_type)
    assert found is not None
    assert found == facts


def test_what_claims_to_be_a_medium(tmp_path: Path) -> None:
    """Cut anywhere, or something else altogether: a reason, or nothing, and never an exception."""
    path = tmp_path / "asset"
    for media_type, data, _ in MEDIA:
        for length in (0, 1, 4, 9, 12, 20, 30, 40, len(data) // 2, len(data) - 1):
            path.write_bytes(data[:length])
            assert isinstance(probe(path, media_type), (Facts, type(None)))
    path.write_bytes(b"no image")
    assert probe(path, "image/png") == Facts(problem="UnidentifiedImageError: cannot identify image file it")
    assert probe(path, "audio/mpeg") is None
    path.write_bytes(box(b"ftyp", b"") + struct.pack(">I4s", 1 << 30, b"moov"))
    assert "does not fit" in probe(path, "video/mp4").problem  # type: ignore[union-attr]
    path.write_bytes(box(b"ftyp", b"isom") + box(b"moov", box(b"mvhd", b"")))
    assert "IndexError" in probe(path, "video/mp4").problem  # type: ignore[union-attr]


async def test_one_that_nobody_can_look_at_does_not_keep_the_others_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = await Database.open(tmp_path / "store.db")
    blobs = await BlobStore.open(tmp_path / "assets", db, 64 << 20)
    try:
        async with pools() as processors:
            media = Media(db, blobs, processors.media, Flow())
            with monkeypatch.context() as patch:

                def odd(*_: object) -> None:
                    raise KeyError("nobody thought of this")

                patch.setattr("lightfast.context.flow.media.probe", odd)
                media.start()
                first = await blobs.put(png(), "image/png", "first", Provenance("test"))
                await media.settled(first.sha256, 120.0)
            second = await blobs.put(gif(), "image/gif", "second", Provenance("test"))
            await media.settled(second.sha256, 120.0)
            assert await media.of([first.sha256, second.sha256]) == {second.sha256: MEDIA[1][2]}
            await media.close()
    finally:
        await blobs.close()
        await db.close()


async def test_assets_are_looked_at_when_they_arrive_and_after_a_start(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    blobs = await BlobStore.open(tmp_path / "assets", db, 64 << 20)
    try:
        async with pools() as processors:
            early = await blobs.put(png(), "image/png", "early", Provenance("test"))
            media = Media(db, blobs, processors.media, Flow())
            media.start()
            late = await blobs.put(wav(), "audio/wav", "late", Provenance("test"))
            text = await blobs.put(b"words", "text/plain", "words", Provenance("test"))
            async with asyncio.timeout(60):
                while len(known := await media.of([early.sha256, late.sha256, text.sha256])) < 2:
                    await asyncio.sleep(0.005)
            assert known == {early.sha256: MEDIA[0][2], late.sha256: MEDIA[2][2]}
            assert processors.media.done == 2
            await media.close()
            again = Media(db, blobs, processors.media, Flow())  # nothing is looked at twice
            again.start()
            await again.settled(early.sha256, 1.0)
            third = await blobs.put(gif(), "image/gif", "third", Provenance("test"))
            async with asyncio.timeout(60):
                while third.sha256 not in await again.of([third.sha256]):
                    await asyncio.sleep(0.005)
            assert processors.media.done == 3
            await again.close()
    finally:
        await blobs.close()
        await db.close()


# ---- statistics


def test_statistics_by_hand() -> None:
    found = measured({"/a": [(0.0, 1.0), (0.5, 3.0), (1.0, 2.0)], "/b": [(0.0, 4.0)]}, 2.0)
    assert found == {
        "/a": {"count": 3, "min": 1.0, "max": 3.0, "mean": 2.0, "rate_hz": 2.0},
        "/b": {"count": 1, "min": 4.0, "max": 4.0, "mean": 4.0, "rate_hz": 0.5},
    }


def answer(store: Store) -> dict[str, Any]:
    entry = store.get("/lightfast/signals/mix")
    return entry.value if entry is not None and isinstance(entry.value, dict) else {}


async def test_statistics_only_for_who_asks(tmp_path: Path) -> None:
    db = await Database.open(tmp_path / "store.db")
    store = await Store.open(db, bus=Bus(db.store_id), settle_after=60.0)
    try:
        async with pools() as processors:
            statistics = Statistics(store, processors.numeric, Flow(), interval=0.01)
            statistics.start()
            await store.declare([Declaration("/level/*", signal=True)], owner=ME)
            store.publish([Set("/level/a", 1.0)], origin=ME)
            await asyncio.sleep(0.03)
            assert store.children("/lightfast/signals") == []
            await store.apply([Set("/statistics/mix", {"pattern": "/level/*", "window_s": 60})], origin=ME)
            await asyncio.sleep(0)
            for value in (1.0, 5.0, 3.0):
                store.publish([Set("/level/a", value)], origin=ME)
                store.publish([Set("/level/b", -value)], origin=ME)
                await asyncio.sleep(0.001)
            async with asyncio.timeout(60):
                while (found := answer(store)).get("/level/a", {}).get("count", 0) < 3:
                    await asyncio.sleep(0.005)
            assert found["/level/a"]["max"] == 5.0
            assert (found["/level/b"]["min"], found["/level/b"]["mean"]) == (-5.0, -3.0)
            await store.apply([Delete("/statistics/mix")], origin=ME)
            async with asyncio.timeout(60):
                while store.get("/lightfast/signals/mix") is not None:
                    await asyncio.sleep(0.005)
            for bad in ("text", {"pattern": "no slash"}, {"pattern": "/a", "window_s": 0}, {"pattern": 5}):
                await store.apply([Set("/statistics/bad", bad)], origin=ME)
            assert statistics._requests == {}
            await statistics.close()
    finally:
        await store.close()
        await db.close()
