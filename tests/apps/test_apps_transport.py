"""The timeline and the real Blender: with a window it plays, without one it is moved along, frame by frame."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.blender import blender, wanted
from tests.support.blender_house import House, house
from tests.support.desk import until
from tests.support.player import app, stands

from lightfast.context.entry import Set
from lightfast.core.clock import SYSTEM
from lightfast.engine.transport.records import Standing
from lightfast.engine.transport.transport import Transport

pytestmark = pytest.mark.real_app

EMPTY = """
import bpy
for area in bpy.context.window_manager.windows[0].screen.areas:
    area.type = "TEXT_EDITOR"  # a 3D view takes seconds to draw in software
bpy.context.scene.frame_end = 100000
"""


@asynccontextmanager
async def timeline(home: House) -> AsyncIterator[Transport]:
    """Run a timeline that Blender follows."""
    transport = Transport(home.store, home.registry, SYSTEM)
    await transport.start()
    try:
        await home.store.apply([Set("/transport/follows/blender", {"offset": 0.0})], origin="client:test")
        yield transport
    finally:
        await transport.close()


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


@pytest.mark.parametrize("which", ["application", "module"])
async def test_without_a_window_it_is_moved_along(tmp_path: Path, which: str) -> None:
    installation = wanted(which)
    async with house(tmp_path, zeromq=False) as home, timeline(home) as transport:
        with blender(installation, home.home):
            await home.live()
            await until(lambda: app(transport, "/blender").has == ("position",), lambda: app(transport, "/blender"))
            await transport.seek(seconds=10.0)
            await home.until(lambda: home.value("/blender/scene/frame_current") == 240, "frame 240")
            await transport.play()
            seen: set[object] = set()

            def moves() -> bool:
                entry = home.store.get("/blender/scene/frame_current")
                seen.add(entry.reported if entry is not None else None)
                return len(seen) >= 6

            await home.until(moves, "playback")
            await transport.play(False)
            frame = int(transport.record().position * 24 + 1e-6)
            await home.until(lambda: home.value("/blender/scene/frame_current") == frame, f"frame {frame}")
            await stands(transport, "/blender", Standing.IN_STEP)
            assert app(transport, "/blender").corrections == 0


@pytest.mark.slow
async def test_with_a_window_it_plays_and_stops(tmp_path: Path) -> None:
    installation = wanted("application")
    options = ["--window-geometry", "0", "0", "320", "240", "--python-expr", EMPTY]
    async with house(tmp_path, zeromq=False) as home, timeline(home) as transport:
        with (
            screen() as display,
            blender(
                installation,
                home.home,
                window=True,
                options=options,
                env={"DISPLAY": display, "LIBGL_ALWAYS_SOFTWARE": "1"},
            ),
        ):
            await home.live()
            await until(
                lambda: app(transport, "/blender").has == ("playing", "position"), lambda: app(transport, "/blender")
            )
            await transport.seek(seconds=5.0)
            await home.until(lambda: home.value("/blender/scene/frame_current") == 120, "frame 120")
            await transport.play()
            playing = "/blender/screen/is_animation_playing"
            await home.until(lambda: home.in_step(playing) and home.value(playing) is True, "playback")
            await until(lambda: app(transport, "/blender").samples >= 10, lambda: app(transport, "/blender"))
            print(app(transport, "/blender"))
            await transport.play(False)
            await home.until(lambda: home.in_step(playing) and home.value(playing) is False, "the end of playback")
            await until(lambda: app(transport, "/blender").standing is Standing.IN_STEP, transport.record)
