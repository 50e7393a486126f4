"""The bridge to Ardour, by the OSC of its control surfaces."""

from __future__ import annotations

import contextlib
import dataclasses
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
from lightfast.sdk.settings import Table, listen_for, pause
from lightfast_bridges.ardour.asking import NoAnswerError
from lightfast_bridges.ardour.commands import commands
from lightfast_bridges.ardour.diagnosis import ENABLE, look
from lightfast_bridges.ardour.leaves import declarations
from lightfast_bridges.ardour.session import ArdourSession, EndedError, Settings

log = structlog.get_logger("lightfast.bridges.ardour")

BACKOFF = (0.5, *([1.0] * 30), *([2.0] * 30), 4.0)
"""Seconds between two looks for Ardour; the last one is kept."""
PORTS = range(3840, 3848)
"""The ports that we listen on, by preference.

Ardour knows a surface by its port, keeps it for ever, and moves all it knows in its memory when there is no room for
one more: Ardour 7 may crash then. One that comes back on the same port, after a restart of the daemon, is the same.
"""


class ArdourBridge(Bridge):
    """Looks for Ardour, joins it, and looks for it again when it is gone."""

    kind = "ardour"
    title = "Ardour"
    timeline = Timeline(
        playing="transport/playing", position="transport/position", unit="samples", rate="session/sample_rate"
    )
    dialect = Dialect(
        (
            Term("track.name", ("strips/{}/name",)),
            Term("track.volume", ("strips/{}/gain",)),
            Term("track.mute", ("strips/{}/mute",)),
            Term("track.solo", ("strips/{}/solo",)),
            Term("master.volume", ("master/gain",)),
        )
    )

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """*config* is the plugin's table: remote, reply_port, name, meters, parameters, poll, silence."""
        self._config = dict(config or {})

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every session's paths."""
        return declarations()

    def commands(self) -> Sequence[Command]:
        """Return Ardour's verbs."""
        return commands()

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Say whether Ardour answers where it is looked for, and where else on this machine it does."""
        return await look(settings_of({**self._config, **config}).remote)

    async def run(self, host: BridgeHost) -> None:
        """Join Ardour until cancelled."""
        settings = settings_of({**self._config, **host.config})
        inbox: Inbox[ArdourSession] = Inbox()
        attempt = 0
        while True:
            try:
                sender = await _open(host, settings, inbox)
            except BridgeError as error:
                host.absent(f"{error}; leave ardour.reply_port at 0, and any free port will do")
                await host.sleep(pause(attempt, BACKOFF))
                attempt += 1
                continue
            try:
                await self._serve(host, sender, settings, inbox)
            finally:
                sender.close()

    async def _serve(
        self, host: BridgeHost, sender: OscSender, settings: Settings, inbox: Inbox[ArdourSession]
    ) -> None:
        """Look for Ardour and join it, again and again."""
        attempt = 0
        while True:
            session = ArdourSession(host, sender, settings)
            inbox.session = session
            try:
                await session.look()
                await apart(session.run())
            except (NoAnswerError, TimeoutError):
                if attempt == 0:
                    host.absent(_absent(settings))
                await inbox.rest(host, pause(attempt, BACKOFF))  # one that was frozen comes back
                attempt += 1
            except EndedError as ended:
                log.info("ardour session ended", reason=str(ended), remote=settings.remote)
                attempt = 0
                if session.closed:
                    inbox.session = None
                    await host.sleep(BACKOFF[-1])
            finally:
                inbox.session = None


async def _open(host: BridgeHost, settings: Settings, inbox: Inbox[ArdourSession]) -> OscSender:
    """Open a socket on the port that is wanted, or on the first of ours that is free, or on any."""
    local = listen_for(settings.remote[0])
    for port in () if settings.reply_port else PORTS:
        with contextlib.suppress(BridgeError):
            return await host.open_osc(settings.remote, (local, port), inbox.receive)
    return await host.open_osc(settings.remote, (local, settings.reply_port), inbox.receive)


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a plugin's table; raise `BridgeError` that names a wrong one."""
    table = Table("ardour", config, tuple(field.name for field in dataclasses.fields(Settings)))
    settings = Settings(
        remote=table.address("remote", ("127.0.0.1", 3819)),
        reply_port=table.count("reply_port", 0, 0, 65_535),
        name=table.text("name"),
        meters=table.flag("meters"),
        parameters=table.count("parameters", 64, 0, 100_000),
        poll=table.seconds("poll", 2.0),
        silence=table.seconds("silence", 6.0),
    )
    if settings.silence <= 2:
        raise BridgeError("ardour.silence must be above 2: Ardour's heart beats once a second")
    if 0 < settings.reply_port <= 1024:
        raise BridgeError(f"ardour.reply_port is {settings.reply_port}: Ardour takes 1025 to 65535, or 0 for any")
    return settings


def _absent(settings: Settings) -> str:
    host, port = settings.remote
    return f"Ardour does not answer at {host}:{port}: start it and open a session. {ENABLE}"
