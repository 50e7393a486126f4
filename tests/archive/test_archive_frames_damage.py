"""What breaks: torn tails, flipped bits, truncated and missing files, full and read-only disks."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support import plain_frames
from tests.support.archives import NOW_MS, all_frames, files, fill, finished, opened, small, text
from tests.support.disk import fill as fill_disk
from tests.support.disk import small_disk

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted, FailedPrecondition, Unavailable
from lightfast.storage.archive import files as disk_files
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import Frame, NewFrame


async def made(folder: Path, count: int = 250, *, packed: bool = True) -> list[Frame]:
    """Make an archive with sealed segments and an open one; return its frames."""
    async with opened(folder) as archive:
        await fill(archive, count, group=10)
        if packed:
            async for _ in archive.migrate():
                pass
            await fill(archive, 30, group=3)
        return await all_frames(archive)


def tail_of(folder: Path) -> Path:
    (path,) = [path for path in files(folder) if not path.with_suffix(".index").exists()]
    return path


async def test_a_torn_tail_is_cut_at_every_byte(tmp_path: Path) -> None:
    """Whatever part of the last write reached the disk: whole calls before it are there, nothing of it is."""
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        kept = await archive.append([NewFrame("first"), NewFrame("second")])
        length = archive._stock.view.tail.length  # type: ignore[union-attr]
        await archive.append([NewFrame("torn one"), NewFrame(b"torn two"), NewFrame("torn three")])
    path = tail_of(folder)
    whole = path.read_bytes()
    for end in range(length, len(whole)):
        for room in (b"", b"\0" * 100):
            path.write_bytes(whole[:end] + room)
            with capture_logs() as logs:
                async with opened(folder) as archive:
                    assert [one.frame_id for one in await all_frames(archive)] == kept, end
            told = [line for line in logs if "torn" in line["event"]]
            assert len(told) == (1 if whole[length:end].strip(b"\0") else 0)
            assert path.stat().st_size == length
            assert all(line["offset"] == length and (folder / line["kept"]).read_bytes() for line in told)
    path.write_bytes(whole)
    async with opened(folder) as archive:
        assert len(await all_frames(archive)) == 5
        await archive.append([NewFrame("goes on")])


@pytest.mark.parametrize("number", [0, 4, 11, 12])  # in a chunk, at its end, after the last one, the very last frame
async def test_a_flipped_bit_in_the_open_segment_costs_one_frame(tmp_path: Path, number: int) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        found = [(await archive.append([NewFrame(text(at))]))[0] for at in range(13)]
    path = tail_of(folder)
    one = plain_frames.read(path.read_bytes())[number]
    data = bytearray(path.read_bytes())
    data[one.end - 10] ^= 4
    path.write_bytes(bytes(data))
    async with opened(folder) as archive:
        assert [frame.frame_id for frame in await all_frames(archive)] == [
            frame_id for frame_id in found if frame_id != one.frame_id
        ]
        _, damage = await finished(archive.verify())
        assert [(item.offset, item.length, item.frame_id) for item in damage] == [
            (one.offset, one.end - one.offset, one.frame_id)
        ]
        last, damage = await finished(archive.repair())
        assert (last.frames, last.lost) == (12, 1)
        assert damage[0].frame_id == one.frame_id
        _, damage = await finished(archive.verify())
        assert damage == []
        assert len(await all_frames(archive)) == 12
        (fresh,) = await archive.append([NewFrame("goes on")])
        assert (await archive.get([fresh]))[fresh].number >= 12
    assert [path for path in (folder / "damaged").iterdir() if one.frame_id.encode() in path.read_bytes()]


async def test_flipped_bits_in_sealed_segments_are_named_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 100)
    folder = tmp_path / "archive"
    frames = await made(folder)
    rng = random.Random(7)
    sealed = [path for path in files(folder) if path.with_suffix(".index").exists()]
    hurt: dict[str, tuple[str, int, int]] = {}
    for path in sealed:
        data = bytearray(path.read_bytes())
        plain = [one for one in plain_frames.read(bytes(data)) if one.metadata.get("_kind") != "_dictionary"]
        for one in rng.sample(plain, 3):
            data[rng.randrange(one.offset, one.end)] ^= 1 << rng.randrange(8)
            hurt[one.frame_id] = (str(path.relative_to(folder)), one.offset, one.end - one.offset)
        path.write_bytes(bytes(data))
    async with opened(folder) as archive:
        readable = await all_frames(archive)
        lost = {one.frame_id for one in frames} - {one.frame_id for one in readable}
        assert set(hurt) <= lost  # and those that were deltas of them
        assert readable == [one for one in frames if one.frame_id not in lost]
        told = await archive.why(sorted(lost))
        assert set(told) == lost
        assert all(why.startswith("damaged") for why in told.values())
        last, damage = await finished(archive.verify())
        assert last.frames == len(frames)
        places = {one.frame_id: (one.file, one.offset, one.length) for one in damage}
        assert set(places) == lost
        assert {frame_id: places[frame_id] for frame_id in hurt} == hurt
        assert len((await archive.stats()).damage) == len(lost)
        dry, would = await finished(archive.repair(dry=True))
        assert {one.frame_id for one in would} == lost
        assert dry.lost == len(lost)
        last, damage = await finished(archive.repair())
        assert {one.frame_id for one in damage} == lost
        assert (last.frames, last.lost) == (len(readable), len(lost))
        assert await all_frames(archive) == readable
        _, damage = await finished(archive.verify())
        assert damage == []
        stats = await archive.stats()
        assert stats.damage == ()  # it was told, and dealt with
        assert all(any(frame_id in line for line in stats.lost) for frame_id in lost)  # it is not forgotten
    async with opened(folder) as archive:
        assert await all_frames(archive) == readable
        assert ((await archive.stats()).damage, len((await archive.stats()).lost)) == ((), len(lost))
    assert {one.frame_id for one in readable} == set(plain_frames.read_folder(folder))


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
        lambda path: path.write_bytes(path.read_bytes()[:60] + b"\xff\xff" + path.read_bytes()[62:]),
        lambda path: path.write_bytes(b"\0" * path.stat().st_size),
    ],
)
async def test_sidecars_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Callable[[Path], None]
) -> None:
    small(monkeypatch, 100)
    folder = tmp_path / "archive"
    frames = await made(folder)
    for path in files(folder, ".index"):
        harm(path)
    async with opened(folder) as archive:
        assert await all_frames(archive) == frames
        assert set(await archive.get([one.frame_id for one in frames])) == {one.frame_id for one in frames}
        last, damage = await finished(archive.verify())
        assert {one.file for one in damage} == {str(path.relative_to(folder)) for path in sealed_names(folder)}
        last, _ = await finished(archive.repair())
        assert (last.frames, last.lost) == (len(frames), 0)
        _, damage = await finished(archive.verify())
        assert damage == []
    async with opened(folder) as archive:
        assert await all_frames(archive) == frames


def sealed_names(folder: Path) -> list[Path]:
    """Return the sidecars that there should be."""
    (tail,) = files(folder, ".chunks")
    return [path.with_suffix(".index") for path in files(folder) if path.stem != tail.stem]


async def test_missing_and_short_files_cost_only_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 100)
    folder = tmp_path / "archive"
    frames = await made(folder, 300)
    sealed = [path for path in files(folder) if path.with_suffix(".index").exists()]
    missing = set(plain_frames.decode(plain_frames.read(sealed[0].read_bytes())))
    sealed[0].unlink()
    data = sealed[1].read_bytes()
    plain = [one for one in plain_frames.read(data) if one.metadata.get("_kind") != "_dictionary"]
    half = plain[len(plain) // 2]
    sealed[1].write_bytes(data[: half.offset + 5])
    async with opened(folder) as archive:
        readable = await all_frames(archive)
        lost = {one.frame_id for one in frames} - {one.frame_id for one in readable}
        assert missing <= lost
        assert half.frame_id in lost
        assert {one.frame_id for one in plain[: len(plain) // 2]} - lost or "dictionary" in str(
            await archive.why([plain[0].frame_id])
        )
        told = await archive.why(sorted(lost))
        assert set(told) == lost
        assert all("damaged" in why for why in told.values())
        _, damage = await finished(archive.verify())
        assert {one.file for one in damage} == {str(path.relative_to(folder)) for path in sealed[:2]}
        await archive.append([NewFrame("goes on")])
        last, _ = await finished(archive.repair())
        assert last.lost == len(lost)
        assert [one for one in await all_frames(archive) if one.content != "goes on"] == readable
        assert (await finished(archive.verify()))[1] == []
    async with opened(folder) as archive:
        assert (await finished(archive.verify()))[1] == []


@pytest.mark.parametrize("short", [True, False])
async def test_what_the_open_segment_lacks_is_told_until_it_was_repaired(tmp_path: Path, short: bool) -> None:
    """What is appended next takes the place of what was lost; it must not hide that something was."""
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        await fill(archive, 120, group=10)
    path = tail_of(folder)
    name = str(path.relative_to(folder))
    if short:
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()
    async with opened(folder) as archive:
        left = len(await all_frames(archive))
        assert 0 < left < 120 if short else not left
        await archive.append([NewFrame("goes on")])
        _, damage = await finished(archive.verify())
        assert [one.file for one in damage] == [name]
    async with opened(folder) as archive:
        assert len(await all_frames(archive)) == left + 1
        stats = await archive.stats()
        assert any(line.startswith(name) for line in stats.damage)
        assert stats.lost == ()
        await finished(archive.repair(dry=True))
        assert any(line.startswith(name) for line in (await archive.stats()).damage)
        await finished(archive.repair())
        assert (await finished(archive.verify()))[1] == []
    async with opened(folder) as archive:
        stats = await archive.stats()
        assert stats.damage == ()
        assert any(line.startswith(name) for line in stats.lost)


@pytest.mark.parametrize("packed", [True, False])
async def test_a_lost_manifest_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    small(monkeypatch, 100)
    folder = tmp_path / "archive"
    frames = await made(folder, packed=packed)
    for harm in (b"", b"{", (folder / "archive.json").read_bytes()[:-20]):
        (folder / "archive.json").write_bytes(harm)
        async with opened(folder) as archive:
            assert await all_frames(archive) == frames
            assert (await finished(archive.verify()))[1] == []
            (fresh,) = await archive.append([NewFrame("goes on")])
            frames = await all_frames(archive)
            assert (await archive.get([fresh]))[fresh].number == frames[-1].number == len(frames) - 1


async def test_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    await made(folder, 40, packed=False)
    manifest = folder / "archive.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"format":2', b'"format":3'))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
    async with opened(folder) as archive:
        for wish in (archive.get(["0" * 16]), archive.append([NewFrame("no")]), archive.stats()):
            with pytest.raises(FailedPrecondition) as caught:
                await wish
            assert caught.value.reason == "ARCHIVE_NEWER"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"} == before


async def test_a_frame_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    import zlib

    folder = tmp_path / "archive"
    await made(folder, 3, packed=False)
    path = tail_of(folder)
    last = plain_frames.read(path.read_bytes())[-1]
    data = bytearray(path.read_bytes()[: last.end])
    data[last.offset + 2] = 3
    data[-4:] = zlib.crc32(data[last.offset : -4]).to_bytes(4, "big")
    path.write_bytes(bytes(data))
    for old in files(folder, ".chunks"):
        old.unlink()
    async with opened(folder) as archive:
        with pytest.raises(FailedPrecondition) as caught:
            await archive.append([NewFrame("no")])
        assert caught.value.reason == "ARCHIVE_NEWER"
    assert path.read_bytes() == bytes(data)


async def test_a_full_disk_is_named_and_outlived(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "6m") as disk:
        folder = disk / "archive"
        archive = await Archive.open(folder, clock=SYSTEM)
        found = await archive.append([NewFrame("kept")])
        ballast = fill_disk(disk)
        refused = 0
        for _ in range(40):
            results = await asyncio.gather(
                *[archive.append([NewFrame("x" * 100_000)]) for _ in range(3)], return_exceptions=True
            )
            for one in results:
                if isinstance(one, BaseException):
                    assert isinstance(one, Exhausted)
                    assert one.reason == "DISK_FULL"
                    refused += 1
                else:
                    found += one
        assert refused > 30
        assert [one.frame_id for one in await all_frames(archive)] == found
        assert (await finished(archive.verify()))[1] == []
        ballast.unlink()
        found += await archive.append([NewFrame("again")])
        frames = await all_frames(archive)
        assert [one.frame_id for one in frames] == found
        await archive.close()
        async with opened(folder) as archive:
            assert await all_frames(archive) == frames


async def test_a_failing_disk_loses_no_acknowledged_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "archive"
    sync = disk_files.sync_data
    failing = False

    def sync_data(descriptor: int) -> None:
        if failing:
            raise OSError(5, "Input/output error")
        sync(descriptor)

    monkeypatch.setattr(disk_files, "sync_data", sync_data)
    async with opened(folder) as archive:
        found = await archive.append([NewFrame("kept")])
        failing = True
        with pytest.raises(Unavailable) as caught:
            await archive.append([NewFrame("lost"), NewFrame("lost too")])
        assert caught.value.reason == "ARCHIVE_IO"
        failing = False
        found += await archive.append([NewFrame("after")])
        assert [one.frame_id for one in await all_frames(archive)] == found
    assert list(plain_frames.read_folder(folder)) == found


async def test_a_read_only_archive_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "archive"
    frames = await made(folder, 60)
    mount = tmp_path / "mounted"
    mount.mkdir()
    done = subprocess.run(["mount", "--bind", str(folder), str(mount)], capture_output=True, timeout=30, check=False)
    if done.returncode:
        pytest.skip("a bind mount needs root: run this test as root")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(mount)], timeout=30, check=True)
        async with opened(mount) as archive:
            assert await all_frames(archive) == frames
            assert (await finished(archive.verify()))[1] == []
            with pytest.raises(Unavailable) as caught:
                await archive.append([NewFrame("no")])
            assert caught.value.reason == "ARCHIVE_READ_ONLY"
            with pytest.raises(Unavailable):
                await finished(archive.repair())
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], timeout=30, check=True)
    async with opened(folder) as archive:
        await archive.append([NewFrame("yes", time_ms=NOW_MS)])


async def test_new_damage_after_a_repair_is_damage_again(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    await made(folder, 60)
    for round_number in (1, 2):
        path = next(path for path in files(folder) if path.with_suffix(".index").exists())
        data = bytearray(path.read_bytes())
        data[plain_frames.read(bytes(data))[5].end - 6] ^= 1
        path.write_bytes(bytes(data))
        async with opened(folder) as archive:
            assert len((await finished(archive.verify()))[1]) == 1
            stats = await archive.stats()
            assert (len(stats.damage), len(stats.lost)) == (1, round_number - 1)
            await finished(archive.repair())
            stats = await archive.stats()
            assert (len(stats.damage), len(stats.lost)) == (0, round_number)
