"""Two Lives on one daemon process: each under its own name, shared with another client, and each on its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.osc_live import simulated, until
from tests.support.ports import free_port

from lightfast.api.v1.apps_pb2 import APP_STATE_GONE, APP_STATE_LIVE
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError
from lightfast.sdk.osc import OscMessage, decode, encode

PATIENCE = 60.0


async def _state(client: AsyncClient, mount: str, state: int) -> None:
    async def there() -> bool:
        return any(app.mount == mount and app.state == state for app in await client.list_apps())

    await _seen(there, f"{mount} in state {state}")


async def _holds(client: AsyncClient, path: str, value: object) -> None:
    async def held() -> bool:
        with contextlib.suppress(LightfastError):
            entry = await client.get(path)
            return bool(entry.value == value and entry.status == "SETTLED")
        return False

    await _seen(held, f"{value!r} at {path}")


async def _seen(look: object, what: str) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while not await look():  # type: ignore[operator]
        assert loop.time() < end, f"not seen: {what}"
        await asyncio.sleep(0.02)


async def test_two_lives_on_one_daemon(tmp_path: Path) -> None:
    ports = [free_port(), free_port()]
    share = free_port()
    async with contextlib.AsyncExitStack() as stack:
        lives = [await stack.enter_async_context(simulated(reply_port=port, tick=0.02)) for port in ports]
        tables = [
            f'{{name = "{name}", remote = "127.0.0.1:{live.port}", reply_port = {port}{more}}}'
            for name, live, port, more in zip(
                ("foh", "monitors"), lives, ports, (f', share = "127.0.0.1:{share}"', ""), strict=True
            )
        ]
        flags = [
            f"plugins.ableton.instances=[{', '.join(tables)}]", "plugins.ableton.poll=0.2", "plugins.ableton.silence=6",
        ]  # fmt: skip
        daemon = Daemon(tmp_path / "home", flags=flags)
        await asyncio.to_thread(daemon.start)
        stack.callback(daemon.kill)
        async with AsyncClient(home=str(daemon.home)) as client:
            for mount in ("/foh", "/monitors"):
                await _state(client, mount, APP_STATE_LIVE)
            lives[0].live.song["tempo"] = 99.0
            await _holds(client, "/foh/song/tempo", 99.0)
            await client.set("/monitors/song/tempo", 77.0)
            await until(lambda: lives[1].live.song["tempo"] == 77.0, PATIENCE)
            assert lives[0].live.song["tempo"] == 99.0
            await client.set("/foh/song/is_playing", True)
            await until(lambda: lives[0].live.song["is_playing"], PATIENCE)
            assert not lives[1].live.song["is_playing"]
            await _other_client(share, 99.0)
            lives[0].live.add_track(0, midi=True, name="New")
            await _holds(client, "/foh/tracks/1/name", "Drums")
            await lives[0].stop()
            await _state(client, "/foh", APP_STATE_GONE)
            await client.set("/monitors/tracks/0/volume", 0.5)
            await until(lambda: lives[1].live.tracks[0]["volume"] == 0.5, PATIENCE)
            await lives[0].start()
            await _state(client, "/foh", APP_STATE_LIVE)
            await _holds(client, "/foh/tracks/0/name", "New")
        assert "Traceback" not in daemon.log()


async def _other_client(port: int, tempo: float) -> None:
    """Ask for the tempo as any AbletonOSC client would, through the daemon."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))

        async def answer() -> OscMessage:
            await loop.sock_sendto(sock, encode("/live/song/get/tempo"), ("127.0.0.1", port))
            return decode(await asyncio.wait_for(loop.sock_recv(sock, 65_536), PATIENCE))[0]

        end = loop.time() + PATIENCE
        while (found := await answer()).address == "/live/error" and loop.time() < end:
            await asyncio.sleep(0.5)  # a Live that was not let run for a while is gone, and who asks then is told so
        assert found == ("/live/song/get/tempo", "f", (tempo,))
