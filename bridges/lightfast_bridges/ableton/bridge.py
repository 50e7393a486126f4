"""The bridge to Ableton Live, through the AbletonOSC control surface."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import (
    Bridge,
    BridgeError,
    BridgeHost,
    Command,
    OscMessage,
    OscSender,
    Parameter,
)
from lightfast_bridges.ableton.asking import NoAnswerError
from lightfast_bridges.ableton.commands import commands
from lightfast_bridges.ableton.paths import Target, declarations
from lightfast_bridges.ableton.session import EndedError, LiveSession, Settings

log = structlog.get_logger("lightfast.bridges.ableton")

BACKOFF = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Seconds between two looks for Live; the last one is kept."""


class AbletonBridge(Bridge):
    """Looks for Live, joins it, and looks for it again when it is gone."""

    kind = "ableton"
    title = "Ableton Live"

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        """*config* is the plugin's table: remote, reply_port, name, meters, parameters, poll, silence."""
        self._config = dict(config or {})
        self._asked: Counter[Target] = Counter()

    def parameters(self) -> Sequence[Parameter]:
        """Return what is known of every set's paths."""
        return declarations()

    def commands(self) -> Sequence[Command]:
        """Return Live's verbs."""
        return commands()

    async def run(self, host: BridgeHost) -> None:
        """Join Live until cancelled."""
        settings = settings_of({**self._config, **host.config})
        inbox = _Inbox()
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
                await self._serve(host, sender, settings, inbox)
            finally:
                sender.close()

    async def _serve(self, host: BridgeHost, sender: OscSender, settings: Settings, inbox: _Inbox) -> None:
        """Look for Live and join it, again and again."""
        attempt = 0
        while True:
            session = LiveSession(host, sender, settings, self._asked)
            inbox.session = session
            try:
                await session.asker.ask("/live/test", begins=(), tries=1)
                await session.run()
            except NoAnswerError:
                if attempt == 0:
                    host.absent(_absent(settings))
                await _rest(host, inbox, _pause(attempt))
                attempt += 1
            except EndedError as ended:
                log.info("live session ended", reason=str(ended), remote=settings.remote)
                attempt = 0
                if session.closed:
                    inbox.session = None
                    await host.sleep(BACKOFF[-1])
            finally:
                inbox.session = None


class _Inbox:
    """Hands messages to the session of the moment."""

    def __init__(self) -> None:
        self.session: LiveSession | None = None
        self.heard = asyncio.Event()

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Hand on the messages of one wake-up; without a session they only say that Live is there."""
        self.heard.set()
        if self.session is not None:
            self.session.receive(messages)


async def _rest(host: BridgeHost, inbox: _Inbox, seconds: float) -> None:
    """Wait, but not when Live speaks up by itself: it says `/live/startup` when it is ready."""
    inbox.session = None
    inbox.heard.clear()
    waits = (asyncio.ensure_future(host.sleep(seconds)), asyncio.ensure_future(inbox.heard.wait()))
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


_KINDS: dict[str, type[Any]] = {
    "reply_port": int,
    "name": str,
    "meters": bool,
    "parameters": int,
    "poll": float,
    "silence": float,
}


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a plugin's table; raise `BridgeError` that names a wrong one."""
    known: dict[str, Any] = {}
    names = ("remote", *_KINDS)
    for name in config:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(names)}"
            raise BridgeError(f"ableton.{name} is no setting of this plugin: {hint}")
    if "remote" in config:
        host, _, port = str(config["remote"]).rpartition(":")
        if not host or not port.isdigit() or not 0 < int(port) < 65_536:
            raise BridgeError(f"ableton.remote is {config['remote']!r}: write HOST:PORT, like 127.0.0.1:11000")
        known["remote"] = (host, int(port))
    for name, kind in _KINDS.items():
        if name in config:
            value = config[name]
            with contextlib.suppress(TypeError, ValueError):
                if isinstance(value, bool) == (kind is bool):
                    known[name] = kind(value)
                    continue
            raise BridgeError(f"ableton.{name} is {value!r}: write a value of type {kind.__name__}")
    return Settings(**known)


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
