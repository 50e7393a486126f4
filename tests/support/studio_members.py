"""The applications of a studio, each behind a relay: how it is started, killed, given other work, and reached.

Every member has a path (*path*, below its mount) that takes any of *values*, and settings by which trouble shows soon.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests.support import ardour as ardours
from tests.support import hydrogen as hydrogens
from tests.support import puredata, scsynth
from tests.support import touchdesigner as touchdesigners
from tests.support.blender import advertise, wanted
from tests.support.chaos import Relay, TcpRelay, UdpRelay
from tests.support.netns import Network
from tests.support.obs import PASSWORD, PORT, Obs
from tests.support.ports import free_port

from lightfast_bridges.blender import headless
from lightfast_bridges.touchdesigner.simulator import TouchDesignerSimulator
from lightfast_link.value import Value

BLENDER_HAND = """
import bpy, signal, pathlib

def hand(number, frame):
    exec(pathlib.Path({file!r}).read_text(encoding="utf-8"), {{"bpy": bpy}})
    bpy.context.scene.update_tag()
    bpy.context.view_layer.update()

signal.signal(signal.SIGUSR1, hand)
"""
"""A signal runs what is in a file, between two steps of Blender's own: as a script of the user's, and safely."""
BLENDER_FILES = """
import bpy
for number, file in enumerate({files!r}):
    bpy.data.objects["Cube"].location = (10.0 + number, 0.0, 0.0)
    bpy.ops.wm.save_as_mainfile(filepath=file)
"""


class Member:
    """One application of a studio."""

    kind = ""
    path = ""
    values: tuple[Value, ...] = ()
    real = True

    def __init__(self, folder: Path, net: Network) -> None:
        self.folder, self.net = folder / self.kind, net
        self.folder.mkdir(parents=True, exist_ok=True)
        self.mount = "/" + self.kind
        self.relay: Relay | None = None
        self._turns = itertools.cycle(self.values)

    def settings(self) -> dict[str, Any]:
        """Return the settings of its bridge; the relay is open then."""
        return {}

    def prepare(self) -> None:
        """Make what it works on, and open the relay, inside the network; before the daemon starts."""

    def joins(self, home: Path, doors: dict[str, Any]) -> None:
        """Learn where the daemon is; after it started, inside the network."""

    def start(self, document: str = "one") -> None:
        """Start it, inside the network, without waiting for more than its port."""
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The process."""
        raise NotImplementedError

    def kill(self) -> None:
        """Kill it at once."""
        raise NotImplementedError

    def close(self) -> None:
        """End all of it; may be called twice."""
        if self.relay is not None:
            self.relay.close()

    def other(self) -> Value:
        """Return the next of the values, which is not the last one."""
        return next(self._turns)

    def freeze(self) -> None:
        """Stop its clock."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run on."""
        os.kill(self.pid, signal.SIGCONT)

    def said(self) -> str:
        """Return what it printed lately."""
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}: {log.read_text(encoding='utf-8', errors='replace')[-1500:]}" for log in logs)


class PdMember(Member):
    """A real Pd; it calls the daemon."""

    kind, path, values = "puredata", "osc/freq", (110.0, 220.0, 330.0, 440.0, 550.0)

    def prepare(self) -> None:
        self.port = free_port()
        self.relay = UdpRelay(self.port, app_calls=True).start()
        self.pds = {name: puredata.Pd(self.folder, self.relay.port, name) for name in ("one", "two")}
        self.now: puredata.Pd | None = None

    def settings(self) -> dict[str, Any]:
        timing = {"ping": 0.3, "silence": 1.0, "gone": 5.0}
        return {"listen": f"127.0.0.1:{self.port}", "name": self.kind, **timing}  # one place for both documents

    def start(self, document: str = "one") -> None:
        self.now = self.pds[document]
        self.now.start()

    @property
    def pid(self) -> int:
        assert self.now is not None
        assert self.now.process is not None
        return self.now.process.pid

    def kill(self) -> None:
        if self.now is not None:
            self.now.kill()

    def close(self) -> None:
        for one in self.pds.values():
            one.close()
        super().close()


