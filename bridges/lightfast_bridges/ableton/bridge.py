"""The bridge to Ableton Live, through the AbletonOSC control surface."""

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
    OscServer,
    Parameter,
    Term,
    Timeline,
)
from lightfast.sdk.inbox import Inbox
from lightfast.sdk.running import apart
from lightfast_bridges.ableton.asking import NoAnswerError
from lightfast_bridges.ableton.commands import commands
from lightfast_bridges.ableton.diagnosis import look
from lightfast_bridges.ableton.paths import declarations
from lightfast_bridges.ableton.session import EndedError, Lasting, LiveSession
from lightfast_bridges.ableton.settings import Settings, settings_of
from lightfast_bridges.ableton.share import CHECK, Share

log = structlog.get_logger("lightfast.bridges.ableton")

BACKOFF = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Seconds between two looks for Live; the last one is kept."""


class AbletonBridge(Bridge):
    """Looks for Live, joins it, and looks for it again when it is gone."""

    kind = "ableton"
    title = "Ableton Live"
    timeline = Timeline(playing="song/is_playing", position="song/current_song_time", unit="beats", tempo="song/tempo")
    dialect = Dialect(
        (
            Term("track.name", ("tracks/{}/name",)),
            Term("track.volume", ("tracks/{}/volume",), unit="gain.fader.ableton"),
            Term("track.pan", ("tracks/{}/panning",)),
            Term("track.mute", ("tracks/{}/mute",)),
            Term("track.solo", ("tracks/{}/solo",)),
            Term("master.volume", ("master/volume",), unit="gain.fader.ableton"),
        )
    )

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """*config* is the plugin's table; see `settings.Settings`. Each instance adds its own."""
        self._config = dict(config or {})

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every set's paths."""
        return declarations()

    def commands(self) -> Sequence[Command]:
        """Return Live's verbs."""
        return commands()

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Say whether AbletonOSC answers, and what is in the way if not."""
        try:
            settings = settings_of({**self._config, **config})
        except BridgeError as error:
            return [Finding("error", "[plugins.ableton]", str(error), "correct lightfast.toml")]
        return await look(settings)

    async def run(self, host: BridgeHost) -> None:
        """Join Live until cancelled, and let others share it."""
        settings = settings_of({**self._config, **host.config})
        share = Share(settings.budget, settings.share_reply_port)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_share(host, settings, share))
            await self._run(host, settings, Lasting(share=share))

    async def _run(self, host: BridgeHost, settings: Settings, lasting: Lasting) -> None:
        inbox: Inbox[LiveSession] = Inbox()
        attempt = 0
        while True:
            try:
                sender = await host.open_osc(
                    settings.remote, (_reply_host(settings), settings.reply_port), inbox.receive
                )
            except BridgeError as error:
                host.absent(
                    f"AbletonOSC answers on UDP port {settings.reply_port} only, and {error}. "
                    "Only one program can listen to Live at a time"
                )
                await host.sleep(_pause(attempt))
                attempt += 1
                continue
            try:
                await self._serve(host, sender, settings, lasting, inbox)
            finally:
                sender.close()

    async def _serve(
        self, host: BridgeHost, sender: OscSender, settings: Settings, lasting: Lasting, inbox: Inbox[LiveSession]
    ) -> None:
        """Look for Live and join it, again and again."""
        attempt = 0
        while True:
            session = LiveSession(host, sender, settings, lasting)
            lasting.share.send = sender.send
            inbox.session = session
            try:
                await session.asker.ask("/live/test", begins=(), tries=1)
                await apart(session.run())
            except NoAnswerError:
                if attempt == 0:
                    host.absent(_absent(settings))
                await inbox.rest(host, _pause(attempt))  # Live says `/live/startup` when it is ready
                attempt += 1
            except EndedError as ended:
                log.info("live session ended", reason=str(ended), remote=settings.remote)
                attempt = 0
                if session.closed:
                    inbox.session = None
                    await host.sleep(BACKOFF[-1])
            finally:
                inbox.session = None


async def _share(host: BridgeHost, settings: Settings, share: Share) -> None:
    """Serve other AbletonOSC clients until cancelled, where the settings say so."""
    if settings.share is None:
        return
    server = await _serving(host, settings.share, share)
    log.info("Live is shared", address=server.address)
    share.server = server
    try:
        while True:
            await host.sleep(CHECK)
            share.sweep()
    finally:
        share.server = None
        server.close()


async def _serving(host: BridgeHost, address: tuple[str, int], share: Share) -> OscServer:
    attempt = 0
    while True:
        try:
            return await host.serve_osc(address, share.receive)
        except BridgeError as error:
            log.warning("Live cannot be shared", reason=str(error), share=address)
            await host.sleep(_pause(attempt))
            attempt += 1


def _reply_host(settings: Settings) -> str:
    """Return the address to listen on: loopback for a Live on this machine, else all."""
    host = settings.remote[0]
    return "127.0.0.1" if host == "localhost" or host.startswith("127.") else "0.0.0.0"  # noqa: S104


def _absent(settings: Settings) -> str:
    host, port = settings.remote
    return (
        f"AbletonOSC does not answer at {host}:{port}: start Live and choose AbletonOSC as a control "
        "surface (Settings > Link, Tempo & MIDI), or run `lightfast sim ableton`"
    )


def _pause(attempt: int) -> float:
    return BACKOFF[min(attempt, len(BACKOFF) - 1)]
