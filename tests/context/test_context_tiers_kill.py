"""kill -9 while history moves or is dropped: nothing acknowledged is lost or doubled, every revision kept is readable."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from tests.support.store import House, open_store

from lightfast.context.tiers.tiers import TierOptions
from lightfast.storage.archive.archive import Archive

WORKER = """
import asyncio, json, sys
from pathlib import Path
from lightfast.context.entry import Set
from lightfast.context.store import Store
from lightfast.context.tiers.tiers import TierOptions
from lightfast.storage.archive.archive import Archive
from lightfast.storage.database import Database

class News:
    def publish(self, transaction): pass
    def signals(self, events): pass

def say(*what):
    sys.stderr.write(json.dumps(what) + "\\n")
    sys.stderr.flush()

async def main(folder, compacting):
    db = await Database.open(folder / "store.db")
    archive = await Archive.open(folder / "archive")
    store = await Store.open(db, bus=News(), archive=archive, tiers=TierOptions(block_rows=7))
    async def write(name):
        entry = store.get(f"/{name}/a")
        number = entry.value if entry else 0
        room = asyncio.Semaphore(10)  # a slow disk takes as many at once
        async def one(number):
            values = [Set(f"/{name}/a", number), Set(f"/{name}/b/{number % 5}", [number, "x" * (number % 50)])]
            applied = await store.apply(values, origin=name)
            say(name, number, applied.revision)
            room.release()
        async with asyncio.TaskGroup() as group:
            while True:
                await room.acquire()
                while store.revision - moved > 100:  # whoever outran it would give each move more to do than the last
                    await asyncio.sleep(0.002)
                number += 1
                group.create_task(one(number))
                await asyncio.sleep(0.002)
    moved = 0
    async def move():
        nonlocal moved
        while True:
            if (until := store.revision - 20) > max(20, moved):
                await store.tiers.demote(until)
                moved = until
                say("moved", 0, 0)
            await asyncio.sleep(0)
    async def drop():
        while compacting:
            if store.revision > store.oldest_revision + 80:
                await store.compact(store.revision - 60)
                say("dropped", 0, store.oldest_revision)
            await asyncio.sleep(0)
    await asyncio.gather(*[write(f"w{index}") for index in range(3)], move(), drop())

asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "compacting"))
"""

CRASHES = max(4, int(os.environ.get("LIGHTFAST_CRASHES", "0")) // 4)


async def check(house: House, acknowledged: dict[str, dict[int, int]]) -> None:
    store = house.store
    oldest, last = store.oldest_revision, store.revision
    spans = await house.db.query("SELECT first, last FROM blocks ORDER BY first")
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    # Every revision that is kept can be replayed, once.
    after = oldest
    while after < last:
        part = await store.replay(after, last, 500)
        assert [each.revision for each in part] == list(range(after + 1, after + 1 + len(part)))
        assert all(len(each.events) == 2 for each in part)
        after += len(part)
    for name, writes in acknowledged.items():
        entry = store.get(f"/{name}/a")
        assert entry is not None
        assert isinstance(entry.value, int)
        assert entry.value >= max(writes.values())
        revisions = [revision for revision in writes if revision >= oldest]
        for revision in revisions[:: max(1, len(revisions) // 25)]:
            state = await house.values_at(revision)
            assert state[f"/{name}/a"] == writes[revision]
            assert state[f"/{name}/b/{writes[revision] % 5}"][0] == writes[revision]  # type: ignore[index]
    # The history knows each of them once.
    page = await store.history("/w0/a", page_size=1000)
    listed = [each.revision for each in page.transactions]
    assert len(listed) == len(set(listed))
    assert set(listed) >= {revision for revision in acknowledged["w0"] if revision > oldest} or page.next_page_token
    assert await house.db.query("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.limit(420)
@pytest.mark.parametrize("number", range(CRASHES))
async def test_nothing_is_lost_or_doubled_by_a_kill(tmp_path: Path, number: int) -> None:
    what = "compacting" if number % 2 else "moving"
    acknowledged: dict[str, dict[int, int]] = {"w0": {}, "w1": {}, "w2": {}}
    for wanted in ("moved", "dropped" if number % 2 else "moved"):  # the second life begins with what the first left
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", WORKER, str(tmp_path), what),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        lines: list[str] = []
        try:
            seen = 0  # how long it may take, the limit of the test says: a slow disk needs most of it
            while seen < 2 + number % 6:
                line = (await process.stderr.readline()).decode()
                assert line, "".join(lines[-20:])
                lines.append(line)
                seen += line.startswith(f'["{wanted}"')
            for _ in range(1 + number * 7 % 20):
                lines.append((await process.stderr.readline()).decode())
        finally:
            process.kill()
            lines += (await process.stderr.read()).decode().splitlines()
            await process.wait()
        for line in lines:
            if line.startswith('["w') and line.strip().endswith("]"):
                name, count, revision = json.loads(line)
                acknowledged[name][revision] = count
    archive = await Archive.open(tmp_path / "archive")
    try:
        async with open_store(tmp_path, archive=archive, tiers=TierOptions(block_rows=7)) as house:
            await check(house, acknowledged)
            await house.store.tiers.demote(house.store.revision - 1)
            await check(house, acknowledged)
            frames = await archive.run(lambda reader: [frame.frame_id for frame in reader.scan(kinds=("history",))])
            blocks = await house.db.query("SELECT frame FROM blocks")
            assert sorted(frames) == sorted(frame for (frame,) in blocks)
            await house.store.tiers.rebuild()
            await check(house, acknowledged)
    finally:
        await archive.close()
