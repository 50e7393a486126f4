"""Purging: the bytes are gone, what depended on them is not, and a note remains."""

from __future__ import annotations

import random
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.archive.test_archive_frames_packing import edits
from tests.support import plain_frames
from tests.support.archives import NOW_MS, all_frames, finished, opened, small, still, text

from lightfast.storage.archive import purge
from lightfast.storage.archive.records import NewFrame

SECRET = "the-key-is-4711-abc"


def holders(folder: Path, needle: str) -> list[Path]:
    """Return the files that hold a text as it is."""
    return [path for path in folder.rglob("*") if path.is_file() and needle.encode() in path.read_bytes()]


@pytest.mark.parametrize("packed", [False, True])
async def test_the_bytes_are_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    small(monkeypatch, 60)
    still(monkeypatch)
    folder = tmp_path / "archive"
    rng = random.Random(1)
    async with opened(folder) as archive:
        found: list[str] = []
        gone = []
        for begin in range(0, 200, 10):
            new = [NewFrame(text(at), time_ms=NOW_MS + at * 86_400_000) for at in range(begin, begin + 10)]
            secret = rng.randrange(10)
            new[secret] = NewFrame(f"note: {SECRET}", metadata={"where": SECRET})
            ids = await archive.append(new)
            gone.append(ids[secret])
            found += ids
        if packed:
            async for _ in archive.migrate():
                pass
        before = [one for one in await all_frames(archive) if one.frame_id not in gone]
        assert holders(folder, SECRET)
        assert await archive.remove([*gone, "f" * 16, gone[0]], reason="GDPR") == 20
        assert holders(folder, SECRET) == []
        assert await all_frames(archive) == before
        assert await archive.get(gone) == {}
        assert await archive.why([gone[0], "f" * 16]) == {
            gone[0]: f"purged at {NOW_MS} ms since 1970: GDPR",
            "f" * 16: "unknown: there is no frame of this id",
        }
        assert await archive.remove(gone, reason="again") == 0
        stats = await archive.stats()
        assert (stats.frames, stats.tombstones) == (180, 20)
        (fresh,) = await archive.append([NewFrame("after")])
        assert (await archive.get([fresh]))[fresh].number == 200  # numbers are not used again
    async with opened(folder) as archive:
        assert [one for one in await all_frames(archive) if one.frame_id != fresh] == before
        assert (await archive.why([gone[5]]))[gone[5]].endswith("GDPR")
        assert (await finished(archive.verify()))[1] == []


async def test_a_group_may_lose_members_and_its_chunk_records(tmp_path: Path) -> None:
    """Frames of one call: with some gone, and the chunk records lost, the rest is no torn call."""
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        found = await archive.append([NewFrame(text(at)) for at in range(9)])
        await archive.remove([found[0], found[4]], reason="")
        more = await archive.append([NewFrame("x"), NewFrame("y")])
        await archive.remove([more[0]], reason="")
    for path in (folder / "shards").glob("*/*/*.chunks"):
        path.unlink()
    async with opened(folder) as archive:
        kept = [one for one in found + more if one not in {found[0], found[4], more[0]}]
        assert [one.frame_id for one in await all_frames(archive)] == kept


async def test_deltas_of_a_purged_frame_are_based_anew(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    texts = edits(60)
    texts[20] = texts[19] + f" {SECRET}"  # its neighbours are deltas of it
    async with opened(folder) as archive:
        found = await archive.append([NewFrame(one) for one in texts])
        async for _ in archive.migrate():
            pass
        plain = plain_frames.read_folder(folder)
        bases = {
            one.metadata["enc"][0][6:] for one in plain.values() if one.metadata.get("enc", [""])[0][:6] == "delta:"
        }
        gone = [one for one in found if one in bases][:5]
        gone.append(found[20])
        frames = [one for one in await all_frames(archive) if one.frame_id not in gone]
        assert await archive.remove(gone, reason="") == len(set(gone))
        assert await all_frames(archive) == frames
        left = plain_frames.read_folder(folder)
        assert {one.frame_id: one.content for one in frames} == {one: plain.content for one, plain in left.items()}
        assert not [one for one in left.values() if SECRET in str(one.content)]


async def test_a_purge_that_was_cut_off_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(monkeypatch, 40)
    still(monkeypatch)
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        found = []
        for at in range(10):
            found += await archive.append(
                [NewFrame(f"{SECRET} {at}"), *[NewFrame(text(at * 9 + one)) for one in range(9)]]
            )
        gone = found[::10]
        frames = [one for one in await all_frames(archive) if one.frame_id not in gone]
        stock = archive._stock

        def cut() -> Generator[int, None, None]:
            steps = purge.remove(stock, gone, "cut off")
            next(steps)
            steps.close()
            yield 0

        await archive._writing().run(cut)
        assert holders(folder, SECRET)
    async with opened(folder) as archive:
        assert await all_frames(archive) == frames
        assert holders(folder, SECRET) == []
        assert set(await archive.why(gone)) == set(gone)


async def test_what_was_set_aside_of_a_purged_frame_goes_too(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        (gone,) = await archive.append([NewFrame(SECRET)])
        await archive.append([NewFrame("other")])
        (folder / "damaged").mkdir()
        (folder / "damaged" / "piece.bytes").write_bytes(gone.encode() + b" and " + SECRET.encode())
        (folder / "damaged" / "other.bytes").write_bytes(b"other")
        await archive.remove([gone], reason="")
        assert holders(folder, SECRET) == []
        assert [path.name for path in (folder / "damaged").iterdir()] == ["other.bytes"]
