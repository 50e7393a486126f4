"""Sixty-four applications at once: 24 on the link over TCP, 24 over ZMQ, 16 OSC devices; each changes two values at 30 Hz.

One of the two is a signal, the other is state. Meanwhile a client wishes a value of one after the other, and waits
until the application has taken it.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psutil
from tests.bench.measure import Peer, Row, Watch, single
from tests.bench.osc_links import SETTINGS, live
from tests.bench.world import World

from lightfast.app.cli.stage import free_udp_port
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError

__all__ = ["SETTINGS", "run"]

EACH = {"tcp": 24, "zmq": 24, "osc": 16}
HZ = 30
SECONDS = 8.0
WISHES = 400
MAP = """kind: crowd{number}
title: The crowd{number}
remote: 127.0.0.1:{remote}
reply: {reply}
alive: {{assumed: true}}
defaults: {{confirm: echo, type: f}}
parameters:
  level: {{send: /level, signal: true}}
  fader: {{send: /fader}}
  wish: {{send: /wish}}
"""


class Crowd:
    """The processes of the applications, and which mounts they have."""

    def __init__(self, world: World) -> None:
        self.home = Path(world.home)
        self.mounts: dict[str, list[str]] = {}
        self.peers: list[Peer] = []
        first = 0
        for kind, count in EACH.items():
            self.mounts[kind] = [f"/crowd{n}" for n in range(first, first + count)]
            first += count
        for kind in ("tcp", "zmq"):
            begin = int(self.mounts[kind][0].removeprefix("/crowd"))
            self.peers.append(Peer("crowd", str(self.home), kind, str(begin), str(EACH[kind]), str(HZ)))
        self.replies = [free_udp_port() for _ in self.mounts["osc"]]
        self.osc = Peer("osc_crowd", str(HZ), *map(str, self.replies))
        self.peers.append(self.osc)

    def join(self) -> None:
        """Let all join at once."""
        maps = self.home / "config" / "osc"
        maps.mkdir(parents=True, exist_ok=True)
        for mount, reply, remote in zip(self.mounts["osc"], self.replies, self.osc.words, strict=True):
            number = mount.removeprefix("/crowd")
            text = MAP.format(number=number, remote=remote, reply=reply)
            (maps / f"crowd{number}.yaml").write_text(text, encoding="utf-8")
        for peer in self.peers:
            peer.ask("join")

    def tell(self, word: str) -> None:
        """Tell all processes the same."""
        for peer in self.peers:
            peer.ask(word)

    def close(self) -> None:
        """End them."""
        for peer in self.peers:
            peer.close()


async def wishes(client: AsyncClient, mounts: dict[str, list[str]], number: int) -> dict[str, list[float]]:
    """Wish *number* values in turn; return the seconds from the call until the application's answer is committed."""
    answered: dict[tuple[str, object], asyncio.Event] = {}
    ready = asyncio.Event()

    async def watch() -> None:
        async for batch in client.watch("/*/wish", include_snapshot=True, resume=False):
            for event in batch.events:
                entry = event.entry
                key = (entry.path, entry.value)
                if key in answered and entry.status == "SETTLED" and entry.reported == entry.value:
                    answered[key].set()
            if batch.synced:
                ready.set()

    watching = asyncio.create_task(watch())
    found: dict[str, list[float]] = {kind: [] for kind in mounts}
    try:
        await asyncio.wait_for(ready.wait(), 30)
        every = [
            (kind, mount)
            for index in range(max(EACH.values()))
            for kind in mounts
            for mount in mounts[kind][index : index + 1]
        ]
        for turn in range(number):
            kind, mount = every[turn % len(every)]
            value = float(turn + 1)
            event = answered[f"{mount}/wish", value] = asyncio.Event()
            began = time.perf_counter()
            await client.set(f"{mount}/wish", value)
            await asyncio.wait_for(event.wait(), 30)
            found[kind].append(time.perf_counter() - began)
            await asyncio.sleep(0.005)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return found


def quantile(values: list[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    found = sorted(values)
    return found[min(len(found) - 1, int(len(found) * share))] * 1000


async def run(world: World, _pairs: int) -> list[Row]:
    """Join all, look at them idle, then at work."""
    total = sum(EACH.values())
    what = f"{total} applications"
    process = psutil.Process(world.pid)
    crowd = Crowd(world)
    rows = []
    try:
        async with AsyncClient(home=str(world.home), timeout=60) as client:
            await asyncio.sleep(2)
            before = process.memory_info().rss
            began = time.perf_counter()
            await asyncio.to_thread(crowd.join)
            await live(client, {mount for mounts in crowd.mounts.values() for mount in mounts}, 60)
            joined = time.perf_counter() - began
            rows.append(single(f"{what}, until all have joined", joined, "s", note="all at once, 16 by map"))
            idle = Watch(world.pid)
            await asyncio.sleep(3)
            rest = idle.cpu_used() / idle.elapsed() * 100
            calm = await wishes(client, crowd.mounts, WISHES // 2)
            await asyncio.to_thread(crowd.tell, "play")
            await asyncio.sleep(1)
            watch = Watch(world.pid)
            await asyncio.sleep(SECONDS)
            used = watch.cpu_used() / watch.elapsed() * 100
            busy = await wishes(client, crowd.mounts, WISHES)
            memory = (process.memory_info().rss - before) / total / 1e6
            await asyncio.to_thread(crowd.tell, "rest")
            last = [int(await asyncio.to_thread(peer.ask, "count")) for peer in crowd.peers]
            wrong = await behind(client, crowd, last)
    finally:
        crowd.close()
    rate = f"{total * 2 * HZ:,} changes a second"
    rows += [
        single(f"{what}, idle CPU", rest / total, "% of a core each", note=f"{rest:.1f} % together"),
        single(f"{what}, CPU at {HZ} Hz", used / total, "% of a core each", note=f"{used:.0f} % together, {rate}"),
        single(f"{what}, memory", memory, "MB each"),
        single(f"{what}, wrong in the end", len(wrong), "values", note=" ".join(wrong[:3]) or "all are exact"),
    ]
    for words, found in (("calm", calm), ("busy", busy)):
        together = [seconds for part in found.values() for seconds in part]
        note = ", ".join(
            f"{kind} p50 {quantile(part, 0.5):.1f} p99 {quantile(part, 0.99):.1f}" for kind, part in found.items()
        )
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            rows.append(
                single(
                    f"{what}, a wish until it is answered, {words}, {name}", quantile(together, share), "ms", note=note
                )
            )
    return rows


async def behind(client: AsyncClient, crowd: Crowd, last: list[int], patience: float = 15.0) -> list[str]:
    """Return which values the tree does not hold as they were reported last."""
    wrong: list[str] = []
    deadline = time.perf_counter() + patience
    wanted = {
        f"{mount}/{name}": float(number)
        for mounts, number in zip(crowd.mounts.values(), last, strict=True)
        for mount in mounts
        for name in ("level", "fader")
    }
    while time.perf_counter() < deadline:
        try:
            held = {e.path: e.value for name in ("level", "fader") for e in await client.select(f"/*/{name}")}
        except LightfastError as error:
            held, wrong = {}, [str(error)]
        wrong = [path for path, value in wanted.items() if held.get(path) != value]
        if not wrong:
            break
        await asyncio.sleep(0.1)
    return wrong
