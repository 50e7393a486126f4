"""kill -9 in the middle of many writes: what was acknowledged is there, and no revision is missing."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from tests.support.store import open_store

WRITER = """
import asyncio, json, sys
from pathlib import Path
from lightfast.context.entry import Set
from lightfast.context.store import Store
from lightfast.storage.database import Database

class News:
    def publish(self, transaction): pass
    def signals(self, events): pass

async def main(folder):
    db = await Database.open(folder / "store.db")
    store = await Store.open(db, bus=News())
    async def write(name):
        number = 0
        while True:
            number += 1
            applied = await store.apply(
                [Set(f"/{name}/a", number), Set(f"/{name}/b", [number, "x" * (number % 500)])], origin=name)
            sys.stderr.write(json.dumps([name, number, applied.revision]) + "\\n")
            sys.stderr.flush()
    await asyncio.gather(*[write(f"w{index}") for index in range(20)])

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.limit(400)
@pytest.mark.parametrize("lines", [50, 700, 3000])
async def test_acknowledged_writes_survive_a_kill(tmp_path: Path, lines: int) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", WRITER, str(tmp_path)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    acknowledged: dict[str, tuple[int, int]] = {}
    try:
        for _ in range(lines):
            name, number, revision = json.loads(await process.stderr.readline())
            acknowledged[name] = (number, revision)
    finally:
        process.kill()
        rest = (await process.stderr.read()).decode()
        await process.wait()
    for line in rest.splitlines():
        if line.endswith("]"):
            name, number, revision = json.loads(line)
            acknowledged[name] = (number, revision)
    async with open_store(tmp_path) as house:
        values = house.values()
        for name, (number, revision) in acknowledged.items():
            assert values[f"/{name}/a"] >= number  # type: ignore[operator]
            assert (await house.values_at(revision))[f"/{name}/a"] == number
        for path, value in values.items():
            if path.endswith("/b"):
                assert value[0] == values[path[:-1] + "a"]  # type: ignore[index]
        last = house.store.revision
        assert await house.db.query("SELECT count(*), min(revision), max(revision) FROM transactions") == [
            (last, 1, last)
        ]
        assert await house.db.query("PRAGMA integrity_check") == [("ok",)]
        assert await house.set(("/after", 1)) == last + 1
