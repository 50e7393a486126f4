"""What only Blender itself can show of the extension's parts: scripts with assertions, run inside it."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import pytest
from tests.support.blender import wanted

import lightfast_link
from lightfast_bridges.blender.surface import extension_folder

pytestmark = pytest.mark.real_app
KINDS = ["application", "module"]
PRELUDE = """
import sys, os
sys.path.extend({folders!r})
import bpy
import lightfast_blender
from lightfast_blender import apply, commands, create, document, properties, scan
from lightfast_link.messages import Wish
folder = {folder!r}
scanner = scan.Scanner()
def wish(path, value):
    (answer,) = apply.apply([Wish(1, path, value)], scanner)
    assert not answer.refused, answer
    return answer.value
def full():
    changes = scanner.full()
    return [c for c in changes if not c.moved_from], [(c.moved_from, c.path) for c in changes if c.moved_from]
"""


def inside(kind: str, folder: Path, script: str) -> None:
    """Run *script* in Blender; an assertion that fails there fails here."""
    installation = wanted(kind)
    folders = [str(extension_folder().parent), str(Path(lightfast_link.__file__).parent.parent)]
    text = PRELUDE.format(folders=folders, folder=str(folder)) + textwrap.dedent(script)
    text += "\nsys.stdout.flush(); os._exit(0)\n"
    program = folder / "script.py"
    program.write_text(text)
    options = ["-b", "--factory-startup", "--python-exit-code", "1", "--python"]
    line = [installation.program, *([] if installation.module else options), str(program)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("kind", KINDS)
def test_names_may_be_swapped_reused_and_strange(kind: str, tmp_path: Path) -> None:
    inside(
        kind,
        tmp_path,
        """
        data = bpy.data.objects
        changes, moves = full()
        assert not moves and scanner.full() == []
        cube, light = scanner.ids["objects"]["Cube"], scanner.ids["objects"]["Light"]

        # A chain of renames in one go: each goes where the other was.
        data["Light"].name = "Lamp"; data["Cube"].name = "Light"
        changes, moves = full()
        assert ("objects/Light", "objects/Lamp") in moves and ("objects/Cube", "objects/Light") in moves, moves
        assert moves.index(("objects/Light", "objects/Lamp")) < moves.index(("objects/Cube", "objects/Light"))
        assert scanner.ids["objects"] == {"Camera": scanner.ids["objects"]["Camera"], "Light": cube, "Lamp": light}

        # A swap cannot be told as moves: the values say it, under the right ids.
        data["Light"].name = "x"; data["Lamp"].name = "Light"; data["x"].name = "Lamp"
        changes, moves = full()
        assert not moves
        told = {c.path: (c.value, c.object_id) for c in changes}
        assert told["objects/Light/type"] == ("LIGHT", light) and told["objects/Lamp/type"] == ("MESH", cube), told

        # A copy carries its original's id until it gets its own, also when it sorts first.
        copy = data["Lamp"].copy(); copy.name = "A copy"; bpy.context.collection.objects.link(copy)
        full()
        assert scanner.ids["objects"]["Lamp"] == cube and scanner.ids["objects"]["A copy"] not in ("", cube)

        # Gone and made anew under the same name: another object.
        data.remove(data["Lamp"]); commands.TABLE["create_object"](kind="cube", name="Lamp")
        changes, _ = full()
        new = scanner.ids["objects"]["Lamp"]
        assert new != cube and {c.object_id for c in changes if c.path.startswith("objects/Lamp/")} == {new}

        for name in ("a/b", "..", "100 %", "日本", "[x]"):
            made = commands.TABLE["create_object"](kind="empty", name=name)
            full()
            assert wish(made["path"] + "/location", (1.0, 2.0, 3.0)) == (1.0, 2.0, 3.0)
            assert data[name].location.x == 1.0
        """,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_values_come_back_as_they_are_held_and_drivers_win(kind: str, tmp_path: Path) -> None:
    inside(
        kind,
        tmp_path,
        """
        full()
        cube = bpy.data.objects["Cube"]
        assert wish("scene/lightfast/bpm", 120.5) == 120.5 and wish("scene/lightfast/on", True) is True
        assert wish("scene/lightfast/name", "é ☃") == "é ☃" and wish("scene/lightfast/v", (1.0, 0.1)) == (1.0, 0.1)
        assert wish("scene/lightfast/on", 3) == 3, "another kind may follow"
        assert scanner.full() == [], "what was settled is not reported as well"

        driver = cube.driver_add("location", 0).driver
        variable = driver.variables.new()
        variable.targets[0].id_type = "SCENE"
        variable.targets[0].id = bpy.context.scene
        variable.targets[0].data_path = '["lightfast"]["bpm"]'
        driver.expression = "var * 2"
        apply.update(); full()
        wish("scene/lightfast/bpm", 60.0)
        assert abs(cube.location.x - 120.0) < 1e-4, cube.location
        changes, _ = full()
        assert [c.path for c in changes] == ["objects/Cube/location"], changes

        (answer,) = apply.apply([Wish(1, "objects/Cube/location", (1.0, 1.0, 1.0))], scanner)
        assert "a driver, constraint or limit decides it" in answer.refused, answer
        changes, _ = full()
        assert changes and abs(changes[0].value[0] - 120.0) < 1e-4, "and the truth is reported"

        # Of two wishes for one path the later holds, and both are answered.
        answers = apply.apply([Wish(1, "scene/frame_end", 90), Wish(2, "scene/frame_end", 91)], scanner)
        assert [(a.wish_id, a.value, a.refused) for a in answers] == [(1, 91, ""), (2, 91, "")]

        # Setting the mode converts the rotation: what is wished besides comes after it, whichever is named first.
        for mode, other, value in (
            ("QUATERNION", "rotation_quaternion", (0.0, 1.0, 0.0, 0.0)),
            ("XYZ", "rotation_euler", (0.25, 0.5, 0.75)),
            ("ZYX", "rotation_euler", (0.75, 0.25, 0.5)),
        ):
            paths = ("objects/Cube/" + other, "objects/Cube/rotation_mode")
            answers = apply.apply([Wish(1, paths[0], value), Wish(2, paths[1], mode)], scanner)
            assert [(a.wish_id, a.value, a.refused) for a in answers] == [(1, value, ""), (2, mode, "")], answers
        wish("objects/Cube/rotation_mode", "XYZ")

        material = bpy.data.materials["Material"]
        if not material.use_nodes:
            material.use_nodes = True
        assert wish("materials/Material/base_color", (0.5, 0.25, 0.125, 1.0)) == (0.5, 0.25, 0.125, 1.0)
        assert wish("worlds/World/color", (0.5, 0.25, 0.125)) == (0.5, 0.25, 0.125)
        assert wish("cameras/Camera/lens", 35) == 35.0 and wish("lights/Light/energy", 10) == 10.0
        assert wish("objects/Cube/parent", "Light") == "Light" and cube.parent.name == "Light"
        assert wish("objects/Cube/parent", "") == ""
        assert wish("objects/Cube/rotation_mode", "QUATERNION") == "QUATERNION"
        assert wish("objects/Cube/rotation_quaternion", (0.0, 1.0, 0.0, 0.0)) == (0.0, 1.0, 0.0, 0.0)
        assert wish("objects/Cube/custom/speed", 2.5) == 2.5 and cube["speed"] == 2.5
        assert wish("objects/Cube/custom/speed", None) is None and "speed" not in cube.keys()
        """,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_is_known_again_and_a_copy_is_another(kind: str, tmp_path: Path) -> None:
    inside(
        kind,
        tmp_path,
        """
        import shutil, time
        def path(name): return os.path.join(folder, name + ".blend")
        def save(name):
            document.keep(document.current().id, bpy.data.filepath, 0, saving=True)
            bpy.ops.wm.save_as_mainfile(filepath=path(name))
        def load(name):
            bpy.ops.wm.open_mainfile(filepath=path(name)); return document.current()

        first = document.current().id
        document.keep(first, "", 0)
        assert document.current().id == first, "not saved, but the same in this process"
        save("a")
        assert document.current().id == first
        bpy.ops.wm.read_homefile(use_factory_startup=True)
        assert document.current().id != first
        assert load("a").id == first
        shutil.copy(path("a"), path("b"))
        document.keep(first, path("a"), 0, saving=True); bpy.ops.wm.save_mainfile()
        shutil.copy(path("a"), path("b"))
        other = load("b").id
        assert other != first and load("b").id == other, "a copy is another document, and stays that one"
        os.rename(path("a"), path("moved"))
        assert load("moved").id == first, "moved, it is the same"

        assert load("moved").generation == 0
        later = time.time() + 3600
        os.utime(path("moved"), (later, later))
        assert load("moved").generation > 0, "saved by a Blender that had not joined"

        bpy.ops.wm.read_homefile(use_factory_startup=True)
        bpy.ops.wm.save_as_mainfile(filepath=path("plain"))
        assert load("plain").id == load("plain").id, "never joined, known by its path"
        """,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_undo_keeps_identities(kind: str, tmp_path: Path) -> None:
    inside(
        kind,
        tmp_path,
        """
        bpy.ops.ed.undo_push(message="start")
        commands.TABLE["create_object"](kind="cube", name="New")
        bpy.ops.ed.undo_push(message="created, before it has an id")
        full()
        identity = scanner.ids["objects"]["New"]
        bpy.data.objects["New"].location.x = 5.0
        bpy.ops.ed.undo_push(message="moved")
        bpy.ops.ed.undo()
        scanner.undone = True
        assert bpy.data.objects["New"].location.x == 0.0
        changes, moves = full()
        assert scanner.ids["objects"]["New"] == identity and not moves
        bpy.ops.ed.undo()
        changes, moves = full()
        assert "New" not in scanner.ids["objects"] and not moves
        assert {c.value for c in changes if c.path.startswith("objects/New/")} == {None}
        """,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_edit_that_is_seen_only_when_the_daemon_is_back_makes_a_later_generation(kind: str, tmp_path: Path) -> None:
    inside(
        kind,
        tmp_path,
        """
        from lightfast_blender import session, settings
        class Client:
            state = "live"
            mount = "/blender"
            hello = {"generation": 0}
            def __init__(self): self.said, self.events = [], []
            def poll(self): events, self.events = self.events, []; return events
            def report(self, changes): self.said.append({c.path: c.value for c in changes})
            def synced(self): self.said.append("synced")
            def rehello(self, **fields): self.hello = {**self.hello, **fields}; self.said.append(fields)
            def status(self): return {"waiting_reports": 0}
        cube = bpy.data.objects["Cube"]
        client, joined = Client(), session.Session(settings.Settings())
        joined.client = client
        def pump(*events):
            client.said, client.events = [], list(events)
            joined.pump()
            assert not joined.problem or not joined.live, joined.problem
            return client.said
        lost, welcome = ("lost", "the daemon is stopping", 0), ("welcome", {})
        assert pump(welcome)[-1] == "synced" and joined.live

        # Nobody edits: the same generation, and the whole report.
        pump(lost)
        assert pump(welcome)[-1] == "synced" and client.hello["generation"] == 0

        # An edit that no pump sees before the welcome, or before the loss and the welcome: nothing is said under the old hello.
        for together in (False, True):
            before = client.hello["generation"]
            if not together:
                assert pump(lost) == []
            cube.location.x += 1.0
            said = pump(lost, welcome) if together else pump(welcome)
            assert said == [{"generation": before + 1}], said
            assert not joined.live
            said = pump(lost, welcome)
            assert said[-1] == "synced" and said[0]["objects/Cube/location"][0] == cube.location.x, said
            assert client.hello["generation"] == before + 1 and joined.live

        # Another file opened while the daemon was away is not reported as the one that was welcomed.
        pump(lost)
        bpy.ops.wm.read_homefile(use_factory_startup=True)
        joined.loaded()
        said = pump(welcome)
        assert [set(each) for each in said] == [{"document_id", "generation"}], said
        assert pump(welcome)[-1] == "synced"
        """,
    )
