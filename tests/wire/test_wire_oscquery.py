"""The OSCQuery server, asked by an independent client: plain HTTP and WebSocket, as the proposal has it."""

from __future__ import annotations

import asyncio
import math
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.support.oscquery import Served, command, frames, served

from lightfast.context.entry import Declaration, Delete, Move, Set
from lightfast.core.osc import decode
from lightfast.core.osc_build import encode
from lightfast_link.value import Asset

ASSET = Asset("asset:" + "0" * 64, "image/png", "0" * 64, 12)
VALUES: dict[str, Any] = {
    "/show/level": 0.5,
    "/show/on": True,
    "/show/count": 7,
    "/show/big": 1 << 40,
    "/show/name": "Aïda",
    "/show/blob": b"\x00\x01",
    "/show/place": (1.0, 2.0, 3.0),
    "/show/mixed": [1, "two", True, [0.5, 1.5]],
    "/show/fields": {"a": 1, "b": (1.0,)},
    "/show/image": ASSET,
    "/show/nan": math.nan,
    "/show/empty": [],
    "/show/Cube%201/café": 1.0,
    "/show/level/below": 2.0,
    "/show-2/x": 1,
    "/secret/key": "hidden",
}


async def fill(found: Served) -> None:
    await found.store.declare(
        [
            Declaration(
                "/show/level", kind="double", minimum=0, maximum=1, unit="gain.linear", description="The level."
            ),
            Declaration("/show/place", kind="vector", minimum=-10, maximum=10, unit="distance.m"),
            Declaration("/show/count", kind="int", access="r"),
            Declaration("/show/name", kind="string", choices=("Aïda", "Tosca")),
            Declaration("/show/meter", kind="double", signal=True),
        ],
        owner="test",
    )
    # The reader is read-only for clients, not for whoever declared it.
    await found.store.apply([Set(path, value) for path, value in VALUES.items()], origin="test", trusted=True)


async def test_a_node_has_its_attributes(tmp_path: Path) -> None:
    async with served(tmp_path, grants=("/show//", "/show-2//")) as found:
        await fill(found)
        tree = await found.json()
        assert set(tree["CONTENTS"]) == {"show", "show-2"}
        show = tree["CONTENTS"]["show"]
        assert (show["FULL_PATH"], show["ACCESS"]) == ("/show", 0)
        nodes = show["CONTENTS"]
        level = nodes["level"]
        assert (level["TYPE"], level["VALUE"], level["ACCESS"]) == ("f", [0.5], 1)
        assert level["RANGE"] == [{"MIN": 0, "MAX": 1}]
        assert (level["UNIT"], level["DESCRIPTION"], level["CRITICAL"]) == (["gain.linear"], "The level.", True)
        assert level["CONTENTS"]["below"]["FULL_PATH"] == "/show/level/below"
        kinds = {name: node.get("TYPE") for name, node in nodes.items()}
        assert kinds == {
            "level": "f", "on": "T", "count": "i", "big": "h", "name": "s", "blob": "b", "place": "fff",
            "mixed": "isT[ff]", "fields": "s", "image": "s", "nan": "f", "empty": "", "Cube%201": None,
        }  # fmt: skip
        assert nodes["place"]["RANGE"] == [{"MIN": -10, "MAX": 10}] * 3
        assert nodes["mixed"]["VALUE"] == [1, "two", True, [0.5, 1.5]]
        assert (nodes["fields"]["EXTENDED_TYPE"], nodes["image"]["EXTENDED_TYPE"]) == (["json"], ["asset"])
        assert nodes["image"]["VALUE"] == [ASSET.uri]
        assert (nodes["nan"]["VALUE"], nodes["blob"]["VALUE"]) == ([None], [None])
        assert nodes["name"]["RANGE"] == [{"VALS": ["Aïda", "Tosca"]}]
        assert nodes["Cube%201"]["CONTENTS"]["caf%C3%A9"]["FULL_PATH"] == "/show/Cube%201/caf%C3%A9"


async def test_attributes_and_status_codes(tmp_path: Path) -> None:
    async with served(tmp_path, grants=("/show//",)) as found:
        await fill(found)
        assert await found.json("/show/level?VALUE") == {"VALUE": [0.5]}
        assert await found.json("/show/level?TYPE") == {"TYPE": "f"}
        assert set((await found.json("/show?CONTENTS"))["CONTENTS"]) >= {"level", "on"}
        for path, status in (
            ("/show?VALUE", 204),
            ("/show/on?RANGE", 204),
            ("/show/on?HTML", 204),
            ("/show/on?COLOR", 400),
            ("/show/nothing", 404),
            ("/secret/key", 404),
            ("/secret", 404),
            ("/show/le*", 404),
            ("/?ADD_NODE=x", 403),
            ("/?REMOVE_NODE=show", 403),
            ("/?RENAME_NODE=x", 403),
        ):
            assert (await found.get(path)).status_code == status, path
        # Some clients escape what is escaped already, some do not.
        for path in ("/show/Cube%201/caf%C3%A9", "/show/Cube%25201/caf%25C3%25A9"):
            assert (await found.json(path))["VALUE"] == [1.0]
        info = await found.json("/?HOST_INFO=1")
        assert info == await found.json("/?HOST_INFO")
        assert (info["OSC_IP"], info["OSC_PORT"], info["OSC_TRANSPORT"]) == ("127.0.0.1", found.osc_port, "UDP")
        assert f"{info['WS_IP']}:{info['WS_PORT']}" == found.address
        assert info["EXTENSIONS"]["LISTEN"] is True
        assert info["EXTENSIONS"]["HTML"] is False
        assert info["NAME"].startswith("lightfast-")


