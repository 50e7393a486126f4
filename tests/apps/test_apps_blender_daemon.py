"""A real daemon process, a real Blender, a client over gRPC: what a user has, and what each may survive."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.blender import wanted
from tests.support.daemon import Daemon

from lightfast.api.v1.apps_pb2 import APP_STATE_LIVE
from lightfast.client import Client
from lightfast_bridges.blender.launcher import BlenderLauncher
from lightfast_link.value import Asset, close

pytestmark = pytest.mark.real_app
LOCATION = "/blender/objects/Cube/location"


def until(look: Callable[[], Any], what: str, within: float = 90.0) -> Any:
    """Return the first true answer of *look*."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.01)
    raise AssertionError(f"not seen within {within} s: {what}")


def in_step(client: Client, pid: int) -> Any:
    """Wait until the Blender of that process is in step and return it."""

    def look() -> Any:
        for app in client.list_apps():
            if app.mount == "/blender" and app.pid == pid and app.state == APP_STATE_LIVE and not app.pending:
                return app
        return None

    return until(look, f"/blender ({pid}) in step")


def holds(client: Client, path: str, value: Any) -> None:
    """Wait until Blender is known to hold *value*."""

    def look() -> bool:
        entry = client.get(path)
        return entry.status == "SETTLED" and entry.reported is not None and close(entry.reported, value)

    until(look, f"{path} at {value}")


@pytest.mark.parametrize("transport", ["zmq", "tcp"])
def test_both_may_be_killed_and_are_in_step_again(
    transport: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted("application")
    if transport == "tcp":
        monkeypatch.setenv("LIGHTFAST_LINK", "tcp")
    path = tmp_path / "work.blend"
    launcher = BlenderLauncher()
    daemon = Daemon(tmp_path / "home").start()
    processes = [launcher.start(daemon.home, log=tmp_path / "blender.log")]
    try:
        with Client(home=daemon.home) as client:
            app = in_step(client, processes[-1].pid)
            assert app.transport == transport
            client.invoke("/blender", "save_as", path=str(path))
            client.set(LOCATION, (1.0, 2.0, 3.0))
            holds(client, LOCATION, (1.0, 2.0, 3.0))
            rendered = client.invoke("/blender", "render", engine="CYCLES", width=32, height=18, samples=1)
            assert isinstance(rendered, Asset)
            assert client.read_asset(rendered.sha256).startswith(b"\x89PNG")
            revision = client.set("/blender/scene/lightfast/bpm", 117.0).revision

        # The daemon dies; its ports are others when it is back. Blender finds it by itself.
        daemon.kill()
        daemon.start()
        with Client(home=daemon.home) as client:
            in_step(client, processes[-1].pid)
            holds(client, LOCATION, (1.0, 2.0, 3.0))
            holds(client, "/blender/scene/lightfast/bpm", 117.0)
            assert client.set(LOCATION, (4.0, 5.0, 6.0)).revision > revision
            holds(client, LOCATION, (4.0, 5.0, 6.0))
            client.invoke("/blender", "create_object", kind="cube", name="Unsaved")

            # Blender dies and is started from its last save.
            processes[-1].kill()
            processes[-1].wait(10)
            processes.append(launcher.start(daemon.home, document=path, log=tmp_path / "blender.log"))
            app = in_step(client, processes[-1].pid)
            holds(client, LOCATION, (4.0, 5.0, 6.0))
            holds(client, "/blender/scene/lightfast/bpm", 117.0)
            assert "/blender/objects/Unsaved/location" in app.lost_paths
        assert daemon.stop() == 0
        processes[-1].terminate()
        assert processes[-1].wait(60) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait(10)
        if daemon.process is not None and daemon.process.poll() is None:
            daemon.kill()
        print((tmp_path / "blender.log").read_text(errors="replace")[-4000:])
        print(daemon.log()[-6000:])
