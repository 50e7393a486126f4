"""Kills while everything is in motion: a real daemon process, Blender, and a Live whose tempo is being turned."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.blender import wanted
from tests.support.daemon import Daemon
from tests.support.ending import ended
from tests.support.osc_live import Live, simulated
from tests.support.ports import free_port

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError, NotFound
from lightfast_bridges.blender.launcher import BlenderLauncher
from lightfast_bridges.blender.simulator import BlenderSimulator
from lightfast_link.value import close

TEMPO = "/ableton/song/tempo"
BPM = "/blender/scene/lightfast/bpm"
LOCATION = "/blender/objects/Cube/location"


async def seen(look: Callable[[], Awaitable[Any]], what: str, within: float = 90.0) -> Any:
    """Return the first true answer of *look*; a daemon that is away meanwhile counts as no."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    found: Any = None
    while loop.time() < deadline:
        with contextlib.suppress(LightfastError):
            found = await look()
            if found:
                return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"not seen within {within} s: {what}")


async def in_step(client: AsyncClient, *mounts: str, pid: int = 0) -> None:
    async def look() -> bool:
        apps = {app.mount: app for app in await client.list_apps()}
        return all(
            mount in apps
            and apps[mount].state == APP_STATE_LIVE
            and not apps[mount].pending
            and pid in {0, apps[mount].pid}
            for mount in mounts
        )

    await seen(look, f"{', '.join(mounts)} in step")


async def holds(client: AsyncClient, path: str, value: Any, within: float = 90.0) -> None:
    async def look() -> bool:
        entry = await client.get(path)
        return entry.status == "SETTLED" and entry.reported is not None and close(entry.reported, value)

    await seen(look, f"{path} at {value}", within)


@contextlib.asynccontextmanager
async def simulated_blender(home: Path, name: str = "") -> AsyncIterator[BlenderSimulator]:
    simulator = BlenderSimulator(str(home), name)
    task = asyncio.ensure_future(simulator.run(("127.0.0.1", 0), 0, lambda _: None))
    try:
        yield simulator
    finally:
        await ended(task, "the simulator")


@contextlib.asynccontextmanager
async def launched(home: Path, log: Path, document: Path | None = None) -> AsyncIterator[Any]:
    process = BlenderLauncher().start(home, document=document, log=log)
    try:
        yield process
    finally:
        process.kill()
        await asyncio.to_thread(process.wait, 10)


class Motion:
    """Two hands that never rest: Live's tempo is turned, and a client moves the cube and counts."""

    def __init__(self, client: AsyncClient, live: Live) -> None:
        self.client = client
        self.live = live
        self.acknowledged = 0
        self.revision = 0
        self.turns = 0

    async def turn(self) -> None:
        while True:
            self.turns += 1
            self.live.live.song["tempo"] = 60.0 + self.turns % 100
            await asyncio.sleep(0.005)

    async def write(self) -> None:
        """Write until the daemon is gone; what was acknowledged is counted."""
        with contextlib.suppress(LightfastError):
            while True:
                number = self.acknowledged + 1
                applied = await self.client.set_many({LOCATION: (float(number), 0.0, 0.0), "/desk/count": number})
                self.acknowledged, self.revision = number, applied.revision


def restartable(folder: Path, live: Live) -> Daemon:
    remote = f"plugins.ableton.remote='127.0.0.1:{live.port}'"
    return Daemon(folder / "home", flags=[remote, f"plugins.ableton.reply_port={live.reply_port}"])


