"""Chunks, months, segments: what is on the disk, counted."""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from pathlib import Path

import hypothesis.strategies as st
import msgspec
import numpy as np
import pytest
from hypothesis import given
from tests.support import plain_frames
from tests.support.archives import NOW_MS, all_frames, files, fill, opened, small, text

from lightfast.core.clock import StillClock
from lightfast.storage.archive import known
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.months import month_of
from lightfast.storage.archive.records import NewFrame, Options
from lightfast.storage.archive.sidecar import Sidecar

DAY_MS = 86_400_000


def chunks(folder: Path) -> dict[int, int]:
    """Return how many frames each chunk of the open segment has, read from the disk."""
    found: Counter[int] = Counter()
    for path in files(folder, ".chunks"):
        data = path.read_bytes()
        at = 0
        while at < len(data):
            (length,) = struct.unpack_from(">I", data, at)
            chunk, _, columns = msgspec.msgpack.decode(data[at + 4 : at + 4 + length])
            found[chunk] += len(columns[1]) // 8
            at += 8 + length
    return dict(found)


async def test_slow_frames_are_built_five_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        for at in range(1, 121):
            await archive.append([NewFrame(text(at))])
            await settled(archive)
            built = at // 5 * 5
            expected = {chunk: min(50, built - chunk * 50) for chunk in range(-(-built // 50))}
            assert chunks(folder) == expected, at
        stats = await archive.stats()
        assert (stats.chunks, stats.waiting) == (2, 0)


async def test_fast_frames_are_built_when_twenty_wait(tmp_path: Path) -> None:
    """While calls wait for the writer it builds only when `max_queue_size` frames wait; never so many are left."""
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        stock = archive._stock
        forced: list[tuple[bool, int, bool]] = []
        build = stock.build

        def counted(*, forced: bool) -> bool:
            waiting = stock.view.tail.waiting if stock.view.tail is not None else 0
            found = build(forced=forced)
            seen.append((forced, waiting, found))
            return found

        seen = forced
        stock.build = counted  # type: ignore[method-assign]
        await asyncio.gather(*[archive.append([NewFrame(text(at * 3 + one)) for one in range(3)]) for at in range(400)])
        await settled(archive)
        assert sum(chunks(folder).values()) >= 1200 - 4
        assert all(count == 50 for chunk, count in chunks(folder).items() if chunk < 23)
        for was_forced, waiting, built in seen:
            assert built == (waiting >= (20 if was_forced else 5))
        assert (await archive.stats()).waiting < 5


async def settled(archive: Archive) -> None:
    """Wait until the writer has done what it does when nothing waits: jobs come after it."""
    await archive._writing().run(lambda: iter(()))  # type: ignore[arg-type,return-value]


async def test_every_key_of_the_configuration_counts(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder, batch_threshold=2, frames_per_chunk=7, max_queue_size=3) as archive:
        for at in range(17):
            await archive.append([NewFrame(text(at))])
            await settled(archive)
        assert chunks(folder) == {0: 7, 1: 7, 2: 2}


async def test_chunks_spare_the_start_and_can_be_lost(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        await fill(archive, 123, group=1)
        frames = await all_frames(archive)
    (path,) = files(folder, ".chunks")
    whole = path.read_bytes()
    for data in (b"", whole[:-3], whole[: len(whole) // 2], whole[:40] + b"\xff" + whole[41:], b"\0" * 50):
        path.write_bytes(data)
        async with opened(folder) as archive:
            assert await all_frames(archive) == frames
            await archive.append([NewFrame("one more")])
            frames = await all_frames(archive)
    path.unlink()
    async with opened(folder) as archive:
        assert await all_frames(archive) == frames


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_every_time_has_a_month(time_ms: int) -> None:
    year, _, month = month_of(time_ms).rpartition("/")
    # numpy's least int64 is "no time", so the oracle looks at the day
    day = np.datetime64(time_ms // DAY_MS, "D").astype("datetime64[M]").astype(int)
    assert (int(year), int(month)) == (1970 + day // 12, day % 12 + 1)
    assert len(year.lstrip("-")) >= 4 - year.startswith("-")


async def test_frames_go_to_the_month_of_their_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 30)
    folder = tmp_path / "archive"
    clock = StillClock(NOW_MS * 1_000_000)
    times = [NOW_MS - 400 * DAY_MS, NOW_MS, 1, -1, NOW_MS + 31 * DAY_MS]
    async with opened(folder, clock=clock) as archive:
        for at in range(90):
            await archive.append([NewFrame(text(at), time_ms=times[at % 5])])
            if at == 50:
                clock.advance(30 * 86_400)  # the next month: the open segment is sealed
        async for _ in archive.migrate():
            pass
    for path in files(folder):
        month = f"{path.parent.parent.name}/{path.parent.name}"
        for one in plain_frames.read(path.read_bytes()):
            assert month_of(one.time_ms) == month
    assert {f"{path.parent.parent.name}/{path.parent.name}" for path in files(folder, ".index")} == {
        month_of(time_ms) for time_ms in times
    }


async def test_no_text_of_a_user_is_in_a_file_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 10)
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        for _ in range(40):
            await archive.append([NewFrame("🎉/../evil\0", kind="x/../🎉", metadata={"name": "../../etc/passwd"})])
        async for _ in archive.migrate():
            pass
        assert all(one.kind == "x/../🎉" for one in await all_frames(archive))
    for path in folder.rglob("*"):
        assert all(char in "abcdefghijklmnopqrstuvwxyz0123456789.-_" for char in path.name), path


async def test_the_start_reads_little_of_a_large_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 100)
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        found = await fill(archive, 2050, group=50)
        async for _ in archive.migrate():
            pass
    looked: list[Path] = []
    opening = Sidecar.open

    def counted(path: Path) -> Sidecar:
        looked.append(path)
        return opening(path)

    monkeypatch.setattr(Sidecar, "open", counted)
    archive = await Archive.open(folder, options=Options())
    await archive.load()
    assert looked == []
    assert (await archive.get([found[1000]])).keys() == {found[1000]}
    assert len(looked) <= known.LOOSE + 1
    await archive.close()


async def test_runs_of_ids_are_found_in_and_can_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 40)
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        found = await fill(archive, 1500, group=10)
        runs = archive._stock.view.known.runs
        assert 1 <= len(runs) <= 12
        assert len(archive._stock.view.known.loose) < known.LOOSE
        assert set(await archive.get(found)) == set(found)
        assert archive._stock.view.known.any_of([int(one, 16) for one in found[:100]])
        assert not archive._stock.view.known.any_of([7] * 100)
    for at, path in enumerate(sorted((folder / "ids").iterdir())):
        if at % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-5])
    async with opened(folder) as archive:
        assert set(await archive.get(found)) == set(found)
        more = await fill(archive, 200, group=10)
        async for _ in archive.migrate():
            pass
        assert set(await archive.get(found + more)) == set(found + more)
        assert len(archive._stock.view.known.loose) < known.LOOSE
