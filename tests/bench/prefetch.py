"""Reading ahead against not: sessions of a person at work, over a history that lies in the archive.

Three sessions, each with the pauses of a hand between its reads: scrubbing through time to and fro, walking over the
objects of a mount (the second and third walk can be known), and returning to the same few moments (the versions of a
scene). Every session runs on a store of its own, with and without prefetch, in turn.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.measure import Row, compare, single
from tests.bench.time_travel import Silent
from tests.bench.world import World

from lightfast.context.entry import Set
from lightfast.context.store import Store
from lightfast.context.tiers.tiers import TierOptions
from lightfast.core.clock import StillClock
from lightfast.storage.archive.archive import Archive
from lightfast.storage.database import Database

CHANGES = int(os.environ.get("LIGHTFAST_BENCH_CHANGES", "30000"))
OBJECTS = 60
PAUSE_S = 0.02
"""A hand takes longer; the shorter the pause, the harder for what reads ahead."""
CACHE = 2 << 20


class Look(NamedTuple):
    """One read: of what matches *pattern*, at *revision*."""

    pattern: str
    revision: int


def scrub(last: int) -> Iterator[Look]:
    """Move through time in even steps, turn, and now and then jump."""
    chance = random.Random(1)
    at, step = last // 2, last // 150
    for index in range(150):
        if not index % 25:
            at, step = (
                chance.randrange(last // 4, last * 3 // 4),
                chance.choice((-1, 1)) * last // chance.randrange(90, 400),
            )
        at = max(1, min(last - 1, at + step))
        yield Look("/blender/objects/Cube0/*", at)


def walk(last: int) -> Iterator[Look]:
    """Look at one object after the other, at one moment and then at two others."""
    for at in (last // 3, last // 2, last // 5):
        for index in range(50):
            yield Look(f"/blender/objects/Cube{index}/*", at)


def scenes(last: int) -> Iterator[Look]:
    """Compare moments: in the order of a rehearsal, mostly the same one each time."""
    chance = random.Random(2)
    moments = [chance.randrange(1, last) for _ in range(12)]
    for _ in range(10):
        for index, moment in enumerate(moments):
            yield Look("/blender//", chance.choice(moments) if chance.random() < 0.1 else moment)
            del index


SESSIONS: dict[str, Callable[[int], Iterator[Look]]] = {
    "scrubbing through time": scrub,
    "walking over a mount": walk,
    "returning to scenes": scenes,
}


async def fill(folder: Path) -> None:
    """Write the history, and move it to the archive."""
    clock = StillClock()
    async with _House(folder, clock, prefetch=False) as store:
        for start in range(0, CHANGES, 500):
            waiting = []
            for number in range(start, min(CHANGES, start + 500)):
                clock.advance(1 / 60)
                path = f"/blender/objects/Cube{number % OBJECTS}"
                place = (math.sin(number / 50), math.cos(number / 70), number / 1000)
                changes = [Set(f"{path}/location", place), Set(f"{path}/note{number % 3}", f"take {number} " * 3)]
                waiting.append(store.apply(changes, origin="app:blender"))
            await asyncio.gather(*waiting)
        await store.tiers.demote(CHANGES - 1)


class _House:
    def __init__(self, folder: Path, clock: StillClock, *, prefetch: bool) -> None:
        self._folder, self._clock, self._prefetch = folder, clock, prefetch

    async def __aenter__(self) -> Store:
        self._db = await Database.open(self._folder / "store.db", clock=self._clock)
        self._archive = await Archive.open(self._folder / "archive")
        self.store = await Store.open(
            self._db,
            clock=self._clock,
            bus=Silent(),
            archive=self._archive,
            tiers=TierOptions(prefetch=self._prefetch, cache_size=CACHE),
        )
        return self.store

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()
        await self._archive.close()
        await self._db.close()


class Played(NamedTuple):
    """What a session was like: the middle and the slow reads in seconds, and the part answered from results."""

    middle: float
    slow: float
    total: float
    hits: float


async def play(folder: Path, looks: Iterator[Look], *, prefetch: bool) -> Played:
    """Play one session."""
    waits = []
    async with _House(folder, StillClock(), prefetch=prefetch) as store:
        for look in looks:
            began = time.perf_counter()
            await store.read(pattern=look.pattern, at_revision=look.revision, client="client:hand")
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(PAUSE_S)
        counts = store.tiers.results.counts
    waits.sort()
    return Played(statistics.median(waits), waits[len(waits) * 95 // 100], sum(waits), counts.ratio)


async def run(world: World, pairs: int) -> list[Row]:
    """Play every session with and without prefetch, in turn."""
    del world
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as name:
        folder = Path(name)
        await fill(folder)
        for what, session in SESSIONS.items():
            found: list[tuple[Played, Played]] = []
            for number in range(max(1, pairs // 3)):
                both = {}
                for ahead in (True, False) if number % 2 else (False, True):
                    both[ahead] = await play(folder, session(CHANGES - 1), prefetch=ahead)
                found.append((both[True], both[False]))
            hits = statistics.median(mine.hits for mine, _ in found)
            without = statistics.median(theirs.hits for _, theirs in found)
            note = f"hit ratio {hits:.2f}, without {without:.2f}"
            totals = [(mine.total * 1e3, theirs.total * 1e3) for mine, theirs in found]
            middles = [(mine.middle * 1e3, theirs.middle * 1e3) for mine, theirs in found]
            rows.append(compare(f"{what}: time waited, with prefetch against without", totals, "ms", most=1, note=note))
            rows.append(compare(f"{what}: median read, with prefetch against without", middles, "ms"))
            rows.append(single(f"{what}: hit ratio with prefetch", hits, "", note=f"without: {without:.2f}"))
    return rows