async def test_it_listens_to_exact_paths(tmp_path: Path) -> None:
    async with served(tmp_path, grants=("/show//",)) as found, found.websocket() as socket:
        await fill(found)
        await socket.send(command("LISTEN", "/show/level"))
        await socket.send(command("LISTEN", "/secret/key"))
        await wait_for(found, "/show/level")
        await found.store.apply([Set("/secret/key", "x"), Set("/show/level/below", 3.0)], origin="test")
        await found.store.apply([Set("/show/level", 0.75)], origin="test")
        values = await values_of(socket, 2)
        assert values == [("/show/level", (0.5,)), ("/show/level", (0.75,))]
        await socket.send(command("IGNORE", "/show/level"))
        await socket.send(command("LISTEN", "/show/on"))
        assert await values_of(socket, 1) == [("/show/on", (True,))]
        await found.store.apply([Set("/show/level", 0.25)], origin="test")
        await found.store.apply([Set("/show/on", False)], origin="test")
        assert await values_of(socket, 1) == [("/show/on", (False,))]


async def wait_for(found: Served, path: str) -> None:
    """Wait until somebody listens to *path*."""
    async with asyncio.timeout(60):
        while path not in found.server._hub._listeners:
            await asyncio.sleep(0.005)


async def values_of(socket: Any, count: int) -> list[tuple[str, tuple[Any, ...]]]:
    values: list[tuple[str, tuple[Any, ...]]] = []
    while len(values) < count:
        (message,) = await frames(socket, 1)
        if not isinstance(message, dict):
            values.append((message.address, message.args))
    return values


async def test_structure_is_told(tmp_path: Path) -> None:
    async with served(tmp_path, grants=("/show//",)) as found, found.websocket() as socket:
        await socket.send(command("LISTEN", "/nothing"))
        await (await socket.ping())
        await found.store.apply([Set("/show/new", 1), Set("/elsewhere", 1)], origin="test")
        assert await frames(socket, 2) == [
            {"COMMAND": "PATH_ADDED", "DATA": "/show/new"},
            {"COMMAND": "PATH_CHANGED", "DATA": "/show"},
        ]
        await found.store.apply([Move("/show/new", "/show/old")], origin="test")
        assert (await frames(socket, 2))[0] == {
            "COMMAND": "PATH_RENAMED",
            "DATA": {"OLD": "/show/new", "NEW": "/show/old"},
        }
        await found.store.apply([Delete("/show/old")], origin="test")
        assert (await frames(socket, 2))[0] == {"COMMAND": "PATH_REMOVED", "DATA": "/show/old"}
        await found.store.apply([Set("/show/kind", 1)], origin="test")
        await frames(socket, 2)
        await found.store.apply([Set("/show/kind", "text")], origin="test")
        assert await frames(socket, 1) == [{"COMMAND": "PATH_CHANGED", "DATA": "/show/kind"}]
        many = [Set(f"/show/many/{number}", number) for number in range(1000)]
        await found.store.apply(many, origin="test")
        assert await frames(socket, 1) == [{"COMMAND": "PATH_CHANGED", "DATA": "/show"}]


async def test_signals_stream_over_udp_to_who_asked(tmp_path: Path) -> None:
    async with served(tmp_path) as found, found.websocket() as socket:
        await fill(found)
        found.store.publish([Set("/show/meter", 0.0)], origin="test")
        with socket_at() as listening:
            data = {"LOCAL_SERVER_PORT": listening.getsockname()[1], "LOCAL_SENDER_PORT": 1234}
            await socket.send(command("START_OSC_STREAMING", data))
            await socket.send(command("LISTEN", "/show/meter"))
            await socket.send(command("LISTEN", "/show/level"))
            await wait_for(found, "/show/level")
            found.store.publish([Set("/show/meter", 0.25)], origin="test")
            message = decode(await asyncio.to_thread(listening.recv, 2048))[0]
            assert (message.address, message.args) == ("/show/meter", (0.25,))
            # State is critical: it goes over the socket that loses nothing.
            await found.store.apply([Set("/show/level", 0.125)], origin="test")
            while (await values_of(socket, 1))[0] != ("/show/level", (0.125,)):
                pass


