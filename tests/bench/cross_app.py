"""From one real application through the daemon into another, beside what the two take alone: Pure Data and scsynth.

Alone: a value into Pd and out of its patch again, a value into a bus of scsynth and read back. Through: the same value
into Pd, which tells the daemon, which has a link to the bus. What is more than the two together is what the daemon
adds. The other way round: a synth of scsynth is paused, and a number in Pd follows. Each of these values is state: it
is on the disk before it goes on, so the disk's own time is measured in the same rounds.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tests.bench.measure import Row, single
from tests.bench.osc_links import SETTINGS as NO_BRIDGES
from tests.bench.osc_links import live
from tests.bench.world import World
from tests.support.puredata import PATCH, Pd
from tests.support.scsynth import Client, Scsynth, synthdef

from lightfast.app.cli.stage import free_udp_port
from lightfast.client import AsyncClient
from lightfast.core.errors import NotFound
from lightfast.sdk.osc import decode

PD_PORT, SC_PORT = free_udp_port(), free_udp_port()
SETTINGS = (
    *(line for line in NO_BRIDGES if "puredata" not in line and "supercollider" not in line),
    f"plugins.puredata.listen=127.0.0.1:{PD_PORT}",
    f"plugins.supercollider.remote=127.0.0.1:{SC_PORT}",
    "plugins.supercollider.buses=0-3",
)
ROUNDS = 300
EVERY = 0.0002
"""Seconds between two looks at an application that does not tell by itself."""
PATIENCE = 5.0
SYNTH = 5000
OTHER = 10
"""A bus that the daemon does not look at."""


class Hand(Pd):
    """A Pd whose patch tells at once what leaves the outlet of its gain."""

    patch = PATCH + "#X connect 2 0 18 0;\n"

    def gain(self) -> float | None:
        """Return what the patch said of the gain just now."""
        self._socket.settimeout(0.0005)
        with suppress(TimeoutError):
            for address, _, arguments in decode(self._socket.recv(65_536)):
                if address == "/hand/gain":
                    return float(arguments[0])
        return None


class Pair:
    """The two applications, and an eye on each that goes around the daemon."""

    def __init__(self, pd: Hand, eye: Client) -> None:
        self.pd, self.eye = pd, eye

    def seen(self, ask: Callable[[], None], fits: Callable[[], bool]) -> float:
        """Ask again and again without waiting for answers, until one fits; return the seconds."""
        began = time.perf_counter()
        due = began
        while not fits():
            now = time.perf_counter()
            if now > began + PATIENCE:
                raise RuntimeError("a value never arrived")
            if now >= due:
                ask()
                due = now + EVERY
        return time.perf_counter() - began

    def bus_is(self, value: float, bus: int = 0) -> float:
        """Wait until the bus holds *value*."""
        return self.seen(lambda: self.eye.send("/c_get", bus), lambda: self._heard(("/c_set", (bus, value))))

    def gain_is(self, value: float) -> float:
        """Wait until the parameter of the patch holds *value*."""
        return self.seen(lambda: None, lambda: self.pd.gain() == value)

    def _heard(self, wanted: tuple[str, tuple[object, ...]]) -> bool:
        return wanted in self.eye.hear(0.0001)

    def pd_alone(self, value: float) -> float:
        """Return the seconds of a value into Pd and out of the patch."""
        self.pd.turn("gain", value)
        return self.gain_is(value)

    def scsynth_alone(self, value: float) -> float:
        """Return the seconds of a value into the bus and back."""
        self.eye.send("/c_set", OTHER, value)
        return self.bus_is(value, OTHER)

    def through(self, value: float) -> float:
        """Return the seconds of a value from Pd to the bus."""
        self.pd.turn("gain", value)
        return self.bus_is(value)

    def pause(self, on: bool) -> float:
        """Return the seconds from a pause of the synth until the server tells of it: half of the way back."""
        wanted = "/n_off" if on else "/n_on"
        self.eye.send("/n_run", SYNTH, 0 if on else 1)
        return self.seen(lambda: None, lambda: any(message[0] == wanted for message in self.eye.hear(0.0005)))

    def back(self, on: bool) -> float:
        """Return the seconds from a pause of the synth until the number in Pd has followed."""
        self.eye.send("/n_run", SYNTH, 0 if on else 1)
        return self.gain_is(0.0 if on else 1.0)


def sync_time(folder: Path) -> float:
    """Return the seconds that the disk takes for one small write and its sync."""
    handle = os.open(folder / "sync", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        began = time.perf_counter()
        os.write(handle, bytes(4096))
        os.fsync(handle)
        return time.perf_counter() - began
    finally:
        os.close(handle)


def forth(pair: Pair, folder: Path) -> dict[str, list[float]]:
    """Measure from Pd to scsynth, the parts and the whole in turn."""
    found: dict[str, list[float]] = {"first": [], "second": [], "whole": [], "sync": []}
    for number in range(ROUNDS):
        value = float(number * 4)
        found["first"].append(pair.pd_alone(value))  # this goes through, too: it is over before the next begins
        pair.bus_is(value)
        found["second"].append(pair.scsynth_alone(value + 1))
        time.sleep(0.003 + number % 7 * 0.0005)  # at no fixed point of the audio blocks
        found["whole"].append(pair.through(value + 2))
        found["sync"].append(sync_time(folder))
        time.sleep(0.003)
    return found


def back(pair: Pair, folder: Path) -> dict[str, list[float]]:
    """Measure from scsynth to Pd."""
    found: dict[str, list[float]] = {"first": [], "second": [], "whole": [], "sync": []}
    for number in range(ROUNDS):
        on = not number % 2
        found["second"].append(pair.pd_alone(float(number + 2)))
        time.sleep(0.01 + number % 7 * 0.0005)
        found["whole"].append(pair.back(on))
        time.sleep(0.01)
        while pair.eye.hear(0.001):
            pass
        found["first"].append(pair.pause(not on))
        pair.gain_is(1.0 if on else 0.0)
        pair.pause(on)
        pair.gain_is(0.0 if on else 1.0)
        found["sync"].append(sync_time(folder))
    return found


def quantile(values: list[float], share: float) -> float:
    """Return a quantile in milliseconds."""
    found = sorted(values)
    return found[min(len(found) - 1, int(len(found) * share))] * 1000


def rows(what: str, names: tuple[str, str], found: dict[str, list[float]]) -> list[Row]:
    """Return the rows of one direction."""
    alone = [first + second for first, second in zip(found["first"], found["second"], strict=True)]
    added = [whole - parts for whole, parts in zip(found["whole"], alone, strict=True)]
    made = []
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        whole, parts = quantile(found["whole"], share), quantile(alone, share)
        note = (
            f"{names[0]} alone {quantile(found['first'], share):.2f}, {names[1]} alone "
            f"{quantile(found['second'], share):.2f}, one sync of the disk {quantile(found['sync'], share):.2f} ms"
        )
        made.append(Row(f"{what}, {name}", whole, parts, "ms", whole / parts, "—", None, note))
        made.append(
            single(
                f"{what}, added by the daemon, {name}",
                whole - parts,
                "ms",
                most=2.0 if name == "p99" else 0.0,
                note=f"round by round: {quantile(added, share):.2f} ms, "
                f"median {statistics.median(added) * 1000:.2f} ms; on the way there are two syncs",
            )
        )
    return made


async def run(world: World, _pairs: int) -> list[Row]:
    """Start both, link them, and measure; a missing application is a clear line."""
    folder = world.home / "apps"
    folder.mkdir()
    pd, server = Hand(folder, PD_PORT), Scsynth(folder)
    server.port = SC_PORT
    eye = Client(SC_PORT)
    made: list[Row] = []
    try:
        pd.start()
        server.start()
        await asyncio.to_thread(server.wait)
        async with AsyncClient(home=str(world.home), timeout=30) as client:
            await live(client, {"/drone", "/supercollider"})
            pair = Pair(pd, eye)
            link = await client.link("/drone/gain", "/supercollider/buses/0", raw_units=True)
            made += rows("Pd to scsynth", ("Pd", "scsynth"), await asyncio.to_thread(forth, pair, folder))
            await client.delete_link(link.link_id)
            eye.send("/notify", 1)
            eye.send("/d_recv", synthdef())
            await asyncio.to_thread(eye.sync)
            eye.send("/s_new", "tone", SYNTH, 0, 0)
            await asyncio.to_thread(eye.sync)
            running = f"/supercollider/nodes/{SYNTH}/running"
            await known(client, f"/supercollider/nodes/{SYNTH}/defname")
            await asyncio.to_thread(pair.pause, True)  # it is shown once it has changed
            await asyncio.to_thread(pair.pause, False)
            await known(client, running)
            await client.link(running, "/drone/gain", raw_units=True)
            made += rows("scsynth to Pd", ("scsynth", "Pd"), await asyncio.to_thread(back, pair, folder))
    except pytest.skip.Exception as missing:
        print(f"cross_app is left out: {missing.msg}")
    finally:
        eye.close()
        server.close()
        pd.close()
    return made


async def known(client: AsyncClient, path: str) -> None:
    """Wait until there is an entry at *path*."""
    async with asyncio.timeout(20):
        while True:
            with suppress(NotFound):
                await client.get(path)
                return
            await asyncio.sleep(0.05)
