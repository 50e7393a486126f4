"""What the plugins of the AI services take of a daemon that lists them and uses none: its start, its memory."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from importlib.metadata import entry_points
from pathlib import Path

import psutil
from tests.bench.life import ready_time
from tests.bench.measure import Row, cpu_seconds, interleave, single
from tests.bench.world import World

from lightfast.client import AsyncClient

QUIET_S = 5.0
"""After so long a start is over: plugins, HTTP."""


def disabled() -> tuple[str, ...]:
    """Return the settings that disable every plugin of an AI service."""
    named = [each.name for each in entry_points(group="lightfast") if each.value.startswith("lightfast_providers.")]
    return tuple(f"plugins.{name}.enabled=false" for name in named)


async def started(*settings: str) -> tuple[float, float]:
    """Return the processor time of a start in ms, and the memory after it in MB."""
    world = await asyncio.to_thread(World, *settings)
    try:
        async with AsyncClient(home=str(world.home)) as client:
            await client.providers()  # it waits until the plugins are loaded
        await asyncio.sleep(QUIET_S)
        return cpu_seconds(world.pid) * 1e3, psutil.Process(world.pid).memory_info().rss / 1e6
    finally:
        world.__exit__(None, None, None)


async def run(world: World, pairs: int) -> list[Row]:
    """Measure in turn: all plugins listed, and none of them."""
    del world
    without = disabled()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        folders = Path(one), Path(other)
        for folder, settings in zip(folders, ((), without), strict=True):
            await asyncio.to_thread(ready_time, folder, *settings)  # a first start makes the store
        ready = await interleave(
            pairs,
            lambda: asyncio.to_thread(ready_time, folders[0]),
            lambda: asyncio.to_thread(ready_time, folders[1], *without),
        )
    rows = []
    rows.append(_added("ready (spawn to READY=1)", [(1e3 * mine, 1e3 * bare) for mine, bare in ready], "ms", 100.0))
    both = []
    for _ in range(max(2, pairs // 3)):
        both.append((await started(), await started(*without)))
    starts = [(mine[0], bare[0]) for mine, bare in both]
    rows.append(_added(f"processor time of a start, imports of {len(without)} plugins included", starts, "ms", 100.0))
    rows.append(_added("idle memory (RSS)", [(mine[1], bare[1]) for mine, bare in both], "MB", 20.0))
    return rows


def _added(what: str, pairs: list[tuple[float, float]], unit: str, most: float) -> Row:
    added = [mine - bare for mine, bare in pairs]
    ours = statistics.median(mine for mine, _ in pairs)
    note = f"{ours:.4g} {unit} with them; {min(added):.1f}–{max(added):.1f} over {len(added)} pairs"
    return single(f"plugins of AI services added: {what}", statistics.median(added), unit, most=most, note=note)
