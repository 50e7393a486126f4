"""What the tests of the TouchDesigner bridge share: a simulator on a desk, one in a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.blender import Desk, Joined
from tests.support.ending import ended

from lightfast_bridges.touchdesigner.simulator import TouchDesignerSimulator
from lightfast_bridges.touchdesigner.standin import Td, make_td

PROCESS = """
import asyncio, sys
from lightfast_bridges.touchdesigner.simulator import TouchDesignerSimulator
home, name, document = sys.argv[1:]
simulator = TouchDesignerSimulator(home, name, document=document)
asyncio.run(simulator.run(("127.0.0.1", 0), 0, lambda address: print("joined", flush=True)))
"""


class Running:
    """A simulator that runs in this process, and the session it joined with."""

    def __init__(self, simulator: TouchDesignerSimulator, app: Joined) -> None:
        self.simulator = simulator
        self.app = app

    @property
    def td(self) -> Td:
        """The stand-in for the module."""
        assert self.simulator.td is not None
        return self.simulator.td

    def op(self, path: str) -> Any:
        """Return an operator that must be there."""
        found = self.td.op(path)
        assert found is not None, path
        return found

    @property
    def session(self) -> Any:
        """The session inside the component."""
        return self.simulator.component.ext.LightfastExt.component.session


def big(operators: int, each: int) -> Callable[[], Td]:
    """Return what makes a project with *operators* components of *each* knobs."""

    def make() -> Td:
        td = make_td(empty=True)
        project = td.op("/project1")
        assert project is not None
        for number in range(operators):
            page = project.create("baseCOMP", f"rack{number}").appendCustomPage("Knobs")  # type: ignore[attr-defined]
            for knob in range(each):
                page.appendFloat(f"Knob{knob}", label=f"Knob {knob}")
        return td

    return make


@asynccontextmanager
async def running(desk: Desk, name: str = "", **options: Any) -> AsyncIterator[Running]:
    """Run a simulator joined to *desk*."""
    before = len(desk.sessions)
    simulator = TouchDesignerSimulator(str(desk.home), name, **options)
    task = asyncio.ensure_future(simulator.run(("127.0.0.1", 0), 0, lambda address: None))
    try:
        app = await desk.joined(before + 1)
        yield Running(simulator, app)
        assert simulator.td is not None
        assert simulator.td.problems == [], "nothing inside may raise into TouchDesigner"
    finally:
        await ended(task, "the simulator")


def start(
    home: Path, name: str = "", document: str = "show", environ: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a simulator in a process of its own."""
    line = [sys.executable, "-c", PROCESS, str(home), name, document]
    return subprocess.Popen(line, env=dict(environ or {}), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
