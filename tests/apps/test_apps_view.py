"""A Blender scene is handed to TouchDesigner in its own units and axes: both simulated, over a real daemon."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.ending import ended
from tests.support.loaded import loaded

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import AsyncClient
from lightfast_bridges.blender.simulator import BlenderSimulator
from lightfast_bridges.touchdesigner.simulator import TouchDesignerSimulator


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path / "home").start()
    try:
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            found.kill()
        print(found.log()[-4000:])


@asynccontextmanager
async def joined(simulator: Any, client: AsyncClient, mount: str) -> AsyncIterator[Any]:
    task = asyncio.ensure_future(simulator.run(("127.0.0.1", 0), 0, lambda address: None))
    try:
        async with asyncio.timeout(60):
            while not any(app.mount == mount and app.state == APP_STATE_LIVE for app in await client.list_apps()):
                if task.done():
                    task.result()
                await asyncio.sleep(0.02)
        yield simulator
    finally:
        await ended(task, "the simulator")


async def test_a_scene_is_handed_over(daemon: Daemon) -> None:
    home = str(daemon.home)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(AsyncClient(home=home))
        await loaded(client, "blender", "touchdesigner")
        await stack.enter_async_context(joined(BlenderSimulator(home), client, "/blender"))
        td = await stack.enter_async_context(joined(TouchDesignerSimulator(home), client, "/touchdesigner"))
        await client.set("/blender/objects/Cube/location", (1.0, 2.0, 3.0))
        await client.set("/blender/objects/Cube/rotation_euler", (math.pi / 2, 0.0, 0.0))
        view = await client.view_for_app("touchdesigner", ["/blender/objects/Cube/*"])
        found = {item.name: item.value.double_value for item in view.items}
        cube = "/touchdesigner/project1/Cube/par/"
        assert [found[cube + name] for name in ("tx", "ty", "tz")] == [1.0, 3.0, -2.0]
        assert found[cube + "rx"] == pytest.approx(90.0)
        geo = td.td.op("/project1/geo1")
        geo.name = "Cube"  # in TouchDesigner there is a counterpart now

        async with asyncio.timeout(60):
            while not await client.select(cube + "*"):
                await asyncio.sleep(0.02)
        line = [sys.executable, "-m", "lightfast", "--home", home, "view", "/blender/objects/Cube/*"]
        told = await asyncio.to_thread(
            subprocess.run, [*line, "--app", "touchdesigner", "--apply"], capture_output=True, text=True, timeout=180
        )
        assert told.returncode == 0, told.stderr
        assert "= -2.0 distance.m  from /blender/objects/Cube/location" in told.stdout
        async with asyncio.timeout(60):
            while [geo.par.tx.val, geo.par.ty.val, geo.par.tz.val] != [1.0, 3.0, -2.0]:
                await asyncio.sleep(0.02)
        assert geo.par.rx.val == pytest.approx(90.0)


async def test_a_model_gets_what_fits(daemon: Daemon) -> None:
    async with AsyncClient(home=str(daemon.home)) as client:
        for index in range(40):
            await client.set(f"/show/lamp{index}/level", index / 40)
        await client.set("/show/title", "Winterreise")
        view = await client.view_for_model(60, purpose="the title of the show", recent_changes=3)
        assert view.text.startswith('/show/title = "Winterreise"')
        assert 0 < view.tokens <= 60
        assert view.omitted > 20
        assert view.revision >= 41
