"""Overload: how long interactive calls take from their decoding on, unloaded and under three times what there is room for.

What there is room for is measured in the same run: the rate at which background work (pages of old history) is done
when it is alone and as fast as it goes, and the rate at which interactive calls (durable writes, then reads) are. Then
interactive calls come at a tenth of that rate throughout, and background calls at three times theirs, as calls that do
not wait for one another. The daemon's own counters say how long the interactive ones took, and how many of which lane
were shed. LIGHTFAST_BENCH_SECONDS sets how long each part takes.
"""

from __future__ import annotations

import asyncio
import os
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

from grpc import aio
from tests.bench.measure import Row
from tests.bench.world import World

from lightfast.api.v1 import context_pb2, types_pb2
from lightfast.api.v1.context_pb2_grpc import ContextServiceStub
from lightfast.client import AsyncClient, mutations

SECONDS = float(os.environ.get("LIGHTFAST_BENCH_SECONDS", "2"))
FILLED = 4000
PAGE = 200
OVERLOAD = 3.0
PART = 0.1
Interact = Callable[[int], Coroutine[Any, Any, None]]
OUTSTANDING = 400
"""The most background calls under way at the client: a client that waits for nothing at all measures itself."""


def counters(world: World) -> dict[str, dict[str, float]]:
    """Return the counters of the lanes by name, then by lane; those of the latency by lane and upper bound."""
    request = urllib.request.Request(
        f"http://{world.endpoints['http']}/metrics", headers={"authorization": f"Bearer {world.token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        text = response.read().decode()
    found: dict[str, dict[str, float]] = {}
    for line in text.splitlines():
        if line.startswith("lightfast_lane_"):
            name, _, rest = line.removeprefix("lightfast_lane_").partition("{")
            labels, _, value = rest.rpartition("} ")
            found.setdefault(name, {})[labels.replace('"', "")] = float(value)
    return found


def since(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]]) -> Counter[float]:
    """Return how many interactive calls there were between the two, by the seconds that they stayed below."""
    counts: Counter[float] = Counter()
    for labels, value in after.get("latency_total", {}).items():
        lane, _, bound = labels.partition(",")
        if lane == "lane=interactive":
            was = before.get("latency_total", {}).get(labels, 0.0)
            counts[float(bound.partition("=")[2])] += int(value - was)
    return counts


def reached(counts: Counter[float], share: float) -> float:
    """Return the seconds that *share* of all stayed below."""
    total, so_far = sum(counts.values()), 0
    for upper in sorted(counts):
        so_far += counts[upper]
        if counts[upper] and so_far >= share * total:
            return upper
    return 0.0


class Load:
    """Calls of two kinds on connections of their own."""

    def __init__(self, world: World) -> None:
        self.metadata = (("authorization", f"Bearer {world.token}"),)
        self.channels = [
            aio.insecure_channel(world.grpc, options=(("grpc.use_local_subchannel_pool", 1),)) for _ in range(2)
        ]
        self.front, self.back = (ContextServiceStub(channel) for channel in self.channels)
        self.done = self.shed = self.wrong = 0

    async def write(self, number: int) -> None:
        """Write one value durably."""
        value = types_pb2.Value(double_value=float(number))
        change = types_pb2.Mutation(set=types_pb2.Mutation.Set(path=f"/front/{number % 50}", value=value))
        await self.front.Apply(context_pb2.ApplyRequest(mutations=[change]), metadata=self.metadata)

    async def read(self, number: int) -> None:
        """Read one value."""
        await self.front.Get(context_pb2.GetRequest(paths=[f"/filled/{number % 500}"]), metadata=self.metadata)

    async def look_back(self, number: int) -> None:
        """Read a page of old history; being shed is an answer, too."""
        until = 100 + number * 7 % (FILLED - 200)
        request = context_pb2.HistoryRequest(pattern="//", until_revision=until, page_size=PAGE)
        try:
            await self.back.History(request, metadata=self.metadata)
            self.done += 1
        except aio.AioRpcError as error:
            if "lane is full" in (error.details() or ""):
                self.shed += 1
            else:
                self.wrong += 1

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()


