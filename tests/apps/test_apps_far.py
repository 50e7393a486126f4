"""Bridges that are given a URL say when it is not known to be of this machine: a command sends something there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.apps.test_apps_obs import QUICK, SECRET, FakeObs
from tests.support.ending import ended
from tests.support.oscquery import Node, SmallServer

from lightfast.sdk import Bridge, Hello
from lightfast.sdk.settings import capabilities_at
from lightfast.sdk.testing import FakeBridgeHost
from lightfast_bridges.mcp.settings import Settings as McpSettings
from lightfast_bridges.obs.bridge import ObsBridge
from lightfast_bridges.oscquery.bridge import OscQueryBridge

FAR = "studio.example"


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the name of another machine lead here."""
    real = socket.getaddrinfo

    def look(host: Any, *more: Any, **options: Any) -> Any:
        return real("127.0.0.1" if host in (FAR, FAR.encode()) else host, *more, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look)


@contextlib.asynccontextmanager
async def hello(bridge: Bridge, config: dict[str, Any]) -> AsyncIterator[Hello]:
    """Run a bridge until it has said hello."""
    host = FakeBridgeHost(config)
    task = asyncio.ensure_future(bridge.run(host))
    try:
        await host.until(lambda: host.sessions, "a hello")
        yield host.sessions[0].hello
    finally:
        await ended(task, "the bridge")
        host.close()


@pytest.mark.parametrize(("name", "far"), [("127.0.0.1", False), ("localhost", False), (FAR, True)])
async def test_obs_by_url(name: str, far: bool) -> None:
    from websockets.asyncio.server import serve

    obs = FakeObs()
    async with serve(obs.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with hello(ObsBridge(), {"url": f"ws://{name}:{port}", "password": SECRET, **QUICK}) as said:
            assert ("remote" in said.capabilities) is far
            assert said.capabilities >= {"readback", "rename"}


@pytest.mark.parametrize(("name", "far"), [("127.0.0.1", False), (FAR, True)])
async def test_oscquery_by_url(name: str, far: bool) -> None:
    server = SmallServer({"/level": Node("f", [0.5])})
    await server.start()
    try:
        config = {"servers": [f"http://{name}:{server.port}"], "poll": 0.05}
        async with hello(OscQueryBridge(), config) as said:
            assert ("remote" in said.capabilities) is far
    finally:
        await server.stop()


def test_what_is_of_this_machine() -> None:
    for url in (
        "ws://127.0.0.1:4455",
        "http://127.0.0.2",
        "ws://[::1]:4455",
        "http://localhost:80",
        "ws://LOCALHOST:1",
    ):
        assert capabilities_at(url) == frozenset(), url
        assert not McpSettings(url=url).remote
    for url in (
        "ws://192.0.2.7:4455",
        "http://studio.example",
        "ws://0.0.0.0:1",
        "http://[fe80::1]",
        "nonsense",
        "//[",
    ):
        assert capabilities_at(url) == {"remote"}, url
        assert McpSettings(url=url).remote
    assert not McpSettings(command="server").remote
