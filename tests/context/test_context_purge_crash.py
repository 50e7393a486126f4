"""kill -9 in the middle of a purge: either nothing but the live values was changed, or the next start finishes it."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest
from tests.support.keeping import keeping

from lightfast.context.memory.records import NewMemory
from lightfast.context.upkeep.purge_ledger import Tombstone
from lightfast.context.upkeep.purge_target import make_target
from lightfast.storage.archive.records import NewFrame
from lightfast.storage.blobs import Provenance

CRASHES = int(os.environ.get("LIGHTFAST_CRASHES", "4"))
SECRET = "the combination is 12-34-56"
PURGE = """
import asyncio, sys
from pathlib import Path
from tests.support.keeping import keeping
from lightfast.context.upkeep.purge_target import make_target

async def main(home, text):
    async with keeping(home) as keep:
        await keep.purger.settled()
        print("ready", flush=True)
        async for step in keep.purger.purge(make_target(text=text), origin="me", reason="crash"):
            print(step.stage or "done", flush=True)
        sys.stdin.readline()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""


async def fill(home: Path, round_: int) -> None:
    async with keeping(home) as keep:
        for number in range(30):
            await keep.set((f"/r{round_}/{number}", f"{SECRET} {number}"), ("/keep", f"{round_} {number}"))
        await keep.set(*[(f"/r{round_}/{number}", "overwritten") for number in range(20)])
        await keep.archive.append([NewFrame(f"{SECRET} {number}") for number in range(20)])
        await keep.archive.append([NewFrame(f"harmless {round_}")])
        await keep.memory.remember(NewMemory(text=f"{SECRET} in round {round_}"), origin="me")
        await keep.blobs.put(f"{SECRET} {round_}".encode(), "text/plain", "n", Provenance())


@pytest.mark.limit(60 + 20 * CRASHES)
async def test_a_kill_in_the_middle_of_a_purge(tmp_path: Path) -> None:
    chance = random.Random(3)
    finished = 0
    for round_ in range(CRASHES):
        await fill(tmp_path, round_)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PURGE, str(tmp_path), SECRET),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            assert (await process.stdout.readline()).strip() == b"ready"
            for _ in range(chance.randrange(1, 22)):
                if (await process.stdout.readline()).strip() in {b"done", b""}:
                    break
        finally:
            process.kill()
            await process.communicate()  # a pipe that nobody reads would keep its end to itself
        async with keeping(tmp_path) as keep:
            before = await keep.purger.tombstones()
            unfinished = await keep.db.query("SELECT purge_id FROM purges WHERE state = 'running'")
            await keep.purger.settled()
            after = await keep.purger.tombstones()
            assert len(after) >= len(before)
            if unfinished or len(after) > finished:
                # It was decided: it is done now, by this start or by the process itself.
                assert keep.holders(SECRET) == []
                assert len(after) == finished + 1
            else:
                # It was not: nothing but live values went, and it can be asked for again.
                assert await keep.count(text=SECRET)
                await keep.purge(text=SECRET)
            assert await keep.db.query("SELECT count(*) FROM purge_work") == [(0,)]
            assert await keep.db.query("SELECT count(*) FROM purges WHERE state <> 'done'") == [(0,)]
            assert await keep.count(text=SECRET) == {}
            assert keep.holders(SECRET) == []
            assert keep.integrity() == ["ok"]
            finished = len(await keep.purger.tombstones())
            frames = await keep.archive.run(lambda reader: [frame.content for frame in reader.scan()])
            assert frames == [f"harmless {number}" for number in range(round_ + 1)]
            kept = keep.store.get("/keep")
            assert kept is not None
            assert kept.value == f"{round_} 29"
            for number in range(20):
                entry = keep.store.get(f"/r{round_}/{number}")
                assert entry is not None
                assert entry.value == "overwritten"
            assert keep.blobs.total_bytes == 0


async def test_a_purge_that_was_decided_is_finished_by_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same, at one certain moment: everything is written down, and nothing erased yet."""
    await fill(tmp_path, 0)
    async with keeping(tmp_path) as keep:

        async def dies(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(keep.purger, "_erase", dies)
        begun = Tombstone("purge-1", 1, "me", "crash", {})
        with pytest.raises(KeyboardInterrupt):
            await keep.purger._purge(make_target(text=SECRET), begun, lambda _: None)
        assert keep.holders(SECRET) != []
        assert await keep.db.query("SELECT state FROM purges") == [("running",)]
        ((items,),) = await keep.db.query("SELECT group_concat(items) FROM purge_work")
        assert SECRET not in items
    async with keeping(tmp_path) as keep:
        await keep.purger.settled()
        (stone,) = await keep.purger.tombstones()
        assert stone.removed["history"] >= 30
        assert stone.removed["frames"] == 20
        assert keep.holders(SECRET) == []
        assert keep.store.get(f"/lightfast/purges/{stone.purge_id}") is not None
