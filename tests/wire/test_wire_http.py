"""The HTTP door on a real socket: health for all, metrics for tokens, 404 for the rest, and no way to break it."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lightfast.core.errors import Unauthenticated
from lightfast.core.metrics import Metrics
from lightfast.core.tasks import TaskGroup
from lightfast.security.tokens import ALL_SCOPES, Principal, Scope
from lightfast.wire.http import protocol
from lightfast.wire.http.server import HttpDoor, bind

PRINCIPALS = {"all": Principal("owner", ALL_SCOPES), "none": Principal("other", frozenset({Scope.APPROVE}))}


def authenticate(secret: str) -> Principal:
    if secret not in PRINCIPALS:
        raise Unauthenticated("the token is not known")
    return PRINCIPALS[secret]


class Server:
    def __init__(self) -> None:
        self.serving = True
        self.metrics = Metrics()
        self.count = 7
        self.metrics.counter("things", "Things counted.", lambda: self.count)
        self.metrics.gauge("doors", "Doors open.", lambda: {("a",): 1, ("b",): 2}, labels=("door",))
        self.socket = bind("127.0.0.1", 0)
        self.port: int = self.socket.getsockname()[1]
        self.door = HttpDoor(self.socket, authenticate=authenticate, metrics=self.metrics, serving=lambda: self.serving)

    async def get(self, path: str, *, host: str = "localhost", method: str = "GET", **headers: str) -> tuple[int, str]:
        lines = [f"{method} {path} HTTP/1.1", f"host: {host}", "connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        answer = await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    async def send(self, content: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(content)
            await writer.drain()
            writer.write_eof()
            async with asyncio.timeout(60):
                return await reader.read()
        finally:
            writer.close()


@asynccontextmanager
async def served() -> AsyncIterator[Server]:
    server = Server()
    async with TaskGroup("test") as tasks:
        task = tasks.start(server.door.serve(), "http")
        try:
            yield server
        finally:
            await server.door.stop()
            async with asyncio.timeout(60):
                await task


async def test_health_is_open_and_says_only_that() -> None:
    async with served() as server:
        assert await server.get("/health") == (200, '{"status":"SERVING"}')
        server.serving = False
        assert await server.get("/health") == (503, '{"status":"NOT_SERVING"}')


async def test_metrics_need_a_token_that_may_watch() -> None:
    async with served() as server:
        status, body = await server.get("/metrics")
        assert status == 401
        assert json.loads(body)["reason"] == "TOKEN_REQUIRED"
        status, body = await server.get("/metrics", authorization="Bearer wrong")
        assert (status, json.loads(body)) == (401, {"error": "the token is not known", "reason": "TOKEN_REQUIRED"})
        status, body = await server.get("/metrics", authorization="Bearer none")
        assert (status, json.loads(body)["reason"]) == (403, "SCOPE_MISSING")
        assert (await server.get("/metrics", authorization="Basic all"))[0] == 401
        status, body = await server.get("/metrics", authorization="Bearer all")
        assert status == 200
        assert "lightfast_things_total 7.0" in body
        assert 'lightfast_doors{door="b"} 2.0' in body
        assert "lightfast_process_resident_memory_bytes" in body
        server.count = 8
        assert "lightfast_things_total 8.0" in (await server.get("/metrics", authorization="Bearer all"))[1]


@pytest.mark.parametrize(
    ("path", "method", "status"), [("/", "GET", 404), ("/../x", "GET", 404), ("/health", "POST", 405)]
)
async def test_everything_else_is_an_error_in_json(path: str, method: str, status: int) -> None:
    async with served() as server:
        found, body = await server.get(path, method=method)
        assert (found, json.loads(body)["reason"]) == (status, f"HTTP_{status}")


async def test_a_number_that_cannot_be_read_is_an_error_in_json() -> None:
    def broken() -> float:
        raise OSError("gone")

    async with served() as server:
        server.metrics.gauge("broken", "Breaks.", broken)
        status, body = await server.get("/metrics", authorization="Bearer all")
        assert (status, json.loads(body)) == (500, {"error": "it failed", "reason": "HTTP_500"})
        assert (await server.get("/health"))[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:50154", 200),
        ("LOCALHOST", 200),
        ("[::1]:1", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("localhost:x", 421),
    ],
)
async def test_only_names_of_this_machine_are_answered(host: str, status: int) -> None:
    async with served() as server:
        assert (await server.get("/health", host=host))[0] == status


async def test_random_bytes_do_not_stop_it() -> None:
    chance = random.Random(11)
    starts = [
        b"",
        b"GET ",
        b"GET /metrics HTTP/1.1\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n",
        b"\x16\x03\x01",
    ]
    async with served() as server:
        for _ in range(150):
            await server.send(chance.choice(starts) + chance.randbytes(chance.randrange(2000)))
        assert (await server.get("/health"))[0] == 200


async def answer_of(port: int, content: bytes, *, more: bytes = b"") -> bytes:
    """Send *content*, then *more* again and again, and return what came until the connection was cut."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(content)
        answer = b""
        async with asyncio.timeout(60):
            while True:
                try:
                    async with asyncio.timeout(0.05):
                        part = await reader.read(65536)
                except TimeoutError:
                    writer.write(more)
                    continue
                except ConnectionResetError:
                    return answer
                if not part:
                    return answer
                answer += part
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("content", "more", "begin"),
    [
        (b"", b"", b""),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\n", b"x: y\r\n", b""),
        (b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n", b"G", b"HTTP/1.1 200"),
        (b"POST /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 999999\r\n\r\n", b"z", b"HTTP/1.1 405"),
    ],
    ids=["silent", "slow head", "slow second request", "slow body"],
)
async def test_a_slow_client_is_cut(content: bytes, more: bytes, begin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as server:
        answer = b""
        for seconds in (0.3, 3.0, 20.0):  # a machine that stands still may not answer within the first
            with monkeypatch.context() as patch:
                patch.setattr(protocol, "EXCHANGE_S", seconds)
                answer = await answer_of(server.port, content, more=more)
            if answer.startswith(begin):
                break
        assert answer.startswith(begin)
        assert (await server.get("/health"))[0] == 200


async def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 4)
    request = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    async with served() as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(4)]
        await asyncio.sleep(0)
        assert await answer_of(server.port, request) == b""
        for _, writer in held:
            writer.close()
        async with asyncio.timeout(60):
            while not (await answer_of(server.port, request)).startswith(b"HTTP/1.1 200"):
                pass  # that they left is not known yet


async def test_connections_made_before_it_serves_are_answered() -> None:
    server = Server()
    early = asyncio.create_task(server.get("/health"))
    await asyncio.sleep(0)
    async with TaskGroup("test") as tasks:
        task = tasks.start(server.door.serve(), "http")
        assert (await early)[0] == 200
        await server.door.stop()
        async with asyncio.timeout(60):
            await task


async def test_a_taken_port_is_an_error_of_the_system() -> None:
    with bind("127.0.0.1", 0) as taken, pytest.raises(OSError, match="in use"):
        bind("127.0.0.1", taken.getsockname()[1])


async def test_stopping_before_it_serves_closes_the_socket() -> None:
    server = Server()
    await server.door.stop()
    await server.door.serve()
    assert server.socket.fileno() == -1
