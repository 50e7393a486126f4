"""Connections that do not last without need; one that became a WebSocket may stay."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

MAX_CONNECTIONS = 128
"""How many connections may be open; one more is closed unheard."""
ABORT = "lightfast.abort"
"""The extension of a WebSocket's scope that cuts it at once: a close waits for a peer that may never read."""
EXCHANGE_S = 20.0
"""How long a request and its answer may take together, in seconds, counted from the answer before."""


class BriefProtocol(H11Protocol):
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

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Let go: pings watch over a WebSocket."""
        self._disarm()
        super().handle_websocket_upgrade(event)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._disarm()
        self._limit = self.loop.call_later(EXCHANGE_S, self.transport.abort)

    def _disarm(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


class CutProtocol(WebSocketsSansIOProtocol):
    """One WebSocket, which can be cut."""

    def handle_connect(self, event: Any) -> None:
        """Begin, and let the application cut it."""
        super().handle_connect(event)
        if not self.handshake_complete:  # else the handshake was refused
            self.scope["extensions"][ABORT] = self.transport.abort  # type: ignore[assignment]

    def keepalive_timeout(self) -> None:
        """Cut a peer that answers no ping: it does not read either."""
        super().keepalive_timeout()
        self.transport.abort()