class ScsynthMember(Member):
    """A real scsynth on a JACK; it has no documents."""

    kind, path, values = "supercollider", "buses/1", (0.125, 0.25, 0.5, 0.625, 0.75)

    def prepare(self) -> None:
        self.server = scsynth.Scsynth(self.folder)
        self.relay = UdpRelay(self.server.port).start()

    def settings(self) -> dict[str, Any]:
        assert self.relay is not None
        remote = f"127.0.0.1:{self.relay.port}"
        return {"remote": remote, "buses": "0-3", "poll": 0.2, "silence": 1.0, "gone": 5.0}

    def start(self, document: str = "one") -> None:
        self.server.start()

    @property
    def pid(self) -> int:
        assert self.server.process is not None
        return self.server.process.pid

    def kill(self) -> None:
        self.server.kill()

    def close(self) -> None:
        self.server.close()
        super().close()


class ArdourMember(Member):
    """A real Ardour with windows off."""

    kind, path, values = "ardour", "strips/Drums/gain", (-6.0, -9.0, -12.0, -15.0, -18.0)

    def prepare(self) -> None:
        installation = ardours.wanted()
        self.sessions = {name: ardours.make_session(self.net, self.folder, name) for name in ("one", "two")}
        self.relay = UdpRelay(ardours.PORT).start()
        self.ardour = ardours.Ardour(self.net, self.folder, self.sessions["one"], installation)

    def settings(self) -> dict[str, Any]:
        assert self.relay is not None
        return {"remote": f"127.0.0.1:{self.relay.port}", "poll": 0.5, "silence": 4.0}

    def start(self, document: str = "one") -> None:
        self.ardour.session = self.sessions[document]
        self.ardour.start()

    @property
    def pid(self) -> int:
        assert self.ardour.process is not None
        return self.ardour.process.pid

    def kill(self) -> None:
        self.ardour.kill()

    def close(self) -> None:
        self.ardour.stop()
        self.ardour.control.close()
        super().close()


class ObsMember(Member):
    """A real OBS on a virtual screen."""

    kind, path, values = "obs", "currentSceneTransitionDuration", (350, 450, 550, 650, 750)

    def prepare(self) -> None:
        self.obs = Obs(self.folder, self.net)
        self.relay = TcpRelay(PORT, app_calls=False).start()
        self.document = "Untitled"

    def settings(self) -> dict[str, Any]:
        assert self.relay is not None
        url = f"ws://127.0.0.1:{self.relay.port}"
        return {"url": url, "password": "env:OBS_SECRET", "poll": 0.3, "patience": 1.5, "gone": 6.0}

    def start(self, document: str = "one") -> None:
        wanted_now = {"one": "Untitled", "two": "Second"}[document]
        config = self.obs.home / "obs-studio" / "global.ini"
        if config.exists() and wanted_now != self.document:
            text = config.read_text(encoding="utf-8")
            for key in ("SceneCollection", "SceneCollectionFile"):
                lines = [f"{key}={wanted_now}" if line.startswith(key + "=") else line for line in text.split("\n")]
                text = "\n".join(lines)
            config.write_text(text, encoding="utf-8")
        self.document = wanted_now
        self.obs.start()

    @property
    def pid(self) -> int:
        assert self.obs.process is not None
        return self.obs.process.pid

    def kill(self) -> None:
        self.obs.kill()

    def close(self) -> None:
        self.obs.close()
        super().close()


class LinkMember(Member):
    """An application with the link inside it, over TCP, through a relay."""

    def joins(self, home: Path, doors: dict[str, Any]) -> None:
        key = bytes.fromhex(Path(doors["link_key_file"]).read_text(encoding="ascii").strip())
        self.relay = TcpRelay(int(doors["link_tcp"].rpartition(":")[2]), app_calls=True, frames=True).start()
        self.home = self.folder / "home"
        self._lock = advertise(self.home, key, link_tcp=f"127.0.0.1:{self.relay.port}")

    def close(self) -> None:
        self.kill()
        if self.relay is not None:
            os.close(self._lock)
        super().close()


class BlenderMember(LinkMember):
    """A real Blender without a window; a signal runs code of the user's inside it."""

    kind, path, values = "blender", "scene/lightfast/level", (1.0, 2.0, 3.0, 4.0, 5.0)
    process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self.installation = wanted("application")
        self.hand_file = self.folder / "hand.txt"
        self.script = self.folder / "hand.py"
        self.script.write_text(BLENDER_HAND.format(file=str(self.hand_file)), encoding="utf-8")
        self.files = {name: self.folder / f"{name}.blend" for name in ("one", "two")}
        making = BLENDER_FILES.format(files=[str(file) for file in self.files.values()])
        line = [self.installation.program, "-b", "--factory-startup", "--python-expr", making]
        subprocess.run(line, check=True, capture_output=True, timeout=180)

    def start(self, document: str = "one") -> None:
        with (self.folder / "blender.log").open("ab") as output:
            self.process = headless.start(
                self.installation,
                home=self.home,
                blend=self.files[document],
                options=["--python", str(self.script)],
                output=output,
            )

    def hand(self, code: str) -> None:
        """Run *code* inside, as a script of the user's."""
        self.hand_file.write_text(code, encoding="utf-8")
        os.kill(self.pid, signal.SIGUSR1)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)


