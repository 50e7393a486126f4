"""Export, import, and migration from every earlier layout."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support import plain_frames
from tests.support.archives import NOW_MS, all_frames, fill, finished, opened, small, text

from lightfast.core.errors import Exhausted
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive import migrate, transfer
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.progress import Imported
from lightfast.storage.archive.records import Frame, NewFrame


async def exported(archive: Archive, **options: Any) -> bytes:
    return b"".join([piece.data async for piece in archive.export(**options)])


async def imported(archive: Archive, data: bytes, sizes: random.Random | None = None) -> Imported:
    async def pieces() -> AsyncIterator[bytes]:
        at = 0
        while at < len(data):
            size = sizes.randrange(1, sizes.choice((4, 100, 3000))) if sizes else len(data)
            yield data[at : at + size]
            at += size

    return await archive.import_frames(pieces())


def without_number(frame: Frame) -> tuple[Any, ...]:
    return frame.frame_id, frame.content, frame.kind, frame.time_ms, frame.metadata, frame.private


async def test_an_export_comes_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 150)
    new = [NewFrame(text(at, 40), kind=("note", "log")[at % 2], time_ms=NOW_MS + at) for at in range(300)]
    new += [NewFrame(b"\0\xff" * 50, kind="blob", metadata={"a": [1, {"b": None}]}), NewFrame("lone \udfff 🎉")]
    new += [NewFrame("same text " * 30 + str(at), kind="edit") for at in range(20)]
    async with opened(tmp_path / "one") as one:
        await one.append(new)
        async for _ in one.migrate():
            pass
        await fill(one, 7)
        frames = await all_frames(one)
        data = await exported(one)
        some = await exported(one, kinds=("log",), after_ms=NOW_MS + 100, before_ms=NOW_MS + 110)
    plain = plain_frames.decode(plain_frames.read(data))
    assert [one.frame_id for one in frames] == list(plain)
    assert [one.content for one in frames] == [one.content for one in plain.values()]
    assert len(plain_frames.read(some)) == 5
    async with opened(tmp_path / "two") as two:
        told: list[Frame] = []
        two.on_appended.append(told.extend)
        await fill(two, 5)
        assert await imported(two, data, random.Random(1)) == Imported(len(frames), 0)
        found = await all_frames(two, after_number=4)
        assert [*map(without_number, found)] == [*map(without_number, frames)]
        assert [one.number for one in found] == list(range(5, 5 + len(frames)))
        assert [*map(without_number, told[5:])] == [*map(without_number, frames)]
        assert await imported(two, data) == Imported(0, len(frames))
        assert await exported(two, after_ms=0) != b""
        await two.remove([frames[3].frame_id], reason="never again")
        again = await imported(two, data)
        assert (again.imported, again.skipped) == (0, len(frames) - 1)
        assert [(item.frame_id, item.reason) for item in again.damage] == [
            (frames[3].frame_id, "it was purged: never again")
        ]


async def test_pieces_that_are_no_frames_are_named(tmp_path: Path) -> None:
    async with opened(tmp_path / "one") as one:
        await fill(one, 50)
        frames = await all_frames(one)
        data = bytearray(await exported(one))
    plain = plain_frames.read(bytes(data))
    data[plain[10].offset + 40] ^= 1
    broken = bytes(data[: plain[20].offset]) + b"some rubbish \xfe\xed in between" + bytes(data[plain[20].offset : -3])
    rng = random.Random(2)
    for sizes in (None, rng, *[random.Random(seed) for seed in range(4)]):
        async with opened(tmp_path / f"two{rng.random()}") as two:
            found = await imported(two, broken, sizes)
            lost = {plain[10].frame_id, plain[49].frame_id}
            assert {one.frame_id for one in await all_frames(two)} == {one.frame_id for one in frames} - lost
            assert found.imported == 48
            assert [(item.offset, item.length) for item in found.damage] == [
                (plain[10].offset, plain[10].end - plain[10].offset),
                (plain[20].offset, 26),
                (plain[49].offset + 26, plain[49].end - plain[49].offset - 3),
            ]
            assert found.damage[0].frame_id == plain[10].frame_id


async def test_a_length_beyond_reason_does_not_wait_for_its_end(tmp_path: Path) -> None:
    """A flipped bit in a length must not make the import swallow all that follows."""
    importer = transfer.Importer()
    good = layout.encode(1, b"0123456789abcdef", 1, b"content", b"{}")
    bad = bytearray(good)
    bad[31] = 0xFF  # 4 GiB
    assert [raw.frame_id for raw in importer.feed(bytes(bad) + good * 3)] == ["0123456789abcdef"] * 3
    assert importer.finish() == []
    assert [(one.offset, one.length) for one in importer.damage] == [(0, len(bad))]


async def test_an_import_stops_at_the_quota(tmp_path: Path) -> None:
    async with opened(tmp_path / "one") as one:
        await fill(one, 100)
        data = await exported(one)
    async with opened(tmp_path / "two", quota=5000) as two:
        with pytest.raises(Exhausted):
            await imported(two, data)


SOURCE = {
    "a1b2c3d4e5f60718": {"content": "The first memory 🎉", "timestamp": "2024-03-01T12:30:00", "memory_type": "insight",
                         "metadata": {"tags": ["x"], "enc": "kept", "_private": 1}},
    "00112233445566aa": {"content": "lone \ud800", "timestamp": "2025-12-31T23:59:59.999+02:00"},
    "00112233445566bb": {"content": "", "timestamp": 1_700_000_000, "memory_type": "history"},
    "00112233445566cc": {"content": "in ms", "timestamp": 1_700_000_000_123, "metadata": None},
}  # fmt: skip


async def test_the_sources_json_files_are_taken_in(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    old = folder / "frames"
    old.mkdir(parents=True)
    for frame_id, found in SOURCE.items():
        (old / f"{frame_id}.json").write_text(json.dumps(found), encoding="utf-8")
    (old / "0000000000000bad.json").write_text("{")
    (old / "no id.json").write_text(json.dumps({"content": "x", "timestamp": 1}))
    (old / "00112233445566dd.json").write_text(json.dumps({"content": 5, "timestamp": 1}))
    (old / "00112233445566ee.json").write_text(json.dumps({"content": "x"}))
    async with opened(folder) as archive:
        await fill(archive, 3)
        dry, _ = await finished(archive.migrate(dry=True))
        assert dry.changed >= 8
        assert len(list(old.iterdir())) == 8
        last, damage = await finished(archive.migrate())
        assert {Path(one.file).name for one in damage} == {
            "0000000000000bad.json", "no id.json", "00112233445566dd.json", "00112233445566ee.json"
        }  # fmt: skip
        assert last.changed >= 4
        found = await archive.get(list(SOURCE))
        first = found["a1b2c3d4e5f60718"]
        assert (first.content, first.kind) == ("The first memory 🎉", "insight")
        assert first.metadata == {"tags": ["x"], "sourceenc": "kept", "source_private": 1}
        assert first.time_ms == 1_709_296_200_000
        assert found["00112233445566aa"].content == "lone \ud800"
        assert found["00112233445566aa"].time_ms == 1_767_218_399_999
        assert found["00112233445566bb"].kind == "note"
        assert found["00112233445566bb"].metadata == {"memory_type": "history"}
        assert found["00112233445566bb"].time_ms == 1_700_000_000_000
        assert found["00112233445566cc"].time_ms == 1_700_000_000_123
    assert len(list(old.iterdir())) == 4  # what could not be read is left
    assert set(SOURCE) <= set(plain_frames.read_folder(folder))


async def test_frames_of_version_01_without_numbers_are_taken_in(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    shard = folder / "shards" / "2024" / "03"
    shard.mkdir(parents=True)
    frames = {f"{at:016x}": f"an old frame {at}" for at in range(1, 30)}
    data = b"".join(
        layout.encode(1, frame_id.encode(), 1_709_296_200_000 + at, content.encode(), b'{"a":1}')
        for at, (frame_id, content) in enumerate(frames.items())
    )
    (shard / "old.frames").write_bytes(data)
    async with opened(folder) as archive:
        await archive.append([NewFrame("new")])
        assert (folder / "incoming" / "old.frames").read_bytes() == data
        last, damage = await finished(archive.migrate())
        assert damage == []
        assert last.changed >= 29
        found = await archive.get(list(frames))
        assert {frame_id: one.content for frame_id, one in found.items()} == frames
        assert all(one.metadata == {"a": 1} for one in found.values())
    assert list((folder / "incoming").iterdir()) == []


def test_times_of_the_source() -> None:
    assert migrate.time_of("1969-12-31T23:59:59.999Z") == -1
    assert migrate.time_of(0) == 0
    assert migrate.time_of(1.5) == 1500
    for value in (None, True, "yesterday", float("nan")):
        with pytest.raises(ValueError):
            migrate.time_of(value)
