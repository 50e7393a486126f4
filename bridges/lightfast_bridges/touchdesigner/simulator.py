"""A stand-in for TouchDesigner that joins the daemon: the very component, built by its own builder, on a minimal `td`.

The code that runs is that of the real component, down to the DATs and their callbacks, over the real link; what is
simulated is TouchDesigner itself. What that leaves out:

* rendering, cooking and its order: a TOP shows a fade of its colour, a CHOP a number or a sine;
* all but 17 types of operators, and most of their parameters; SOPs, POPs and MATs;
* sequences, parameter groups, bindings that write back, clones, panels, private components;
* undo of a deletion, redo, and the wording of TouchDesigner's own errors;
* project files: nothing is loaded, and a save writes a file with nothing in it;
* OSC and all other devices and protocols.

Nothing in it proves how a real TouchDesigner behaves: there is none to test against without a licence and a GPU.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.sdk import Simulator
from lightfast_bridges.touchdesigner import inside

if TYPE_CHECKING:
    from lightfast_bridges.touchdesigner.standin import Td

log = structlog.get_logger("lightfast.simulators.touchdesigner")

FRAME_S = 1.0 / 60.0
STORED = "lightfast_document"
"""Where the component keeps which project this is."""


class TouchDesignerSimulator(Simulator):
    """A TouchDesigner without TouchDesigner; it says that it is one, and does not pretend to render."""

    name = "touchdesigner"
    description = "Joins the daemon as a simulated TouchDesigner: the real component on a stand-in for its module td"
    default_listen = ("127.0.0.1", 0)

    def __init__(
        self,
        home: str = "",
        mount_name: str = "",
        *,
        document: str = "touchdesigner-simulator",
        td: Callable[[], Td] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        """*home* is the daemon's folder, *mount_name* what it is called, *document* which project is open.

        *td* makes the project, else `make_td` does; *settings* are custom parameters of the component, by name.
        """
        self._document = document + ("-" + mount_name if mount_name else "")
        self._settings = {"Chops": "*", **(settings or {}), "Home": home, "Name": mount_name}
        self._make = td
        self.td: Td | None = None
        self.component: Any = None
        """The base COMP that the builder built."""

    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        """Stay joined until cancelled. It calls the daemon, so *listen* is not used; *ready* gets the daemon's door."""
        from lightfast_bridges.touchdesigner.standin import LEFT_OUT

        self.start()
        assert self.td is not None  # noqa: S101  # just made
        log.info("simulator ready", what=self.description, leaves_out=LEFT_OUT)
        loop = asyncio.get_running_loop()
        told, due = False, loop.time()
        try:
            while True:
                self.td.frame()
                if not told and (door := self.door()):
                    told = True
                    ready(door)
                due = max(due + FRAME_S, loop.time())
                await asyncio.sleep(max(due - loop.time(), 0.001))
        finally:
            await asyncio.to_thread(self.td.close)

    def start(self) -> None:
        """Open the project and build the component in it."""
        from lightfast_bridges.touchdesigner.standin import make_td  # every daemon has this module: not what it runs

        self.td = (self._make or make_td)()
        with tempfile.TemporaryDirectory() as scratch:
            inside.write(Path(scratch))
            build = inside.file_module("build_lightfast_tox").build
            self.component = build(td=self.td, folder=scratch, save=False)
        for name, value in self._settings.items():
            self.component.par[name].val = value
        self.component.store(STORED, {"id": self._document, "path": "", "generation": 0})
        self.component.par.reinitextensions.pulse()

    def door(self) -> tuple[str, int] | None:
        """Return the address of the daemon once joined; a door that is no address has port 0."""
        session = self.component.ext.LightfastExt.component.session
        if session is None or not session.live:
            return None
        found = inside.part("lightfast_link.endpoints").find(self._settings["Home"] or None)
        host, _, port = str(found.get("link_tcp") or "").rpartition(":")
        return (host.strip("[]"), int(port)) if host else ("127.0.0.1", 0)
