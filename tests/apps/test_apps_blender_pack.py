"""The zip that `lightfast pack blender` writes: whole, valid, and installed by real Blenders."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.support.blender import Desk, ended, wanted

from lightfast_bridges.blender import pack, surface
from lightfast_link.path import compile_pattern

TAGLINE = re.compile(r"[A-Z].{1,62}[A-Za-z0-9)]")


def write(folder: Path, wheels: Sequence[str] = ()) -> Path:
    """Write the zip with made-up *wheels* and return it."""

    def fetch(scratch: Path) -> list[Path]:
        for name in wheels:
            (scratch / name).write_bytes(b"wheel")
        return [scratch / name for name in wheels]

    path, advice = pack.BlenderPack(fetch).write(folder)
    assert path.name in advice
    assert ("without pyzmq" in advice) is not bool(wheels)
    return path


def names(path: Path) -> set[str]:
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def manifest(path: Path) -> dict[str, object]:
    with zipfile.ZipFile(path) as archive:
        return tomllib.loads(archive.read("lightfast_blender/blender_manifest.toml").decode())


def test_the_zip_holds_the_extension_and_the_link_and_nothing_else(tmp_path: Path) -> None:
    path = write(tmp_path)
    found = names(path)
    assert {name.split("/")[0] for name in found} == {"lightfast_blender"}
    assert {
        "lightfast_blender/__init__.py",
        "lightfast_blender/surface.json",
        "lightfast_blender/vendor_lib/lightfast_link/client.py",
        "lightfast_blender/vendor_lib/LICENSE",
    } <= found
    assert not [name for name in found if name.endswith((".pyc", ".keep")) or "__pycache__" in name]
    assert path.read_bytes() == write(tmp_path / "again").read_bytes(), "the same sources give the same bytes"


def test_the_manifest_says_what_blender_asks_for(tmp_path: Path) -> None:
    wheel = "pyzmq-27.0.0-cp311-cp311-win_amd64.whl"
    plain, full = manifest(write(tmp_path / "a")), manifest(write(tmp_path / "b", [wheel]))
    assert full["wheels"] == [f"./wheels/{wheel}"]
    assert f"lightfast_blender/wheels/{wheel}" in names(tmp_path / "b" / f"lightfast_blender-{full['version']}.zip")
    assert "wheels" not in plain
    assert {**full, "wheels": None} == {**plain, "wheels": None}
    assert plain["schema_version"] == "1.0.0"
    assert plain["id"] == "lightfast_blender"
    assert plain["type"] == "add-on"
    assert plain["blender_version_min"] == "4.2.0"
    assert plain["license"] == ["SPDX:GPL-3.0-or-later"]
    assert TAGLINE.fullmatch(str(plain["tagline"]))
    for reason in plain["permissions"].values():  # type: ignore[attr-defined]
        assert TAGLINE.fullmatch(reason), "short, and no full stop"


def test_versions_agree_and_the_sources_read_as_python_3_10() -> None:
    folder = surface.extension_folder()
    said = tomllib.loads((folder / "blender_manifest.toml").read_text())["version"]
    for source in folder.glob("*.py"):
        tree = ast.parse(source.read_text(), feature_version=(3, 10))
        assert ast.get_docstring(tree), source.name
    info = re.search(r'"version": \((\d+), (\d+), (\d+)\)', (folder / "__init__.py").read_text())
    assert info is not None
    assert ".".join(info.groups()) == said


def test_both_halves_say_the_same_and_it_is_well_formed() -> None:
    raw = json.loads((surface.extension_folder() / "surface.json").read_text())
    assert [p.pattern for p in surface.parameters()] == [entry["pattern"] for entry in raw["parameters"]]
    for parameter in surface.parameters():
        compile_pattern("/blender/" + parameter.pattern)
        assert parameter.description.endswith(".")
        assert parameter.access in {"r", "w", "rw"}
    for command in surface.commands():
        assert command.effect in {"read", "reversible", "destructive"}, "no code"
        assert command.description.endswith(".")


@pytest.mark.real_app
async def test_blender_3_installs_it_as_an_add_on_and_joins(tmp_path: Path) -> None:
    installation = wanted("application")
    zipped = write(tmp_path)
    script = (
        "import bpy\n"
        f"bpy.ops.preferences.addon_install(filepath={str(zipped)!r})\n"
        "bpy.ops.preferences.addon_enable(module='lightfast_blender')\n"
        "assert bpy.types.LIGHTFAST_PT_status.bl_category == 'Lightfast'\n"
        "chosen = bpy.context.preferences.addons['lightfast_blender'].preferences\n"
        "assert chosen.allow_code is False\n"
        "class Paper:\n"
        "    def __init__(self): self.said = []; self.layout = self\n"
        "    def __getattr__(self, name): return lambda *a, **k: self.said.append((name, a, k)) or self\n"
        "from lightfast_blender import panel, start\n"
        "paper = Paper()\n"
        "panel.LIGHTFAST_PT_status.draw(paper, None)\n"
        "panel.LightfastPreferences.draw(paper, None)\n"
        "assert [k['text'] for n, a, k in paper.said if n == 'label'] == ['not joined'] * 2, paper.said\n"
        "assert ('operator', ('lightfast.join',), {}) in paper.said\n"
        f"start.main(['--home', {str(tmp_path / 'home')!r}])\n"
    )
    home = tmp_path / "scripts"
    line = [installation.program, "-b", "--factory-startup", "--python-exit-code", "1", "--python-expr", script]
    await _joins(tmp_path, line, {"BLENDER_USER_SCRIPTS": str(home)})


@pytest.mark.real_app
async def test_blender_5_installs_it_as_an_extension_and_joins(tmp_path: Path) -> None:
    installation = wanted("module")
    zipped = write(tmp_path)
    script = (
        "import bpy\n"
        f"done = bpy.ops.extensions.package_install_files(filepath={str(zipped)!r}, repo='user_default')\n"
        "assert done == {'FINISHED'}\n"
        "module = 'bl_ext.user_default.lightfast_blender'\n"
        "assert bpy.context.preferences.addons[module].preferences.allow_code is False\n"
        "from bl_ext.user_default.lightfast_blender import start\n"
        "import lightfast_link\n"
        "assert 'vendor_lib' in lightfast_link.__file__, lightfast_link.__file__\n"
        f"start.main(['--home', {str(tmp_path / 'home')!r}])\n"
    )
    await _joins(
        tmp_path, [installation.program, "-c", script], {"BLENDER_USER_RESOURCES": str(tmp_path / "resources")}
    )


async def _joins(folder: Path, line: Sequence[str], env: dict[str, str]) -> None:
    (folder / "resources").mkdir()
    async with Desk(folder) as desk:
        log = folder / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(line, env={**os.environ, **env}, stdout=output, stderr=subprocess.STDOUT)
        try:
            app = await desk.joined()
            assert app.values["objects/Cube/type"] == "MESH"
            process.terminate()
            assert await ended(process) == 0
        finally:
            process.kill()
            process.wait(10)
            print(log.read_text(errors="replace")[-4000:])


@pytest.mark.real_app
@pytest.mark.parametrize("wheels", [(), ("pyzmq-27.0.0-cp311-cp311-win_amd64.whl",)])
def test_blenders_own_tool_calls_it_valid(tmp_path: Path, wheels: tuple[str, ...]) -> None:
    installation = wanted("module")
    find = (
        "import bpy, pathlib\n"
        "print(next(pathlib.Path(bpy.utils.resource_path('LOCAL')).rglob('bl_pkg/cli/blender_ext.py')))"
    )
    line = [installation.program, "-c", find]
    tool = subprocess.run(line, capture_output=True, text=True, timeout=180, check=True).stdout.split()[-1]
    line = [installation.program, tool, "validate", str(write(tmp_path, wheels))]
    done = subprocess.run(line, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