def socket_at() -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind(("127.0.0.1", 0))
    found.settimeout(20)
    return found


async def test_nothing_is_written_unless_granted(tmp_path: Path) -> None:
    async with served(tmp_path) as found, found.websocket() as socket:
        await fill(found)
        assert (await found.json("/show/level"))["ACCESS"] == 1
        await socket.send(encode("/show/level", 1.0))
        with socket_at() as sending:
            sending.sendto(encode("/show/level", 0.9), ("127.0.0.1", found.osc_port))
        async with asyncio.timeout(60):
            while not (found.server.counts.get("read_only") and found.door.counts["not_granted"]):
                await asyncio.sleep(0.005)
        entry = found.store.get("/show/level")
        assert entry is not None
        assert entry.value == 0.5


async def test_what_is_granted_is_written_within_its_range(tmp_path: Path) -> None:
    async with served(tmp_path, write=("/show/*",)) as found, found.websocket() as socket, found.websocket() as other:
        await fill(found)
        node = await found.json("/show/level")
        assert (node["ACCESS"], node["CLIPMODE"]) == (3, ["both"])
        assert (await found.json("/show/count"))["ACCESS"] == 1
        assert (await found.json("/secret/key"))["ACCESS"] == 1
        for one in (socket, other):
            await one.send(command("LISTEN", "/show/level"))
            await values_of(one, 1)
        await socket.send(encode("/show/level", 0.75))
        assert await values_of(other, 1) == [("/show/level", (0.75,))]
        with socket_at() as sending:
            sending.sendto(encode("/show/level", 5.0), ("127.0.0.1", found.osc_port))
        # The writer is not told its own write, only what it did not write.
        assert await values_of(socket, 1) == [("/show/level", (1.0,))]
        assert await values_of(other, 1) == [("/show/level", (1.0,))]
        await socket.send(encode("/show/level", -3.0))
        assert await values_of(socket, 1) == [("/show/level", (0.0,))]  # it was clamped: that is news
        entry = found.store.get("/show/level")
        assert entry is not None
        assert entry.origin == "osc:127.0.0.1"
        await socket.send(encode("/show/count", 99))
        await socket.send(encode("/secret/key", "x"))
        await socket.send(encode("/show/on", False))
        async with asyncio.timeout(60):
            while (entry := found.store.get("/show/on")) is None or entry.value is not False:
                await asyncio.sleep(0.005)
        assert (found.door.counts["read_only"], found.door.counts["not_granted"]) == (1, 1)


async def test_a_write_only_value_is_not_shown(tmp_path: Path) -> None:
    async with served(tmp_path, write=("/show/*",)) as found, found.websocket() as socket:
        await found.store.declare([Declaration("/show/secret", kind="string", access="w")], owner="test")
        await found.store.apply([Set("/show/secret", "x")], origin="test")
        assert (await found.json("/show/secret"))["ACCESS"] == 2
        assert (await found.get("/show/secret?VALUE")).status_code == 204
        await socket.send(command("LISTEN", "/show/secret"))
        await wait_for(found, "/show/secret")
        await found.store.apply([Set("/show/secret", "y")], origin="test")
        await found.store.apply([Set("/show/z", 1)], origin="test")
        assert all(isinstance(message, dict) for message in await frames(socket, 2))


@pytest.mark.parametrize("grants", [("/show//",), ("//",), ("/show//", "/show/level"), ("//level", "/show-2//")])
async def test_the_tree_holds_what_is_granted_once(tmp_path: Path, grants: tuple[str, ...]) -> None:
    async with served(tmp_path, grants=grants) as found:
        await fill(found)
        shown: list[str] = []

        def walk(node: dict[str, Any]) -> None:
            if "TYPE" in node:
                shown.append(node["FULL_PATH"])
            for inner in node.get("CONTENTS", {}).values():
                walk(inner)

        walk(await found.json())
        from lightfast_link.path import ascii_path, compile_pattern

        wanted = sorted(
            ascii_path(path) for path in VALUES if any(compile_pattern(grant).matches(path) for grant in grants)
        )
        assert sorted(shown) == wanted


async def test_what_the_daemon_says_of_itself_needs_a_grant_of_its_own(tmp_path: Path) -> None:
    async with served(tmp_path) as found:
        await found.store.apply([Set("/lightfast/apps/x", "y"), Set("/show/a", 1)], origin="daemon", trusted=True)
        assert list((await found.json())["CONTENTS"]) == ["show"]
        assert (await found.get("/lightfast/apps/x")).status_code == 404
    async with served(tmp_path, grants=("/lightfast//",)) as found:
        assert (await found.json("/lightfast/apps/x"))["VALUE"] == ["y"]


def test_it_is_not_advertised_unless_somebody_says_so() -> None:
    """mDNS takes a port on every interface, whatever the listener is bound to."""
    from lightfast.app.settings import OscQuerySettings

    assert OscQuerySettings().mdns is False
