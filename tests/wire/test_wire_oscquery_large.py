"""A large tree is served in slices: whole, bounded, and without holding the loop."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.support.oscquery import served

from lightfast.context.entry import Declaration, Set


async def longest_block(running: asyncio.Event) -> float:
    """Return the longest time that the loop did not come by, until *running* is set."""
    loop = asyncio.get_running_loop()
    longest = 0.0
    then = loop.time()
    while not running.is_set():
        await asyncio.sleep(0.001)
        now = loop.time()
        longest, then = max(longest, now - then - 0.001), now
    return longest


@pytest.mark.limit(180)
@pytest.mark.parametrize("count", [10_000])
async def test_a_large_tree_is_whole(tmp_path: Path, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(tmp_path) as found:
        await found.store.declare(
            [Declaration("/big/*/*", kind="double", minimum=0, maximum=1, unit="gain.linear")], owner="test"
        )
        for start in range(0, count, 1000):
            writes = [Set(f"/big/{number // 100}/{number % 100}", 0.5) for number in range(start, start + 1000)]
            await found.store.apply(writes, origin="test")
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        watching = asyncio.ensure_future(longest_block(done))
        begin = loop.time()
        answer = await found.get("/")
        seconds = loop.time() - begin
        done.set()
        blocked = await watching
        tree = json.loads(answer.content)
        leaves = sum(len(part["CONTENTS"]) for part in tree["CONTENTS"]["big"]["CONTENTS"].values())
        assert leaves == count
        with capsys.disabled():
            print(
                f"\n{count} entries: {seconds * 1000:.0f} ms, {len(answer.content) >> 10} KiB, loop {blocked * 1e3:.1f} ms"
            )


async def test_a_tree_beyond_the_bound_is_refused_and_parts_of_it_are_not(tmp_path: Path) -> None:
    async with served(tmp_path, most=100) as found:
        writes = [Set(f"/many/{part}/{number}", number) for part in range(3) for number in range(50)]
        await found.store.apply(writes, origin="test")
        answer = await found.get("/")
        assert answer.status_code == 413
        assert "more than 100 entries" in answer.json()["error"]
        assert len((await found.json("/many/1"))["CONTENTS"]) == 50


async def test_a_very_deep_tree_is_served(tmp_path: Path) -> None:
    async with served(tmp_path) as found:
        path = "/d" * 500
        await found.store.apply([Set(path, 1)], origin="test")
        answer = await found.get("/")
        assert answer.content.count(b'"CONTENTS":{') == 500
        assert answer.content.count(b"{") == answer.content.count(b"}")
        assert (await found.json(path))["VALUE"] == [1]
