"""The link joined to the real registry and the real store, over both transports."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from tests.support.desk import Desk, open_desk
from tests.support.link import KEY, App, eventually, hello, short_path
from tests.support.link_fuzz import SECONDS, SEED, message, trouble

from lightfast.context.entry import Set, Status
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.engine.apps.link_server import LinkServer
from lightfast.wire.tcp.server import TcpDoor
from lightfast.wire.zmq.door import ZmqDoor
from lightfast_link.frame import Frame, encode
from lightfast_link.messages import Change
from lightfast_link.tcp import TcpTransport
from lightfast_link.zmq_transport import ZmqTransport

Opener = Callable[[Path], Any]


@asynccontextmanager
async def over_zmq(folder: Path) -> AsyncIterator[tuple[Desk, Callable[[], Any]]]:
    """Yield an engine, and what makes a transport to it."""
    async with open_desk(folder) as desk:
        server = make_server(desk)
        assert isinstance(desk.store.bus, Bus)
        door = ZmqDoor(
            server,
            desk.store.bus,
            router=short_path(folder, "link.sock"),
            pub=short_path(folder, "pub.sock"),
            clock=SYSTEM,
        )
        found = await door.start()
        try:
            yield desk, lambda: ZmqTransport(zmq, found["zmq_router"])
        finally:
            await door.stop()


@asynccontextmanager
async def over_tcp(folder: Path) -> AsyncIterator[tuple[Desk, Callable[[], Any]]]:
    """Yield an engine, and what makes a transport to it."""
    async with open_desk(folder) as desk:
        door = TcpDoor(make_server(desk), "127.0.0.1:0", clock=SYSTEM)
        host, _, port = (await door.start()).rpartition(":")
        try:
            yield desk, lambda: TcpTransport(host, int(port), KEY)
        finally:
            await door.stop()


def make_server(desk: Desk) -> LinkServer:
    return LinkServer(
        desk.registry,
        position=lambda: (desk.store.store_id, desk.store.revision),
        tasks=desk.tasks,
        clock=SYSTEM,
        key=KEY,
    )


both = pytest.mark.parametrize("opened", [over_zmq, over_tcp], ids=["zmq", "tcp"])
DESCRIBED: dict[str, Any] = {
    "parameters": [
        {"pattern": "scene/frame", "kind": "int"},
        {"pattern": "objects/*/location", "kind": "vector", "unit": "m"},
    ],
}


class Model:
    """A tiny application: values, reported and set as an extension would."""

    def __init__(self, transport: Any, values: dict[str, Any], **changes: Any) -> None:
        self.app = App(transport, **DESCRIBED, **changes)
        self.values = values
        self._task: asyncio.Task[None] | None = None
        self.refuses: set[str] = set()

    async def __aenter__(self) -> Model:
        self.app.client.start()
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.app.aclose()

    async def _run(self) -> None:
        client = self.app.client
        while True:
            for event in client.poll():
                if event[0] in ("welcome", "resync"):
                    client.report([Change(path, value) for path, value in self.values.items()])
                    client.synced()
                elif event[0] == "apply":
                    for wish in event[1]:
                        if wish.path in self.refuses:
                            client.rejected(wish.id, "it is locked")
                            continue
                        self.values[wish.path] = wish.value
                        client.report([Change(wish.path, wish.value)])  # the echo that real applications send
                        client.settled(wish.id, wish.value)
            await asyncio.sleep(0.002)


@both
async def test_values_go_both_ways(tmp_path: Path, opened: Opener) -> None:
    async with opened(tmp_path) as (desk, transport):
        async with Model(transport(), {"scene/frame": 1, "objects/Cube/location": (0.0, 0.0, 0.0)}) as model:
            await desk.status("/blender/objects/Cube/location", Status.SETTLED)
            assert desk.entry("/blender/objects/Cube/location").origin == "app:blender"
            await desk.store.apply([Set("/blender/scene/frame", 42)], origin="client:test")
            await desk.status("/blender/scene/frame", Status.SETTLED)
            assert model.values["scene/frame"] == 42
            model.refuses.add("scene/frame")
            await desk.store.apply([Set("/blender/scene/frame", 43)], origin="client:test")
            entry = await desk.status("/blender/scene/frame", Status.REJECTED)
            assert entry.status_reason == "it is locked"
            model.app.client.report([Change("objects/Cube/location", (1.0, 2.0, 3.0))])
            await desk.holds("/blender/objects/Cube/location", (1.0, 2.0, 3.0))
        await desk.status("/blender/objects/Cube/location", Status.STALE)


@both
async def test_the_same_document_gets_its_values_back(tmp_path: Path, opened: Opener) -> None:
    async with opened(tmp_path) as (desk, transport):
        async with Model(transport(), {"scene/frame": 1}):
            await desk.status("/blender/scene/frame", Status.SETTLED)
            await desk.store.apply([Set("/blender/scene/frame", 42)], origin="client:test")
            await desk.status("/blender/scene/frame", Status.SETTLED)
        await desk.status("/blender/scene/frame", Status.STALE)
        async with Model(transport(), {"scene/frame": 1}, instance_id="instance-2") as again:
            await desk.status("/blender/scene/frame", Status.SETTLED)
            assert again.values["scene/frame"] == 42


@both
async def test_an_application_cannot_write_beside_its_mount(tmp_path: Path, opened: Opener) -> None:
    async with opened(tmp_path) as (desk, transport), Model(transport(), {"scene/frame": 1}) as model:
        await desk.status("/blender/scene/frame", Status.SETTLED)
        outbox = model.app.client.outbox
        with model.app.client.lock:  # past the checks of the client, as a hostile one would
            for path in ("/free/path", "../free/path", "x/../../free/path"):
                outbox.add(Change(path, "stolen"))
        model.app.client.report([Change("scene/frame", 2)])
        await desk.holds("/blender/scene/frame", 2)
        assert [entry.path for entry in desk.store.select("//") if entry.value == "stolen"] == []


async def test_what_is_on_the_way_when_the_connection_breaks_is_told(tmp_path: Path) -> None:
    async with over_tcp(tmp_path) as (desk, transport):
        app = App(transport(), **DESCRIBED)
        app.client.start()
        try:
            await app.until("welcome")
            app.client.report([Change("scene/frame", 1)])
            app.client.synced()
            await desk.holds("/blender/scene/frame", 1)
            await eventually(lambda: not app.client.outbox._inflight)
            with app.client.lock:  # nothing leaves while this is held
                desk.registry.session("/blender").channel.close("try again")
                app.client.outbox.add(Change("scene/frame", 2))
                app.client.outbox.add(Change("objects/Cube/location", (1.0, 1.0, 1.0)))
            lost = await app.until("lost")
            assert lost[1:] == ("try again", 2)
            app.client.rehello(generation=4)
            await eventually(lambda: app.client.hello["generation"] == 4 and app.client.state == "live")
            while app.client.status()["sessions"] != len([event for event in app.events if event[0] == "welcome"]):
                app.events += app.client.poll()
                await asyncio.sleep(0.002)
            app.client.report([Change("scene/frame", 2), Change("objects/Cube/location", (1.0, 1.0, 1.0))])
            app.client.synced()
            await desk.holds("/blender/scene/frame", 2)
        finally:
            await app.aclose()


async def test_noise_against_the_real_registry(tmp_path: Path) -> None:
    raised, source = trouble(), random.Random(SEED)
    print("seed", SEED)
    loop = asyncio.get_running_loop()
    async with (
        over_zmq(tmp_path) as (desk, transport),
        Model(transport(), {"scene/frame": 0}, name="honest") as honest,
    ):
        await desk.status("/honest/scene/frame", Status.SETTLED)
        until, rounds = loop.time() + SECONDS, 0
        while loop.time() < until:
            rounds += 1
            with zmq.Context() as context, context.socket(zmq.DEALER) as sock:
                sock.setsockopt(zmq.LINGER, 0)
                sock.setsockopt(zmq.SNDTIMEO, 1000)
                sock.connect(transport().endpoint)
                sock.send_multipart(
                    encode(Frame("hello", {**hello(name="noisy", instance_id=str(rounds)), "versions": [1]}))
                )
                for _ in range(source.randrange(1, 150)):
                    sock.send_multipart(message(source))
                    await asyncio.sleep(0)
            honest.app.client.report([Change("scene/frame", rounds)])
            await desk.holds("/honest/scene/frame", rounds)
        assert desk.registry.session("/honest").mount == "/honest"
    assert raised == []
