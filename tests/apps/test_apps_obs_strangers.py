"""What may sit on OBS's port, and what an OBS may say that no OBS says: refused in words, nothing leaks, nothing ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.support.ending import ended

from lightfast.sdk import BridgeError
from lightfast.sdk.testing import FakeBridgeHost
from lightfast_bridges.obs.bridge import ObsBridge
from lightfast_bridges.obs.settings import settings_of

QUICK = {"poll": 0.1, "patience": 5.0, "gone": 15.0}
SECRET = "open sesame"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def tcp(serve: Serve) -> AsyncIterator[int]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@contextlib.asynccontextmanager
async def looking(port: int, **config: Any) -> AsyncIterator[tuple[FakeBridgeHost, asyncio.Task[None]]]:
    host = FakeBridgeHost({"url": f"ws://127.0.0.1:{port}", "password": SECRET, **QUICK, **config})
    task = asyncio.ensure_future(ObsBridge().run(host))
    try:
        yield host, task
    finally:
        await ended(task, "the bridge")


def port_of(server: Any) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])


async def test_a_redirection_is_not_followed() -> None:
    """Whoever has the port may name another server: that one must not even hear of us."""
    called = 0

    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal called
        called += 1
        writer.close()

    async with tcp(other) as elsewhere:

        async def redirecting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(f"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:{elsewhere}/\r\n\r\n".encode())
            await writer.drain()
            writer.close()

        async with tcp(redirecting) as port, looking(port) as (host, task):
            await host.until(lambda: len(host.absences) > 1, "two refusals")
            assert not task.done()
    assert called == 0
    assert "not obs-websocket" in host.absences[0]


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"\0\xff garbage \r\n\r\n", b""])
async def test_another_program_on_the_port(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with tcp(serve) as port, looking(port) as (host, task):
        await host.until(lambda: len(host.absences) > 1, "two looks")
        assert not task.done()
        assert f"127.0.0.1:{port}" in host.absences[0]
        assert SECRET not in "".join(host.absences)


DEEP = "[" * 200_000
HELLO = {"op": 0, "d": {"obsWebSocketVersion": "5.1.0", "rpcVersion": 1}}
STRANGE: dict[str, Callable[[dict[str, Any]], str]] = {
    "deep": lambda _: DEEP,
    "no object": lambda _: '"x"',
    "status is a list": lambda asked: json.dumps(
        {"op": 7, "d": {"requestId": asked["requestId"], "requestStatus": [1]}}
    ),
    "lists of numbers": lambda asked: json.dumps(
        {
            "op": 7,
            "d": {
                "requestId": asked["requestId"],
                "requestStatus": {"result": True, "code": "none"},
                "responseData": {"inputs": 7, "scenes": [7], "stats": None, "currentSceneCollectionName": []},
            },
        }
    ),
    "refused without a number": lambda asked: json.dumps(
        {"op": 7, "d": {"requestId": asked["requestId"], "requestStatus": {"result": False, "code": "none"}}}
    ),
}


@pytest.mark.parametrize("strange", STRANGE)
async def test_an_obs_that_answers_nonsense_is_given_up_in_words(strange: str) -> None:
    """The bridge itself goes on: what it cannot read ends the session, not the bridge."""
    from websockets.asyncio.server import serve

    async def nonsense(socket: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        with contextlib.suppress(ConnectionClosed):
            await socket.send(json.dumps(HELLO))
            await socket.recv()
            await socket.send(json.dumps({"op": 2, "d": {}}))
            async for text in socket:
                await socket.send(STRANGE[strange](json.loads(text)["d"]))

    async with (
        serve(nonsense, "127.0.0.1", 0) as server,
        looking(port_of(server), patience=0.5, gone=1.5) as (host, task),
    ):
        await host.until(lambda: len(host.absences) > 1 or task.done(), "two looks")
        if task.done():
            task.result()
        assert not host.sessions or host.sessions[-1].lost_reason is not None


async def test_a_greeting_that_is_too_deep() -> None:
    from websockets.asyncio.server import serve

    async def deep(socket: Any) -> None:
        await socket.send(DEEP)
        await socket.wait_closed()

    async with serve(deep, "127.0.0.1", 0) as server, looking(port_of(server)) as (host, task):
        await host.until(lambda: host.absences or task.done(), "word of it")
        if task.done():
            task.result()
        assert "not obs-websocket" in host.absences[0]


def test_the_password_is_shown_nowhere() -> None:
    settings = settings_of({"password": SECRET})
    assert SECRET not in repr(settings)
    with pytest.raises(BridgeError) as caught:
        settings_of({"url": f"ws://user:{SECRET.replace(' ', '')}@127.0.0.1:4455"})
    assert "sesame" not in str(caught.value)
    assert "password" in str(caught.value)


def test_looking_for_an_absent_obs_loads_no_library() -> None:
    """websockets takes 12 MB and tens of milliseconds of the event loop; a daemon without OBS needs neither."""
    script = """
import asyncio, socket, sys
from lightfast.sdk.testing import FakeBridgeHost
from lightfast_bridges.obs.bridge import ObsBridge
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
async def main():
    host = FakeBridgeHost({"url": f"ws://127.0.0.1:{port}"})
    task = asyncio.ensure_future(ObsBridge().run(host))
    await host.until(lambda: len(host.absences) > 1, "two looks")
    task.cancel()
asyncio.run(main())
print(sorted(name for name in sys.modules if name.partition(".")[0] == "websockets"))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
