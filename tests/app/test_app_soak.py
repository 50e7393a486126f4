"""A show runs for days: whatever is done again and again leaves nothing behind, and an idle daemon does nothing.

Shortened here; `LIGHTFAST_SOAK_ROUNDS=2000 LIGHTFAST_SOAK_IDLE=600 make pytest ARGS="-k soak"` for a night.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import websockets
from tests.support.daemon import Daemon
from tests.support.joined import BRIDGES
from tests.support.waiting import until

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import AsyncClient, Client
from lightfast.core.errors import LightfastError
from lightfast.core.osc_build import encode
from lightfast_link import discover
from lightfast_link.client import LinkClient

ROUNDS = int(os.environ.get("LIGHTFAST_SOAK_ROUNDS", "40"))
IDLE = float(os.environ.get("LIGHTFAST_SOAK_IDLE", "4"))
WINDOWS = 12
"""How many times the idle daemon may be looked at until it was idle for once."""
LEFT = 0.5
"""Objects of one kind that an operation may leave behind; what leaks, leaks at least one each time."""
PATIENCE = 60.0

CENSUS = '''
import asyncio, gc, sys, threading, time
from collections import Counter

from lightfast.sdk import Bridge, Command, Hello, hookimpl


class Census(Bridge):
    """Counts the objects of the daemon that it runs in."""

    kind = "census"

    async def run(self, host):
        self.session = host.hello(Hello("census", "census", commands=(Command("count", "Count"),)), self)
        self.session.synced()
        await asyncio.Event().wait()

    def apply(self, wishes):
        pass

    def invoke(self, call):
        for _ in range(3):
            gc.collect()
        kinds = Counter()
        for found in gc.get_objects():
            kind = type(found)
            if str(kind.__module__).startswith("lightfast"):
                kinds[kind.__module__ + "." + kind.__qualname__] += 1
        kinds["tasks"] = len(asyncio.all_tasks())
        kinds["threads"] = threading.active_count()
        self.session.result(call.call_id, dict(kinds))

    def cancel(self, call_id):
        pass

    def resync(self):
        self.session.synced()

    def close(self, reason):
        pass


@hookimpl
def lightfast_bridges(config):
    return [Census()]
'''

PARAMETERS = [
    {"pattern": "level", "kind": "double", "signal": True},
    {"pattern": "fader", "kind": "double"},
    {"pattern": "stuck", "kind": "double"},
]
COMMANDS = [{"name": "go", "arguments": [{"name": "x", "kind": "double"}], "effect": "read"}]


class App:
    """An application on the link, on a thread of its own; it refuses every wish for `stuck`."""

    def __init__(self, home: Path, name: str, instance: str, document: str = "") -> None:
        hello = {
            "app": "soak",
            "name": name,
            "instance_id": instance,
            "document_id": document,
            "parameters": PARAMETERS,
            "commands": COMMANDS,
        }
        self.client = LinkClient(discover.transport(str(home), None), hello).start()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ending.is_set():
            for event in self.client.poll():
                if event[0] in ("welcome", "resync"):
                    self.client.report([{"path": path, "value": 0.0} for path in ("level", "fader", "stuck")])
                    self.client.synced()
                elif event[0] == "apply":
                    for wish in event[1]:
                        if wish.path == "stuck":
                            self.client.rejected(wish.id, "it is stuck")
                        else:
                            self.client.settled(wish.id, wish.value)
                elif event[0] == "command":
                    self.client.result(event[1].id, 1.0)
            self.client.wait(0.05)

    def close(self) -> None:
        self._ending.set()
        self._thread.join(10)
        self.client.close(10)


@contextmanager
def application(home: Path, name: str, instance: str, document: str = "") -> Iterator[App]:
    app = App(home, name, instance, document)
    try:
        yield app
    finally:
        app.close()


class House:
    """A daemon that can be counted, with what the operations need."""

    def __init__(self, daemon: Daemon, client: AsyncClient, states: dict[str, str]) -> None:
        self.daemon, self.client, self.home = daemon, client, daemon.home
        self.states = states
        self.numbers = itertools.count(1)

    async def state(self, mount: str, wanted: str) -> None:
        """Wait until an application is in a state."""
        async with asyncio.timeout(PATIENCE):
            while self.states.get(mount) != wanted:
                await asyncio.sleep(0.002)

    async def count(self) -> dict[str, int]:
        """Count the daemon's objects, tasks, threads and descriptors."""
        found = await self.client.invoke("/census", "count")
        assert isinstance(found, dict)
        counts = {name: number for name, number in found.items() if isinstance(number, int)}
        if sys.platform == "linux":
            counts["descriptors"] = len(list(Path(f"/proc/{self.daemon.pid}/fd").iterdir()))
        return counts


