"""The link over TCP: real sockets, both halves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.alarm import bounded
from tests.support.link import KEY, App, MemoryAssets, RecordingRegistry, eventually, link_server, tcp_door

from lightfast import sdk
from lightfast_link.messages import Change
from lightfast_link.tcp import TcpTransport


async def test_an_application_joins_reports_and_is_in_step() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            welcome = (await app.until("welcome"))[1]
            assert welcome["mount"] == "/blender"
            assert (welcome["store_id"], welcome["revision"], welcome["version"]) == ("store-1", 7, 1)
            app.client.report([Change("objects/Cube/location", (1.0, 2.0, 3.0), object_id="7")])
            app.client.synced()
            session = registry.sessions[0]
            await eventually(lambda: session.synced_count)
            assert session.changes == [sdk.Change("objects/Cube/location", (1.0, 2.0, 3.0), 0, "7")]
            assert session.hello.parameters == (sdk.Parameter("objects/*/location", "vector", unit="m"),)
            assert session.hello.commands[0].arguments == (sdk.Argument("path", "string"),)
            await app.aclose()
        await eventually(lambda: session.lost_reasons == ["the application closed the link"])


@pytest.mark.parametrize("ending", ["pass", "os._exit(0)"], ids=["returns", "exits"])
async def test_an_application_that_reports_closes_and_ends_at_once_is_heard_to_the_end(ending: str) -> None:
    """The daemon acknowledges what it reads: that must not reset the connection while more waits to be read."""
    registry = RecordingRegistry()
    code = (
        "import os, sys\n"
        "from lightfast_link.client import LinkClient\n"
        "from lightfast_link.messages import Change\n"
        "from lightfast_link.tcp import TcpTransport\n"
        "transport = TcpTransport('127.0.0.1', int(sys.argv[1]))\n"
        "client = LinkClient(transport, {'app': 'blender', 'instance_id': 'i'}, key=bytes.fromhex(sys.argv[2])).start()\n"
        "while not any(event[0] == 'welcome' for event in client.poll()):\n"
        "    client.wait(0.1)\n"
        "client.report([Change(f'p{n}', n) for n in range(3000)])\n"
        "client.close(60)\n"
        f"{ending}\n"
    )
    async with link_server(registry) as server, tcp_door(server) as (_, _host, port):
        for number in range(3):
            command = [sys.executable, "-c", code, str(port), KEY.hex()]
            await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)
            session = registry.sessions[number]
            await eventually(lambda: session.lost_reasons)  # noqa: B023 — it is awaited here
            assert session.lost_reasons == ["the application closed the link"]
            assert [change.value for change in session.changes] == list(range(3000))


def test_a_daemon_that_goes_on_talking_does_not_hold_up_the_close() -> None:
    def talk(server: socket.socket) -> None:
        peer, _ = server.accept()
        with peer, contextlib.suppress(OSError):  # it was hung up
            while True:
                peer.sendall(bytes(1 << 16))

    waker, other = socket.socketpair()
    with waker, other, socket.create_server(("127.0.0.1", 0)) as server:
        talking = threading.Thread(target=talk, args=(server,), daemon=True)
        talking.start()
        connection = TcpTransport("127.0.0.1", server.getsockname()[1]).open(waker, 5.0)
        with bounded(60, "the close"):
            connection.close()
        talking.join(60)
        assert not talking.is_alive()


async def test_wishes_are_answered_and_signals_are_not() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            session = registry.sessions[0]
            session.channel.apply(
                [sdk.Wish(41, "scene/frame", 5, 9), sdk.Wish(42, "gone", None, 10), sdk.Wish(0, "x", 1.5, 0, True)]
            )
            wishes = (await app.until("apply"))[1]
            assert [(w.path, w.value, w.revision, w.signal) for w in wishes] == [
                ("scene/frame", 5, 9, False),
                ("gone", None, 10, False),
                ("x", 1.5, 0, True),
            ]
            app.client.settled(wishes[0].id, 5)
            app.client.rejected(wishes[1].id, "it is needed")
            app.client.settled(wishes[2].id)
            await eventually(lambda: session.settled and session.rejected)
            assert session.settled == [(41, 5)]
            assert session.rejected == [(42, "it is needed")]


async def test_commands_progress_and_end() -> None:
    registry = RecordingRegistry()
    async with link_server(registry) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            await app.until("welcome")
            session = registry.sessions[0]
            session.channel.invoke(sdk.Call(1, "render", {"path": "a.png", "size": (2.0, 3.0)}, 30.0))
            session.channel.invoke(sdk.Call(2, "save"))
            session.channel.invoke(sdk.Call(3, "open"))
            await app.until("command", 3)
            calls = [event[1] for event in app.events if event[0] == "command"]
            assert calls[0].arguments == {"path": "a.png", "size": (2.0, 3.0)}
            assert calls[0].timeout == 30.0
            app.client.progress(calls[0].id, -1, "rendering")
            app.client.progress(calls[0].id, 0.5, "half")
            app.client.progress(calls[0].id, float("nan"))
            app.client.progress(calls[0].id, 7.0)
            app.client.result(calls[0].id, {"done": [True]})
            app.client.error(calls[1].id, "the disk is full")
            session.channel.cancel(3)
            assert (await app.until("cancel"))[1] == calls[2].id
            await eventually(lambda: session.results and session.failed)
            assert session.progressed == [(1, -1.0, "rendering"), (1, 0.5, "half"), (1, -1.0, ""), (1, 1.0, "")]
            assert session.results == [(1, {"done": [True]})]
            assert session.failed == [(2, "the disk is full")]


async def test_assets_go_both_ways(tmp_path: Path) -> None:
    registry, assets = RecordingRegistry(), MemoryAssets()
    data = bytes(range(256)) * 8000
    source, target = tmp_path / "in.bin", tmp_path / "out.bin"
    source.write_bytes(data)
    async with link_server(registry, assets=assets) as server, tcp_door(server) as (_, host, port):
        with App.tcp(host, port) as app:
            number = app.client.put_asset(str(source), "in.bin", "image/png")
            _kind, transfer, asset = await app.until("stored")
            assert (transfer, asset.size, asset.media_type) == (number, len(data), "image/png")
            assert assets.stored[asset.sha256][1] == data
            assert assets.origins == ["app:blender"]
            app.client.get_asset(asset.sha256, str(target))
            assert (await app.until("asset"))[2:] == (asset, None)
            assert target.read_bytes() == data
            app.client.get_asset(asset.sha256)
            assert (await app.until("asset", 2))[3] == data
            app.client.get_asset("0" * 64)
            assert "there is no asset" in (await app.until("asset_failed"))[2]
            app.client.put_asset(str(tmp_path / "absent"), "x", "x/x")
            assert "No such file" in (await app.until("asset_failed", 2))[2]
