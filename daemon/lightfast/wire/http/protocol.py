"""Connections that do not last without need: uvicorn bounds neither their number nor how slowly a request may come.

Any local program and any web page can open connections to a loopback port. Each gets a bounded time
for a request and its answer, and there is a bound on how many there are; what is more is cut at once.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
"""How many connections may be open; one more is closed unheard."""
EXCHANGE_S = 20.0
"""How long a request and its answer may take together, in seconds, counted from the answer before."""


class BoundedProtocol(H11Protocol):
    """One connection, which is cut when an exchange takes too long."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin, or cut one connection too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
        else:
            self._arm()

    def on_response_complete(self) -> None:
        """Give the next exchange its time."""
        self._arm()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._limit is not None:
            self._limit.cancel()
        super().connection_lost(exc)

    def _arm(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self.loop.call_later(EXCHANGE_S, self.transport.abort)
