"""TouchDesigner's two halves agree; the pack is whole; the builder builds a component that joins."""

from __future__ import annotations

import ast
import asyncio
import importlib.util
import json
import socket
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.support.blender import Desk
from tests.support.ending import ended
from tests.support.ports import free_port

from lightfast.sdk.testing import check_bridge
from lightfast_bridges.touchdesigner import inside, lightfast_bridges, lightfast_packs, lightfast_simulators
from lightfast_bridges.touchdesigner.bridge import TouchDesignerBridge
from lightfast_bridges.touchdesigner.pack import TouchDesignerPack
from lightfast_bridges.touchdesigner.standin import Td, make_td
from lightfast_link.path import compile_pattern


def test_the_plugin_brings_a_bridge_a_simulator_and_a_pack() -> None:
    (bridge,) = lightfast_bridges({})
    (simulator,) = lightfast_simulators()
    (pack,) = lightfast_packs()
    assert bridge.kind == simulator.name == pack.name == "touchdesigner"
    assert bridge.link
    assert bridge.timeline is not None
    assert bridge.timeline.unit == "frames"
    declared = {parameter.pattern for parameter in bridge.parameters()}
    assert {bridge.timeline.playing, bridge.timeline.position, bridge.timeline.tempo, bridge.timeline.rate} <= declared
    assert "simulated" in simulator.description


async def test_the_bridge_keeps_the_contract() -> None:
    await check_bridge(TouchDesignerBridge())


def test_what_it_offers_is_well_formed() -> None:
    patterns = [compile_pattern("/td/" + parameter.pattern) for parameter in inside.parameters()]
    for path in ("project1/par/w", "project1/geo1/par/tx", "a/b/c/d/e/f/g/h/par/x", "project1/lfo1/chop/chan1"):
        assert any(pattern.matches("/td/" + path) for pattern in patterns), path
    for command in inside.commands():
        assert command.effect in {"read", "reversible", "destructive"}, "no code unless it is allowed"
        assert command.description.endswith(".")
    (code,) = [each for each in inside.part("surface").commands(True) if each["effect"] == "code"]
    assert code["name"] == "exec"
    known = inside.part("commands").Commands
    for schema in inside.part("surface").commands(True):
        assert callable(getattr(known, "do_" + schema["name"]))


def test_all_of_it_reads_as_python_3_9_and_nothing_imports_td_but_the_extension() -> None:
    for source in inside.folder().rglob("*.py"):
        tree = ast.parse(source.read_text(encoding="utf-8"), feature_version=(3, 9))
        imported = {
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
            for alias in node.names
        }
        assert ("td" in imported) == (source.name in {"LightfastExt.py", "build_lightfast_tox.py"}), source


async def test_diagnose_tells_who_else_drives_it() -> None:
    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b"", "nothing is sent to strangers"
        writer.close()

    port = free_port(socket.SOCK_STREAM)  # nobody takes it once it is closed
    server = await asyncio.start_server(quiet, "127.0.0.1", port)
    async with server:
        findings = await TouchDesignerBridge().diagnose({"neighbors": [port]})
    assert [finding.level for finding in findings] == ["note", "note"]
    assert str(port) in findings[0].subject
    assert "127.0.0.1, as localhost may mean ::1" in findings[0].remedy
    assert inside.version() in findings[1].what
    (ports, _) = await TouchDesignerBridge().diagnose({"neighbors": [port]})
    assert ports.level == "ok"


def packed(folder: Path) -> Path:
    path, advice = TouchDesignerPack().write(folder)
    assert str(path) in advice
    return path


