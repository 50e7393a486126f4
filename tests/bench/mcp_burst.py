"""Ten reads at once from a real MCP server, through the bridge of a daemon: how much longer than the slowest alone.

The server is of the official SDK, in a process of its own, and takes 50 to 300 ms for each read. The protocol has no
batches: what is gained is gained by sending side by side. Ten reads of one thing are to be sent once.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.measure import Row, compare, interleave, single
from tests.bench.world import World

from lightfast.client import AsyncClient

ROOT = Path(__file__).parents[2]
SECONDS = tuple(0.05 + 0.25 * number / 9 for number in range(10))
"""How long the server takes for each."""
MOST = 1.3
JOIN_S = 30.0


def setting(folder: Path) -> str:
    """Return the setting that joins the server, which counts its calls in *folder*."""
    table = {
        "name": "burst",
        "command": sys.executable,
        "arguments": ["-m", "tests.support.mcp_server", str(folder)],
        "folder": str(ROOT),
        "read": ["look"],
    }
    environment = f'{{PYTHONPATH = "{ROOT}"}}'
    fields = ", ".join(f"{name} = {json.dumps(value)}" for name, value in table.items())
    return f"plugins.mcp.instances=[{{{fields}, environment = {environment}}}]"


async def joined(client: AsyncClient) -> None:
    """Wait until the server is there."""
    end = time.monotonic() + JOIN_S
    while True:
        try:
            await client.invoke("/burst", "look", key="first")
        except Exception:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)
        else:
            return


async def run(world: World, pairs: int) -> list[Row]:
    """Measure in turn: all at once, and the slowest alone."""
    del world
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as scratch:
        own = await asyncio.to_thread(World, setting(Path(scratch)))
        try:
            async with AsyncClient(home=str(own.home)) as client:
                return await _measured(client, Path(scratch), pairs)
        finally:
            own.__exit__(None, None, None)


async def _measured(client: AsyncClient, scratch: Path, pairs: int) -> list[Row]:
    asked = 0

    async def look(seconds: float, key: str = "") -> None:
        nonlocal asked
        asked += 1
        await client.invoke("/burst", "look", key=key or f"k{asked}", seconds=seconds)

    async def burst() -> float:
        began = time.perf_counter()
        await asyncio.gather(*map(look, SECONDS))
        return (time.perf_counter() - began) * 1e3

    async def slowest() -> float:
        began = time.perf_counter()
        await look(max(SECONDS))
        return (time.perf_counter() - began) * 1e3

    async def in_turn() -> float:
        began = time.perf_counter()
        for seconds in SECONDS:
            await look(seconds)
        return (time.perf_counter() - began) * 1e3

    def sent() -> int:
        return len((scratch / "look").read_text())

    await joined(client)
    await burst()
    found = await interleave(pairs, burst, slowest)
    rows = [compare("ten reads of an MCP server at once, beside the slowest alone", found, "ms", most=MOST)]
    turns = await interleave(max(2, pairs // 4), burst, in_turn)
    rows.append(compare("ten reads of an MCP server at once, beside one after the other", turns, "ms"))
    bare = await interleave(1, slowest, slowest)
    added = sorted(mine - max(SECONDS) * 1e3 for _, mine in found)[len(found) // 2]
    note = (
        f"the slowest takes the server {max(SECONDS) * 1e3:.0f} ms; a pair alone {bare[0][0]:.0f}, {bare[0][1]:.0f} ms"
    )
    rows.append(single("what bridge and daemon add to one read of an MCP server", added, "ms", note=note))
    before = sent()
    await asyncio.gather(*(look(0.2, "same") for _ in SECONDS))
    times = sent() - before
    rows.append(Row("ten reads of the same thing at once were sent", times, 0, "times", 0, "once", times == 1))
    return rows
