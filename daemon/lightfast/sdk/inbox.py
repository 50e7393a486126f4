"""Hands what a socket hears to the session of the moment, and wakes a bridge that rests when its application speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from lightfast.sdk.bridge import BridgeHost, OscMessage


class Receiver(Protocol):
    """What takes messages."""

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Take the messages of one wake-up."""


R = TypeVar("R", bound=Receiver)


class Inbox(Generic[R]):
    """The `receive` of a socket that outlives sessions; *session* is the one of the moment.

    *count* counts messages; who wants to know whether there were any since a moment sets it to 0 then.
    """

    def __init__(self) -> None:
        self.session: R | None = None
        self.count = 0
        self._heard = asyncio.Event()

    def receive(self, messages: Sequence[OscMessage]) -> None:
        """Hand on the messages of one wake-up; without a session they only say that the application is there."""
        self.count += len(messages)
        self._heard.set()
        if self.session is not None:
            self.session.receive(messages)

    async def rest(self, host: BridgeHost, seconds: float, *, awake: bool = True) -> None:
        """Wait without a session; *awake*: not when the application speaks up, which has started or was frozen."""
        self.session = None
        self._heard.clear()
        waits = [asyncio.ensure_future(host.sleep(seconds))]
        if awake:
            waits.append(asyncio.ensure_future(self._speaks()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _speaks(self) -> None:
        await self._heard.wait()
