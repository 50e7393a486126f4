"""The timeline: how well applications keep to it, how well it keeps to a leader, and what a position report costs.

Alone: `python -m tests.bench.transport --seconds 20`.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from tests.bench.measure import Row, single
from tests.bench.world import World
from tests.support.player import Player, app, stage

from lightfast.engine.transport.records import AppTransport

SECONDS = 12.0
REPORTS = 20_000


async def phase(seconds: float, role: str, **manners: float) -> AppTransport:
    """Let a simulated player follow or lead for *seconds*; return how it stands: phase error and drift."""
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as folder:
        async with stage(Path(folder)) as (desk, transport):
            player = Player("deck", **manners)
            await player.join(desk)
            if role == "follower":
                await desk.set(f"/transport/follows{player.mount}", {"offset": 0.0})
                await asyncio.sleep(0.2)
                await transport.play()
            else:
                await desk.set("/transport/leader", player.mount)
                await asyncio.sleep(0.2)
                player.press(True)
            await asyncio.sleep(seconds)
            found = app(transport, player.mount)
            player.quiet()
            return found


async def cost() -> float:
    """Return the processor time of one position report of a follower, from its session to the meter, in µs."""
    with tempfile.TemporaryDirectory(prefix="lightfast-bench-") as folder:
        async with stage(Path(folder)) as (desk, transport):
            spent: dict[bool, float] = {}
            for follows in (False, True):
                player = Player("deck" if follows else "plain")
                await player.join(desk)
                player.quiet()
                if follows:
                    await desk.set(f"/transport/follows{player.mount}", {"offset": 0.0})
                    await transport.play()
                    await asyncio.sleep(1.0)
                began = time.process_time()
                for number in range(REPORTS):
                    player.say({"position": 1000.0 + number})
                    await asyncio.sleep(0)
                await asyncio.sleep(0.05)
                spent[follows] = time.process_time() - began
            return (spent[True] - spent[False]) / REPORTS * 1e6


async def run(_world: World | None, _pairs: int, seconds: float = SECONDS) -> list[Row]:
    """Measure the three; they need no daemon."""
    rows = []
    for role, words, manners in (
        ("follower", "a follower, same clock", {}),
        ("follower", "a follower, 200 ppm fast, 20 ms late", {"speed": 1.0002, "latency": 0.02}),
        ("leader", "to a leader, 200 ppm fast", {"speed": 1.0002}),
    ):
        found = await phase(seconds, role, **manners)
        drift = "—" if found.drift_ppm is None else f"{found.drift_ppm:+.1f} ppm"
        note = f"median {found.phase_ms or 0.0:+.3f} ms, drift {drift}, {found.samples} reports"
        rows.append(single(f"Transport phase, {words}", found.phase_p99_ms or 0.0, "ms, p99", note=note))
    rows.append(single("Transport, a position report over a signal", await cost(), "µs of CPU"))
    return rows


def main() -> None:
    """Measure alone."""
    from tests.bench.__main__ import show

    parser = argparse.ArgumentParser(prog="bench.transport")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="how long each runs")
    show(asyncio.run(run(None, 1, parser.parse_args().seconds)))


if __name__ == "__main__":
    main()
