"""The archive of frames: durable appends against a bare log, scans against the checksum, memory, start, growth.

`LIGHTFAST_BENCH_LADDER=10000,100000,1000000,10000000` sets the sizes of the cost curve (10,000, 100,000 and 1,000,000
by default), `LIGHTFAST_BENCH_SCAN_MB` how many MB are scanned for the memory it takes (2,048 by default).
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from tests.bench.measure import Row, compare, interleave, single
from tests.bench.world import World

from lightfast.core.checksum import crc32_function
from lightfast.core.clock import SYSTEM
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.coder import Coder
from lightfast.storage.archive.pack import rewrite
from lightfast.storage.archive.records import NewFrame, Options
from lightfast.storage.archive.stock import Stock
from lightfast.storage.archive.verify import verify

LADDER = [int(size) for size in os.environ.get("LIGHTFAST_BENCH_LADDER", "10000,100000,1000000").split(",") if size]
SCAN_MB = int(os.environ.get("LIGHTFAST_BENCH_SCAN_MB", "2048"))
WORDS = [f"word{number}" for number in range(3000)]
LONE, GROUPS, GROUP = 400, 60, 100
OPTIONS = Options(quota=1 << 50)


def texts(count: int, size: int = 200) -> list[str]:
    """Return texts of about *size* bytes."""
    chance = random.Random(3)
    return [" ".join(chance.choices(WORDS, k=max(size // 8, 1)))[:size] for _ in range(count)]


@asynccontextmanager
async def archive_in(folder: Path) -> AsyncIterator[Archive]:
    """Open an archive, and close it."""
    archive = await Archive.open(folder, options=OPTIONS)
    try:
        yield archive
    finally:
        await archive.close()


class BareLog:
    """What a durable append costs at least: one write and one sync at the end of a file."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(self, data: bytes) -> None:
        """Append durably."""
        os.write(self._descriptor, data)
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def spent(work: Callable[[], object], times: int) -> list[float]:
    """Return the seconds of each of *times* runs, in order of size."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return sorted(found)


async def appends(folder: Path, pairs: int) -> list[Row]:
    """Append alone and in groups beside the bare log: at the archive, and as its writer does.

    The second when the archive is closed: what it indexes and packs in the background would be measured, else.
    """
    alone, group = [NewFrame(texts(1)[0])], [NewFrame(text) for text in texts(GROUP)]
    bare = BareLog(folder / "bare")
    stock = Stock(folder / "stock", OPTIONS, SYSTEM, None)
    stock.load()
    worst, far = [], []

    def theirs(frames: list[NewFrame], times: int) -> float:
        data = b"x" * sum(len(str(one.content)) + 60 for one in frames)
        return spent(lambda: bare.append(data), times)[times // 2]

    def writer(frames: list[NewFrame], times: int) -> float:
        return spent(lambda: stock.append([frames]), times)[times // 2]

    async with archive_in(folder / "archive") as archive:

        async def ours(frames: list[NewFrame], times: int) -> list[float]:
            found = []
            for _ in range(times):
                began = time.perf_counter()
                await archive.append(frames)
                found.append(time.perf_counter() - began)
            return sorted(found)

        await ours(alone, 50)
        lone, groups = [], []
        for _ in range(pairs):
            mine = await ours(alone, LONE)
            lone.append((mine[LONE // 2] * 1e6, theirs(alone, LONE) * 1e6))
            worst.append(mine[LONE * 99 // 100] * 1e3)
        for _ in range(pairs):
            mine = await ours(group, GROUPS)
            groups.append((GROUP / mine[GROUPS // 2], GROUP / theirs(group, GROUPS)))
            began = time.perf_counter()
            await asyncio.gather(*[archive.append(alone) for _ in range(2000)])
            far.append(2000 / (time.perf_counter() - began))
    inside = [(writer(alone, LONE) * 1e6, theirs(alone, LONE) * 1e6) for _ in range(pairs)]
    groups_inside = [(GROUP / writer(group, GROUPS), GROUP / theirs(group, GROUPS)) for _ in range(pairs)]
    stock.close()
    bare.close()
    return [
        compare("archive: lone durable append, p50, beside write+fdatasync", lone, "µs", most=1.3),
        compare("archive: the same in the writer thread", inside, "µs", most=1.3),
        single("archive: lone durable append, p99", statistics.median(worst), "ms", most=10),
        compare("archive: frames a second in groups of 100, beside the bare log", groups, "1/s", least=0.5),
        compare("archive: the same in the writer thread", groups_inside, "1/s", least=0.5),
        single("archive: 2,000 calls at once", statistics.median(far), "frames/s"),
    ]


async def json_file(folder: Path, pairs: int) -> list[Row]:
    """Add one memory to 10,000: append a frame, or rewrite a JSON file."""
    memories = [
        {"id": f"{at:016x}", "content": text, "timestamp": at, "metadata": {}} for at, text in enumerate(texts(10_000))
    ]
    path = folder / "memories.json"
    path.write_text(json.dumps(memories))
    async with archive_in(folder / "ten") as archive:
        for begin in range(0, 10_000, 500):
            await archive.append([NewFrame(str(one["content"])) for one in memories[begin : begin + 500]])

        async def ours() -> float:
            began = time.perf_counter()
            for _ in range(20):
                await archive.append([NewFrame("one more memory")])
            return (time.perf_counter() - began) / 20 * 1e6

        async def theirs() -> float:
            began = time.perf_counter()
            found = json.loads(path.read_text())
            found.append({"id": "0" * 16, "content": "one more memory", "timestamp": 1, "metadata": {}})
            path.write_text(json.dumps(found))
            return (time.perf_counter() - began) * 1e6

        found = await interleave(min(pairs, 5), theirs, ours)
    return [
        compare("archive: rewriting a JSON file of 10,000 memories, beside appending a frame", found, "µs", least=20)
    ]


def limit(path: Path) -> int:
    """Walk the frames of a file by their lengths and check each one's CRC32: what a scan costs at least."""
    crc32 = crc32_function()
    head, length_at = struct.Struct(">I"), struct.Struct(">I").unpack_from
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    at, size = 0, len(data)
    while at < size:
        end = at + 31
        end += 4 + length_at(data, end)[0]
        end += 4 + length_at(data, end)[0]
        if crc32(data[at:end]) != head.unpack_from(data, end)[0]:
            raise ValueError(f"the frame at {at} is damaged")
        at = end + 4
    return size


