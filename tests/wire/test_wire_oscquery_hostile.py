"""The OSCQuery server against clients that mean no good, or too much."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import websockets
from tests.support.oscquery import command, frames, served

from lightfast.context.entry import Set
from lightfast.wire.oscquery import client as client_module
from lightfast.wire.oscquery import hub as hub_module
from lightfast.wire.oscquery import protocol


async def raw(address: str, request: bytes) -> bytes:
    """Return what comes until the server closes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    try:
        async with asyncio.timeout(60):
            return await reader.read(1 << 16)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "evil.example:5678"}, 421),
        ({"host": "localhost:1"}, 200),
        ({"host": "192.168.1.5"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
async def test_names_and_pages_of_others_are_refused(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    async with served(tmp_path) as found:
        assert (await found.get("/", **headers)).status_code == status


async def test_a_web_page_gets_no_websocket(tmp_path: Path) -> None:
    async with served(tmp_path) as found:
        for options in ({"origin": "http://evil.example"}, {"additional_headers": {"Host": "evil.example"}}):
            with pytest.raises((websockets.InvalidStatus, websockets.InvalidMessage)):
                async with found.websocket(**options):
                    pass
        async with found.websocket(origin=f"http://{found.address}"):
            pass
        assert found.server.counts["refused"] >= 1  # two Host headers are no HTTP at all


async def test_sources_that_are_not_allowed_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path, allows=lambda host: False) as found:
        assert (await found.get("/")).status_code == 403
        with pytest.raises(websockets.InvalidStatus):
            async with found.websocket():
                pass


async def test_other_methods_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as found:
        for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS"):
            answer = await raw(found.address, method + b" / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b" 405 " in answer.partition(b"\r\n")[0]
        answer = await raw(found.address, b"HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert b" 200 " in answer.partition(b"\r\n")[0]
        assert b"CONTENTS" not in answer


async def test_a_slow_request_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(tmp_path) as found:
        monkeypatch.setattr(protocol, "EXCHANGE_S", 0.3)
        host, _, port = found.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: lo")
        await writer.drain()
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
        writer.close()
        # A WebSocket may stay longer than an exchange takes.
        monkeypatch.setattr(protocol, "EXCHANGE_S", 6.0)
        async with found.websocket() as connected:
            await asyncio.sleep(6.2)
            await (await connected.ping())


async def test_oversize_requests_are_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as found:
        answer = await raw(found.address, b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.split(b" ", 2)[1] in (b"400", b"404")
        assert (await found.get("/" + "a/" * 3000)).status_code == 404
        assert (await found.get("/%00%ff%fe")).status_code == 404
        assert (await found.get("/?" + "VALUE&" * 1000)).status_code == 204


async def test_odd_messages_are_counted_and_change_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as found, found.websocket() as connected:
        await found.store.apply([Set("/a", 1)], origin="test")
        odd: list[Any] = [
            "", "{", "[]", "1", "[" * 30_000, '{"COMMAND":' * 5000, '{"COMMAND": 5}', '{"COMMAND": "LISTEN"}',
            '{"COMMAND": "LISTEN", "DATA": {}}', '{"COMMAND": "LISTEN", "DATA": "no slash"}',
            '{"COMMAND": "LISTEN", "DATA": "/*"}', '{"COMMAND": "LISTEN", "DATA": "' + "/x" * 2000 + '"}',
            '{"COMMAND": "START_OSC_STREAMING", "DATA": {"LOCAL_SERVER_PORT": 80}}',
            '{"COMMAND": "START_OSC_STREAMING", "DATA": {"LOCAL_SERVER_PORT": "9000"}}',
            '{"COMMAND": "START_OSC_STREAMING", "DATA": {"LOCAL_SERVER_PORT": 99999999}}',
            json.dumps({"COMMAND": "START_OSC_STREAMING", "DATA": {"LOCAL_SERVER_PORT": found.osc_port}}),
            '{"COMMAND": "ADD_NODE", "DATA": "/x"}', '{"COMMAND": "IGNORE", "DATA": "/a"}',
            b"", b"\xff" * 100, b"#bundle\0" + b"\xff" * 50,
        ]  # fmt: skip
        for message in odd:
            await connected.send(message)
        await connected.send(command("LISTEN", "/a"))
        said = await frames(connected, 3)
        assert [(one.address, one.args) for one in said if not isinstance(one, dict)] == [("/a", (1,))]
        counts = found.server.counts
        assert counts["malformed"] >= 10
        assert counts["unknown"] >= 1


async def test_a_message_too_long_ends_the_connection(tmp_path: Path) -> None:
    async with served(tmp_path) as found, found.websocket() as connected:
        await connected.send("x" * 100_000)
        with pytest.raises(websockets.ConnectionClosed):
            async with asyncio.timeout(60):
                await connected.recv()


async def test_a_flood_of_messages_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BURST", 200.0)
    monkeypatch.setattr(client_module, "RATE", 1.0)
    async with served(tmp_path) as found, found.websocket() as connected:

        async def flood() -> None:
            for _ in range(100_000):
                await connected.send(command("LISTEN", "/nothing"))
            await connected.recv()

        with pytest.raises(websockets.ConnectionClosed) as closed:
            await asyncio.wait_for(flood(), 60)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == client_module.TOO_FAST
        assert (await found.get("/?HOST_INFO")).status_code == 200


async def test_clients_and_listens_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "MAX_CLIENTS", 2)
    monkeypatch.setattr(client_module, "MAX_LISTENS", 3)
    async with served(tmp_path) as found, found.websocket() as one, found.websocket():
        await found.store.apply([Set(f"/p/{number}", number) for number in range(6)], origin="test")
        with pytest.raises(websockets.InvalidStatus):
            async with found.websocket():
                pass
        for number in range(6):
            await one.send(command("LISTEN", f"/p/{number}"))
        async with asyncio.timeout(60):
            while found.server.counts.get("listens_refused", 0) < 3:
                await asyncio.sleep(0.005)
        assert sum(len(each) for each in found.server._hub._listeners.values()) == 3
    assert not found.server._hub._listeners


@pytest.mark.limit(180)
async def test_a_client_that_does_not_read_is_bounded_and_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are kept once per path; news of structure is bounded, and then the client is cut."""
    monkeypatch.setattr(client_module, "MAX_NEWS", 20)
    async with served(tmp_path) as found:
        await found.store.apply([Set("/v", "x" * 60_000)], origin="test")
        stuck = socket.create_connection(tuple(found.address.rsplit(":", 1)))  # type: ignore[arg-type]
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert b" 101 " in await asyncio.to_thread(stuck.recv, 4096)
        text = command("LISTEN", "/v").encode()
        stuck.sendall(b"\x81" + bytes([0x80 | len(text)]) + b"\0\0\0\0" + text)
        async with asyncio.timeout(60):
            while not found.server._hub._listeners:
                await asyncio.sleep(0.005)
        client = next(iter(found.server._hub.clients))
        try:
            async with asyncio.timeout(150):
                number = 0
                while not found.server.counts.get("cut"):
                    number += 1
                    writes = [Set("/v", f"{number}" + "x" * 60_000), Set(f"/n/{number}", 1)]
                    await found.store.apply(writes, origin="test")
                    assert len(client._values) <= 1
                    assert len(client._news) <= client_module.MAX_NEWS
                assert not found.server._hub.clients
                while found.server._server.server_state.connections:  # it is cut, though it never reads
                    await asyncio.sleep(0.01)
        finally:
            stuck.close()
