"""A stand-in for Live with AbletonOSC: its addresses and manners, on a real UDP socket.

Like the real one it answers to the port 11001 of whoever spoke last, works its messages off once
per tick of 100 ms, repeats indices before values, sends `T`, `F` and `N`, and answers errors on
`/live/error`. What it leaves out:

* sound, automation, warping, grooves; editing the arrangement
* launch quantization: a fired clip plays at once, `is_triggered` stays false
* undo and redo, capture, tap tempo, Link, recording, `show_message`: accepted, without effect
* group tracks and folding; hidden tracks; every track but the returns and the main one can be armed
* sending a MIDI mapping to the script; the ids of notes are their numbers from 1
* the wording of Live's own errors, and which values Live refuses beyond the ranges it documents
* the main track, return tracks and chains of racks, but with `fork=True`
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import Callable
from typing import Any

import structlog

from lightfast.sdk import PluginError, Simulator
from lightfast.sdk.osc import OscError, OscMessage, decode, encode
from lightfast_bridges.ableton.live_api import GREETING, LiveApi
from lightfast_bridges.ableton.live_set import LiveSet, demo_set

log = structlog.get_logger("lightfast.simulators.ableton")

LEFT_OUT = (
    "sound, automation, warping, grooves; editing the arrangement",
    "launch quantization: a fired clip plays at once, is_triggered stays false",
    "undo and redo, capture, tap tempo, Link, recording, show_message: accepted, without effect",
    "group tracks and folding; hidden tracks; every track but the returns and the main one can be armed",
    "sending a MIDI mapping to the script; the ids of notes are their numbers from 1",
    "the wording of Live's own errors, and which values Live refuses beyond the ranges it documents",
    "the main track, return tracks and chains of racks, which only forks of AbletonOSC have",
)
"""What this simulator does not do, or only accepts."""

TICK = 0.1
"""Seconds between two looks at the socket, as in Live."""
AT_ONCE = 4096
"""The most datagrams of one look: where the reply port is its own, it answers itself without end."""


class AbletonSimulator(Simulator):
    """Simulates Live with AbletonOSC."""

    name = "ableton"
    description = (
        "Ableton Live with the AbletonOSC control surface (simulated; it leaves out: " + "; ".join(LEFT_OUT) + ")"
    )
    default_listen = ("127.0.0.1", 11_000)
    default_reply_port = 11_001

    def __init__(self, tick: float = TICK, live: Callable[[], LiveSet] = demo_set, *, fork: bool = False) -> None:
        """*tick* in seconds; *live* makes the set to open; *fork* adds what forks of AbletonOSC have."""
        self._fork = fork
        self._tick = tick
        self._live = live

    async def run(self, listen: tuple[str, int], reply_port: int, ready: Callable[[tuple[str, int]], None]) -> None:
        """Serve until cancelled; raises `PluginError` where the port is taken."""
        surface = LiveSurface(self._live(), reply_port or self.default_reply_port, fork=self._fork)
        address = surface.open(listen)
        log.info("simulator ready", what=GREETING, address=address, leaves_out=LEFT_OUT)
        try:
            ready(address)
            surface.startup()
            loop = asyncio.get_running_loop()
            then = loop.time()
            while True:
                await asyncio.sleep(self._tick)
                now = loop.time()
                surface.tick(now - then)
                then = now
        finally:
            surface.close()


class LiveSurface:
    """The control surface: a socket that is looked at once per tick."""

    def __init__(self, live: LiveSet, reply_port: int, *, fork: bool = False) -> None:
        self.live = live
        self.api = LiveApi(live, self.say, fork=fork)
        self._reply_port = reply_port
        self._last_sender = "127.0.0.1"
        self._socket: socket.socket | None = None

    def open(self, listen: tuple[str, int]) -> tuple[str, int]:
        """Bind and return the address; raises `PluginError` where it is taken."""
        sock = socket.socket(socket.AF_INET6 if ":" in listen[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind(listen)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE:
                raise PluginError(f"cannot listen on {listen[0]}:{listen[1]}: {error.strerror}") from None
            raise PluginError(
                f"UDP port {listen[1]} is taken: is Live or another simulator running? "
                f"Stop it, or choose another port with --listen {listen[0]}:PORT"
            ) from None
        self._socket = sock
        return sock.getsockname()[0], sock.getsockname()[1]

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def startup(self) -> None:
        """Say that the control surface has been loaded."""
        self.say("/live/startup")
        self.say("/live/application/get/average_process_usage")

    def say(self, address: str, *arguments: Any) -> None:
        """Send to the reply port of whoever spoke last; what cannot be sent is lost, as in Live."""
        if self._socket is None:
            return
        try:
            self._socket.sendto(encode(address, *arguments), (self._last_sender, self._reply_port))
        except (OscError, OSError) as error:
            log.warning("not sent", address=address, error=str(error))

    def tick(self, seconds: float) -> None:
        """Work off what came in, then let the transport run on."""
        self._work_off()
        self.live.advance(seconds)

    def _work_off(self) -> None:
        """Handle datagrams until there are none, or until one fails: the rest waits for the next tick."""
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
            self._last_sender = sender[0]
            try:
                for message in decode(data):
                    self._handle(message)
            except OscError as error:
                log.warning("malformed datagram", sender=sender, error=str(error))
            except _HANDLER_ERRORS as error:
                self.say("/live/error", f"Error handling OSC message: {_text(error)}")
                return

    def _handle(self, message: OscMessage) -> None:
        handlers = self.api.handlers
        handler = handlers.get(message.address)
        if handler is not None:
            self._reply(message.address, handler(message.args))
        elif "*" in message.address:
            pattern = re.compile(re.escape(message.address).replace(r"\*", "[^/]+"))
            for address in [known for known in handlers if pattern.fullmatch(known)]:
                try:
                    self._reply(address, handlers[address](message.args))
                except (ValueError, AttributeError):
                    continue
        else:
            self.say("/live/error", f"Unknown OSC address: {message.address}")

    def _reply(self, address: str, answer: tuple[Any, ...] | None) -> None:
        if answer is not None:
            self.say(address, *answer)


_HANDLER_ERRORS = (
    IndexError, ValueError, TypeError, AttributeError, RuntimeError, KeyError, OverflowError,
)  # fmt: skip


def _text(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "Index out of range"
    return str(error)
