"""A real daemon process, simulated TouchDesigners over the real link, a client over gRPC: what each may survive."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.ending import ended
from tests.support.loaded import loaded
from tests.support.touchdesigner import start

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.api.v1.context_pb2 import DescribeRequest
from lightfast.client import AsyncClient, Client
from lightfast.core.errors import LightfastError, NotFound
from lightfast_bridges.blender.simulator import BlenderSimulator
from lightfast_bridges.touchdesigner import inside
from lightfast_bridges.touchdesigner.simulator import TouchDesignerSimulator
from lightfast_link.value import Asset, close

TX = "/touchdesigner/project1/geo1/par/tx"
WITHIN = 60.0


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    found = Daemon(tmp_path / "home").start()
    try:
        yield found
    finally:
        if found.process is not None and found.process.poll() is None:
            found.kill()
        print(found.log()[-6000:])


def until(look: Callable[[], Any], what: str) -> Any:
    """Return the first true answer of *look*."""
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not seen within {WITHIN} s: {what}")


async def seen(look: Callable[[], Any], what: str) -> Any:
    """Return the first true answer of *look*, which may be a coroutine function."""
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        found = look()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"not seen within {WITHIN} s: {what}")


def in_step(client: Client, mount: str, pid: int) -> Any:
    """Wait until the application of that process is in step at *mount*, and return it."""

    def look() -> Any:
        for app in client.list_apps():
            if app.mount == mount and app.pid == pid and app.state == APP_STATE_LIVE and not app.pending:
                return app
        return None

    return until(look, f"{mount} ({pid}) in step")


def holds(client: Client, path: str, value: Any) -> None:
    """Wait until the application is known to hold *value*."""

    def look() -> bool:
        entry = client.get(path)
        return entry.status == "SETTLED" and entry.reported is not None and close(entry.reported, value)

    until(look, f"{path} at {value}")


@asynccontextmanager
async def joined(simulator: Any, client: AsyncClient, mount: str) -> AsyncIterator[Any]:
    """Run *simulator* in this process until it is in step."""
    task = asyncio.ensure_future(simulator.run(("127.0.0.1", 0), 0, lambda address: None))

    async def live() -> bool:
        if task.done():
            task.result()
        return any(app.mount == mount and app.state == APP_STATE_LIVE for app in await client.list_apps())

    try:
        await seen(live, f"{mount} in step")
        yield simulator
    finally:
        await ended(task, "the simulator")


async def value_at(client: AsyncClient, path: str) -> Any:
    try:
        return (await client.get(path)).value
    except NotFound:
        return None


@pytest.mark.parametrize("transport", ["zmq", "tcp"])
async def test_both_ways_over_both_transports(transport: str, daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    if transport == "tcp":
        monkeypatch.setenv("LIGHTFAST_LINK", "tcp")
    # The rename would have it say hello anew, in the midst of what follows where that takes long.
    monkeypatch.setattr(inside.part("session"), "REDECLARE_AFTER", 3600.0)
    simulator = TouchDesignerSimulator(str(daemon.home))
    async with AsyncClient(home=daemon.home) as client, joined(simulator, client, "/touchdesigner"):
        (app,) = [each for each in await client.list_apps() if each.mount == "/touchdesigner"]
        assert app.transport == transport
        assert app.simulator
        td: Any = simulator.td
        geo = td.op("/project1/geo1")
        await client.set(TX, 2.5)
        await seen(lambda: geo.par.tx.val == 2.5, "the wish in TouchDesigner")
        geo.par.ty = 7.0
        ty = TX[:-1] + "y"
        entry = await seen(lambda: _settled(client, ty, 7.0), "the change in the context")
        assert entry.origin == "app:touchdesigner"
        await client.set(ty, 1.0)
        await seen(lambda: geo.par.ty.val == 1.0, "the wish over it")
        with pytest.raises(LightfastError, match="use one of sparse"):
            await client.set("/touchdesigner/project1/noise1/par/type", "none")
        # A rename moves the subtree.
        geo.name = "hero"
        hero = "/touchdesigner/project1/hero/par/tx"

        async def moved() -> bool:
            return await value_at(client, hero) == 2.5 and await value_at(client, TX) is None

        await seen(moved, "the move")
        assert (await client.get(hero)).object_id
        asset = await client.invoke("/touchdesigner", "snapshot", path="/project1/constant1")
        assert isinstance(asset, Asset)
        assert asset.media_type == "image/png"
        assert (await client.read_asset(asset.sha256)).startswith(b"\x89PNG\r\n\x1a\n")
        with pytest.raises(LightfastError, match="no operator"):
            await client.invoke("/touchdesigner", "cook", path="/project1/none")
        wave = "/touchdesigner/project1/waves/chop/chan1"
        before = await client.get(wave)
        assert before.signal

        async def turned() -> bool:
            return bool((await client.get(wave)).value != before.value)

        await seen(turned, "a turn of the channel")
        assert td.problems == []


async def test_a_component_of_another_version_is_flagged(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/touchdesigner/lightfast/component"
    monkeypatch.setattr(inside.part("session"), "VERSION", "0.0.9")
    simulator = TouchDesignerSimulator(str(daemon.home))
    async with AsyncClient(home=daemon.home) as client:
        await loaded(client, "touchdesigner")
        async with joined(simulator, client, "/touchdesigner"):
            (app,) = [each for each in await client.list_apps() if each.mount == "/touchdesigner"]
            assert "component 0.0.9" in app.app_version
            entry = await client.get(path)
            assert entry.value == "0.0.9", "what an application reports is recorded"
            assert inside.version() in entry.status_reason, "and flagged"
            asked = DescribeRequest(pattern=path)
            (declared,) = (await client.call(client.context.Describe, asked)).declarations
            assert "lightfast pack touchdesigner" in declared.description


async def _settled(client: AsyncClient, path: str, value: float) -> Any:
    entry = await client.get(path)
    return entry if entry.value == value and entry.status == "SETTLED" else None


def test_killed_it_comes_back_to_its_values_and_another_project_brings_its_own(daemon: Daemon) -> None:
    environ = daemon.clean_environ()
    processes = [start(daemon.home, environ=environ)]
    try:
        with Client(home=daemon.home) as client:
            in_step(client, "/touchdesigner", processes[-1].pid)
            client.set(TX, 4.0)
            holds(client, TX, 4.0)
            processes[-1].kill()
            processes[-1].wait(10)
            client.set("/touchdesigner/project1/geo1/par/tz", 5.0)  # wished while it is away
            processes.append(start(daemon.home, environ=environ))
            app = in_step(client, "/touchdesigner", processes[-1].pid)
            assert app.document_id == "show"
            holds(client, TX, 4.0)
            holds(client, "/touchdesigner/project1/geo1/par/tz", 5.0)
            told = client.invoke("/touchdesigner", "get_operator", path="/project1/geo1")
            assert told["parameters"]["tx"] == 4.0, "it was put back inside"  # type: ignore[call-overload,index]
            processes[-1].kill()
            processes[-1].wait(10)
            processes.append(start(daemon.home, document="another", environ=environ))
            app = in_step(client, "/touchdesigner", processes[-1].pid)
            assert app.document_id == "another"
            holds(client, TX, 0.0)
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


def test_two_at_once_have_mounts_of_their_own(daemon: Daemon) -> None:
    environ = daemon.clean_environ()
    processes = [start(daemon.home, name, environ=environ) for name in ("left", "right")]
    try:
        with Client(home=daemon.home) as client:
            for name, process in zip(("left", "right"), processes, strict=True):
                in_step(client, "/" + name, process.pid)
            client.set("/left/project1/geo1/par/tx", 1.0)
            client.set("/right/project1/geo1/par/tx", 2.0)
            holds(client, "/left/project1/geo1/par/tx", 1.0)
            holds(client, "/right/project1/geo1/par/tx", 2.0)
            for name, value in (("left", 1.0), ("right", 2.0)):
                told = client.invoke("/" + name, "get_operator", path="/project1/geo1")
                assert told["parameters"]["tx"] == value  # type: ignore[call-overload,index]
    finally:
        for process in processes:
            process.kill()
            process.wait(10)


async def test_a_link_with_blender_carries_a_change_and_is_silent_then(daemon: Daemon) -> None:
    touch, blender = TouchDesignerSimulator(str(daemon.home)), BlenderSimulator(str(daemon.home))
    bpm, knob = "/blender/scene/lightfast/bpm", "/touchdesigner/project1/constant2/par/const0value"
    async with (
        AsyncClient(home=daemon.home) as client,
        joined(touch, client, "/touchdesigner"),
        joined(blender, client, "/blender"),
    ):
        await client.set(bpm, 100.0)
        await client.link(bpm, knob)
        await client.set(bpm, 128.3)
        td: Any = touch.td
        par = td.op("/project1/constant2").par.const0value
        await seen(lambda: close(par.val, 128.3), "the tempo in TouchDesigner")
        await seen(lambda: _settled(client, knob, 128.3), "its answer")
        await seen(lambda: _settled(client, bpm, 128.3), "the answer of the other, which need not come first")
        quiet = await client.get(knob)
        source = await client.get(bpm)
        frames = td.absTime.frame
        await seen(lambda: td.absTime.frame > frames + 60, "a second of frames")
        assert (await client.get(knob)).revision == quiet.revision, "nothing goes round"
        assert (await client.get(bpm)).revision == source.revision


def test_the_command_line_runs_the_simulator_and_writes_the_pack(daemon: Daemon, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "lightfast", "--home", str(daemon.home)]
    process = subprocess.Popen(
        [*line, "sim", "touchdesigner"], stdout=subprocess.PIPE, text=True, env=daemon.clean_environ()
    )
    try:
        with Client(home=daemon.home) as client:
            app = in_step(client, "/touchdesigner", process.pid)
            assert app.simulator
        process.terminate()
        out, _ = process.communicate(timeout=180)
        assert process.returncode == 0
        assert "simulated TouchDesigner" in out
    finally:
        process.kill()
        process.wait(10)
    done = subprocess.run(
        [*line, "pack", "touchdesigner", "--output", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
        env=daemon.clean_environ(),
    )
    assert "build_lightfast_tox.build()" in done.stdout
    assert (tmp_path / "out" / "lightfast-touchdesigner" / "lightfast_td" / "session.py").is_file()
