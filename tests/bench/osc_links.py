"""A thousand OSC parameters at 60 Hz, each through two links one after the other: desk → mid → out, real datagrams.

Every tenth parameter is a state parameter, the others are signals. A signal that is late gives way to a newer one, so
that the lag is bounded; whatever was sent last must be what both devices, and the tree, hold in the end.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.bench.measure import Peer, Row, Watch, single
from tests.bench.world import World

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.app.cli.stage import free_udp_port
from lightfast.client import AsyncClient

PARAMETERS = 1_000
STATES = 100
HZ = 60
SECONDS = 10
SETTINGS = tuple(
    f"plugins.{name}.enabled=false"
    for name in (
        *("ableton", "abletonlink", "ardour", "hydrogen", "midi", "obs", "oscquery"),
        *("puredata", "reaper", "supercollider", "touchdesigner"),
    )
)
MAP = """kind: {kind}
title: The {kind}
remote: 127.0.0.1:{remote}
reply: {reply}
alive: {{assumed: true}}
rate: 20000
defaults: {{confirm: none, type: f}}
parameters:
  state/{{n:1..{states}}}: {{send: "/state/{{n}}"}}
  signal/{{n:1..{signals}}}: {{send: "/signal/{{n}}", signal: true}}
"""
PATHS = [f"state/{n}" for n in range(1, STATES + 1)] + [f"signal/{n}" for n in range(1, PARAMETERS - STATES + 1)]


async def live(client: AsyncClient, mounts: set[str], seconds: float = 30.0) -> None:
    """Wait until all *mounts* are in step."""
    async with asyncio.timeout(seconds):
        while True:
            apps = await client.list_apps()
            if mounts <= {app.mount for app in apps if app.state == APP_STATE_LIVE}:
                return
            await asyncio.sleep(0.02)


async def settled(client: AsyncClient, frames: int) -> list[str]:
    """Return the state parameters that the tree does not hold as they were sent last."""
    wrong: list[str] = []
    for _ in range(200):
        found = {}
        for mount in ("/desk", "/mid", "/out"):
            for entry in await client.select(f"{mount}/state/*"):
                found[entry.path] = (entry.value, entry.status)
        wrong = []
        for number in range(1, STATES + 1):
            value = number * 1000.0 + frames - 1
            wanted = {"/desk": value, "/mid": value / 2, "/out": value / 2 + 1}
            wrong += [
                f"{mount}/state/{number}"
                for mount, held in wanted.items()
                if found.get(f"{mount}/state/{number}") != (held, "SETTLED")
            ]
        if not wrong:
            break
        await asyncio.sleep(0.05)
    return wrong


async def run(world: World, _pairs: int) -> list[Row]:
    """Join the three, link them, and turn everything for ten seconds."""
    replies = {kind: free_udp_port() for kind in ("desk", "mid", "out")}
    peer = Peer("osc_desk", str(replies["desk"]), str(STATES), str(PARAMETERS - STATES))
    try:
        ports = {"desk": free_udp_port(), "mid": int(peer.words[0]), "out": int(peer.words[1])}
        maps = Path(world.home) / "config" / "osc"
        maps.mkdir(parents=True, exist_ok=True)
        for kind, port in ports.items():
            text = MAP.format(kind=kind, remote=port, reply=replies[kind], states=STATES, signals=PARAMETERS - STATES)
            (maps / f"{kind}.yaml").write_text(text, encoding="utf-8")
        async with AsyncClient(home=str(world.home), timeout=60) as client:
            await live(client, {"/desk", "/mid", "/out"})
            gate = asyncio.Semaphore(32)

            async def link(path: str) -> None:
                async with gate:
                    await client.link(f"/desk/{path}", f"/mid/{path}", expression="x / 2")
                    await client.link(f"/mid/{path}", f"/out/{path}", expression="x + 1")

            await asyncio.gather(*[link(path) for path in PATHS])
            await asyncio.to_thread(peer.ask, f"run 1 {HZ}")  # every path is known, every cache is warm
            watch = Watch(world.pid)
            found = json.loads(await asyncio.to_thread(peer.ask, f"run {SECONDS} {HZ}"))
            cpu = watch.cpu_used() / watch.elapsed() * 100
            lost = await settled(client, found["frames"])
    finally:
        peer.close()
    return rows(found, cpu, lost)


def rows(found: dict[str, Any], cpu: float, lost: list[str]) -> list[Row]:
    """Return the rows of one run."""
    what = f"OSC, {PARAMETERS:,} parameters at {HZ} Hz through two links"
    wrong = found["wrong"]
    sent = found["frames"] * PARAMETERS
    kept = sum(part["count"] for part in found["out"].values()) / sent * 100
    made = [
        single(f"{what}, wrong in the end", len(wrong), "values", note=" ".join(wrong[:3]) or "all are exact"),
        single(f"{what}, state parameters lost", len(lost), "values", note=" ".join(lost[:3]) or "the tree is exact"),
        single(
            f"{what}, daemon",
            cpu,
            "% of a core",
            note=f"sent {sent:,} in {found['took']:.1f} s, {kept:.0f} % of them came out at the end, the others gave "
            f"way to newer; the last was there {found['drained'] * 1000:.0f} ms after it was sent",
        ),
    ]
    for kind in ("signal", "state"):
        parts = {which: found[which][kind] for which in ("mid", "out")}
        made += [
            single(
                f"{what}, {kind}, after link {number}, {quantile}",
                parts[which][quantile] * 1000,
                "ms",
                note=f"most {parts[which]['most'] * 1000:.0f} ms",
            )
            for number, which in ((1, "mid"), (2, "out"))
            for quantile in ("p50", "p99")
        ]
    return made
