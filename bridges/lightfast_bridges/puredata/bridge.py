"""The bridge to Pure Data: patches join it by the abstractions that `lightfast pack puredata` writes."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import Bridge, BridgeError, BridgeHost, Command, Finding, OscMessage, OscServer, Peer
from lightfast.sdk.settings import pause
from lightfast_bridges.puredata.parameter import BANG
from lightfast_bridges.puredata.patch import UNNAMED, Patch, is_hello
from lightfast_bridges.puredata.settings import Settings, settings_of

log = structlog.get_logger("lightfast.bridges.puredata")

VERSION = 1
"""What the abstractions of this version speak."""
MAX_PATCHES = 64
CHALLENGE = 0.5
"""Seconds that a patch has to show that it lives, when another one of its name says hello."""
BACKOFF = (0.5, 1.0, 2.0, 5.0)
"""Seconds between two tries to open the port; the last one is kept."""
HINT = "put [lightfast NAME] into a patch (`lightfast pack puredata` writes it)"
INSTALL = "apt-get install --no-install-recommends puredata-core"


class PureDataBridge(Bridge):
    """Waits for patches to say hello."""

    kind = "puredata"
    title = "Pure Data"

    def commands(self) -> Sequence[Command]:
        """Return what every patch understands."""
        return (BANG,)

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Look for Pd and at the port."""
        pd = shutil.which("pd") or shutil.which("puredata")
        found = [
            Finding("ok", "Pure Data", f"it is installed at {pd}")
            if pd
            else Finding("note", "Pure Data", "it is not in the search path", f"install it: {INSTALL}")
        ]
        try:
            host, port = settings_of(config).listen
        except BridgeError as error:
            return [*found, Finding("error", "[plugins.puredata]", str(error), "correct lightfast.toml")]
        return [*found, _look_at(host, port)]

    async def run(self, host: BridgeHost) -> None:
        """Join patches until cancelled."""
        settings = settings_of(host.config)
        room = Room(host, settings)
        attempt = 0
        while True:
            try:
                room.server = await host.serve_osc(settings.listen, room.receive)
                break
            except BridgeError as error:
                host.absent(f"patches cannot be heard: {error}")
                await host.sleep(pause(attempt, BACKOFF))
                attempt += 1
        try:
            host.absent(f"no patch has joined at UDP port {room.server.address[1]}: {HINT}")
            while True:
                await host.sleep(settings.ping)
                room.tick()
        finally:
            room.close("the bridge stops")


class Room:
    """The patches of one port, by the port that each sends from."""

    def __init__(self, host: BridgeHost, settings: Settings) -> None:
        self._host, self._settings = host, settings
        self._loop = asyncio.get_running_loop()
        self.server: OscServer | None = None
        self._patches: dict[Peer, Patch] = {}
        self._waiting: dict[Peer, tuple[str, float]] = {}
        self._crowded = False

    def receive(self, batch: list[tuple[Peer, list[OscMessage]]]) -> None:
        """Take the messages of one wake-up."""
        for peer, messages in batch:
            for address, _, arguments in messages:
                if address == "/lightfast/hello":
                    self._hello(peer, arguments)
                elif peer in self._patches:
                    self._patches[peer].hear(address, arguments)

    def _hello(self, peer: Peer, arguments: Sequence[Any]) -> None:
        if not is_hello(arguments):
            log.debug("a hello was dropped", peer=peer, arguments=repr(arguments)[:80])
            return
        if int(arguments[0]) != VERSION:
            reason = f"a patch has abstractions of version {arguments[0]:g}, this daemon those of {VERSION}"
            self._host.absent(f"{reason}: write them anew with `lightfast pack puredata`")
            return
        name = str(arguments[1]) if arguments[1] != 0 else UNNAMED
        known = self._patches.get(peer)
        if known is not None and known.name != name:
            known.lose(f"Pd has another patch open: {name}")
        elif known is not None and not known.ended:
            known.hear("/lightfast/hello", ())
            known.ask(full=True)
            return
        namesakes = [patch for patch in self._patches.values() if patch.name == name and not patch.ended]
        if not namesakes:
            self._admit(peer, name)
        elif peer not in self._waiting and len(self._waiting) < MAX_PATCHES:
            # The one before may have been killed: it is asked once more, and lives if it answers.
            self._waiting[peer] = (name, self._loop.time())
            for patch in namesakes:
                patch.tick()
            self._loop.call_later(CHALLENGE, self._decide, peer)

    def _decide(self, peer: Peer) -> None:
        name, since = self._waiting.pop(peer, ("", 0.0))
        for patch in list(self._patches.values()):
            if patch.name == name and patch.heard < since:
                patch.lose(f"it was started again: another Pd has the patch {name} open")
        if name and self.server is not None:
            self._admit(peer, name)

    def _admit(self, peer: Peer, name: str) -> None:
        self._sweep()
        if len(self._patches) >= MAX_PATCHES:
            if not self._crowded:  # a patch says hello again and again
                log.warning("a patch was left out", patch=name, reason=f"{MAX_PATCHES} have joined already")
            self._crowded = True
            return
        self._crowded = False
        patch = self._patches[peer] = Patch(self._host, self._settings, name, peer[1], self._sender(peer))
        patch.ask()

    def _sender(self, peer: Peer) -> Callable[..., None]:
        def send(address: str, *arguments: Any) -> None:
            if self.server is not None:
                self.server.send(peer, address, *arguments)

        return send

    def tick(self) -> None:
        """Let each patch do what is due."""
        before = len(self._patches)
        for patch in list(self._patches.values()):
            patch.tick()
        self._sweep()
        if before and not self._patches:
            self._host.absent(f"no patch is there now: {HINT}")

    def _sweep(self) -> None:
        self._patches = {peer: patch for peer, patch in self._patches.items() if not patch.ended}

    def close(self, reason: str) -> None:
        """Let go of all patches."""
        for patch in self._patches.values():
            patch.lose(reason)
        self._patches.clear()
        self._waiting.clear()
        server, self.server = self.server, None
        if server is not None:
            server.close()


def _look_at(host: str, port: int) -> Finding:
    """Say whether this process has the port, another has it, or nobody."""
    import psutil

    subject = f"UDP port {port}"
    mine = psutil.Process().net_connections(kind="udp")
    if any(tuple(one.laddr)[1:] == (port,) for one in mine):
        return Finding("ok", subject, f"the daemon listens for patches at {host}:{port}")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            remedy = "stop that program, or set listen of [plugins.puredata] and the second argument of [lightfast]"
            return Finding("error", subject, f"it cannot be opened: {error.strerror}", remedy)
    return Finding("warning", subject, "nobody listens there", "start the daemon with this plugin enabled")
