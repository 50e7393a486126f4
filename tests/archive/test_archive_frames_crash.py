"""kill -9 while frames are appended, packed, purged and migrated: nothing acknowledged is lost or there twice."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path

import pytest
from tests.support import plain_frames
from tests.support.archives import all_frames, files, finished, opened

from lightfast.storage.archive.records import NewFrame

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "5"))
LEAST = 10
"""So many frames are kept before a kill, however slow the disk is."""

WRITER = """
import asyncio, json, os, sys
from pathlib import Path
from lightfast.storage.archive import stock
from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import NewFrame

stock.MAX_TAIL_FRAMES = 150

def tell(what, ids):
    os.write(1, (json.dumps([what, ids]) + "\\n").encode())

async def main(folder, name):
    archive = await Archive.open(Path(folder))
    number = 0
    async def write(writer):
        nonlocal number
        while True:
            number += 1
            size = number % 5 + 1
            new = [NewFrame(f"{name} {writer} {number} {one} " + "word " * (number % 40), metadata={"of": size},
                            time_ms=1_700_000_000_000 + number % 3 * 40 * 86_400_000) for one in range(size)]
            tell("kept", await archive.append(new))
    async def care():
        while True:
            async for _ in archive.migrate():
                pass
            await asyncio.sleep(0.01)
    async def purge():
        while True:
            ids = await archive.append([NewFrame("to be purged " * 9), NewFrame("not to be purged")])
            tell("kept", ids[1:])
            tell("purging", ids[:1])
            await archive.remove(ids[:1], reason="crash test")
            tell("purged", ids[:1])
            await asyncio.sleep(0.02)
    await asyncio.gather(*[write(index) for index in range(4)], care(), purge())

asyncio.run(main(*sys.argv[1:]))
"""


async def run_and_kill(folder: Path, name: str, seconds: float) -> list[tuple[str, list[str]]]:
    """Let the writer work; kill it some time after it has kept a few frames; return what it told."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(folder), name, stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )
    assert process.stdout is not None
    said, kept = b"", 0
    try:
        async with asyncio.timeout(120):
            while kept < LEAST:
                line = await process.stdout.readline()
                assert line, "it ended by itself"
                said += line
                kept += len(json.loads(line)[1]) if line.startswith(b'["kept"') else 0
        await asyncio.sleep(seconds)
    finally:
        process.kill()
        said += await process.stdout.read()
        await process.wait()
    told = [line for line in said.decode().splitlines() if line.endswith("]]")]
    return [(what, ids) for what, ids in map(json.loads, told)]


@pytest.mark.limit(120 + 60 * CRASHES)
async def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path) -> None:
    folder = tmp_path / "archive"
    rng = random.Random()
    kept: set[str] = set()
    purging: set[str] = set()
    purged: set[str] = set()
    before = 0
    for crash in range(CRASHES):
        for what, ids in await run_and_kill(folder, f"run {crash}", rng.uniform(0.05, 1.5)):
            {"kept": kept, "purging": purging, "purged": purged}[what].update(ids)
        async with opened(folder) as archive:
            frames = await all_frames(archive)
            found = [one.frame_id for one in frames]
            assert len(set(found)) == len(found)
            assert kept <= set(found)
            assert not purged & set(found)
            assert [one.number for one in frames] == sorted({one.number for one in frames})
            calls: dict[tuple[str, ...], list[int]] = {}
            for one in frames:
                if isinstance(one.content, str) and one.content.startswith("run"):
                    calls.setdefault(tuple(one.content.split()[:4]), []).append(one.metadata["of"])
            assert all(len(sizes) == sizes[0] for sizes in calls.values())  # whole calls only
            assert set(await archive.get(found)) == set(found)
            if crash % 2:
                assert (await finished(archive.verify()))[1] == []
            (after,) = await archive.append([NewFrame("between two runs")])
            kept.add(after)
        plain = plain_frames.read_folder(folder)
        assert set(plain) == {*found, after}
        for path in files(folder):
            data = path.read_bytes()
            assert not [one for one in purged if one.encode() in data]
        assert len(found) > before
        before = len(found)
    assert len(kept) > CRASHES * LEAST
