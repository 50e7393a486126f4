"""One sentence over Live's simulator and a real Blender: planned by the grammar, run, rendered, taken back."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest
from tests.support.blender import wanted
from tests.support.daemon import Daemon
from tests.support.loaded import loaded
from tests.support.osc_live import simulated
from tests.support.ports import free_port

from lightfast.api import values
from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError
from lightfast_bridges.blender.launcher import BlenderLauncher
from lightfast_link.value import Asset

pytestmark = pytest.mark.real_app
PATIENCE = 60.0
INTENT = "set the tempo to 128, add a red cube, render it at 64 x 36"


async def _seen(look: Any, what: str) -> Any:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while True:
        with contextlib.suppress(LightfastError):
            if found := await look():
                return found
        assert loop.time() < end, f"not seen: {what}"
        await asyncio.sleep(0.05)


async def test_the_tempo_a_red_cube_and_a_picture_of_it(tmp_path: Path) -> None:
    wanted("application")
    reply = free_port()
    async with contextlib.AsyncExitStack() as stack:
        live = await stack.enter_async_context(simulated(reply_port=reply, tick=0.02))
        table = f'{{name = "live", remote = "127.0.0.1:{live.port}", reply_port = {reply}}}'
        flags = [f"plugins.ableton.instances=[{table}]", "plugins.ableton.poll=0.2"]
        daemon = Daemon(tmp_path / "home", flags=flags)
        await asyncio.to_thread(daemon.start)
        stack.callback(daemon.kill)
        process = BlenderLauncher().start(daemon.home, log=tmp_path / "blender.log")
        stack.callback(process.wait)
        stack.callback(process.kill)
        async with AsyncClient(home=str(daemon.home)) as client:

            async def joined() -> bool:
                live_now = {app.mount for app in await client.list_apps() if app.state == APP_STATE_LIVE}
                return {"/live", "/blender"} <= live_now

            await _seen(joined, "both joined")
            await loaded(client, "ableton", "blender")

            async def value(path: str) -> Any:
                return (await client.get(path)).value

            former = await _seen(lambda: value("/live/song/tempo"), "the tempo")
            await client.set("/blender/scene/render/engine", "CYCLES")
            responses = [each async for each in client.run(intent=INTENT)]
            assert not [each for each in responses[0].plan.problems if not each.warning]
            steps = {each.event.step.step_id: each.event.step for each in responses if each.event.HasField("step")}
            runs = [each.event.run for each in responses if each.event.HasField("run")]
            assert runs[-1].state == pb.RUN_STATE_SUCCEEDED, runs[-1].reason
            assert {step.state for step in steps.values()} == {pb.STEP_STATE_DONE}
            result = values.from_message(steps["s3"].result)
            assert isinstance(result, Asset)
            picture = await client.read_asset(result.sha256)
            assert picture.startswith(b"\x89PNG")
            assert isinstance(await value("/live/song/tempo"), float)
            colour = await _seen(lambda: value("/blender/materials/Cube.001/base_color"), "the red material")
            assert colour == pytest.approx((1.0, 0.0, 0.0, 1.0))
            rolled = [each async for each in client.rollback(runs[-1].run_id)]
            assert rolled

            async def back() -> bool:
                return bool(await value("/live/song/tempo") == former)

            await _seen(back, "the former tempo")
            assert "Cube.001" not in str(await client.invoke("/blender", "list_objects"))
