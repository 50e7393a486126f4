"""Connections that do not last without need: uvicorn bounds neither their number nor how slowly a request may come.

Any local program and any web page can open connections to a loopback port. Each gets a bounded time
for a request and its answer, and there is a bound on how many there are; what is more is cut at once.
A stream may last as long as it is read.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
"""How many connections may be open; one more is closed unheard."""
EXCHANGE_S = 20.0
"""How long a request and its answer may take together, in seconds, counted from the answer before; also how long the
reader of a stream may leave what was sent unread."""
STREAMS = frozenset(("/v1/watch", "/v1/events"))
"""The paths that answer with streams."""


class BoundedProtocol(H11Protocol):
    """One connection, which is cut when an exchange takes too long."""

    _limit: asyncio.TimerHandle | None = None
    _stuck = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ws_protocol_class = _websocket  # type: ignore[assignment]

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hand the connection over; it is no longer an exchange."""
        if self._limit is not None:
            self._limit.cancel()
        super().handle_websocket_upgrade(event)

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
        self._stuck = False
        self._limit = self.loop.call_later(EXCHANGE_S, self._over)

    def _over(self) -> None:
        """Cut the connection, unless it carries a stream that is being read."""
        cycle: Any = self.cycle
        if not cycle or not cycle.response_started or self.scope["path"] not in STREAMS or self._stuck:
            self.transport.abort()
            return
        self._limit = self.loop.call_later(EXCHANGE_S, self._over)
        self._stuck = bool(self.flow.write_paused)


def _websocket(**kwargs: Any) -> Any:
    """Return the protocol of a WebSocket; its library is loaded by the first that asks."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return WebSocketsSansIOProtocol(**kwargs)
