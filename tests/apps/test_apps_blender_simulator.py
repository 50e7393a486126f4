"""The simulator: the real link, an honest name, and what it cannot do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.blender import Desk, Joined
from tests.support.ending import ended

from lightfast.sdk import Wish
from lightfast_bridges.blender import lightfast_bridges, lightfast_packs, lightfast_simulators
from lightfast_bridges.blender.simulator import BlenderSimulator
from lightfast_link.value import Asset, close


@asynccontextmanager
async def running(desk: Desk, name: str = "") -> AsyncIterator[Joined]:
    """Run a simulator joined to *desk*."""
    ready = asyncio.Event()
    before = len(desk.sessions)
    simulator = BlenderSimulator(str(desk.home), name)
    task = asyncio.ensure_future(simulator.run(("127.0.0.1", 0), 0, lambda address: ready.set()))
    try:
        app = await desk.joined(before + 1)
        async with asyncio.timeout(60):
            await ready.wait()
        yield app
    finally:
        await ended(task, "the simulator")
        await app.until(lambda: bool(app.gone), "a goodbye", 60)


async def test_it_joins_says_that_it_is_one_and_keeps_a_scene(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk, "stage") as app:
        assert app.hello.simulator
        assert app.hello.name == "stage"
        assert app.hello.pid == os.getpid()
        assert app.values["objects/Cube/location"] == (0.0, 0.0, 0.0)
        assert await app.wish("scene/lightfast/bpm", 128.5) == 128.5
        app.channel.apply([Wish(0, "scene/frame_current", 48, revision=0, signal=True)])  # is told, not answered
        await app.until(lambda: app.values["scene/frame_current"] == 48, "frame 48", 60)
        held = await app.wish("objects/Cube/location", (0.1, 0.0, 0.0))
        assert held is not None
        assert close(held, (0.1, 0.0, 0.0))
        assert held != (0.1, 0.0, 0.0), "32 bits, as Blender"
        for path, value, reason in (
            ("objects/Nope/location", (0.0, 0.0, 0.0), "no such object"),
            ("objects/Cube/location", (0.0,), "3 numbers, not 1"),
            ("objects/Cube/location", 1.0, "takes a vector"),
            ("objects/Cube/type", "LIGHT", "read-only"),
            ("scene/render/fps", 0, "outside 1"),
            ("objects/Cube/rotation_mode", "ABC", "one of QUATERNION"),
            ("objects/Cube/location", None, "cannot be removed"),
            ("elsewhere/x", 1, "no such property"),
        ):
            with pytest.raises(RuntimeError, match=reason):
                await app.wish(path, value)
        assert await app.wish("scene/lightfast/bpm", None) is None


async def test_its_commands_report_what_they_do_and_it_does_not_pretend_to_render(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk) as app:
        made = await app.call("create_object", kind="cube", name="Cube", location=(1.0, 2.0, 3.0))
        assert made["path"] == "objects/Cube.001"
        await app.until(lambda: app.values.get("objects/Cube.001/location") == (1.0, 2.0, 3.0), "the new object")
        await app.call("rename_object", object="Cube.001", name="Box")
        await app.until(lambda: ("objects/Cube.001", "objects/Box") in app.moves, "the rename")
        await app.call("duplicate", object="Box", name="Twin")
        await app.call("delete_object", object="Box")
        await app.until(lambda: "objects/Box/location" not in app.values, "the removal")
        await app.call("frame_set", frame=12)
        await app.until(lambda: app.values["scene/frame_current"] == 12, "the frame")
        kept = await app.call("set_keyframe", object="Twin", path="location", frame=3, value=(9.0, 0.0, 0.0))
        assert kept["frame"] == 3
        placed = await app.call("place_image", asset=Asset("x", "image/png", "a" * 64, 9), name="Poster")
        assert "recorded" in placed["note"]
        assert {item["name"] for item in await app.call("list_objects")} >= {"Cube", "Twin", "Poster"}
        for command in ("render", "save", "undo", "play"):
            with pytest.raises(RuntimeError, match="this is the Blender simulator"):
                await app.call(command)
        with pytest.raises(RuntimeError, match="needs the argument 'kind'"):
            await app.call("create_object")


async def test_what_is_made_in_a_color_has_it(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk, running(desk) as app:
        await app.call("create_object", kind="cube", name="Box", color=(1.0, 0.0, 0.0))
        await app.until(lambda: app.values.get("materials/Box/base_color") == (1.0, 0.0, 0.0, 1.0), "the material")
        assert app.values["objects/Box/active_material"] == "Box"
        await app.call("create_object", kind="point_light", name="Lamp", color=(0.0, 0.5, 1.0))
        await app.until(lambda: app.values.get("lights/Lamp/color") == (0.0, 0.5, 1.0), "the light")
        for kind, color in (("camera", (1.0, 0.0, 0.0)), ("cube", (2.0, 0.0, 0.0))):
            with pytest.raises(RuntimeError, match="color is for meshes and lights"):
                await app.call("create_object", kind=kind, color=color)


async def test_restarted_it_is_the_same_document_in_the_factory_state(tmp_path: Path) -> None:
    async with Desk(tmp_path) as desk:
        async with running(desk) as app:
            await app.wish("scene/lightfast/bpm", 90.0)
        async with running(desk) as back:
            assert back.hello.document_id == app.hello.document_id
            assert back.hello.instance_id != app.hello.instance_id
            assert "scene/lightfast/bpm" not in back.values


def test_the_plugin_brings_a_bridge_a_simulator_and_a_pack() -> None:
    (bridge,) = lightfast_bridges({})
    (simulator,) = lightfast_simulators()
    (pack,) = lightfast_packs()
    assert bridge.kind == simulator.name == pack.name == "blender"
    assert bridge.link
    assert {parameter.pattern for parameter in bridge.parameters()} >= {"objects/*/location", "scene/lightfast/*"}
    assert "render" in {command.name for command in bridge.commands()}
