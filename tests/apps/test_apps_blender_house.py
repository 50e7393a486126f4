"""Real Blender in the house: wishes settle, crashes are put right, assets arrive, links carry."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest
from tests.support.blender import blender, wanted
from tests.support.blender_house import House, house, zmq_folder

from lightfast.context.entry import Move, Set, Status
from lightfast.engine.links.carrier import Link
from lightfast_bridges.blender import lightfast_launchers
from lightfast_link.value import Asset, close

pytestmark = pytest.mark.real_app
KINDS = ["application", "module"]


async def settled(rooms: House, path: str, value: object) -> None:
    entry = await rooms.wish(path, value)  # type: ignore[arg-type]
    assert entry is not None
    assert entry.status is Status.SETTLED, entry
    assert close(entry.value, value), entry  # type: ignore[arg-type]
    assert entry.reported is not None


@pytest.mark.parametrize(("kind", "transport"), [("application", "tcp"), ("application", "zmq"), ("module", "tcp")])
async def test_create_move_keyframe_render_and_report_back(kind: str, transport: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    async with house(tmp_path, zeromq=transport == "zmq") as rooms:
        paths = [zmq_folder(tmp_path)] if transport == "zmq" else []
        with blender(installation, rooms.home, paths=paths):
            app = await rooms.live()
            assert app.transport == transport
            assert not app.simulator
            assert rooms.store.get("/blender/objects/Cube/location").status is Status.SETTLED  # type: ignore[union-attr]

            await rooms.invoke("create_object", kind="cube", name="Made", location=(1.0, 2.0, 3.0))
            await rooms.until(lambda: rooms.value("/blender/objects/Made/location") == (1.0, 2.0, 3.0), "the object")
            await settled(rooms, "/blender/objects/Made/location", (0.1, 0.2, 0.3))
            await settled(rooms, "/blender/scene/lightfast/bpm", 121.7)

            refused = await rooms.wish("/blender/objects/Made/parent", "Nobody")
            assert refused is not None
            assert refused.status is Status.REJECTED
            assert "no object named 'Nobody'" in refused.status_reason

            await rooms.invoke("set_keyframe", object="Made", path="location", frame=1, value=(0.0, 0.0, 0.0))
            await rooms.invoke("set_keyframe", object="Made", path="location", frame=21, value=(20.0, 0.0, 0.0))
            await rooms.invoke("frame_set", frame=11)
            await rooms.until(lambda: close(rooms.value("/blender/objects/Made/location"), (10.0, 0.0, 0.0)), "tween")  # type: ignore[arg-type]

            await rooms.invoke("rename_object", object="Made", name="Named")
            await rooms.until(lambda: rooms.value("/blender/objects/Named/type") == "MESH", "the new name")
            assert rooms.value("/blender/objects/Made/type") is None

            asset = await rooms.invoke("render", engine="CYCLES", width=32, height=18, samples=1)
            assert isinstance(asset, Asset)
            record = await rooms.blobs.get(asset.sha256)
            assert record.media_type == "image/png"
            assert record.provenance.origin == "app:blender"
            assert record.path.read_bytes().startswith(b"\x89PNG")
            await rooms.invoke("place_image", asset=asset, name="Poster")
            await rooms.until(lambda: rooms.value("/blender/objects/Poster/type") == "MESH", "the picture")


@pytest.mark.parametrize("kind", KINDS)
async def test_killed_and_back_from_its_last_save_it_is_in_step_or_named_as_lost(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    path = tmp_path / "work.blend"
    async with house(tmp_path, zeromq=False) as rooms:
        with blender(installation, rooms.home) as process:
            await rooms.live()
            await rooms.invoke("create_object", kind="cube", name="Keep")
            await rooms.invoke("save_as", path=str(path))
            await rooms.invoke("create_object", kind="cube", name="Lost", location=(3.0, 0.0, 0.0))
            await settled(rooms, "/blender/objects/Keep/location", (5.0, 6.0, 7.0))
            await settled(rooms, "/blender/scene/lightfast/bpm", 99.5)
            await rooms.until(lambda: rooms.value("/blender/objects/Lost/type") == "MESH", "the doomed object")
            process.kill()
            await rooms.gone()
            # Wished while it is away: it is done when it is back.
            await rooms.store.apply([Set("/blender/objects/Cube/scale", (2.0, 2.0, 2.0))], origin="client:test")
        start = time.perf_counter()
        with blender(installation, rooms.home, blend=path):
            app = await rooms.live()
            print(
                f"in step {time.perf_counter() - start:.2f} s after its start, {app.recovery_s:.3f} s after its hello"
            )
            for name, value in (
                ("objects/Keep/location", (5.0, 6.0, 7.0)),
                ("scene/lightfast/bpm", 99.5),
                ("objects/Cube/scale", (2.0, 2.0, 2.0)),
            ):
                await rooms.until(partial(rooms.in_step, "/blender/" + name), f"{name} put back")
                assert close(rooms.value("/blender/" + name), value)  # type: ignore[arg-type]
            app = await rooms.live()
            assert "/blender/objects/Lost/location" in app.lost_paths
            assert not [lost for lost in app.lost_paths if not lost.startswith("/blender/objects/Lost/")]
            held = {item["name"]: item["location"] for item in await rooms.invoke("list_objects")}
            assert close(held["Keep"], (5.0, 6.0, 7.0))
            assert "Lost" not in held


async def test_a_link_carries_both_ways_and_lives_through_restarts(tmp_path: Path) -> None:
    installation = wanted("application")
    async with house(tmp_path, zeromq=False) as rooms:
        with blender(installation, rooms.home):
            await rooms.live()
            await rooms.store.apply([Set("/desk/tempo", 100.0)], origin="client:test")
            await rooms.links.create(Link(source="/desk/tempo", target="/blender/scene/lightfast/bpm", two_way=True))
            await rooms.until(lambda: rooms.value("/blender/scene/lightfast/bpm") == 100.0, "the first carry")
            start = time.perf_counter()
            await rooms.store.apply([Set("/desk/tempo", 140.0)], origin="client:test")

            def arrived() -> bool:
                entry = rooms.store.get("/blender/scene/lightfast/bpm")
                return entry is not None and entry.reported == 140.0 and entry.status is Status.SETTLED

            await rooms.until(arrived, "the carry")
            print(f"tempo to a settled bpm {1000 * (time.perf_counter() - start):.2f} ms")
            await rooms.invoke("set_property", path="scene/lightfast/bpm", value=77.0)
            await rooms.until(lambda: rooms.value("/desk/tempo") == 77.0, "the carry back")
        revision = rooms.store.revision
    async with house(tmp_path, zeromq=False) as rooms:
        assert rooms.store.revision >= revision
        with blender(installation, rooms.home):
            await rooms.live()
            await rooms.store.apply([Set("/desk/tempo", 88.0)], origin="client:test")
            await rooms.until(lambda: rooms.value("/blender/scene/lightfast/bpm") == 88.0, "a link after a restart")


async def moved(rooms: House, source: str, target: str) -> None:
    await rooms.store.apply([Move("/blender/" + source, "/blender/" + target)], origin="client:test")


@pytest.mark.parametrize("kind", KINDS)
async def test_names_are_given_from_outside_taken_back_and_put_back_after_a_crash(kind: str, tmp_path: Path) -> None:
    installation = wanted(kind)
    path = tmp_path / "work.blend"
    async with house(tmp_path, zeromq=False) as rooms:

        async def names() -> set[str]:
            return {item["name"] for item in await rooms.invoke("list_objects")}

        def answered(path: str) -> bool:
            """Say whether Blender itself has confirmed what lies there after a move."""
            entry = rooms.store.get("/blender/" + path)
            return entry is not None and entry.status is Status.SETTLED and entry.origin == "app:blender"

        def conflicts() -> object:
            return rooms.store.select("/lightfast/conflicts//")

        with blender(installation, rooms.home) as process:
            await rooms.live()
            link = await rooms.links.create(Link(source="/blender/objects/Cube/location", target="/desk/where"))
            await rooms.invoke("create_object", kind="empty", name="Child")
            await rooms.until(lambda: rooms.value("/blender/objects/Child/type") == "EMPTY", "a child")
            await settled(rooms, "/blender/objects/Child/parent", "Cube")

            # Renamed in Blender: an undo out here renames it back in there, and all that names it follows.
            await rooms.invoke("rename_object", object="Cube", name="Box")
            await rooms.until(lambda: rooms.value("/blender/objects/Child/parent") == "Box", "the new name")
            assert rooms.links.get(link.link_id).source == "/blender/objects/Box/location"
            entry = rooms.store.get("/blender/objects/Box/type")
            assert entry is not None
            undone = await rooms.store.undo(revision=entry.revision, origin="client:test")
            assert not undone.conflicts
            await rooms.until(lambda: answered("objects/Cube/location"), "the old name")
            await rooms.until(lambda: rooms.value("/blender/objects/Child/parent") == "Cube", "the parent's old name")
            assert await names() == {"Camera", "Cube", "Child", "Light"}
            assert rooms.links.get(link.link_id).source == "/blender/objects/Cube/location"
            await settled(rooms, "/blender/objects/Cube/location", (1.0, 2.0, 3.0))
            await rooms.until(lambda: rooms.value("/desk/where") == (1.0, 2.0, 3.0), "the link's carry")

            # Data-blocks and custom properties are renamed by moving their path.
            await moved(rooms, "lights/Light", "lights/Lamp%20é")
            await rooms.until(lambda: answered("lights/Lamp%20é/energy"), "a light's new name")
            await rooms.until(lambda: rooms.value("/blender/objects/Light/data") == "Lamp é", "its user sees it")
            await moved(rooms, "materials/Material", "materials/Steel")
            await rooms.until(lambda: rooms.value("/blender/objects/Cube/active_material") == "Steel", "a material's")
            await settled(rooms, "/blender/scene/lightfast/bpm", 120.0)
            await moved(rooms, "scene/lightfast/bpm", "scene/lightfast/tempo")
            await rooms.until(lambda: answered("scene/lightfast/tempo"), "a property's")

            # What Blender cannot take goes back, with the reason.
            await moved(rooms, "materials/Steel", "materials/" + "long" * 80)
            await rooms.until(lambda: answered("materials/Steel/metallic") and bool(conflicts()), "back again")
            entry = rooms.store.get("/blender/materials/Steel/metallic")
            assert entry is not None
            assert "cannot take the name" in entry.status_reason
            assert not rooms.store.select(f"/blender/materials/{'long' * 80}//")
            await rooms.until(
                lambda: (app := rooms.app()) is not None and (app.pending, app.state_reason) == (0, ""), "all is well"
            )

            await rooms.invoke("save_as", path=str(path))
            await rooms.until(lambda: (app := rooms.app()) is not None and app.document_id != "", "saved")
            await rooms.live()
            await rooms.invoke("rename_object", object="Child", name="Grown")
            await rooms.until(lambda: rooms.value("/blender/objects/Grown/type") == "EMPTY", "a name that is not saved")
            process.kill()
            await rooms.gone()
        with blender(installation, rooms.home, blend=path):
            await rooms.live()
            await rooms.until(lambda: answered("objects/Grown/location"), "the name is given again")
            assert "Grown" in await names()
            assert "Child" not in await names()
            assert rooms.value("/blender/objects/Child/type") is None
            app = await rooms.live()
            assert not app.lost_paths


async def test_the_daemon_returns_to_a_blender_that_stayed(tmp_path: Path) -> None:
    installation = wanted("application")
    home = tmp_path / "home"
    home.mkdir()
    with blender(installation, home):
        async with house(tmp_path, zeromq=False) as rooms:
            await rooms.live()
            await settled(rooms, "/blender/objects/Cube/location", (4.0, 0.0, 0.0))
            before = rooms.store.revision
        async with house(tmp_path, zeromq=False) as rooms:
            app = await rooms.live()
            entry = rooms.store.get("/blender/objects/Cube/location")
            assert entry is not None
            assert entry.value == (4.0, 0.0, 0.0)
            assert entry.status is Status.SETTLED
            assert not app.lost_paths
            assert rooms.store.revision > before
            await settled(rooms, "/blender/objects/Cube/location", (5.0, 0.0, 0.0))


async def test_the_launcher_starts_it_over_the_best_transport_there_is(tmp_path: Path) -> None:
    wanted("application")
    (launcher,) = lightfast_launchers()
    found = launcher.find()
    assert found is not None
    assert found.startswith("Blender ")
    async with house(tmp_path) as rooms:
        process = launcher.start(rooms.home, log=tmp_path / "log")
        try:
            app = await rooms.live()
            assert app.pid == process.pid, "the process is the application itself"
            assert app.transport in {"zmq", "tcp"}
            await settled(rooms, "/blender/scene/lightfast/bpm", 120.0)
            process.terminate()
            assert await asyncio.to_thread(process.wait, 60) == 0
        finally:
            process.kill()
            process.wait(10)
            print((tmp_path / "log").read_text(errors="replace")[-4000:])
