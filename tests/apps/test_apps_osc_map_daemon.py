"""A map in a daemon's folder: the device is joined, written, and shown as missing when it does not answer."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.daemon import daemon
from tests.support.ports import free_port

from lightfast.client import Client
from lightfast.core.errors import LightfastError
from lightfast.core.osc import decode
from lightfast.core.osc_build import encode

LAMP = """kind: lamp
title: The Lamp
remote: 127.0.0.1:{port}
reply: {reply}
alive: {{assumed: true}}
parameters:
  level: {{send: /level, range: [0, 1], unit: gain.linear}}
"""
DUMB = """kind: deaf
title: The Deaf
remote: 127.0.0.1:{port}
alive: {{ping: /are/you/there}}
parameters:
  level: {{send: /level}}
"""


def until(found: Callable[[], Any], wanted: Any, shown: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            held = found()
        except LightfastError as error:
            held = error
        if held == wanted:
            return
        assert time.monotonic() < deadline, (held, wanted, shown())
        time.sleep(0.02)


def heard(device: socket.socket, wanted: tuple[str, tuple[Any, ...]]) -> None:
    """Take what the device is sent until it is *wanted*; it is asked again and again whether it is there."""
    deadline = time.monotonic() + 60
    others: Counter[str] = Counter()
    while (left := deadline - time.monotonic()) > 0:
        device.settimeout(left)
        try:
            message = decode(device.recv(4096))[0]
        except TimeoutError:
            break
        if (message.address, message.args) == wanted:
            return
        others[f"{message.address} {message.args}"] += 1
    raise AssertionError(f"the device was not sent {wanted}, but {dict(others)}")


def written(client: Client, path: str, value: float) -> bool:
    try:
        client.set(path, value)
    except LightfastError:
        return False
    return True


def test_a_map_in_the_folder_is_a_mount(tmp_path: Path) -> None:
    home, reply = tmp_path / "home", free_port()
    maps = home / "config" / "osc"
    maps.mkdir(parents=True)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        device.bind(("127.0.0.1", 0))
        port = device.getsockname()[1]
        (maps / "deaf.yaml").write_text(DUMB.format(port=free_port()), encoding="utf-8")
        with daemon(home) as running, Client(home=str(home)) as client:
            (maps / "lamp.yaml").write_text(LAMP.format(port=port, reply=reply), encoding="utf-8")  # taken as it comes

            def states() -> dict[str, str]:
                return {
                    str(app["mount"]): str(app.get("state")).removeprefix("APP_STATE_")
                    for app in client.call_json("AppService.ListApps", {}).get("apps", [])
                }

            until(lambda: states().get("/lamp"), "LIVE", running.log)
            until(lambda: states().get("/deaf"), "ABSENT", running.log)
            client.set("/lamp/level", 0.25)
            heard(device, ("/level", (0.25,)))
            until(lambda: client.get("/lamp/level").status, "SETTLED", running.log)
            device.sendto(encode("/level", 0.5), ("127.0.0.1", reply))
            until(lambda: client.get("/lamp/level").value, 0.5, running.log)
            # A changed map is taken while it runs; what was there is kept.
            (maps / "lamp.yaml").write_text(LAMP.format(port=port, reply=reply) + "  hue: {send: /hue}\n", "utf-8")
            until(
                lambda: client.call_json("ContextService.Describe", {"pattern": "/lamp/hue"}) != {}, True, running.log
            )
            until(lambda: states().get("/lamp"), "LIVE", running.log)
            until(lambda: written(client, "/lamp/hue", 0.125), True, running.log)
            heard(device, ("/hue", (0.125,)))
            until(lambda: client.get("/lamp/level").value, 0.5, running.log)
            found = [app for app in client.call_json("AppService.ListApps", {})["apps"] if app["mount"] == "/deaf"]
            assert "The Deaf was not heard" in found[0]["state_reason"]
        # A device that cannot be asked holds what was last written: it gets it again after a restart.
        with daemon(home) as running, Client(home=str(home)) as client:
            heard(device, ("/level", (0.5,)))
            until(lambda: client.get("/lamp/level").status, "SETTLED", running.log)