class TouchDesignerMember(LinkMember):
    """The real component on the stand-in for TouchDesigner."""

    kind, path, values = "touchdesigner", "project1/geo1/par/tx", (1.0, 2.0, 3.0, 4.0, 5.0)
    real = False
    process: subprocess.Popen[bytes] | None = None

    def start(self, document: str = "one") -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTFAST_")}
        self.process = touchdesigners.start(self.home, document=document, environ=environ)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)


class HandyTouchDesigner(TouchDesignerMember):
    """The same in a thread of this process, so that a test can turn its knobs; it cannot be killed."""

    def start(self, document: str = "one") -> None:
        self.simulator = TouchDesignerSimulator(str(self.home), document=document)
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self.simulator.run(("127.0.0.1", 0), 0, lambda _: None))
        self._thread = threading.Thread(target=self._run, name="touchdesigner", daemon=True)
        self._thread.start()  # inside the network, and so is what it starts

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.close()

    def turn(self, path: str, name: str, value: float) -> None:
        """Turn a parameter, as the user does."""

        def now() -> None:
            self._par(path, name).val = value

        self._loop.call_soon_threadsafe(now)

    def held(self, path: str, name: str) -> Any:
        """Return what a parameter holds."""
        return self._par(path, name).val

    def _par(self, path: str, name: str) -> Any:
        assert self.simulator.td is not None
        operator = self.simulator.td.op(path)
        assert operator is not None
        return operator.par[name]

    def kill(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(60)


class AbletonMember(Member):
    """The Live simulator in a process of its own; its answers come to a port that is told it, through the relay."""

    kind, path, values = "ableton", "song/tempo", (100.0, 110.0, 120.0, 130.0, 140.0)
    real = False
    process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        self.port, self.reply = free_port(), free_port()
        # The simulator answers to a port, not to who asked: so that port is the relay's.
        self.relay = UdpRelay(self.reply, app_calls=True).start()

    def settings(self) -> dict[str, Any]:
        return {"remote": f"127.0.0.1:{self.port}", "reply_port": self.reply, "poll": 0.3, "silence": 1.0}

    def start(self, document: str = "one") -> None:
        assert self.relay is not None
        line = [sys.executable, "-m", "lightfast", "sim", "ableton"]
        line += ["--listen", f"127.0.0.1:{self.port}", "--reply-port", str(self.relay.port)]
        with (self.folder / "live.log").open("ab") as output:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)

    def close(self) -> None:
        self.kill()
        super().close()


class HydrogenMember(Member):
    """A real Hydrogen without a screen; there is no relay, for the bridge looks whether its port is taken."""

    kind, path, values = "hydrogen", "master/volume", (0.25, 0.5, 0.75, 1.0, 1.25)

    def prepare(self) -> None:
        hydrogens.wanted()
        self.hydrogen = hydrogens.Hydrogen(self.net, self.folder)

    def settings(self) -> dict[str, Any]:
        return {"remote": f"127.0.0.1:{hydrogens.PORT}"}

    def start(self, document: str = "one") -> None:
        self.hydrogen.start()

    @property
    def pid(self) -> int:
        assert self.hydrogen.process is not None
        return self.hydrogen.process.pid

    def kill(self) -> None:
        self.hydrogen.stop(signal.SIGKILL)

    def close(self) -> None:
        self.hydrogen.stop()
        super().close()


MEMBERS: dict[str, type[Member]] = {
    one.kind: one
    for one in (
        PdMember,
        ScsynthMember,
        ArdourMember,
        ObsMember,
        BlenderMember,
        TouchDesignerMember,
        AbletonMember,
        HydrogenMember,
    )
}
HANDY: dict[str, type[Member]] = {**MEMBERS, "touchdesigner": HandyTouchDesigner}
SECRETS = {"OBS_SECRET": PASSWORD}
