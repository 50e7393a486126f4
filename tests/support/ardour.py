"""A real Ardour without windows (`hardour`), on a JACK of its own, in a network of its own.

Two faults of what is installed are worked around here, and seen to afterwards:
- Ardour's threads share one connection to JACK and write to it at the same time, which JACK does not bear ("Unknown
  request" in its log): Ardour is then cut off, and mute and transport do nothing. Where Ardour has a processor to
  itself that is rare. Anyhow a start is judged by behaviour: a mute must be told back, time and again for a second,
  else JACK and Ardour are both started again, three times.
- A surface that comes in addition may move those that Ardour knows in its memory, while they are in use, and Ardour
  crashes. So there is room made for all of them before the first one is told anything.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.jack import Jack, start_jack
from tests.support.netns import Network

from lightfast.core.osc import decode
from lightfast.core.osc_build import encode

PORT = 3819
STARTS = 3
UP_S = 90.0
PROOF_S = 1.2
"""How long a start must act before it counts."""
ACTS_S = 5.0
"""The most seconds until it tells a change; one that is half dead never does."""
ROLL_S = 20.0
"""The most seconds until it rolls by itself, and until it has stopped; it takes one of each."""
ROOM = 9
"""Surfaces that are made known first; then there is room for sixteen."""
INSTALL = "apt-get install --no-install-recommends ardour jackd2"
TYPES = 1 | 2 | 4 | 8 | 16 | 32 | 64 | 128 | 512
FEEDBACK = 1 | 2 | 8 | 16 | 16384

OSC_OFF = '<Protocol name="Open Sound Control (OSC)" active="0"/>'
OSC_ON = '<Protocol name="Open Sound Control (OSC)" active="1"/>'
"""As a user turns it on: then Ardour answers to port 8000 until it is told otherwise."""

SESSION = """
AudioEngine:set_backend("None (Dummy)", "", "")
local s = create_session("%(folder)s", "%(name)s", 48000)
local last = ARDOUR.PresentationInfo.max_order
local normal = ARDOUR.TrackMode.Normal
s:new_audio_track(1, 2, nil, 1, "%(first)s", last, normal, true)
s:new_audio_track(1, 2, nil, 1, "Voice/Lead", last, normal, true)
local midi, audio = ARDOUR.ChanCount(ARDOUR.DataType("midi"), 1), ARDOUR.ChanCount(ARDOUR.DataType("audio"), 2)
s:new_midi_track(midi, audio, true, ARDOUR.PluginInfo(), nil, nil, 1, "Synth", last, normal, true)
s:new_audio_route(1, 2, nil, 1, "Reverb", ARDOUR.PresentationInfo.Flag.AudioBus, last)
s:vca_manager():create_vca(1, "All")
local first, bus = s:route_by_name("%(first)s"), s:route_by_name("Reverb")
first:add_processor_by_index(ARDOUR.LuaAPI.new_plugin(s, "ACE Amplifier", ARDOUR.PluginType.Lua, ""), 0, nil, true)
s:add_internal_send(bus, first:amp(), first)
s:save_state("", false, false, false, false, false)
close_session()
quit()
"""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where Ardour lies on this machine."""

    program: Path
    lua: Path
    environ: dict[str, str]
    folder: str
    """The name of its folder among the user's settings."""


def find() -> Installation | None:
    """Return the newest Ardour with a `hardour`."""
    for program in sorted(glob.glob("/usr/lib/ardour*/hardour-*"), reverse=True):  # noqa: PTH207
        library = Path(program).parent
        lua = library / "luasession"
        if lua.exists():
            environ = {
                "LD_LIBRARY_PATH": str(library),
                "ARDOUR_DATA_PATH": f"/usr/share/{library.name}",
                "ARDOUR_CONFIG_PATH": f"/etc/{library.name}",
                "ARDOUR_DLL_PATH": str(library),
                "VAMP_PATH": str(library / "vamp"),
            }
            return Installation(Path(program), lua, environ, library.name)
    return None


def wanted() -> Installation:
    """Return the Ardour of this machine, or skip with the line that installs it."""
    found = find()
    if found is None:
        pytest.skip(f"no Ardour here: {INSTALL}")
    return found