Operation = Callable[[House, int], Awaitable[None]]


async def joins(house: House, number: int) -> None:
    """Join and leave, each time as another instance with another document."""
    with application(house.home, "guest", f"guest-{number}", f"document-{number}"):
        await house.state("/guest", "live")
    await house.state("/guest", "gone")


async def returns(house: House, _: int) -> None:
    """Join and leave, as the same."""
    with application(house.home, "regular", "regular", "document"):
        await house.state("/regular", "live")
    await house.state("/regular", "gone")


async def watchers(house: House, _: int) -> None:
    """Connect, watch, and go."""
    async with AsyncClient(home=str(house.home), timeout=PATIENCE) as client:
        async for batch in client.watch("/soak//", include_snapshot=True, resume=False):
            if batch.synced:
                break


async def links(house: House, number: int) -> None:
    """Make a link, use it, delete it."""
    made = await house.client.link("/soak/source", "/soak/target")
    await house.client.set("/soak/source", float(number))
    await house.client.delete_link(made.link_id)


async def transport(house: House, number: int) -> None:
    """Start and stop the transport."""
    await house.client.play()
    await house.client.set_tempo(100.0 + number % 20)
    await house.client.stop()


async def recordings(house: House, number: int) -> None:
    """Record, and delete the recording."""
    await house.client.show.record(f"take-{number}", ["/soak/*"])
    await house.client.set("/soak/recorded", float(number))
    await house.client.show.stop_recording()
    await house.client.show.delete_recording(f"take-{number}")


async def panics(house: House, _: int) -> None:
    """Lock and unlock the show, and hold the applications."""
    await house.client.show.lock("soak")
    await house.client.show.unlock()
    await house.client.show.panic("soak")
    await house.client.show.release()


async def commands(house: House, number: int) -> None:
    """Run a command of an application."""
    assert await house.client.invoke("/resident", "go", x=float(number)) == 1.0


async def rejections(house: House, number: int) -> None:
    """Wish what the application refuses, and what nobody can."""
    await house.client.set("/resident/stuck", float(number))
    async with asyncio.timeout(PATIENCE):
        while (await house.client.get("/resident/stuck")).status == "PENDING":
            await asyncio.sleep(0.002)
    with pytest.raises(LightfastError):
        await house.client.set("/lightfast/nothing", 1.0)
    with pytest.raises(LightfastError):
        await house.client.get(f"/nothing/{number}")


async def strangers(house: House, number: int) -> None:
    """Send OSC from a port of its own, twenty times over."""
    host, _, port = str(house.daemon.endpoints["osc"]).rpartition(":")
    for _ in range(20):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.sendto(encode("/soak/osc", float(number)), (host, int(port)))
    await house.client.get("/soak/source")


async def browsers(house: House, number: int) -> None:
    """Browse with OSCQuery, and listen."""
    async with websockets.connect(f"ws://{house.daemon.endpoints['oscquery']}/", proxy=None) as peer:
        await peer.send(json.dumps({"COMMAND": "LISTEN", "DATA": "/soak/source"}))
        async with asyncio.timeout(PATIENCE):
            heard = asyncio.ensure_future(peer.recv())
            while not heard.done():
                await house.client.set("/soak/source", float(next(house.numbers) * 1000 + number))
                await asyncio.wait([heard], timeout=0.05)
            await heard


