"""The bridge to REAPER, by its OSC control surface."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import (
    Bridge,
    BridgeError,
    BridgeHost,
    Command,
    Dialect,
    Finding,
    OscSender,
    Parameter,
    Term,
    Timeline,
)
from lightfast.sdk.inbox import Inbox
from lightfast.sdk.running import apart
from lightfast_bridges.reaper.commands import COMMANDS
from lightfast_bridges.reaper.diagnosis import Heard, look, steps
from lightfast_bridges.reaper.leaves import declarations
from lightfast_bridges.reaper.probing import NoAnswerError
from lightfast_bridges.reaper.session import EndedError, ReaperSession
from lightfast_bridges.reaper.settings import Settings, settings_of

log = structlog.get_logger("lightfast.bridges.reaper")

BACKOFF = (0.5, 1.0, 1.0, 2.0, 3.0, 5.0)
"""Seconds between two looks for REAPER; the last one is kept."""


class ReaperBridge(Bridge):
    """Looks for REAPER, joins it, and looks for it again when it is gone."""

    kind = "reaper"
    title = "REAPER"
    timeline = Timeline(playing="transport/playing", position="transport/position", tempo="transport/tempo")
    dialect = Dialect(
        (
            Term("track.name", ("tracks/{}/name",)),
            Term("track.volume", ("tracks/{}/volume",)),
            Term("track.pan", ("tracks/{}/pan",)),
            Term("track.mute", ("tracks/{}/mute",)),
            Term("track.solo", ("tracks/{}/solo",)),
            Term("master.volume", ("master/volume",)),
        )
    )

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """*config* is the plugin's table; see `Settings`."""
        self._config = dict(config or {})
        self._heard: dict[int, Heard] = {}
        """What was heard on each reply port, for the diagnosis."""

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every project's paths."""
        return declarations(Settings().top)

    def commands(self) -> Sequence[Command]:
        """Return REAPER's verbs."""
        return COMMANDS

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Say who holds the ports, what REAPER's own settings say, and whether it was heard."""
        try:
            settings = settings_of({**self._config, **config})
        except BridgeError as error:
            return [Finding("error", "[plugins.reaper]", str(error), "correct lightfast.toml")]
        return await asyncio.to_thread(look, settings, self._heard.get(settings.reply_port))

    async def run(self, host: BridgeHost) -> None:
        """Join REAPER until cancelled."""
        settings = settings_of({**self._config, **host.config})
        inbox: Inbox[ReaperSession] = Inbox()
        attempt = 0
        while True:
            try:
                local = (_local_host(settings), settings.reply_port)
                sender = await host.open_osc(settings.remote, local, inbox.receive)
            except BridgeError as error:
                host.absent(
                    f"{error}: REAPER's feedback comes to that port. Stop that program, or choose another device port "
                    "in REAPER and set it as plugins.reaper.reply_port"
                )
                await host.sleep(_pause(attempt))
                attempt += 1
                continue
            self._heard[settings.reply_port] = Heard()
            try:
                await self._serve(host, sender, settings, inbox)
            finally:
                self._heard.pop(settings.reply_port, None)
                sender.close()

    async def _serve(
        self, host: BridgeHost, sender: OscSender, settings: Settings, inbox: Inbox[ReaperSession]
    ) -> None:
        """Look for REAPER and join it, again and again."""
        heard = self._heard[settings.reply_port]
        attempt, said = 0, ""
        while True:
            session = ReaperSession(host, sender, settings)
            inbox.session, inbox.count = session, 0
            try:
                await session.look()
                heard.joined, heard.ours = True, session.prober.ours
                await apart(session.run())
            except NoAnswerError:
                heard.speaks = inbox.count > 0
                reason = _absent(settings, speaks=heard.speaks)
                if reason != said or attempt == 0:
                    said = reason
                    host.absent(reason)
                await inbox.rest(host, _pause(attempt), awake=not heard.speaks)
                attempt += 1
            except EndedError as ended:
                log.info("reaper session ended", reason=str(ended), remote=settings.remote)
                attempt = 0
                if session.closed:
                    inbox.session = None
                    await host.sleep(BACKOFF[-1])
            finally:
                heard.joined = False
                inbox.session = None


def _local_host(settings: Settings) -> str:
    """Return the address to listen on: loopback for a REAPER on this machine, else all."""
    return "127.0.0.1" if settings.remote[0].startswith("127.") else "0.0.0.0"  # noqa: S104


def _absent(settings: Settings, *, speaks: bool) -> str:
    host, port = settings.remote
    if speaks:
        return (
            f"REAPER is heard on UDP port {settings.reply_port}, but does not answer at {host}:{port}: its local "
            f"listen port is another one, or its pattern file knows no /device/track/select. {steps(settings)}"
        )
    return f"nothing is heard of REAPER at {host}:{port}: start it. If it runs: {steps(settings)}"


def _pause(attempt: int) -> float:
    return BACKOFF[min(attempt, len(BACKOFF) - 1)]
