"""A stand-in for REAPER's OSC surface, on a real UDP socket: its addresses by a pattern file, and its manners.

It speaks to the configured device only, in bundles of about a kilobyte, works off what came in thirty times a second,
and tells position and meters fifteen times a second. What it leaves out is listed in `LEFT_OUT`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from lightfast.sdk import PluginError, Simulator
from lightfast.sdk.osc import OscError, decode, encode
from lightfast_bridges.reaper.pack import PATTERNS, files_folder
from lightfast_bridges.reaper.patterns import PatternError, PatternFile, parse
from lightfast_bridges.reaper.project import Project, demo_project
from lightfast_bridges.reaper.taking import Taking
from lightfast_bridges.reaper.telling import Telling
from lightfast_bridges.reaper.user import User

log = structlog.get_logger("lightfast.simulators.reaper")

LEFT_OUT = (
    "sound, items, takes, envelopes and automation modes",
    "receives, ReaEQ and instrument addresses, MIDI, scrolling and zooming, rewind and forward",
    "the law of REAPER's faders: normalized volumes are another curve",
    "all actions but 41743 (Refresh all surfaces): taken and kept, without effect",
    "wildcards '*' and '?' in pattern files",
    "how far other selected tracks move with one: they take the same value",
    "frames, and how REAPER writes times and beats to the letter",
)
"""What this simulator does not do, or only takes."""
GREETING = "Lightfast REAPER simulator"
WHO = "/lightfast/simulator"
"""The one address it answers that REAPER does not know."""
PACKET = 1024
"""Bytes of one datagram, as REAPER sets by default."""
PAUSE = 0.01
"""Seconds between two datagrams, as REAPER sets by default: telling much takes its time."""
AT_ONCE = 4096
"""The most datagrams of one look: who sends faster than they are worked off would hold it up without end."""
ENVIRON = "LIGHTFAST_REAPER_PATTERN"
_HEADER = b"#bundle\0" + struct.pack(">Q", 1)


class ReaperSimulator(Simulator):
    """Simulates REAPER with one OSC device; LIGHTFAST_REAPER_PATTERN names another pattern file than ours."""

    name = "reaper"
    description = f"REAPER with an OSC device (simulated; it leaves out: {'; '.join(LEFT_OUT)})"
    default_listen = ("127.0.0.1", 8000)
    default_reply_port = 50158

    def __init__(
        self, project: Callable[[], Project] = demo_project, patterns: str | None = None, tick: float = 1 / 30
    ) -> None:
        """*project* makes the project to open; *patterns* is the text of a pattern file, *tick* in seconds."""
        self._make, self._patterns, self._tick = project, patterns, tick

    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        """Serve until cancelled; raises `PluginError` where the port is taken or the pattern file is wrong."""
        surface = OscSurface(self._make(), self._pattern_file(), reply_port or self.default_reply_port)
        address = surface.open(listen)
        log.info("simulator ready", what=GREETING, address=address, device=surface.device, leaves_out=LEFT_OUT)
        try:
            ready(address)
            surface.telling.everything()
            loop = asyncio.get_running_loop()
            then = loop.time()
            while True:
                now = loop.time()
                surface.tick(now - then)
                then = now
                await asyncio.sleep(self._tick)
        finally:
            surface.close()

    def _pattern_file(self) -> PatternFile:
        where = os.environ.get(ENVIRON, "")
        try:
            if self._patterns is not None:
                return parse(self._patterns)
            path = Path(where) if where else files_folder() / PATTERNS
            return parse(path.read_text(encoding="utf-8"))
        except (OSError, PatternError) as error:
            raise PluginError(f"the pattern file {where or PATTERNS} cannot be used: {error}") from None


class OscSurface:
    """One OSC device of a REAPER: a socket that is looked at once per tick."""

    def __init__(self, project: Project, patterns: PatternFile, device_port: int) -> None:
        self.project = project
        self.telling = Telling(project, patterns)
        self.user = User(self.telling)
        self._taking = Taking(self.telling)
        self.device = ("127.0.0.1", device_port)
        self._socket: socket.socket | None = None
        self._turn = False

    def open(self, listen: tuple[str, int]) -> tuple[str, int]:
        """Bind and return the address; raises `PluginError` where it is taken."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind(listen)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise PluginError(f"cannot listen on {listen[0]}:{listen[1]}: {error.strerror}") from None
            raise PluginError(
                f"UDP port {listen[1]} is taken: is REAPER or another simulator running? "
                f"Stop it, or choose another port with --listen {listen[0]}:PORT"
            ) from None
        self._socket = sock
        return sock.getsockname()[0], sock.getsockname()[1]

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def tick(self, seconds: float) -> None:
        """Work off what came in, let the transport run on, and send what is to be told."""
        self._work_off()
        project = self.project
        if project.playing:
            project.position += seconds * project.play_rate
        self._turn = not self._turn
        if self._turn:
            self.telling.refresh()
        self._send(max(1, round(seconds / PAUSE)))

    def _work_off(self) -> None:
        for _ in range(AT_ONCE):
            if self._socket is None:
                return
            try:
                data, sender = self._socket.recvfrom(65_536)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                log.debug("not received", error=str(error))
                return
            try:
                for message in decode(data):
                    if message.address == WHO:
                        self.telling.queue.append((WHO, GREETING))
                    elif not self._taking.take(message.address, message.args):
                        log.debug("no pattern", address=message.address)
            except OscError as error:
                log.warning("malformed datagram", sender=sender, error=str(error))

    def _send(self, most: int) -> None:
        for packet in self._packets(most):
            if self._socket is None:
                return
            try:
                self._socket.sendto(packet, self.device)
            except OSError as error:
                log.debug("not sent", error=str(error))

    def _packets(self, most: int) -> Iterator[bytes]:
        """Yield at most *most* datagrams: one message alone, or a bundle of as many as fit."""
        queue, packets = self.telling.queue, 0
        held: list[bytes] = []
        size = 16
        while queue:
            message = encode(*queue[0])
            if held and size + 4 + len(message) > PACKET:
                yield _packed(held)
                packets += 1
                held, size = [], 16
                if packets >= most:
                    return
            queue.popleft()
            held.append(message)
            size += 4 + len(message)
        if held:
            yield _packed(held)


def _packed(messages: list[bytes]) -> bytes:
    if len(messages) == 1:
        return messages[0]
    return _HEADER + b"".join(struct.pack(">i", len(message)) + message for message in messages)