class Control:
    """A second control surface: another OSC client of the same Ardour."""

    def __init__(self, net: Network, port: int = PORT) -> None:
        self._socket: socket.socket = net.udp()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self._remote = ("127.0.0.1", port)

    def send(self, address: str, *args: Any) -> None:
        """Send one message."""
        self._socket.sendto(encode(address, *args), self._remote)

    def register(self) -> None:
        """Become a surface that is told everything."""
        self.send("/set_surface/port", 0)
        self.send("/set_surface", 0, TYPES, FEEDBACK, 2, 0, 0)

    def wait(self, fits: Callable[[str, tuple[Any, ...]], bool], seconds: float = 30.0) -> tuple[Any, ...] | None:
        """Return the arguments of the next message that fits, or None after so many *seconds*."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65_536)
            except TimeoutError:
                return None
            for address, _, args in decode(data):
                if fits(address, tuple(args)):
                    return tuple(args)
        return None

    def drain(self) -> None:
        """Throw away what was told so far."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(65_536)

    def ask(self, address: str, *args: Any, reply: str = "", seconds: float = 30.0) -> tuple[Any, ...] | None:
        """Ask and return the answer's arguments."""
        self.drain()
        self.send(address, *args)
        return self.wait(lambda told, _: told == (reply or address), seconds)

    def ssid(self, name: str) -> int:
        """Return the number that a strip has now."""
        self.drain()
        self.send("/strip")
        found = self.wait(lambda told, args: told == "/strip" and args[2] == name)
        assert found is not None, f"no strip {name}"
        return int(found[0])

    def close(self) -> None:
        """Close the socket; Ardour keeps the surface, and tells it things in vain."""
        self._socket.close()


