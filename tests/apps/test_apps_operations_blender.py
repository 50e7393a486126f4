"""Real Blender: what a program did is taken back, and a command with a key is done once."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from tests.support.blender import DEADLINE, advertise, blender, wanted
from tests.support.operations import RUN, OpHouse, operation_house, told

from lightfast.app.joints import LinkAssets
from lightfast.context.entry import Status
from lightfast.context.watch import bus_of
from lightfast.core.clock import SYSTEM
from lightfast.engine.apps.link_server import LinkServer
from lightfast.engine.apps.records import AppState
from lightfast.engine.operations.apps import KEYED
from lightfast.security.keys import ensure_secret
from lightfast.wire.tcp.server import TcpDoor
from lightfast_bridges.blender.bridge import BlenderBridge

pytestmark = pytest.mark.real_app
KINDS = ["application", "module"]


@asynccontextmanager
async def door(house: OpHouse, home: Path) -> AsyncIterator[None]:
    """Let applications of *home* join."""
    registry, store = house.rooms.registry, house.rooms.store
    async with AsyncExitStack() as stack:
        key = ensure_secret(home / "link.key")
        link = LinkServer(
            registry,
            position=lambda: (store.store_id, store.revision),
            tasks=house.ai.tasks,
            clock=SYSTEM,
            key=key,
            assets=LinkAssets(house.rooms.gateway.blobs),
        )
        tcp = TcpDoor(link, "127.0.0.1:0", clock=SYSTEM)
        address = await tcp.start()
        stack.push_async_callback(tcp.stop)
        stack.callback(os.close, advertise(home, key, link_tcp=address))
        yield


@asynccontextmanager
async def rooms(folder: Path, home: Path) -> AsyncIterator[OpHouse]:
    async with operation_house(folder) as house:
        house.rooms.registry.add_kind(BlenderBridge())
        async with door(house, home):
            yield house


async def until(house: OpHouse, holds: Callable[[], object], what: str) -> None:
    """Wait until *holds*, looked at after each tick of the store."""
    news = asyncio.Event()
    stop = bus_of(house.rooms.store).listen(["//"], lambda _: news.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                news.clear()
                await news.wait()
    except TimeoutError:
        raise AssertionError(f"not seen within {DEADLINE} s: {what}") from None
    finally:
        stop()


async def live(house: OpHouse) -> None:
    registry = house.rooms.registry
    await until(house, lambda: any(app.state is AppState.LIVE for app in registry.list()), "Blender")


def objects(house: OpHouse) -> set[str]:
    return {entry.path.split("/")[3] for entry in house.rooms.store.select("/blender/objects/*/type")}


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_made_is_deleted_again_and_what_was_set_is_set_back(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    home = tmp_path / "home"
    home.mkdir()
    async with rooms(tmp_path / "house", home) as house:
        with blender(installation, home):
            await live(house)
            before = objects(house)
            location = house.value("/blender/objects/Cube/location")
            assert house.check("app.command", app="/blender", command="create_object", arguments={"kind": "cube"}) == []
            made = await house.perform(
                "app.command",
                "s1",
                app="/blender",
                command="create_object",
                arguments={"kind": "cube", "name": "Made", "location": [1, 2, 3]},
            )
            await until(house, lambda: "Made" in objects(house), "the object")
            moved = await house.perform("context.set", "s2", path="/blender/objects/Made/location", value=[4, 5, 6])
            assert moved.undo is None
            await house.perform(
                "app.command",
                "s3",
                app="/blender",
                command="set_property",
                arguments={"path": "objects/Cube/location", "value": [7.0, 8.0, 9.0]},
            )
            await until(
                house, lambda: house.value("/blender/objects/Cube/location") == (7.0, 8.0, 9.0), "the move of the cube"
            )
            renamed = await house.perform(
                "app.command",
                "s4",
                app="/blender",
                command="rename_object",
                arguments={"object": "Made", "name": "Named"},
            )
            await until(house, lambda: "Named" in objects(house), "the new name")

            # The newest first, as a rollback does it; last of all what was reported under the commands.
            await house.undo(renamed, "s4.undo")
            await until(house, lambda: "Made" in objects(house), "the old name")
            await house.undo(made, "s1.undo")
            await until(house, lambda: objects(house) == before, "the object gone")
            undone = await house.rooms.store.undo(group=RUN, origin=f"run:{RUN}")
            assert undone.conflicts == ()

            def back() -> bool:
                entry = house.rooms.store.get("/blender/objects/Cube/location")
                return entry is not None and entry.status is Status.SETTLED and entry.reported == location

            await until(house, back, "the cube where it was")
            assert objects(house) == before
            wrong = [entry for entry in house.rooms.store.select("/blender//") if entry.status is Status.REJECTED]
            assert wrong == []
            listed = await house.perform("app.command", "s9", app="/blender", command="list_objects")
            assert {item["name"]: item["location"] for item in told(listed)}["Cube"] == location


@pytest.mark.parametrize("kind", KINDS)
async def test_what_was_deleted_cannot_be_made_again_and_says_so(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    home = tmp_path / "home"
    home.mkdir()
    async with rooms(tmp_path / "house", home) as house:
        with blender(installation, home):
            await live(house)
            arguments = {"app": "/blender", "command": "delete_object", "arguments": {"object": "Cube"}}
            assert house.effects("app.command", **arguments) == {"destructive"}
            gone = await house.perform("app.command", **arguments)
            await until(house, lambda: "Cube" not in objects(house), "the end of the cube")
            assert gone.undo is None
            assert gone.stuck == "/blender cannot take delete_object back: what it took away is gone"
            # The store alone does not bring it back: Blender refuses each of its values, by name.
            await house.rooms.store.undo(group=RUN, origin="client:test")

            def refused() -> bool:
                entry = house.rooms.store.get("/blender/objects/Cube/location")
                return entry is not None and entry.status is Status.REJECTED

            await until(house, refused, "the refusal")
            entry = house.rooms.store.get("/blender/objects/Cube/location")
            assert entry is not None
            assert "no object named 'Cube'" in entry.status_reason


@pytest.mark.parametrize("kind", KINDS)
async def test_a_daemon_that_asks_again_is_answered_and_a_new_blender_cannot_tell(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    home = tmp_path / "home"
    home.mkdir()
    arguments = {"app": "/blender", "command": "create_object", "arguments": {"kind": "cube", "name": "Once"}}
    with blender(installation, home):
        async with rooms(tmp_path / "house", home) as house:
            await live(house)
            assert KEYED in house.rooms.registry.session("/blender").hello.capabilities
            assert house.find("app.command").repeatable(arguments, house.book.world)
            first = await house.perform("app.command", **arguments)
            note = house.bench.note
            await until(house, lambda: "Once" in objects(house), "the object")
            assert (await house.again("app.command", **arguments)).value == first.value
        async with rooms(tmp_path / "house", home) as house:  # the next daemon
            call = house.call(arguments, note=note, deadline_s=DEADLINE)
            second = await house.find("app.command").recover(call, house.bench)
            assert second is not None
            assert second.value == first.value
            listed = await house.perform("app.command", "s9", app="/blender", command="list_objects")
            names = [item["name"] for item in told(listed)]
            assert sorted(name for name in names if name.startswith("Once")) == ["Once"]
    async with rooms(tmp_path / "house", home) as house:
        with blender(installation, home):
            await live(house)
            call = house.call(arguments, note=note)
            assert await house.find("app.command").recover(call, house.bench) is None