async def leases(house: House, number: int) -> None:
    """Hold a lease with an entry under it."""
    async with house.client.lease(5.0) as lease_id:
        assert lease_id
        await house.client.set(f"/soak/passing/{number}", 1.0)
        await house.client.delete(f"/soak/passing/{number}")


OPERATIONS: tuple[Operation, ...] = (
    *(joins, returns, watchers, links, transport, recordings),
    *(panics, commands, rejections, strangers, browsers, leases),
)


def settings(*more: str) -> list[str]:
    """Return a daemon's settings: no bridges that would find what other tests run."""
    return [*(f"plugins.{name}.enabled=false" for name in BRIDGES), *more]


@pytest.mark.slow
@pytest.mark.limit(240 + ROUNDS * 4)
async def test_what_is_done_again_and_again_leaves_nothing_behind(tmp_path: Path) -> None:
    plugins = tmp_path / "config" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "census.py").write_text(CENSUS, encoding="utf-8")
    flags = settings("oscquery.listen=127.0.0.1:0", "oscquery.mdns=false", 'oscquery.grants=["//"]')
    with Daemon(tmp_path, flags=flags) as daemon, application(tmp_path, "resident", "resident", "document"):
        async with AsyncClient(home=str(tmp_path), timeout=PATIENCE) as client:
            states: dict[str, str] = {}

            async def look() -> None:
                async for batch in client.watch("/lightfast/apps/*/state", include_snapshot=True):
                    for event in batch.events:
                        mount = event.entry.path.removeprefix("/lightfast/apps").removesuffix("/state")
                        states[mount] = str(event.entry.value)

            looking = asyncio.ensure_future(look())
            house = House(daemon, client, states)
            await house.state("/census", "live")
            await house.state("/resident", "live")
            await client.set("/soak/source", 0.0)
            try:
                for operation in OPERATIONS:
                    await soak(house, operation)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)


async def soak(house: House, operation: Operation) -> None:
    """Do *operation* some times, so that what is made once is made, and then often; nothing may have grown with it."""
    for _ in range(5):
        await operation(house, next(house.numbers))
    before = await house.count()
    for _ in range(ROUNDS):
        await operation(house, next(house.numbers))
    grown: dict[str, int] = {}
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while asyncio.get_running_loop().time() < deadline:  # what has just ended may take a moment to go
        after = await house.count()
        grown = {name: more for name in after if (more := after[name] - before.get(name, 0)) >= max(8, ROUNDS * LEFT)}
        if not grown:
            return
        await asyncio.sleep(0.5)
    raise AssertionError(f"{ROUNDS} times {operation.__name__} left behind: {grown}")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="what a process writes is read from /proc, which only Linux has")
@pytest.mark.limit(120 + int(WINDOWS * IDLE))
def test_an_idle_daemon_commits_nothing_and_writes_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon, Client(home=str(tmp_path)) as client:
        names = [f"idle{number}" for number in range(3)]
        apps = [App(tmp_path, name, name, "document") for name in names]
        try:
            until(
                lambda: (
                    {f"/{name}" for name in names}
                    <= {app.mount for app in client.list_apps() if app.state == APP_STATE_LIVE}
                ),
                "all are in step",
            )

            def look() -> tuple[int, int, int]:
                fields = dict(line.split(": ") for line in Path(f"/proc/{daemon.pid}/io").read_text().splitlines())
                return client.info().revision, int(fields["write_bytes"]), len(daemon.log())

            seen = [look()]
            rest = threading.Event()
            # It takes a while until all plugins have looked for their applications; tests beside us may run some, too.
            while len(seen) <= WINDOWS and (len(seen) < 2 or seen[-1] != seen[-2]):
                rest.wait(IDLE)
                seen.append(look())
            assert seen[-1] == seen[-2], f"revision, bytes written, length of the log: {seen}\n{daemon.log()[-4000:]}"
        finally:
            for app in apps:
                app.close()