@dataclass
class Ardour:
    """One Ardour with its JACK; *session* is the folder of the session it opens."""

    net: Network
    folder: Path
    session: Path
    installation: Installation
    port: int = PORT
    process: subprocess.Popen[bytes] | None = None
    jack: Jack | None = None
    control: Control = field(init=False)
    """A second surface, told everything; it is the one that looked whether Ardour acts."""
    starts: int = 0
    listening: float = 0.0
    """When the last start had its port, by the monotonic clock."""
    _logs: list[Path] = field(default_factory=list)
    _rolled: bool = False
    _rolls: bool = False

    def __post_init__(self) -> None:
        """Open the control's socket, which outlives each process."""
        self.control = Control(self.net, self.port)

    def start(self) -> Ardour:
        """Start JACK and Ardour, again where they come up half dead, and stop the transport."""
        for _ in range(STARTS):
            self.spawn()
            if self._acts():
                return self
            self.stop()
        raise AssertionError(f"Ardour came up half dead {STARTS} times: {self.said()}")

    def spawn(self) -> None:
        """Start JACK and Ardour and wait for the port, not for more."""
        self.starts += 1
        self.jack = start_jack(self.folder, net=self.net)
        environ = {**os.environ, **self.environ(), **self.jack.environ}
        command = [*alone(), str(self.installation.program), "-O", str(self.session), self.session.name]
        log = self.folder / f"hardour-{self.starts}.log"
        self._logs.append(log)
        with log.open("wb") as output:
            self.process = self.net.popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ, cwd=self.folder
            )
        end = time.monotonic() + UP_S
        while time.monotonic() < end and self.process.poll() is None:
            if f":{self.port:04X} " in Path(f"/proc/{self.process.pid}/net/udp").read_text(encoding="ascii"):
                self.listening = time.monotonic()
                return
            time.sleep(0.01)

    def environ(self) -> dict[str, str]:
        """Return what Ardour's programs need in their environment, JACK apart."""
        return environ_of(self.installation, self.folder)

    def _acts(self) -> bool:
        """Say whether it does what it is told, and stop its transport.

        A second after it has opened its session it begins to roll by itself, once, however often it was stopped
        before; and only from then on it ends in good order. So that is waited for.
        """
        control = self.control
        if not self._make_room():
            return False
        self._rolled = self._rolls = False
        control.register()
        acted = time.monotonic()
        end = acted + PROOF_S
        on = 1.0
        while acted < end or on == 0.0:
            control.send("/strip/mute", 1, on)
            if self._told(0.5, "/strip/mute", 1, on):  # a daemon may have muted it already: then nothing is told
                acted = time.monotonic()
            elif time.monotonic() > acted + ACTS_S:
                return False
            on = 1.0 - on
            time.sleep(0.05)
        end = time.monotonic() + ROLL_S
        while not self._rolled and time.monotonic() < end:
            self._told(0.1, "/transport_stop", 0.0)
        end = time.monotonic() + ROLL_S
        while self._rolls and time.monotonic() < end:
            control.send("/transport_stop")
            self._told(0.2, "/transport_stop", 1.0)  # its speed is 0 already before it rolls
        return self._rolled and not self._rolls

    def _told(self, seconds: float, *wanted: Any) -> bool:
        """Wait until it tells what is *wanted*, and take note where it tells that it rolls, and stops."""

        def fits(address: str, args: tuple[Any, ...]) -> bool:
            if address == "/transport_stop":
                self._rolls = args == (0.0,)
                self._rolled = self._rolled or self._rolls
            return (address, *args) == wanted

        return self.control.wait(fits, seconds) is not None

    def _make_room(self) -> bool:
        """Wait until it answers, and make it room for surfaces."""
        for _ in range(40):
            self.control.send("/set_surface/port", 0)
            if self.control.ask("/set_surface", seconds=0.5) is not None:
                break
        else:
            return False
        for _ in range(ROOM):
            other = Control(self.net, self.port)
            try:
                if other.ask("/set_surface", seconds=ACTS_S) is None:
                    return False
            finally:
                other.close()
        return True

    def kill(self) -> None:
        """Kill it, as a crash would; JACK goes, too."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it; may be called twice."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(30)
        if self.jack is not None:
            self.jack.stop()

    def freeze(self) -> None:
        """Stop its clock: it answers nothing until `thaw`."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it run on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        """Return how it is, and what it and JACK printed."""
        state = "not started" if self.process is None else f"exit code {self.process.poll()}"
        jack = self.jack.log.read_text(encoding="utf-8", errors="replace")[-2000:] if self.jack is not None else ""
        return f"hardour: {state} after {self.starts} starts\n{self.log()}\n{jack}"

    def log(self) -> str:
        """Return what it printed."""
        return "\n".join(log.read_text(encoding="utf-8", errors="replace")[-3000:] for log in self._logs)


def alone() -> list[str]:
    """Return what gives a program one processor to itself as far as JACK is concerned; nothing where there is one."""
    if shutil.which("taskset") is None or len(processors := sorted(os.sched_getaffinity(0))) < 2:
        return []
    return ["taskset", "-c", str(processors[0])]


def environ_of(installation: Installation, folder: Path) -> dict[str, str]:
    """Return Ardour's environment with settings in *folder*."""
    return {
        **installation.environ,
        "XDG_CONFIG_HOME": str(folder / "config"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "HOME": str(folder),
    }


def make_session(net: Network, folder: Path, name: str, *, first: str = "Drums", port: int = PORT) -> Path:
    """Make a session with a few strips, a plugin and a send, and OSC turned on; return its folder.

    The strips are *first* (with the plugin and the send), Voice/Lead, Synth, Reverb, All (a VCA), Master and Monitor.
    """
    installation = wanted()
    settings = folder / "config" / installation.folder
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "config").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<Ardour><Config><Option name="osc-port" value="{port}"/>'
        '<Option name="use-monitor-bus" value="1"/></Config></Ardour>\n',
        encoding="utf-8",
    )
    session = folder / name
    script = folder / f"{name}.lua"
    script.write_text(SESSION % {"folder": session, "name": name, "first": first}, encoding="utf-8")
    environ = {**os.environ, **environ_of(installation, folder)}
    said = b""
    for _ in range(STARTS):
        shutil.rmtree(session, ignore_errors=True)
        done = net.run(
            [str(installation.lua), str(script)],
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        )
        file = session / f"{name}.ardour"
        if file.exists() and "ACE Amplifier" in (text := file.read_text(encoding="utf-8")):
            turned_on, count = re.subn(re.escape(OSC_OFF), OSC_ON, text)
            assert count == 1, "the session does not say that OSC is off"
            file.write_text(turned_on, encoding="utf-8")
            return session
        said = done.stdout + done.stderr
    raise AssertionError(f"no session was made:\n{said.decode(errors='replace')[-4000:]}")


@contextmanager
def ardour(net: Network, folder: Path, name: str = "song", **options: Any) -> Iterator[Ardour]:
    """Run an Ardour with a session of its own for the length of a block."""
    session = make_session(net, folder, name, **options)
    running = Ardour(net, folder, session, wanted(), port=options.get("port", PORT))
    try:
        yield running.start()
    finally:
        running.stop()
        running.control.close()