async def scans(folder: Path, pairs: int) -> list[Row]:
    """Check every frame, and read every frame, beside the loop that only computes checksums."""
    rows = []
    for size, count in ((200, 120_000), (4096, 20_000)):
        place = folder / f"scan{size}"
        async with archive_in(place) as archive:
            made = texts(1000, size)
            for _ in range(count // 1000):
                await archive.append([NewFrame(one, delta=False) for one in made])
        stock = Stock(place, OPTIONS, SYSTEM, None)
        stock.load()
        stock.seal()
        paths = [segment.path for segment in stock.view.segments]

        async def bound(paths: list[Path] = paths) -> float:
            began = time.perf_counter()
            return sum(map(limit, paths)) / (time.perf_counter() - began) / 1e6

        async def checked(stock: Stock = stock) -> float:
            began = time.perf_counter()
            for step in verify(stock):
                if step.damage:
                    raise ValueError(step.damage)
            return stock.size / (time.perf_counter() - began) / 1e6

        async def read(stock: Stock = stock, count: int = count) -> float:
            began = time.perf_counter()
            found = sum(1 for _ in stock.reader().scan())
            if found != count:
                raise ValueError(f"{found} of {count} frames")
            return stock.size / (time.perf_counter() - began) / 1e6

        note = "the limit walks the frames and checks each one"
        pairs_checked = await interleave(min(pairs, 5), checked, bound)
        rows.append(
            compare(f"archive: scan that checks every frame, {size} B", pairs_checked, "MB/s", least=0.7, note=note)
        )
        pairs_read = await interleave(min(pairs, 5), read, bound)
        rows.append(
            compare(f"archive: scan that decodes every frame, {size} B", pairs_read, "MB/s", note=f"{count:,} frames")
        )
        stock.close()
        shutil.rmtree(place)
    return rows


def edits(count: int, words: int = 300) -> list[str]:
    """Return the versions of a text, each with a word or two changed."""
    chance = random.Random(5)
    current = chance.choices(WORDS, k=words)
    found = []
    for _ in range(count):
        for _ in range(chance.randrange(1, 3)):
            current[chance.randrange(words)] = chance.choice(WORDS)
        found.append(" ".join(current))
    return found


async def packing(folder: Path) -> list[Row]:
    """Pack an edit history and many short notes: plain, with dictionaries, with deltas."""
    rows = []
    for what, made in (("edit history", edits(2000)), ("notes of 200 B", texts(10_000))):
        sizes = []
        for delta, dictionaries in ((False, False), (False, True), (True, True)):
            place = folder / "pack"
            async with archive_in(place) as archive:
                await archive.append([NewFrame(one, time_ms=1) for one in made])
            stock = Stock(place, OPTIONS, SYSTEM, None)
            stock.load()
            stock.seal()
            for _ in rewrite(stock, list(stock.view.segments), coder=partial(Coder, delta, dictionaries)):
                pass
            sizes.append(sum(segment.info.length for segment in stock.view.segments))
            stock.close()
            shutil.rmtree(place)
        raw = sum(map(len, made))
        note = f"as it came {raw / 1e6:.2f} MB, zstd {sizes[0] / 1e6:.2f} MB, with dictionaries {sizes[1] / 1e6:.2f} MB"
        goal = 0.5 if what == "edit history" else 0.0
        rows.append(
            compare(f"archive: {what}, packed beside full frames", [(sizes[2], sizes[0])], "B", most=goal, note=note)
        )
    return rows


SCANNER = """
import asyncio, sys, time
from pathlib import Path
from lightfast.storage.archive.archive import Archive

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

async def main():
    archive = await Archive.open(Path(sys.argv[1]))
    await archive.load()
    before = peak()
    began = time.perf_counter()
    def scan(reader):
        return sum(len(frame.content) for frame in reader.scan())
    size = await archive.run(scan)
    print(before, peak(), size, time.perf_counter() - began)
    await archive.close()

asyncio.run(main())
"""

STARTER = """
import asyncio, sys, time
from pathlib import Path
from lightfast.storage.archive.archive import Archive

async def main():
    began = time.perf_counter()
    archive = await Archive.open(Path(sys.argv[1]))
    found = await archive.get(sys.argv[2:])
    print(time.perf_counter() - began, len(found))
    await archive.close()

asyncio.run(main())
"""


def in_process(script: str, *arguments: str) -> list[float]:
    """Run *script* in a process of its own and return the numbers it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=3600, check=True
    )
    return [float(one) for one in done.stdout.split()]


async def memory(folder: Path) -> list[Row]:
    """Scan an archive many times the size of the memory it may take."""
    place = folder / "large"
    chance = random.Random(5)
    async with archive_in(place) as archive:
        began = time.perf_counter()
        for _ in range(SCAN_MB):
            await archive.append([NewFrame(chance.randbytes(16_000), delta=False) for _ in range(64)])
        wrote = time.perf_counter() - began
    before, after, size, seconds = in_process(SCANNER, str(place))
    shutil.rmtree(place)
    note = f"{before / 1e6:.0f} MB before it; {size / seconds / 1e9:.2f} GB/s; written at {size / wrote / 1e6:.0f} MB/s"
    return [single(f"archive: peak memory of a scan of {size / 1e9:.1f} GB", after / 1e6, "MB", most=200, note=note)]


async def growth(folder: Path) -> list[Row]:
    """Append, get, start with more and more frames."""
    rows: list[Row] = []
    place = folder / "growth"
    chance = random.Random(9)
    made = texts(1000)
    some: list[str] = []
    there = 0
    for wanted in LADDER:
        async with archive_in(place) as archive:
            began = time.perf_counter()
            filled = wanted - there
            while there < wanted:
                ids = await archive.append([NewFrame(one) for one in made])
                some += chance.sample(ids, 2)
                there += len(ids)
            rate = filled / (time.perf_counter() - began)
            lone = []
            for _ in range(200):
                began = time.perf_counter()
                await archive.append([NewFrame("one more")])
                lone.append(time.perf_counter() - began)
            there += 200
            picked = chance.sample(some, min(1000, len(some)))

            def gets(reader: object, picked: list[str] = picked) -> list[float]:
                found = []
                for one in picked:
                    began = time.perf_counter()
                    if reader.get(one) is None:  # type: ignore[attr-defined]
                        raise ValueError(f"{one} is gone")
                    found.append(time.perf_counter() - began)
                return sorted(found)

            took = await archive.run(gets)
        starts = [in_process(STARTER, str(place), picked[at])[0] for at in range(3)]
        note = (
            f"append p50 {statistics.median(lone) * 1e6:.0f} µs, get p50 {took[len(took) // 2] * 1e6:.0f} µs, "
            f"p99 {took[len(took) * 99 // 100] * 1e6:.0f} µs, filled at {rate:,.0f} frames/s"
        )
        size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        note += f", {size / there:.0f} bytes a frame"
        rows.append(
            single(
                f"archive: start and first frame with {wanted:,} frames", min(starts) * 1e3, "ms", most=200, note=note
            )
        )
    return rows


async def run(world: World, pairs: int) -> list[Row]:
    """Measure all of it; the daemon is not asked."""
    folder = Path(tempfile.mkdtemp(prefix="lightfast-bench-archive-"))
    try:
        rows = await appends(folder, pairs)
        rows += await json_file(folder, pairs)
        rows += await scans(folder, pairs)
        rows += await packing(folder)
        rows += await memory(folder)
        rows += await growth(folder)
    finally:
        shutil.rmtree(folder)
    return rows
