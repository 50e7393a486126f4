"""The bridge to SuperCollider's server: looks for it, joins it, and looks for it again when it is gone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import Bridge, BridgeError, BridgeHost, Command, Finding, OscSender, Parameter
from lightfast.sdk.inbox import Inbox
from lightfast.sdk.osc import OscError, decode, encode
from lightfast.sdk.running import apart
from lightfast.sdk.settings import listen_for, pause
from lightfast_bridges.supercollider import commands
from lightfast_bridges.supercollider.asking import NoAnswerError
from lightfast_bridges.supercollider.mirror import MALFORMED, Memory
from lightfast_bridges.supercollider.render import INSTALL
from lightfast_bridges.supercollider.server import EndedError, Server
from lightfast_bridges.supercollider.settings import Settings, settings_of
from lightfast_bridges.supercollider.tree import declarations

log = structlog.get_logger("lightfast.bridges.supercollider")

BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two looks for the server, besides the second that each look takes; the last one is kept."""
LOOK = 1.0


class SuperColliderBridge(Bridge):
    """Joins one server for each instance."""

    kind = "supercollider"
    title = "SuperCollider server"

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every server's paths."""
        return declarations()

    def commands(self) -> Sequence[Command]:
        """Return the server's verbs."""
        return commands.COMMANDS

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Look for the program, and ask the server how it is."""
        try:
            settings = settings_of(config)
        except BridgeError as error:
            return [Finding("error", "[plugins.supercollider]", str(error), "correct lightfast.toml")]
        program = shutil.which(settings.program)
        found = [
            Finding("ok", settings.program, f"it is installed at {program}")
            if program
            else Finding("note", settings.program, "it is not in the search path, so nothing renders offline", INSTALL)
        ]
        host, port = settings.remote
        said = await _look(settings)
        if said is None:
            remedy = "boot the server (s.boot in sclang, or scsynth -u PORT), or set remote of [plugins.supercollider]"
            return [*found, Finding("warning", f"UDP {host}:{port}", "no server answers", remedy)]
        load = f"{said[2]} synths, {said[4]} definitions, load {said[5]:.0f} %, peak {said[6]:.0f} %"
        if said[6] > 90.0:
            return [*found, Finding("warning", f"UDP {host}:{port}", f"overloaded: {load}", "free some synths")]
        return [*found, Finding("ok", f"UDP {host}:{port}", load)]

    async def run(self, host: BridgeHost) -> None:
        """Join the server until cancelled."""
        settings = settings_of(host.config)
        inbox: Inbox[Server] = Inbox()
        sender = await host.open_osc(settings.remote, (listen_for(settings.remote[0]), 0), inbox.receive)
        try:
            await self._serve(host, sender, settings, inbox)
        finally:
            sender.close()

    async def _serve(self, host: BridgeHost, sender: OscSender, settings: Settings, inbox: Inbox[Server]) -> None:
        memory = Memory()
        attempt = 0
        while True:
            server = inbox.session = Server(host, sender, settings, memory)
            try:
                await apart(server.run())
            except (NoAnswerError, *MALFORMED) as error:
                if attempt == 0:
                    host.absent(_absent(settings, str(error)))
                await host.sleep(pause(attempt, BACKOFF))
                attempt += 1
            except EndedError as ended:
                log.info("session ended", reason=str(ended), remote=settings.remote)
                attempt = 0
                if server.closed:
                    inbox.session = None
                    await host.sleep(BACKOFF[-1])
            finally:
                inbox.session = None


def _absent(settings: Settings, reason: str) -> str:
    host, port = settings.remote
    return f"{reason} at {host}:{port}: boot it (s.boot in sclang, or scsynth -u {port}), or set remote"


async def _look(settings: Settings) -> Sequence[Any] | None:
    """Ask a server for its status from a socket of its own, and return it."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Sequence[Any]] = loop.create_future()

    class Ear(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
            try:
                for address, _, arguments in decode(data):
                    if address == "/status.reply" and len(arguments) >= 9 and not answer.done():
                        answer.set_result(arguments)
            except OscError:
                return

    try:
        transport, _ = await loop.create_datagram_endpoint(Ear, remote_addr=settings.remote)
    except OSError:
        return None
    try:
        transport.sendto(encode("/status"))
        done, _ = await asyncio.wait((answer,), timeout=LOOK)
        return answer.result() if done else None
    finally:
        transport.close()
