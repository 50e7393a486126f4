"""One device: looked for, joined, and looked for again when it is gone."""

from __future__ import annotations

import asyncio

import structlog

from lightfast.sdk import BridgeError, BridgeHost, OscMessage, OscSender
from lightfast.sdk.oscmap import OscMap
from lightfast.sdk.settings import listen_for, pause
from lightfast_bridges.osc.matching import matches
from lightfast_bridges.osc.session import DeviceSession

log = structlog.get_logger("lightfast.bridges.osc")

BACKOFF = (0.5, 1.0, 2.0, 4.0, 5.0)
"""Seconds between two looks; the last one is kept."""
LOOK = 1.0
"""Seconds that a device has to answer a look."""


class Device:
    """The device that one map describes."""

    def __init__(self, host: BridgeHost, found: OscMap) -> None:
        self.map = found
        self._host = host
        self._session: DeviceSession | None = None
        self._heard = asyncio.Event()
        self._trouble = ""

    async def run(self) -> None:
        """Join it until cancelled. What fails is told and tried again."""
        attempt = 0
        told = ""
        while True:
            try:
                await self._open()
            except BridgeError as error:
                reason = f"{self.map.name}: {error}"
            except Exception as error:  # one device's trouble is not the others'
                reason = f"{self.map.name}: it failed: {type(error).__name__}: {error}"
                if reason != told:
                    log.exception("a device failed", kind=self.map.kind)
                told = reason
            else:
                reason = "it ended"
            self.leave(reason)
            self._absent(reason)
            await self._host.sleep(pause(attempt, BACKOFF))
            attempt += 1

    def degraded(self, reason: str) -> None:
        """Say that something is wrong with the map; empty when it is well again."""
        self._trouble = reason
        if self._session is not None:
            self._session.degraded(reason)
        elif reason:
            self._absent(reason)

    def leave(self, reason: str) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            session.end(reason)

    def _absent(self, reason: str) -> None:
        self._host.absent(self._trouble or reason, self.map.kind)

    async def _open(self) -> None:
        # A device on another machine answers to an address of this one; replies count from its host alone.
        local = listen_for(self.map.remote[0]) if self.map.allow_remote else "127.0.0.1"
        sender = await self._host.open_osc(self.map.remote, (local, self.map.reply), self._receive)
        try:
            await self._serve(sender)
        finally:
            sender.close()

    def _receive(self, messages: list[OscMessage]) -> None:
        """Take the messages of one wake-up; without a session they may say that the device is there."""
        if self._session is not None:
            self._session.receive(messages)
        elif any(matches(self.map.alive.answer, message[0]) for message in messages):
            self._heard.set()

    async def _serve(self, sender: OscSender) -> None:
        attempt = 0
        while True:
            if not await self._look(sender):
                if attempt in (0, 3):
                    self._absent(self._missing())
                await self._rest(pause(attempt, BACKOFF))
                attempt += 1
                continue
            attempt = 0
            session = self._session = DeviceSession(self._host, sender, self.map)
            if self._trouble:
                session.degraded(self._trouble)
            reason = await session.run()
            self._session = None
            log.info("a device is gone", kind=self.map.kind, reason=reason)
            if session.closed:
                await self._host.sleep(BACKOFF[-1])

    async def _look(self, sender: OscSender) -> bool:
        """Say whether the device is there."""
        alive = self.map.alive
        if alive.assumed or self._heard.is_set():
            self._heard.clear()
            return True
        if alive.ping is not None:
            sender.send(alive.ping.address, *alive.ping.arguments)
        return await self._heard_within(LOOK)

    async def _rest(self, seconds: float) -> None:
        """Wait, but not when it speaks up by itself."""
        if await self._heard_within(seconds):
            self._heard.set()

    async def _heard_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        except TimeoutError:
            return False
        self._heard.clear()
        return True

    def _missing(self) -> str:
        host, port = self.map.remote
        where = f"{self.map.title} was not heard (looked for at {host}:{port})"
        reply = f"let it send OSC to port {self.map.reply} of this machine" if self.map.reply else "switch its OSC on"
        return f"{where}: start it, and {reply}; the addresses are in the map {self.map.name}"
