"""The bridge to OBS Studio: connects, and connects again when the connection is gone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import Bridge, BridgeError, BridgeHost, Command, Finding, Parameter
from lightfast.sdk.running import apart
from lightfast.sdk.settings import pause
from lightfast_bridges.obs import commands
from lightfast_bridges.obs.session import ObsSession
from lightfast_bridges.obs.settings import settings_of
from lightfast_bridges.obs.socket import (
    AUTHENTICATION_FAILED,
    THROWN_OUT,
    UNSUPPORTED_VERSION,
    ClosedError,
    connected,
)
from lightfast_bridges.obs.surface import declarations

log = structlog.get_logger("lightfast.bridges.obs")

BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two looks for OBS; the last one is kept."""
REFUSED = 10.0
"""Seconds until a password that was not accepted is tried again: it may be set in OBS meanwhile."""
FOREVER = 3600.0
HOW_TO_SET_IT = (
    'put it into an environment variable and set password = "env:NAME" in [plugins.obs] '
    "(OBS shows it under Tools > WebSocket Server Settings)"
)
INSTALL = "apt-get install obs-studio"


class ObsBridge(Bridge):
    """Joins one OBS for each instance."""

    kind = "obs"
    title = "OBS Studio"

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every OBS's paths."""
        return declarations()

    def commands(self) -> Sequence[Command]:
        """Return the requests of OBS."""
        return commands.COMMANDS

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Connect once more, and leave."""
        try:
            settings = settings_of(config)
        except BridgeError as error:
            return [Finding("error", "[plugins.obs]", str(error), "correct lightfast.toml")]
        program = shutil.which("obs")
        found = [
            Finding("ok", "OBS Studio", f"it is installed at {program}")
            if program
            else Finding("note", "OBS Studio", "it is not in the search path of this machine", INSTALL)
        ]
        try:
            async with connected(settings) as connection:
                return [*found, Finding("ok", settings.url, f"obs-websocket {connection.version} takes us in")]
        except ClosedError as error:
            level = "error" if error.code else "warning"
            return [*found, Finding(level, settings.url, str(error), _remedy(error))]

    async def run(self, host: BridgeHost) -> None:
        """Join OBS until cancelled."""
        settings = settings_of(host.config)
        attempt = 0
        while True:
            session: ObsSession | None = None
            try:
                async with connected(settings) as connection:
                    session = ObsSession(host, settings, connection)
                    await apart(session.run())
            except ClosedError as error:
                code = error.code
                log.debug("obs is away", reason=str(error), code=code)
                if code == THROWN_OUT:
                    await _stay_away(host, error)
                if session is not None and session.joined:
                    attempt = 0
                host.absent(f"{error}: {_remedy(error)}")
                closed = session is not None and session.closed
                await host.sleep(BACKOFF[-1] if closed else _pause(attempt, code))
                attempt += 1


def _pause(attempt: int, code: int) -> float:
    return REFUSED if code in {AUTHENTICATION_FAILED, UNSUPPORTED_VERSION} else pause(attempt, BACKOFF)


async def _stay_away(host: BridgeHost, error: Exception) -> None:
    """Do as OBS asks of clients that its user has thrown out: not come back by themselves."""
    host.absent(f"{error}: `lightfast plugins reload obs` tries again")
    while True:
        await host.sleep(FOREVER)


def _remedy(error: ClosedError) -> str:
    code = error.code
    if code == AUTHENTICATION_FAILED:
        return f"set the password: {HOW_TO_SET_IT}"
    if code == UNSUPPORTED_VERSION:
        return "OBS 28 and later speak it"
    return "start OBS, and switch Tools > WebSocket Server Settings > Enable WebSocket server on"
