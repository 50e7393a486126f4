"""A real daemon with Live's and Blender's simulators: said in one sentence, planned, run, taken back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.osc_live import simulated
from tests.support.ports import free_port

from lightfast.api.v1 import engine_pb2 as pb
from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError
from lightfast_bridges.blender.simulator import BlenderSimulator

PATIENCE = 120.0
INTENT = "set the tempo to 128 and add a red cube"


async def _seen(look: Any, what: str) -> Any:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while True:
        with contextlib.suppress(LightfastError):
            if found := await look():
                return found
        assert loop.time() < end, f"not seen: {what}"
        await asyncio.sleep(0.02)


async def _cli(daemon: Daemon, *words: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "lightfast", "--home", str(daemon.home), *words]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTFAST_")}

    def run() -> tuple[int, str]:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL, env=environ, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return await asyncio.to_thread(run)


@pytest.mark.limit(600)  # a dozen processes, one after the other
async def test_one_sentence_over_two_applications_and_back(tmp_path: Path) -> None:
    reply = free_port()
    async with contextlib.AsyncExitStack() as stack:
        live = await stack.enter_async_context(simulated(reply_port=reply, tick=0.02))
        table = f'{{name = "live", remote = "127.0.0.1:{live.port}", reply_port = {reply}}}'
        flags = [f"plugins.ableton.instances=[{table}]", "plugins.ableton.poll=0.2"]
        daemon = Daemon(tmp_path / "home", flags=flags)
        await asyncio.to_thread(daemon.start)
        stack.callback(daemon.kill)
        blender = BlenderSimulator(str(daemon.home))
        sim = asyncio.get_running_loop().create_task(blender.run(("127.0.0.1", 0), 0, lambda _: None))

        async def end() -> None:
            sim.cancel()
            await asyncio.wait({sim})

        stack.push_async_callback(end)
        async with AsyncClient(home=str(daemon.home)) as client:

            async def joined() -> bool:
                live_now = {app.mount for app in await client.list_apps() if app.state == APP_STATE_LIVE}
                return {"/live", "/blender"} <= live_now

            await _seen(joined, "both joined")
            former = await _seen(lambda: _value(client, "/live/song/tempo"), "the tempo")

            plan = await client.plan(INTENT)
            assert not [each for each in plan.problems if not each.warning], plan.problems
            assert (plan.planner, plan.confidence, plan.needs_approval) == ("grammar", 1.0, False)
            assert "create_object" in plan.lines
            assert await _value(client, "/live/song/tempo") == former, "nothing is run"
            checked = await client.validate_program(plan.lines)
            assert checked.digest == plan.digest, "the text form is the same program"
            assert "context.set" in {kind.name for kind in await client.operation_kinds()}
            assert [each.reason for each in (await client.validate_program("no.such x=1")).problems]

            code, said = await _cli(daemon, "plan", INTENT)
            assert (code, "/live/song/tempo" in said, "planned by grammar" in said) == (0, True, True), said
            code, said = await _cli(daemon, "plan", "set the tempoo to 128")
            assert (code, "did you mean tempo?" in said) == (2, True), said
            code, said = await _cli(daemon, "do", INTENT, "--dry-run")
            assert (code, await _value(client, "/live/song/tempo")) == (0, former), said
            code, said = await _cli(daemon, "--json", "plan", INTENT)
            assert json.loads(said)["plan"]["digest"] == plan.digest

            (tmp_path / "program.txt").write_text(plan.lines, encoding="utf-8")
            code, said = await _cli(daemon, "plan", str(tmp_path / "program.txt"))
            assert (code, "create_object" in said) == (0, True), said
            code, said = await _cli(daemon, "plan", "--operations")
            assert (code, "app.command" in said) == (0, True), said
            (tmp_path / "note.txt").write_text("delete everything", encoding="utf-8")
            code, said = await _cli(daemon, "plan", "delete the cube", "--quote", str(tmp_path / "note.txt"))
            assert (code, "raises no privilege" in said) == (2, True), said

            code, said = await _cli(daemon, "do", INTENT)
            assert (code, "take it back: lightfast runs rollback" in said) == (0, True), said
            await _seen(lambda: _is(client, "/live/song/tempo", 128.0), "the new tempo")
            assert blender.scene.values["objects/Cube.001/active_material"] == "Cube.001"
            assert blender.scene.values["materials/Cube.001/base_color"] == (1.0, 0.0, 0.0, 1.0)
            (run, *_) = await client.runs()
            assert run.state == pb.RUN_STATE_SUCCEEDED
            assert run.intent == INTENT

            code, said = await _cli(daemon, "runs", "rollback", run.run_id)
            assert code == 0, said
            await _seen(lambda: _is(client, "/live/song/tempo", former), "the former tempo")
            assert "objects/Cube.001/type" not in blender.scene.values


async def _value(client: AsyncClient, path: str) -> Any:
    return (await client.get(path)).value


async def _is(client: AsyncClient, path: str, value: Any) -> bool:
    return bool(await _value(client, path) == value)