@pytest.mark.parametrize("blender", ["simulator", pytest.param("application", marks=pytest.mark.real_app)])
async def test_the_daemon_is_killed_while_values_stream(blender: str, tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if blender == "application":
            wanted("application")
        live = await stack.enter_async_context(simulated(reply_port=free_port(), tick=0.02))
        daemon = restartable(tmp_path, live)
        await asyncio.to_thread(daemon.start)
        stack.callback(daemon.kill)
        if blender == "application":
            await stack.enter_async_context(launched(daemon.home, tmp_path / "blender.log"))
        else:
            await stack.enter_async_context(simulated_blender(daemon.home))
        async with AsyncClient(home=str(daemon.home)) as client:
            await in_step(client, "/ableton", "/blender")
            await client.link(TEMPO, BPM, two_way=True)
            motion = Motion(client, live)
            turning, writing = asyncio.ensure_future(motion.turn()), asyncio.ensure_future(motion.write())
            await seen(lambda: _enough(motion), "some traffic")
            daemon.kill()
            await asyncio.wait([writing], timeout=60)
            assert writing.done()
            turning.cancel()
            writing.result()
        live.live.song["tempo"] = 171.0  # turned while the daemon is away: it must not be thrown back
        begin = time.monotonic()
        await asyncio.to_thread(daemon.start)
        async with AsyncClient(home=str(daemon.home)) as client:
            await in_step(client, "/ableton", "/blender")
            back_s = time.monotonic() - begin
            await holds(client, TEMPO, 171.0)
            await holds(client, BPM, 171.0)
            linked_s = time.monotonic() - begin
            count = (await client.get("/desk/count")).value
            assert isinstance(count, int)
            # At most the one write whose answer the kill cut off may be there as well.
            assert count in {motion.acknowledged, motion.acknowledged + 1}
            await holds(client, LOCATION, (float(count), 0.0, 0.0))
            assert live.live.song["tempo"] == 171.0
            (link,) = (await client.call_json("LinkService.ListLinks", {}))["links"]
            assert not link.get("last_error"), link
            live.live.song["tempo"] = 99.0
            await holds(client, BPM, 99.0)
            await client.set(BPM, 88.0)
            await seen(lambda: _is(live, 88.0), "the way back", 60.0)
        print(f"daemon back in {daemon.ready_s:.2f} s, both apps in {back_s:.2f} s, links in {linked_s:.2f} s")
        assert await asyncio.to_thread(daemon.stop) == 0


async def _enough(motion: Motion) -> bool:
    return motion.acknowledged >= 200 and motion.turns >= 100


async def _is(live: Live, tempo: float) -> bool:
    return bool(live.live.song["tempo"] == tempo)


@pytest.mark.real_app
@pytest.mark.limit(600)  # eight starts of Blender, each of which takes half a minute on a machine that is very busy
async def test_two_blenders_return_to_their_own_mounts_in_either_order(tmp_path: Path) -> None:
    wanted("application")
    daemon = Daemon(tmp_path / "home")
    await asyncio.to_thread(daemon.start)
    log = tmp_path / "blender.log"
    files = {mount: tmp_path / f"{mount[1:]}.blend" for mount in ("/blender", "/blender-2")}
    try:
        async with contextlib.AsyncExitStack() as stack, AsyncClient(home=str(daemon.home)) as client:
            processes = {}
            for mount, path in files.items():
                processes[mount] = await stack.enter_async_context(launched(daemon.home, log))
                await in_step(client, mount, pid=processes[mount].pid)
                await client.invoke(mount, "save_as", path=str(path))
                await in_step(client, mount, pid=processes[mount].pid)
                await client.set(f"{mount}/scene/lightfast/who", mount)
                await holds(client, f"{mount}/scene/lightfast/who", mount)
            for order in (["/blender-2", "/blender"], ["/blender", "/blender-2"]):
                for process in processes.values():
                    process.kill()
                    await asyncio.to_thread(process.wait, 10)
                for mount in order:
                    begin = time.monotonic()
                    processes[mount] = await stack.enter_async_context(launched(daemon.home, log, files[mount]))
                    await in_step(client, mount, pid=processes[mount].pid)
                    print(f"{mount} in step {time.monotonic() - begin:.2f} s after its start")
                    await holds(client, f"{mount}/scene/lightfast/who", mount)
            # Also when daemon and both are gone, and the second is the first to return.
            daemon.kill()
            for process in processes.values():
                process.kill()
            await asyncio.to_thread(daemon.start)
        async with contextlib.AsyncExitStack() as stack, AsyncClient(home=str(daemon.home)) as client:
            for mount in ("/blender-2", "/blender"):
                process = await stack.enter_async_context(launched(daemon.home, log, files[mount]))
                await in_step(client, mount, pid=process.pid)
                await holds(client, f"{mount}/scene/lightfast/who", mount)
    finally:
        daemon.kill()
        print(log.read_text(errors="replace")[-3000:])
        print(daemon.log()[-4000:])


async def test_who_is_away_after_a_restart_is_listed_with_its_reason_and_stale(tmp_path: Path) -> None:
    async with simulated(reply_port=free_port()) as live:
        daemon = restartable(tmp_path, live)
        await asyncio.to_thread(daemon.start)
        try:
            async with simulated_blender(daemon.home), AsyncClient(home=str(daemon.home)) as client:
                await in_step(client, "/ableton", "/blender")
            daemon.kill()
            await live.stop()
            await asyncio.to_thread(daemon.start)
            async with AsyncClient(home=str(daemon.home)) as client:
                apps = {app.mount: app for app in await client.list_apps()}
                assert apps["/blender"].state_reason == "it has not come back since the daemon started"
                entry = await client.get(LOCATION)
                assert (entry.status, entry.value) == ("STALE", (0.0, 0.0, 0.0))
                assert (await client.get(TEMPO)).status == "STALE"
                for app in apps.values():
                    assert app.state != APP_STATE_LIVE

                async def told() -> bool:
                    return "start Live and choose AbletonOSC" in (await _app(client, "/ableton")).state_reason

                await seen(told, "what to do about Live")
                await client.set(TEMPO, 140.0)  # wished while it is away
                await live.start()
                async with simulated_blender(daemon.home):
                    await in_step(client, "/ableton", "/blender")
                    await holds(client, LOCATION, (0.0, 0.0, 0.0))
                    await holds(client, TEMPO, 140.0)
                    assert live.live.song["tempo"] == 140.0
        finally:
            daemon.kill()


async def _app(client: AsyncClient, mount: str) -> Any:
    with contextlib.suppress(NotFound):
        for app in await client.list_apps():
            if app.mount == mount:
                return app
    raise AssertionError(f"{mount} is not listed")
