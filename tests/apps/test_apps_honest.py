"""Honest simulators: one script drives the simulator and the real application through a daemon, and all it sees is compared.

What the simulator does otherwise is listed in its docstring, and left out here by `KNOWN`.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.support.blender import wanted
from tests.support.daemon import Daemon
from tests.support.joined import BRIDGES, Desk, desk

from lightfast.client import Client
from lightfast.core.errors import LightfastError
from lightfast_bridges.blender import headless
from lightfast_link.value import kind_of

pytestmark = pytest.mark.real_app
REST_S = 1.0
KNOWN = ("/blender/materials/Dots%20Stroke/",)
"""Paths that only some versions of Blender have."""
Step = tuple[str, Callable[[Desk], Any]]


def wish(path: str, value: Any) -> Step:
    return (f"set {path} {value!r}", lambda found: found.set(path, value).status)


def call(command: str, **arguments: Any) -> Step:
    def run(found: Desk) -> str:
        result = found.invoke(command, **arguments)
        return kind_of(result) if result is not None else "nothing"

    return (f"{command} {arguments}", run)


SCRIPT: tuple[Step, ...] = (
    wish("objects/Cube/location", (0.5, 2.0, 3.0)),
    wish("objects/Cube/location", (0.5, 2.0, 3.0)),
    wish("objects/Cube/rotation_euler", (0.0, 0.5, 0.0)),
    wish("objects/Cube/hide_render", True),
    wish("objects/Cube/type", "LIGHT"),
    wish("objects/Cube/location", "here"),
    wish("objects/Cube/location", (1.0, 2.0)),
    wish("objects/Nobody/location", (0.0, 0.0, 0.0)),
    wish("scene/lightfast/level", 0.25),
    wish("scene/lightfast/level", 0.75),
    wish("scene/lightfast/word", "grün"),
    wish("scene/render/fps", 30),
    wish("scene/render/fps", 0),
    wish("scene/frame_current", 10),
    wish("materials/Material/base_color", (0.5, 0.25, 0.125, 1.0)),
    wish("nowhere/x", 1),
    call("create_object", kind="cube", name="Box", location=(1.0, 1.0, 1.0)),
    call("create_object", kind="teapot"),
    call("create_object"),
    call("rename_object", object="Box", name="Crate"),
    call("duplicate", object="Crate", name="Twin", location=(0.0, 0.0, 9.0)),
    call("list_objects"),
    call("delete_object", object="Twin"),
    call("delete_object", object="Twin"),
    call("frame_set", frame=11),
    call("no_such_command"),
    wish("objects/Crate/location", (4.0, 5.0, 6.0)),
)


class Transcript:
    """What was seen of each step: how it ended, and the events in their order."""

    def __init__(self, found: Desk) -> None:
        self.desk = found
        self.steps: list[tuple[str, str, list[str]]] = []
        self._events: list[str] = []
        self._last = time.monotonic()
        self._client = Client(home=found.daemon.home)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def run(self) -> None:
        """Run the script."""
        self._thread.start()
        assert self._ready.wait(60)
        try:
            self._rest()
            for name, step in SCRIPT:
                self._events.clear()
                try:
                    how = str(step(self.desk))
                except LightfastError as error:
                    how = f"{type(error).__name__} {error.reason}"
                self._rest()
                self.steps.append((name, how, list(dict.fromkeys(self._events))))
        finally:
            self._client.close()
            self._thread.join(10)

    def _listen(self) -> None:
        try:
            for batch in self._client.watch(self.desk.mount + "//", include_snapshot=True):
                if self._ready.is_set():
                    for event in batch.events:
                        value = event.entry.value
                        kind = "gone" if value is None else kind_of(value)
                        path = event.entry.path.removeprefix(self.desk.mount)
                        self._events.append(f"{event.type} {path} {kind} {event.entry.status}")
                        self._last = time.monotonic()
                if batch.synced:
                    self._ready.set()
        except LightfastError:
            return  # closed

    def _rest(self) -> None:
        """Wait until nothing comes any more, not even after the application has been at work once again."""
        end = time.monotonic() + 60
        while True:
            since = time.monotonic()
            self.desk.invoke("list_objects")
            while time.monotonic() - max(since, self._last) < REST_S and time.monotonic() < end:
                time.sleep(0.02)
            if self._last < since or time.monotonic() > end:
                return


def drive(home: Path, start: Callable[[Path], subprocess.Popen[bytes]]) -> tuple[Transcript, dict[str, str]]:
    """Run the script on what *start* starts; return the transcript, and the kinds of the tree before it, by path."""
    daemon = Daemon(home, flags=[f"plugins.{name}.enabled=false" for name in BRIDGES])
    with desk(daemon, "/blender") as found, ExitStack() as stack:
        process = start(home)
        stack.callback(process.wait, 10)
        stack.callback(process.kill)
        found.live()
        tree = {
            entry.path: kind_of(entry.value) for entry in found.client.select("/blender//") if entry.value is not None
        }
        transcript = Transcript(found)
        transcript.run()
        return transcript, tree


def test_the_blender_simulator_does_as_blender_does(tmp_path: Path) -> None:
    installation = wanted("application")

    def real(home: Path) -> subprocess.Popen[bytes]:
        return headless.start(installation, home=home)

    def simulated(home: Path) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "lightfast", "--home", str(home), "sim", "blender"]
        return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    there, tree = drive(tmp_path / "real", real)
    here, simulated_tree = drive(tmp_path / "simulated", simulated)
    lines = []
    for path in sorted(set(tree) | set(simulated_tree)):
        if tree.get(path) != simulated_tree.get(path) and not path.startswith(KNOWN):
            lines.append(f"tree {path}: Blender {tree.get(path)}, the simulator {simulated_tree.get(path)}")
    for one, other in zip(there.steps, here.steps, strict=True):
        if one[1:] != other[1:]:
            lines.append(f"{one[0]}:\n    Blender   {one[1]} {one[2]}\n    simulator {other[1]} {other[2]}")
    assert not lines, "\n".join(lines)