def builder(folder: Path) -> ModuleType:
    """Return the builder of a pack, as `import` in the textport finds it."""
    spec = importlib.util.spec_from_file_location("build_lightfast_tox_packed", folder / "build_lightfast_tox.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_pack_is_whole_and_written_again_over_itself(tmp_path: Path) -> None:
    folder = packed(tmp_path)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {
        "README.md",
        "build_lightfast_tox.py",
        "loader.py",
        "LightfastExt.py",
        "frame_callbacks.py",
        "parameter_callbacks.py",
        "osc_in_callbacks.py",
        "lightfast_td/session.py",
        "lightfast_link/client.py",
    } <= names
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".keep"))]
    (folder / "lightfast.tox").write_bytes(b"built before")
    (folder / "left_over.py").write_text("old")
    again = packed(tmp_path)
    assert (again / "lightfast.tox").read_bytes() == b"built before"
    assert not (again / "left_over.py").exists()
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "no scratch is left"


def build(folder: Path, td: Td) -> Any:
    return builder(folder).build(td=td)


def test_the_builder_builds_the_component_and_keeps_what_was_chosen(tmp_path: Path) -> None:
    folder = packed(tmp_path)
    td = make_td()
    base = build(folder, td)
    try:
        assert base.path == "/project1/lightfast"
        assert {child.name for child in base.children} == {"LightfastExt", "loader", "modules", "frames", "parameters"}
        assert base.par.Rootcomps.eval() == "/project1"
        assert base.par.Allowcode.eval() is False
        assert base.par.Status.readOnly
        assert base.par.Version.eval() == inside.version()
        saved = json.loads((folder / "lightfast.tox").read_text())
        assert saved["storage"] == [], "what says which project this is must not travel to others"
        texts = {child["name"]: child["text"] for child in saved["children"][2]["children"]}
        assert texts["lightfast_link__client"] == (folder / "lightfast_link" / "client.py").read_text()
        base.par.Name = "stage"
        base.par.Active = False
        base = build(folder, td)
        assert base.path == "/project1/lightfast"
        assert base.par.Name.eval() == "stage"
        assert base.par.Active.eval() is False
        with pytest.raises(ValueError, match="there is no COMP /nope"):
            builder(folder).build("/nope", td=td)
    finally:
        td.close()
    assert "td" not in sys.modules, "the stand-in is handed over, not imported"


async def test_the_component_that_was_built_joins(tmp_path: Path) -> None:
    folder = packed(tmp_path / "pack")
    td = make_td()
    async with Desk(tmp_path) as desk:
        base = build(folder, td)
        base.par.Home = str(desk.home)

        async def frames() -> None:
            while True:
                td.frame()
                await asyncio.sleep(0.005)

        task = asyncio.ensure_future(frames())
        try:
            app = await desk.joined()
            assert app.hello.kind == "touchdesigner"
            assert app.hello.simulator
            assert app.values["project1/geo1/par/sx"] == 1.0
            assert await app.wish("project1/geo1/par/tx", 3.0) == 3.0
            await app.until(lambda: "in step" in str(base.par.Status.eval()), "the status")
            base.par.Active = False
            await app.until(lambda: bool(app.gone), "a goodbye")
        finally:
            await ended(task, "the simulator")
            td.close()
        assert td.problems == []


def test_the_osc_snippet_sets_what_fits_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    td = make_td()
    dat = td.op("/project1").create("textDAT", "callbacks")  # type: ignore[union-attr]
    dat.text = (inside.folder() / "osc_in_callbacks.py").read_text(encoding="utf-8")
    take = dat.module.onReceiveOSC

    def send(address: str, *args: Any) -> None:
        take(None, 0, "", b"", 0.0, address, list(args), None)

    geo: Any = td.op("/project1/geo1")
    send("/touchdesigner/project1/geo1/par/tx", 1.5)
    assert geo.par.tx.eval() == 1.5
    geo.par.ty.expr = "1 + 1"
    for address in (
        "/touchdesigner/project1/geo1/par/ty",
        "/touchdesigner/project1/none/par/tx",
        "/touchdesigner/project1/geo1/par/none",
        "/touchdesigner/ui/par/x",
        "/other",
    ):
        send(address, 9.0)
        send(address, 9.0)
    assert geo.par.ty.eval() == 2
    assert len(capsys.readouterr().out.splitlines()) == 5, "each problem is told once"
