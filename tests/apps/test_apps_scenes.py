"""Scenes across real applications: a real Blender and a Live, moved there together, named when one is away, undone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.blender import wanted
from tests.support.daemon import Daemon
from tests.support.osc_live import simulated
from tests.support.ports import free_port

from lightfast.api.v1 import scenes_pb2 as pb
from lightfast.api.v1.apps_pb2 import APP_STATE_GONE, APP_STATE_LIVE
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError
from lightfast_bridges.blender.launcher import BlenderLauncher
from lightfast_link.value import Value, close

pytestmark = pytest.mark.real_app

PATIENCE = 60.0
PLACE = "/blender/objects/Cube/location"
TEMPO = "/ableton/song/tempo"
VOLUME = "/ableton/tracks/0/volume"


async def seen(look: Any, what: str) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while not await look():
        assert loop.time() < end, f"not seen: {what}"
        await asyncio.sleep(0.02)


async def state(client: AsyncClient, mount: str, wanted_state: int) -> None:
    async def there() -> bool:
        apps = await client.list_apps()
        return any(
            app.mount == mount and app.state == wanted_state and not (app.pending and wanted_state == APP_STATE_LIVE)
            for app in apps
        )

    await seen(there, f"{mount} in state {wanted_state}")


async def holds(client: AsyncClient, path: str, value: Value) -> None:
    async def held() -> bool:
        with contextlib.suppress(LightfastError):
            entry = await client.get(path)
            return entry.status == "SETTLED" and entry.reported is not None and close(entry.reported, value, 1e-4)
        return False

    await seen(held, f"{value!r} at {path}")


async def put(client: AsyncClient, values: dict[str, Value]) -> None:
    await client.set_many(values)
    for path, value in values.items():
        await holds(client, path, value)


async def recall(client: AsyncClient, name: str, **how: Any) -> list[pb.RecallSceneResponse]:
    async with asyncio.timeout(PATIENCE):
        return [message async for message in client.recall_scene(name, **how)]


@contextlib.asynccontextmanager
async def desk(tmp_path: Path) -> AsyncIterator[tuple[AsyncClient, Any, Any, Daemon]]:
    wanted("application")
    async with contextlib.AsyncExitStack() as stack:
        port = free_port()
        live = await stack.enter_async_context(simulated(reply_port=port, tick=0.02))
        instance = f'{{name = "ableton", remote = "127.0.0.1:{live.port}", reply_port = {port}}}'
        flags = [f"plugins.ableton.instances=[{instance}]"]
        daemon = Daemon(tmp_path / "home", flags=flags)
        await asyncio.to_thread(daemon.start)
        stack.callback(daemon.kill)
        blender = BlenderLauncher().start(daemon.home, log=tmp_path / "blender.log")
        stack.callback(blender.wait, 10)
        stack.callback(blender.kill)
        client = await stack.enter_async_context(AsyncClient(home=str(daemon.home)))
        try:
            await state(client, "/blender", APP_STATE_LIVE)
            await state(client, "/ableton", APP_STATE_LIVE)
            yield client, live, blender, daemon
        except BaseException:
            print((tmp_path / "blender.log").read_text(errors="replace")[-3000:])
            print(daemon.log()[-6000:])
            raise


async def test_a_scene_moves_both_back_and_an_undo_takes_both_away(tmp_path: Path) -> None:
    first: dict[str, Value] = {PLACE: (1.0, 2.0, 3.0), TEMPO: 100.0, VOLUME: 0.25}
    second: dict[str, Value] = {PLACE: (-4.0, 0.0, 8.0), TEMPO: 160.0, VOLUME: 0.75}
    async with desk(tmp_path) as (client, live, blender, _):
        await put(client, first)
        scene = await client.save_scene("first", *first)
        assert (list(scene.mounts), scene.entries) == (["/ableton", "/blender"], 3)
        await put(client, second)
        tempi: list[float] = []

        async def look() -> None:
            while True:
                tempi.append(live.live.song["tempo"])
                await asyncio.sleep(0.02)

        looking = asyncio.ensure_future(look())
        before = (await client.get(PLACE)).revision
        steps = await recall(client, "first", morph=3.0, curve="smooth")
        looking.cancel()
        assert any(message.phase == pb.RECALL_PHASE_MORPHING for message in steps)
        last = steps[-1]
        assert (last.phase, last.settled) == (pb.RECALL_PHASE_VERIFIED, 3)
        assert not [problem for message in steps for problem in message.problems]
        for path, value in first.items():
            await holds(client, path, value)
        assert abs(live.live.song["tempo"] - 100.0) < 1e-3
        # Live has moved through the values between; the history has only the end, and the answers to it.
        between = {tempo for tempo in tempi if 100.5 < tempo < 159.5}
        assert len(between) >= 5
        written = await client.history(PLACE, after=before)
        assert len(written) <= 3
        assert {transaction.group_id for transaction in written} == {last.group_id}

        await client.undo(group=last.group_id)
        for path, value in second.items():
            await holds(client, path, value)
        assert abs(live.live.song["tempo"] - 160.0) < 1e-3

        # A hand in Live takes its tempo out of the morph; Blender goes on.
        moving = asyncio.ensure_future(recall(client, "first", morph=5.0))
        await seen(lambda: _is(live, lambda tempo: tempo < 155.0), "the tempo moving")
        while not moving.done():  # it holds on: what was on its way may arrive after its first touch
            live.live.song["tempo"] = 200.0
            await asyncio.sleep(0.02)
        steps = await moving
        named = {problem.path: problem.reason for message in steps for problem in message.problems}
        assert set(named) == {TEMPO}
        assert "app:ableton changed it" in named[TEMPO]
        await holds(client, PLACE, first[PLACE])
        await holds(client, TEMPO, 200.0)

        # Blender is killed: it is named, Live gets its part, and an undo takes that back.
        await put(client, second)
        blender.kill()
        await state(client, "/blender", APP_STATE_GONE)
        steps = await recall(client, "first", morph=0.3)
        named = {problem.path: problem.reason for problem in steps[-1].problems}
        assert set(named) == {PLACE}
        assert "/blender is away" in named[PLACE]
        assert all(problem.queued for problem in steps[-1].problems)
        await holds(client, TEMPO, 100.0)
        await client.undo(group=steps[-1].group_id)
        await holds(client, TEMPO, 160.0)
        await holds(client, VOLUME, 0.75)
        assert (await client.get(PLACE)).value == second[PLACE]


async def _is(live: Any, holds_for: Any) -> bool:
    return bool(holds_for(live.live.song["tempo"]))
