"""The daemon's half: it runs the peer in a process of its own, and carries tempo, play and stop both ways."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from lightfast.sdk import (
    AppSession,
    Bridge,
    BridgeError,
    BridgeHost,
    Call,
    Change,
    Finding,
    Hello,
    Parameter,
    Timeline,
    Wish,
)
from lightfast.sdk.settings import Table

OFF = (
    "Ableton Link is switched off, since it speaks to the local network: to join, set plugins.abletonlink.join = true "
    "in lightfast.toml"
)
PATIENCE_S = 15.0
"""How long the peer may take to join, and to end."""
END_S = 2.0
MAX_UNSENT = 1 << 16
"""Bytes of wishes that may wait for the peer; it takes them at once, or it hangs."""
PARAMETERS = (
    Parameter(
        "tempo", kind="double", minimum=20, maximum=999, unit="time.bpm", tolerance=0.002, description="The tempo."
    ),
    Parameter("playing", kind="bool", description="The session plays; shared with peers that share it, too."),
    Parameter("beat", kind="double", access="r", signal=True, unit="time.beat", description="The beat, while playing."),
    Parameter("phase", kind="double", access="r", signal=True, unit="time.beat", description="The beat in the bar."),
    Parameter("quantum", kind="double", access="r", description="Beats in a bar."),
    Parameter("peers", kind="int", access="r", description="How many others are in the session."),
)
_NAMES = ("tempo", "playing", "quantum", "peers", "beat", "phase")


class AbletonLinkBridge(Bridge):
    """Joins the Link session of the local network where its setting `join` is on.

    Settings: `join` (off), `tempo` (120: of a session that it begins), `quantum` (4: beats in a bar), `start_stop` (on:
    play and stop are shared).
    """

    kind = "abletonlink"
    title = "Ableton Link"
    timeline = Timeline(playing="playing", position="beat", unit="beats", tempo="tempo")

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of the session."""
        return PARAMETERS

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Say whether it is switched on."""
        try:
            join = settings_of(config).flag("join")
        except BridgeError as error:
            return [Finding("error", "[plugins.abletonlink]", str(error), "correct lightfast.toml")]
        if not join:
            return [Finding("note", "abletonlink", "Ableton Link is switched off", OFF)]
        return [Finding("ok", "abletonlink", "Ableton Link is switched on", "")]

    async def run(self, host: BridgeHost) -> None:
        """Be a peer until cancelled; a peer that ends is started again by the daemon."""
        line_of = command(host.config)
        if not settings_of(host.config).flag("join"):
            while True:
                host.absent(OFF)
                await host.sleep(3600.0)
        process = await asyncio.create_subprocess_exec(
            *line_of,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=1 << 16,
        )
        line = _Line(host, process)
        try:
            await line.run()
        finally:
            await _end(process)


def settings_of(config: Mapping[str, Any]) -> Table:
    """Return the table of the plugin; raise `BridgeError` for what is no setting."""
    return Table("abletonlink", config, ("join", "name", "tempo", "quantum", "start_stop"))


def command(config: Mapping[str, Any]) -> list[str]:
    """Return the command line of the peer; raise `BridgeError` for a wrong setting."""
    table = settings_of(config)
    tempo, quantum = table.number("tempo", 120.0, 20.0, 999.0), table.number("quantum", 4.0, 1.0, 64.0)
    line = [sys.executable, "-m", "lightfast_bridges.abletonlink.peer"]
    line += ["--tempo", str(tempo), "--quantum", str(quantum)]
    return [*line, "--start-stop"] if table.flag("start_stop", default=True) else line


async def _end(process: asyncio.subprocess.Process) -> None:
    """End the peer: it goes when its input ends, else it is made to.

    Its output is read to the end: asyncio sees no end of a process whose output is full and waits.
    """
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(END_S):
            await process.communicate()
    except TimeoutError:
        process.kill()
        with contextlib.suppress(TimeoutError):  # another program may hold its output
            async with asyncio.timeout(END_S):
                await process.communicate()


class _Line:
    """The way to the peer; implements `sdk.AppChannel`."""

    def __init__(self, host: BridgeHost, process: asyncio.subprocess.Process) -> None:
        self._host = host
        self._process = process
        self._session: AppSession | None = None
        self._held: dict[str, Any] = {}
        self._paths: dict[int, str] = {}

    async def run(self) -> None:
        """Read what the peer says until it ends; raises `BridgeError` that says why."""
        reader = self._process.stdout
        if reader is None:
            raise BridgeError("the peer has no output")
        self._host.absent("joining Ableton Link")
        reading = asyncio.ensure_future(reader.readline())
        try:
            # Not a timeout around it: after a standstill the line has come and the time is over, and the line counts.
            await asyncio.wait({reading}, timeout=PATIENCE_S)
            if not reading.done():
                raise BridgeError(f"the peer of Ableton Link did not join within {PATIENCE_S:g} s")
        finally:
            reading.cancel()
        line = reading.result()
        while line:
            self._take(json.loads(line))
            line = await reader.readline()
        raise BridgeError(f"the peer of Ableton Link ended with {await self._process.wait()}")

    def _take(self, message: dict[str, Any]) -> None:
        if "error" in message:
            raise BridgeError(f"the peer of Ableton Link failed: {message['error']}")
        if "joined" in message:
            return  # what it holds follows
        time = int(message.pop("time", 0))
        wish = message.pop("id", None)
        self._held |= {name: message[name] for name in _NAMES if name in message}
        if self._session is None:
            self._hello()
        elif wish is not None:
            path = self._paths.pop(wish, "")
            self._session.settle(wish, self._held.get(path))
            self._session.report([Change(name, message[name]) for name in _NAMES if name in message and name != path])
        else:
            self._session.report([Change(name, message[name], time) for name in _NAMES if name in message])

    def _hello(self) -> None:
        # Each joining is a document of its own: what the session holds counts, never what was held the last time.
        self._session = self._host.hello(
            Hello(
                "abletonlink",
                "abletonlink",
                name=str(self._host.config.get("name", "")),
                document_id=f"session-{uuid.uuid4().hex[:12]}",
                pid=self._process.pid,
                transport="link",
                parameters=PARAMETERS,
            ),
            self,
        )
        self.resync()

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes to the peer."""
        for wish in wishes:
            if wish.value is None or wish.path not in {"tempo", "playing"}:
                self._refuse(wish.wish_id, f"Ableton Link has nothing at {wish.path} that can be set")
                continue
            writer = self._process.stdin
            if writer is None or writer.is_closing() or writer.transport.get_write_buffer_size() > MAX_UNSENT:
                self._refuse(wish.wish_id, "the peer of Ableton Link does not take it")
                continue
            self._paths[wish.wish_id] = wish.path
            writer.write(json.dumps({"id": wish.wish_id, wish.path: wish.value}).encode() + b"\n")

    def _refuse(self, wish_id: int, reason: str) -> None:
        if self._session is not None:
            self._session.reject(wish_id, reason)

    def invoke(self, call: Call) -> None:
        """Refuse: there are no commands."""
        if self._session is not None:
            self._session.fail(call.call_id, f"Ableton Link has no command {call.command!r}")

    def cancel(self, call_id: int) -> None:
        """Do nothing: there are no commands."""

    def resync(self) -> None:
        """Report all that is known."""
        if self._session is not None:
            self._session.report([Change(name, self._held[name]) for name in _NAMES if name in self._held])
            self._session.synced()

    def close(self, reason: str) -> None:
        """Leave the session: the peer ends with its input."""
        self._session = None
        if self._process.stdin is not None:
            self._process.stdin.close()
