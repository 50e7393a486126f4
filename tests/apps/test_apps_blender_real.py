"""Real Blender, both kinds, over a real link: what it reports, what it applies, what it refuses."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from tests.support.blender import Desk, blender, ended, wanted

from lightfast_link.value import Asset, close

pytestmark = pytest.mark.real_app
KINDS = ["application", "module"]


@pytest.mark.parametrize("kind", KINDS)
async def test_it_reports_applies_refuses_and_leaves(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    async with Desk(tmp_path) as desk:
        with blender(installation, desk.home, name="studio") as process:
            app = await desk.joined()
            assert app.hello.kind == "blender"
            assert app.hello.name == "studio"
            assert app.hello.document_id
            assert not app.hello.simulator
            assert {command.name for command in app.hello.commands} >= {"create_object", "render", "place_image"}
            assert "run_code" not in {command.name for command in app.hello.commands}
            assert app.values["objects/Cube/location"] == (0.0, 0.0, 0.0)
            assert app.values["scene/frame_current"] == 1
            assert close(app.values["materials/Material/base_color"], (0.8, 0.8, 0.8, 1.0))
            assert app.ids["objects/Cube/location"]

            held = await app.wish("objects/Cube/location", (0.1, 2.0, 3.0))
            assert held != (0.1, 2.0, 3.0), "read back: Blender keeps 32 bits"
            assert held is not None
            assert close(held, (0.1, 2.0, 3.0))
            assert await app.wish("scene/lightfast/bpm", 123.25) == 123.25
            assert await app.wish("scene/lightfast/armed", True) is True
            assert await app.wish("scene/lightfast/bpm", None) is None
            assert await app.wish("scene/render/resolution_x", 640) == 640
            for path, value, reason in (
                ("objects/Nope/location", (0.0, 0.0, 0.0), "no object named 'Nope'"),
                ("objects/Cube/location", (1.0, 2.0), "3 numbers, not 2"),
                ("objects/Cube/location", "here", "takes a vector of 3 numbers, not a string"),
                ("objects/Cube/type", "LIGHT", "read-only"),
                ("objects/Cube/colour", 1.0, "there is no 'colour' here"),
                ("scene/render/fps", 0, "outside 1 to"),
                ("scene/lightfast/big", 1 << 40, "32 bits"),
                ("nowhere/x", 1, "there is nothing at 'nowhere'"),
            ):
                with pytest.raises(RuntimeError, match=reason):
                    await app.wish(path, value)

            process.send_signal(signal.SIGTERM)
            assert await ended(process) == 0
            await app.until(lambda: bool(app.gone), "a goodbye")


@pytest.mark.parametrize("kind", KINDS)
async def test_its_commands_change_the_scene_and_report_it(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    async with Desk(tmp_path) as desk:
        with blender(installation, desk.home):
            app = await desk.joined()
            made = await app.call("create_object", kind="uv_sphere", name="Ball", location=(1.0, 2.0, 3.0))
            assert made["path"] == "objects/Ball"
            assert app.values["objects/Ball/location"] == (1.0, 2.0, 3.0), "changes come before the result"
            identity = app.ids["objects/Ball/location"]
            await app.call("rename_object", object="Ball", name="Ball 1/2")
            assert app.moves == [("objects/Ball", "objects/Ball%201%2F2")]
            copied = await app.call("duplicate", object="Ball 1/2", name="Twin", location=(0.0, 0.0, 9.0))
            assert app.values["objects/Twin/location"] == (0.0, 0.0, 9.0)
            assert app.ids[copied["path"] + "/location"] not in {"", identity}
            await app.call("set_keyframe", object="Twin", path="location", frame=1, value=(0.0, 0.0, 0.0))
            await app.call("set_keyframe", object="Twin", path="location", frame=11, value=(10.0, 0.0, 0.0))
            await app.call("frame_set", frame=11)
            assert app.values["objects/Twin/location"] == (10.0, 0.0, 0.0)
            assert app.values["scene/frame_current"] == 11
            await app.call("delete_object", object="Twin")
            assert not [path for path in app.values if path.startswith("objects/Twin/")]
            names = {item["name"] for item in await app.call("list_objects")}
            assert names == {"Camera", "Cube", "Light", "Ball 1/2"}
            await app.call("undo")
            assert "objects/Twin/location" in app.values
            await app.call("redo")
            assert "objects/Twin/location" not in app.values
            for command, arguments, reason in (
                ("create_object", {"kind": "teapot"}, "kind 'teapot' is unknown"),
                ("create_object", {}, "needs the argument 'kind'"),
                ("create_object", {"kind": "cube", "size": 2.0}, "has no argument 'size'"),
                ("delete_object", {"object": "Twin"}, "no object named 'Twin'"),
                ("run_code", {"code": "1"}, "there is no command 'run_code'"),
                ("play", {}, "without a window"),
                ("save", {}, "never saved"),
                ("save_as", {"path": "relative.blend"}, "not an absolute path"),
                ("open", {"path": str(tmp_path / "none.blend")}, "there is no file"),
                ("render", {"width": 1}, "outside 4 to"),
            ):
                with pytest.raises(RuntimeError, match=reason):
                    await app.call(command, **arguments)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_renders_to_an_asset_and_shows_an_image(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    async with Desk(tmp_path) as desk:
        with blender(installation, desk.home):
            app = await desk.joined()
            before = dict(app.values)
            asset = await app.call("render", engine="CYCLES", width=64, height=36, samples=2)
            assert isinstance(asset, Asset)
            assert asset.media_type == "image/png"
            picture = desk.vault.kept[asset.sha256][1]
            assert picture.startswith(b"\x89PNG")
            assert int.from_bytes(picture[16:20]) == 64
            assert int.from_bytes(picture[20:24]) == 36
            assert app.progressed
            assert {p: v for p, v in app.values.items() if before.get(p) != v} == {}, "the settings are put back"

            placed = await app.call("place_image", asset=asset, name="Poster", location=(0.0, 0.0, 2.0))
            assert placed["path"] == "objects/Poster"
            assert app.values["objects/Poster/location"] == (0.0, 0.0, 2.0)
            with pytest.raises(RuntimeError, match="did not arrive"):
                await app.call("place_image", asset=Asset("x", "image/png", "0" * 64, 3), name="Gone")
            text = desk.vault.add(b"no picture", "image/png")
            with pytest.raises(RuntimeError, match="cannot read the image"):
                await app.call("place_image", asset=text, name="Text")
            assert app.values["objects/Poster/active_material"] == "Poster"


@pytest.mark.parametrize("kind", KINDS)
async def test_killed_and_started_from_its_last_save_it_is_the_same_document(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    path = tmp_path / "work.blend"
    async with Desk(tmp_path) as desk:
        with blender(installation, desk.home) as process:
            app = await desk.joined()
            await app.call("create_object", kind="cube", name="Keep", location=(1.0, 1.0, 1.0))
            await app.call("save_as", path=str(path))
            await app.call("create_object", kind="cube", name="Lost")
            await app.wish("objects/Keep/location", (5.0, 5.0, 5.0))
            identity = app.ids["objects/Keep/location"]
            process.kill()
            await app.until(lambda: bool(app.gone), "the loss")
        start = time.perf_counter()
        with blender(installation, desk.home, blend=path) as process:
            back = await desk.joined(2)
            print(f"return {time.perf_counter() - start:.2f} s")
            assert back.hello.document_id == app.hello.document_id
            assert back.hello.generation <= app.hello.generation
            assert back.hello.instance_id != app.hello.instance_id
            assert back.values["objects/Keep/location"] == (1.0, 1.0, 1.0)
            assert back.ids["objects/Keep/location"] == identity
            assert await back.wish("objects/Keep/location", (5.0, 5.0, 5.0)) == (5.0, 5.0, 5.0)
            with pytest.raises(RuntimeError, match="no object named 'Lost'"):
                await back.wish("objects/Lost/location", (0.0, 0.0, 0.0))
            # Saved under another name while the first file is still there: another document.
            await back.call("save_as", path=str(tmp_path / "copy.blend"))
            third = await desk.joined(3)
            assert third.hello.document_id != app.hello.document_id
            await third.call("open", path=str(path))
            fourth = await desk.joined(4)
            assert fourth.hello.document_id == app.hello.document_id
            assert fourth.values["objects/Keep/location"] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("kind", KINDS)
async def test_it_comes_back_by_itself_when_the_daemon_does(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    async with Desk(tmp_path) as desk:
        with blender(installation, desk.home):
            app = await desk.joined()
            await app.wish("scene/lightfast/bpm", 99.0)
            await desk.shut()
            await app.until(lambda: bool(app.gone), "the loss")
            await desk.open()
            back = await desk.joined(2)
            assert back.values["scene/lightfast/bpm"] == 99.0
            assert back.times["scene/lightfast/bpm"] == 0, "it was wished, not changed by the user"
            assert back.hello.generation == app.hello.generation
