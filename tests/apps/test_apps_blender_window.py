"""Blender with its window, on a virtual screen: timers drive the pump, a user works beside us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.blender import Desk, blender, wanted

from lightfast_link.value import close

pytestmark = [pytest.mark.real_app, pytest.mark.slow]

USER = """
import bpy, os
for area in bpy.context.window_manager.windows[0].screen.areas:
    area.type = "TEXT_EDITOR"  # a 3D view takes seconds to draw in software
def later():
    if not os.path.exists({away!r}):
        return 0.05
    bpy.data.objects["Cube"].location.z = 1.5
    os.rename({away!r}, {away!r} + ".done")
    return None
bpy.app.timers.register(later, first_interval=0.1)
def user():
    if not os.path.exists({go!r}):
        return 0.05
    cube = bpy.data.objects["Cube"]
    cube.location.x = 7.0
    cube.name = "Box"
    bpy.context.scene.render.fps = 30
    bpy.ops.ed.undo_push(message="the user")
    return None
bpy.app.timers.register(user, first_interval=0.1)
"""


@contextlib.contextmanager
def screen() -> Iterator[str]:
    """Start a virtual screen and return its name."""
    if shutil.which("Xvfb") is None:
        pytest.skip("no Xvfb here: apt-get install xvfb")
    read, write = os.pipe()
    line = ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "+extension", "GLX", "-nolisten", "tcp"]
    process = subprocess.Popen(line, pass_fds=[write], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as answer:
            number = answer.readline().strip()
        assert number, "Xvfb did not start"
        yield f":{number}"
    finally:
        process.terminate()
        process.wait(10)


def height(location: object) -> float:
    assert isinstance(location, tuple)
    return float(location[2])


async def test_a_window_joins_follows_its_user_and_applies_wishes(tmp_path: Path) -> None:
    installation = wanted("application")
    go, away = tmp_path / "go", tmp_path / "away"
    script = USER.format(go=str(go), away=str(away))
    options = ["--window-geometry", "0", "0", "320", "240", "--python-expr", script]
    async with Desk(tmp_path) as desk:
        with (
            screen() as display,
            blender(
                installation,
                desk.home,
                window=True,
                options=options,
                env={"DISPLAY": display, "LIBGL_ALWAYS_SOFTWARE": "1"},
            ) as process,
        ):
            app = await desk.joined()
            assert "window" in app.hello.capabilities
            assert await app.wish("objects/Cube/location", (1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
            identity = app.ids["objects/Cube/location"]
            await app.call("list_objects")  # a command ends the gesture: what the user does now is no part of it

            go.touch()
            await app.until(lambda: app.values.get("scene/render/fps") == 30, "the user's frame rate")
            await app.until(lambda: ("objects/Cube", "objects/Box") in app.moves, "the user's rename")
            await app.until(lambda: close(app.values["objects/Box/location"], (7.0, 2.0, 3.0)), "the user's move")
            assert app.ids["objects/Box/location"] == identity

            await app.wish("objects/Box/location", (0.0, 0.0, 5.0))
            await app.call("undo")
            assert close(app.values["objects/Box/location"], (7.0, 2.0, 3.0)), "one step of undo is one gesture"
            await app.call("undo")
            await app.until(lambda: app.values["scene/render/fps"] == 24, "the undo of the user's step")

            with pytest.raises(RuntimeError, match="choose another folder in the preferences"):
                await app.call("save_as", path=str(tmp_path / "free.blend"))
            await app.call("play")
            await app.until(lambda: app.values["scene/frame_current"] not in {1, 2, 3}, "playback")
            assert await app.call("stop") is False

            asset = await app.call("render", engine="CYCLES", width=32, height=18, samples=1)
            assert desk.vault.kept[asset.sha256][1].startswith(b"\x89PNG")
            placed = await app.call("place_image", asset=asset, name="Poster")
            assert app.values[placed["path"] + "/type"] == "MESH"

            undone = 2  # steps of undo, each a generation
            # What the user does while the daemon is away makes a later generation, with the time of the edit.
            await desk.shut()
            await app.until(lambda: bool(app.gone), "the goodbye")
            lost = time.time_ns()
            away.touch()
            async with asyncio.timeout(60):
                while away.exists():
                    await asyncio.sleep(0.02)
            before = len(desk.sessions)
            await desk.open()
            # What said hello before the edit was seen is not in step: what is in step knows of it.
            back = await desk.joined(before + 1)
            assert back.hello.generation >= undone + 1
            assert back.hello.document_id == app.hello.document_id
            assert height(back.values["objects/Cube/location"]) == 1.5
            assert back.times["objects/Cube/location"] > lost
            process.kill()
            app = back
            await app.until(lambda: bool(app.gone), "the loss")