async def as_fast_as_it_goes(call: Interact, side_by_side: int, seconds: float) -> float:
    """Return how many calls a second are done, so many at a time."""
    end = time.perf_counter() + seconds
    done = 0

    async def one(first: int) -> None:
        nonlocal done
        number = first
        while time.perf_counter() < end:
            await call(number)
            number += side_by_side
            done += 1

    await asyncio.gather(*[one(first) for first in range(side_by_side)])
    return done / seconds


async def at_rate(call: Interact, rate: float, seconds: float, most: int) -> int:
    """Begin *rate* calls a second, whatever becomes of them, but never more than *most* at a time; return how many."""
    begin = time.perf_counter()
    tasks: set[asyncio.Task[None]] = set()
    number = 0
    while (now := time.perf_counter() - begin) < seconds:
        while number < rate * now and len(tasks) < most:
            task = asyncio.ensure_future(call(number))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            number += 1
        if len(tasks) >= most:
            number = max(number, int(rate * now))  # offered, and not even sent
        await asyncio.sleep(0.001)
    await asyncio.wait_for(asyncio.gather(*tuple(tasks)), 60)
    return number


async def compared(world: World, load: Load, kind: str, call: Interact, back: float, pairs: int) -> Row:
    """Compare interactive calls alone with the same ones beside the overload, in turn, *pairs* times."""
    front = await as_fast_as_it_goes(call, 16, SECONDS / 2)
    load.done = load.shed = 0
    quiet, loud = Counter[float](), Counter[float]()
    each, offered, first = [], 0, counters(world)
    for _ in range(pairs):
        before = counters(world)
        await at_rate(call, front * PART, SECONDS, 200)
        between = counters(world)
        _, sent = await asyncio.gather(
            at_rate(call, front * PART, SECONDS, 200),
            at_rate(load.look_back, back * OVERLOAD, SECONDS, OUTSTANDING),
        )
        offered += sent
        unloaded, overloaded = since(before, between), since(between, counters(world))
        each.append((reached(overloaded, 0.99), reached(unloaded, 0.99)))
        quiet += unloaded
        loud += overloaded
    last = counters(world)["shed_total"]
    shed = {lane.partition("=")[2]: int(count - first["shed_total"][lane]) for lane, count in last.items()}
    ours, peer = reached(loud, 0.99), reached(quiet, 0.99)
    note = (
        f"p50 {reached(loud, 0.5) * 1e3:.2g} against {reached(quiet, 0.5) * 1e3:.2g} ms; "
        f"{front * PART:.0f}/s of {front:.0f}/s; background offered {back * OVERLOAD:.0f}/s of {back:.0f}/s: "
        f"{offered} offered, {load.done} done, {load.shed} shed, {load.wrong} failed; shed by lane {shed}"
    )
    name = f"interactive {kind}, p99 from decode under 3× overload, against unloaded"
    return Row(name, ours * 1e3, peer * 1e3, "ms", ours / peer, "≤ 2×", ours <= 2.0 * peer, note, each)


async def run(world: World, pairs: int) -> list[Row]:
    """Measure both kinds of interactive calls."""
    async with AsyncClient(home=str(world.home), timeout=60) as client:
        for start in range(FILLED):
            await client.apply([mutations.set_value(f"/filled/{start % 500}", f"value {start}")])
    load = Load(world)
    try:
        for number in range(50):
            await load.write(number)
            await load.read(number)
        back = await as_fast_as_it_goes(load.look_back, 8, SECONDS)
        return [
            await compared(world, load, "durable writes", load.write, back, pairs),
            await compared(world, load, "reads", load.read, back, pairs),
        ]
    finally:
        await load.close()
