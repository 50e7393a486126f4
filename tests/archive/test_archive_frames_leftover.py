"""Files of frames that the list of segments does not name: nothing is deleted that is nowhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.support import plain_frames
from tests.support.archives import all_frames, files, fill, finished, opened, small, still

from lightfast.storage.archive import leftovers
from lightfast.storage.archive.records import NewFrame


async def test_an_older_list_of_segments_costs_no_frames(tmp_path: Path) -> None:
    """Somebody puts yesterday's archive.json back: what was appended and packed since is set aside, and taken in."""
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        await fill(archive, 60, group=10)
        async for _ in archive.migrate():
            pass
    older = (folder / "archive.json").read_bytes()
    async with opened(folder) as archive:
        await fill(archive, 40, group=10)
        async for _ in archive.migrate():
            pass
        await archive.append([NewFrame("the very last")])
        every = {one.frame_id for one in await all_frames(archive)}
    (folder / "archive.json").write_bytes(older)
    with capture_logs() as logs:
        async with opened(folder) as archive:
            there = {one.frame_id for one in await all_frames(archive)}
            assert there < every
            assert any("does not know" in line["event"] for line in logs)
            incoming = (await archive.stats()).incoming
            assert incoming
            assert all((folder / name).is_file() for name in incoming)
            async for _ in archive.migrate():
                pass
            texts = [str(one.content) for one in await all_frames(archive)]
            assert (await archive.stats()).incoming == ()
    assert len(texts) == len(every)
    assert "the very last" in texts


async def test_what_a_cut_off_change_left_is_deleted(tmp_path: Path) -> None:
    """A copy of a file of frames under another number holds nothing new; a purged frame in one does not come back."""
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        ids = await archive.append([NewFrame("one"), NewFrame("two, a secret")])
        async for _ in archive.migrate():
            pass
    (path,) = [path for path in files(folder) if path.with_suffix(".index").exists()]
    copy = path.with_name("000999.frames")
    shutil.copy(path, copy)
    async with opened(folder) as archive:
        assert len(await all_frames(archive)) == 2
        assert not copy.exists()
        shutil.copy(path, tmp_path / "kept")
        await archive.remove([ids[1]], reason="test")
    shutil.copy(tmp_path / "kept", copy)
    async with opened(folder) as archive:
        assert [str(one.content) for one in await all_frames(archive)] == ["one"]
    assert not copy.exists()
    assert not (folder / "incoming").exists()


async def test_a_sealing_that_was_cut_off_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon died when the list named the segment as sealed, and its file still had the room it had reserved."""
    folder = tmp_path / "archive"
    small(monkeypatch, 10)
    still(monkeypatch)
    async with opened(folder) as archive:
        await fill(archive, 10, group=10)
        await fill(archive, 1)
    (path,) = [path for path in files(folder) if path.with_suffix(".index").exists()]
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(100_000))
    async with opened(folder) as archive:
        await archive.load()
        assert path.read_bytes() == whole
        path.write_bytes(whole + bytes(100_000))  # as where nothing can be given back: on a medium that is only read
        assert (await finished(archive.verify()))[1] == []
        assert len(await all_frames(archive)) == 11
        path.write_bytes(whole + bytes(100) + b"x")
        assert len((await finished(archive.verify()))[1]) == 1


async def test_a_list_from_before_a_packing_costs_no_frames(tmp_path: Path) -> None:
    """It names a file that is gone by now; the frames it knew of lie only where it does not look."""
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        await fill(archive, 60, group=10)
        every = {one.frame_id for one in await all_frames(archive)}
    older = (folder / "archive.json").read_bytes()
    async with opened(folder) as archive:
        await finished(archive.migrate())
        (sealed,) = [path for path in files(folder) if path.with_suffix(".index").exists()]
    (folder / "archive.json").write_bytes(older)
    async with opened(folder) as archive:
        assert await all_frames(archive) == []
        assert [Path(name).name for name in (await archive.stats()).incoming] == [sealed.name]
        await finished(archive.migrate())
        assert {one.frame_id for one in await all_frames(archive)} == every


async def test_a_frame_whose_known_copy_is_damaged_counts_as_unknown(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        await fill(archive, 20, group=10)
        await finished(archive.migrate())
    (path,) = [path for path in files(folder) if path.with_suffix(".index").exists()]
    shutil.copy(path, path.with_name("00000999.frames"))
    data = bytearray(path.read_bytes())
    victim = plain_frames.read(bytes(data))[10]
    data[victim.end - 6] ^= 1
    path.write_bytes(bytes(data))
    async with opened(folder) as archive:
        assert len(await all_frames(archive)) == 19
        assert (await archive.stats()).incoming == ("incoming/00000999.frames",)


async def test_files_that_are_set_aside_never_take_each_others_place(tmp_path: Path) -> None:
    """The numbers of an older list are given out again: two files of one name may come, one after the other."""
    folder = tmp_path / "archive"
    for day in ("first", "second", "third"):
        async with opened(tmp_path / day) as archive:
            await archive.append([NewFrame(f"of the {day} day")])
        (file,) = files(tmp_path / day)
        assert file.name == "00000001.frames"
        async with opened(folder) as archive:
            await archive.append([NewFrame("known")])
        shutil.copy(file, files(folder)[0].with_name("00000777.frames"))
        async with opened(folder) as archive:
            await archive.load()
    async with opened(folder) as archive:
        assert len((await archive.stats()).incoming) == 3
        await finished(archive.migrate())
        texts = {str(one.content) for one in await all_frames(archive)}
    assert texts == {"known", "of the first day", "of the second day", "of the third day"}


async def test_what_is_damaged_inside_a_file_that_nobody_knows_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        await fill(archive, 20, group=10)
        await finished(archive.migrate())
    (path,) = [path for path in files(folder) if path.with_suffix(".index").exists()]
    data = bytearray(path.read_bytes())
    victim = plain_frames.read(bytes(data))[10]
    data[victim.end - 6] ^= 1
    torn = path.with_name("00000998.frames")
    torn.write_bytes(path.read_bytes()[: victim.end - 3])  # as a packing leaves it that was cut off: no loss
    hurt = path.with_name("00000999.frames")
    hurt.write_bytes(bytes(data))
    with capture_logs() as logs:
        async with opened(folder) as archive:
            assert len(await all_frames(archive)) == 20
    assert not torn.exists()
    assert not hurt.exists()
    assert (folder / leftovers.DAMAGED / hurt.name).read_bytes() == bytes(data)
    assert [line["file"] for line in logs if line["log_level"] == "error"] == [f"damaged/{hurt.name}"]


async def test_a_purge_that_was_cut_off_leaves_nothing_among_what_is_damaged(tmp_path: Path) -> None:
    """The file that it had replaced was still there, and was damaged, so that it was set aside."""
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        await fill(archive, 20, group=10)
        await finished(archive.migrate())
        (path,) = [path for path in files(folder) if path.with_suffix(".index").exists()]
        data = bytearray(path.read_bytes())
        victim, purged = plain_frames.read(bytes(data))[10:12]
        data[victim.end - 6] ^= 1
        assert await archive.remove([purged.frame_id], reason="test")
    stones = folder / "tombstones.jsonl"
    stones.write_bytes(stones.read_bytes().rpartition(b'{"done"')[0])
    path.with_name("00000999.frames").write_bytes(bytes(data))
    async with opened(folder) as archive:
        assert len(await all_frames(archive)) == 19
    left = [path for path in folder.rglob("*") if path.is_file() and path != stones]
    assert not [path for path in left if purged.frame_id.encode() in path.read_bytes()]
