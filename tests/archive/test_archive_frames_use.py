"""Appending, getting, scanning; what is lazy, what is bounded."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.support import plain_frames
from tests.support.archives import NOW_MS, all_frames, fill, opened, small, still, text

from lightfast.core.clock import StillClock
from lightfast.core.errors import Denied, Exhausted, FailedPrecondition
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive import ids, plain, stock, writer
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.reader import Reader
from lightfast.storage.archive.records import Frame, NewFrame, Options
from lightfast.storage.archive.tail import Tail

COUNT = int(os.environ.get("LIGHTFAST_IDS", "1000000"))


async def test_nothing_is_made_before_the_first_append(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    threads = set(threading.enumerate())
    archive = await Archive.open(folder)
    assert set(threading.enumerate()) <= threads  # one of an earlier test may end meanwhile
    assert await archive.get(["0" * 16]) == {}
    assert await all_frames(archive) == []
    assert (await archive.stats()).frames == 0
    assert not folder.exists()
    await archive.append([])
    assert not folder.exists()
    await archive.append([NewFrame("now")])
    assert folder.exists()
    await archive.close()
    with pytest.raises(FailedPrecondition):
        await archive.append([NewFrame("later")])


async def test_frames_come_back_in_order_and_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 32)
    new = [
        NewFrame(text(at), kind=("note", "idea")[at % 2], time_ms=NOW_MS + (at * 37) % 1000, metadata={"at": at})
        for at in range(200)
    ]
    async with opened(tmp_path / "archive") as archive:
        found = [one for begin in range(0, 200, 7) for one in await archive.append(new[begin : begin + 7])]
        assert len(set(found)) == 200
        frames = await all_frames(archive)
        assert [(one.number, one.frame_id, one.content) for one in frames] == [
            (at, found[at], new[at].content) for at in range(200)
        ]
        assert [one.number for one in await all_frames(archive, newest_first=True)] == list(range(199, -1, -1))
        kinds = await all_frames(archive, kinds=("idea",), after_ms=NOW_MS + 100, before_ms=NOW_MS + 600)
        assert kinds == [one for one in frames if one.kind == "idea" and 100 < one.time_ms - NOW_MS < 600]
        part = await all_frames(archive, after_number=150)
        assert [one.number for one in part] == list(range(151, 200))
        back = await all_frames(archive, after_number=150, newest_first=True)
        assert [one.number for one in back] == list(range(199, 150, -1))
        assert await archive.get([found[3], "f" * 16, found[150], "no id"]) == {
            found[3]: frames[3], found[150]: frames[150]
        }  # fmt: skip
        assert await archive.run(lambda reader: reader.at(77)) == frames[77]
        assert await archive.run(lambda reader: list(reader.many([5, 500, 4]))) == [frames[5], frames[4]]
        assert await archive.run(lambda reader: (reader.count, reader.next_number)) == (200, 200)
    async with opened(tmp_path / "archive") as archive:
        assert await all_frames(archive) == frames
        (fresh,) = await archive.append([NewFrame("after")])
        assert (await archive.get([fresh]))[fresh].number == 200


async def test_scans_merge_months_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 40)
    months = [0, 1 << 62, NOW_MS, -(1 << 62), NOW_MS + 40 * 86_400_000]
    async with opened(tmp_path / "archive") as archive:
        for at in range(0, 200, 4):
            await archive.append([NewFrame(text(at + one), time_ms=months[(at + one) % 5] or 1) for one in range(4)])
        frames = await all_frames(archive)
        async for _ in archive.migrate():
            pass
        assert [one.number for one in await all_frames(archive)] == list(range(200))
        assert await all_frames(archive) == frames
        assert await all_frames(archive, newest_first=True) == frames[::-1]
        assert {one.name for one in (await archive.stats()).shards} == {
            "-146136543/09", "1970/01", "2026/11", "2026/12", "146140482/04",
        }  # fmt: skip


async def test_a_scan_goes_on_while_files_are_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 50)
    async with opened(tmp_path / "archive") as archive:
        found = await fill(archive, 400, group=25)
        begun, go_on = threading.Event(), threading.Event()

        def slowly(reader: Reader) -> list[str]:
            seen = []
            for at, frame in enumerate(reader.scan()):
                seen.append(frame.frame_id)
                if at == 60:
                    begun.set()
                    assert go_on.wait(150)
            return seen

        scan = asyncio.ensure_future(archive.run(slowly))
        await asyncio.get_running_loop().run_in_executor(None, begun.wait, 60)
        more = await fill(archive, 30)
        async for _ in archive.migrate():
            pass
        assert await archive.remove([found[350]], reason="gone") == 1
        go_on.set()
        seen = await scan
        assert seen == [one for one in found if one != found[350]]  # and none of what was appended since
        assert len(await all_frames(archive)) == 429
        assert more[-1] in await archive.get(more)


async def test_an_id_that_is_taken_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch, 4)
    still(monkeypatch)
    drawn: Iterator[str] = iter(())

    def new(self: ids.Ids, content: str | bytes, time_ms: int) -> str:
        return next(drawn)

    monkeypatch.setattr(ids.Ids, "new", new)
    monkeypatch.setattr(stock, "encode_texts", lambda *_: None)  # which makes ids itself
    async with opened(tmp_path / "archive") as archive:
        drawn = iter([f"{at:016x}" for at in range(8)])
        for at in range(2):
            await archive.append([NewFrame(text(at * 4 + one)) for one in range(4)])
        assert len(list((tmp_path / "archive" / "shards").glob("*/*/*.index"))) == 1
        drawn = iter(["0000000000000001", "0000000000000005", "00000000000000aa"])  # one is sealed, one is not
        assert await archive.append([NewFrame("x")]) == ["00000000000000aa"]
        drawn = iter(["00000000000000bb", "00000000000000bb", "00000000000000cc", "00000000000000dd"])
        assert await archive.append([NewFrame("twice in a call"), NewFrame("x")]) == [
            "00000000000000cc", "00000000000000dd"
        ]  # fmt: skip
        assert len({one.frame_id for one in await all_frames(archive)}) == 11


def test_no_two_ids_meet() -> None:
    """One content at one time, a million times, or `LIGHTFAST_IDS=10000000` times, by both ways to make ids."""
    made = ids.Ids()
    same = [NewFrame("the same content", time_ms=7)] * 1000
    found = np.empty(COUNT, dtype=np.uint64)
    for begin in range(0, COUNT, 1000):
        encoded = plain.encode_texts(same, begin, 7, made)
        assert encoded is not None
        found[begin : begin + 1000] = encoded[1].keys
    found[:1000] = [int(made.new("the same content", 7), 16) for _ in range(1000)]
    assert len(np.unique(found)) == COUNT
    assert all(layout.is_id(made.new("x", -1)) for _ in range(3))
    assert abs(float(np.mean(found >> np.uint64(63))) - 0.5) < 0.01  # all bits are used


async def test_listeners_are_told_after_the_append(tmp_path: Path) -> None:
    told: list[Sequence[Frame]] = []
    gone: list[Sequence[str]] = []

    def fails(_: Sequence[Frame]) -> None:
        raise ValueError("a mistake of the listener")

    async with opened(tmp_path / "archive") as archive:
        archive.on_appended += [fails, told.append]
        archive.on_removed.append(gone.append)
        found = await archive.append([NewFrame("a"), NewFrame(b"b", kind="blob")])
        assert [(one.frame_id, one.number, one.content, one.time_ms) for one in told[0]] == [
            (found[0], 0, "a", NOW_MS), (found[1], 1, b"b", NOW_MS)
        ]  # fmt: skip
        assert await archive.remove([found[0], "0" * 16], reason="") == 1
        assert gone == [[found[0]]]


async def test_a_full_archive_says_what_to_do(tmp_path: Path) -> None:
    async with opened(tmp_path / "archive", quota=4000) as archive:
        found = await archive.append([NewFrame("x" * 3000)])
        with pytest.raises(Exhausted) as caught:
            await archive.append([NewFrame("y" * 3000)])
        assert caught.value.reason == "ARCHIVE_FULL"
        assert "archive.quota" in caught.value.message
        await archive.append([NewFrame("small")])
        await archive.remove(found, reason="room")
        await archive.append([NewFrame("y" * 3000)])


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="room cannot be reserved here")
def test_small_writes_find_their_room_written(tmp_path: Path) -> None:
    """A sync then has nothing to note but the bytes: no new size, no room used for the first time."""
    tail = Tail(tmp_path, "2026/11", "00000001", 50)
    tail.create()
    tail.write(b"\xfe" * 100)
    with tail.path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        assert size > 100
        assert os.lseek(file.fileno(), 0, os.SEEK_HOLE) == size
    tail.close()
    assert tail.path.read_bytes() == b"\xfe" * 100


async def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MAX_WAITING_CALLS", 10)
    async with opened(tmp_path / "archive") as archive:
        results = await asyncio.gather(
            *[archive.append([NewFrame(str(at))]) for at in range(50)], return_exceptions=True
        )
        refused = [one for one in results if isinstance(one, BaseException)]
        assert len(refused) == 40
        assert all(isinstance(one, Exhausted) and one.reason == "ARCHIVE_BUSY" for one in refused)
        assert len(await all_frames(archive)) == 10
        await archive.append([NewFrame("there is room again")])


async def test_private_frames_need_a_sealer(tmp_path: Path) -> None:
    class Sealer:
        unlocked = True

        def seal(self, content: bytes, context: bytes, metadata: object) -> tuple[bytes, dict[str, str]]:
            if not self.unlocked:
                raise Denied("locked", reason="ARCHIVE_LOCKED")
            return bytes(byte ^ 0x5A for byte in content), {"context": context.decode()}

        def open(self, sealed: bytes, context: bytes, fields: dict[str, str]) -> bytes:
            assert fields["context"] == context.decode()
            return self.seal(sealed, context, {})[0]

    sealer = Sealer()
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        with pytest.raises(Denied):
            await archive.append([NewFrame("secret", private=True)])
    new = NewFrame("a secret " * 20, kind="diary", metadata={"mood": "grim"}, private=True)
    async with opened(folder, sealer=sealer) as archive:
        found = await archive.append([NewFrame("open"), new, NewFrame(b"\0\1", private=True)])
        read = await archive.get(found)
        assert (read[found[1]].content, read[found[1]].metadata) == (new.content, {"mood": "grim"})
        assert read[found[2]].content == b"\0\1"
        assert read[found[1]].private
        async for _ in archive.migrate():
            pass
        assert (await archive.get(found))[found[1]] == read[found[1]]
        assert (await archive.stats()).private_frames == 2
    for path in folder.rglob("*"):
        assert not path.is_file() or (b"secret" not in path.read_bytes() and b"grim" not in path.read_bytes())
    assert plain_frames.read_folder(folder)[found[1]].content is None
    sealer.unlocked = False
    async with opened(folder, sealer=sealer) as archive:
        assert set(await archive.get(found)) == {found[0]}
        assert (await archive.why(found)).keys() == {found[1], found[2]}
        assert all(why.startswith("locked") for why in (await archive.why(found)).values())
        assert [one.frame_id for one in await all_frames(archive)] == [found[0]]
        assert (await archive.stats()).damage == ()  # locked is not damaged


async def test_one_archive_has_one_writer(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    async with opened(folder) as archive:
        await archive.append([NewFrame("mine")])
        other = await Archive.open(folder)
        with pytest.raises(FailedPrecondition) as caught:
            await other.append([NewFrame("not yours")])
        assert caught.value.reason == "ARCHIVE_HELD"
        await other.close()


async def test_many_threads_read_while_one_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers in threads of their own, while frames are appended, packed and purged: each sees whole, right frames."""
    small(monkeypatch, 100)
    folder = tmp_path / "archive"
    archive = await Archive.open(folder, options=Options(), clock=StillClock(NOW_MS * 1_000_000))
    await archive.append([NewFrame(text(0), metadata={"at": 0})])
    ending = threading.Event()
    wrong: list[str] = []
    rounds = [0] * 6

    def look(number: int) -> None:
        while not ending.is_set():
            reader = archive._stock.reader()
            last = -1
            for frame in reader.scan(newest_first=bool(number % 2)):
                if frame.content != text(frame.metadata["at"]):
                    wrong.append(f"{frame.number}: {frame.content!r}")
                if number % 2 == 0:
                    if frame.number <= last:
                        wrong.append(f"{frame.number} after {last}")
                    last = frame.number
                    other = reader.get(frame.frame_id)
                    if other is not None and other != frame:
                        wrong.append(f"{other} is not {frame}")
                if ending.is_set():
                    break
            rounds[number] += 1

    threads = [threading.Thread(target=look, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    kept: dict[str, int] = {}
    try:
        for begin in range(1, 600, 10):
            new = [NewFrame(text(at), metadata={"at": at}) for at in range(begin, begin + 10)]
            found = await archive.append(new)
            kept |= dict(zip(found, range(begin, begin + 10), strict=True))
            if begin % 150 == 1:
                await archive.remove(found[:2], reason="race")
                for one in found[:2]:
                    del kept[one]
        async for _ in archive.migrate():
            pass
    finally:
        ending.set()
        for thread in threads:
            thread.join(60)
    assert wrong == []
    assert min(rounds) >= 1
    assert archive._stock.damage == {}
    frames = {one.frame_id: one.metadata["at"] for one in await all_frames(archive, after_number=0)}
    assert frames == kept
    await archive.close()
    assert {one for one, plain in plain_frames.read_folder(folder).items() if plain.metadata["_number"]} == set(kept)
