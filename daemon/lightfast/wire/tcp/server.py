"""The TCP door of the link: moves bytes, keeps bounds, and slows down whoever guesses keys."""

from __future__ import annotations

import asyncio
import errno
from typing import cast

import structlog

from lightfast.core.clock import Clock
from lightfast.core.config import is_loopback, split_address
from lightfast.core.errors import FailedPrecondition
from lightfast.engine.apps.link_server import LinkPeer, LinkServer
from lightfast.wire.tcp.backoff import Backoff
from lightfast_link.frame import MAX_FRAME, MAX_GREETING, Frame, FrameError, Splitter, encode, pack

log = structlog.get_logger("lightfast.wire.tcp")

MAX_CONNECTIONS = 64
MAX_UNSENT = 1 << 20
"""Bytes that may wait for one peer to read before it is told that there is no room."""
TICK = 0.25
LAST_WORDS = 2.0
"""Seconds that a closed connection has to take what was still unsent."""


class TcpDoor:
    """Listens for applications; each connection is a `LinkPeer` that must prove that it holds the link key."""

    def __init__(self, link: LinkServer, listen: str, *, clock: Clock) -> None:
        self._link = link
        self._host, self._port = split_address(listen)
        self._clock = clock
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._drained: asyncio.Future[None] | None = None
        self.connections: set[_Connection] = set()
        self.backoff = Backoff(clock)

    async def start(self) -> str:
        """Bind and listen; returns `HOST:PORT`. Raises `FailedPrecondition` off loopback, or when it cannot bind."""
        if not is_loopback(self._host):
            raise FailedPrecondition(
                f"the link over plain TCP is not encrypted, so it does not listen on {self._host}: "
                "use 127.0.0.1, or ZMQ with CURVE for other machines",
                reason="LISTEN_UNPROTECTED",
            )
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: _Connection(self, self._link), self._host, self._port)
        except OSError as error:
            reason = "PORT_TAKEN" if error.errno == errno.EADDRINUSE else "PORT_REFUSED"
            raise FailedPrecondition(
                f"cannot listen on {self._host}:{self._port} ({error.strerror or error}): "
                "set link.tcp to another address",
                reason=reason,
            ) from error
        name = self._server.sockets[0].getsockname()
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    async def stop(self) -> None:
        """Stop listening, say goodbye, and close what is left."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.connections):
            connection.end("the daemon stops")
        if self._timer is not None:
            self._timer.cancel()
        self._server = None
        if self.connections:
            self._drained = asyncio.get_running_loop().create_future()
            # Each connection is cut at the latest after its last words, so this ends.
            async with asyncio.timeout(LAST_WORDS + 1.0):
                await self._drained

    def opened(self, connection: _Connection) -> None:
        """Take in a connection, and tick while there is one."""
        self.connections.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def closed(self, connection: _Connection) -> None:
        """Forget a connection."""
        self.connections.discard(connection)
        if not self.connections and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def _tick(self) -> None:
        self._timer = None
        if self.connections:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)
        now = self._clock.monotonic()
        for connection in list(self.connections):
            if connection.peer is not None:
                connection.peer.tick(now)


class _Connection(asyncio.Protocol):
    """One connection, from its first byte to its last."""

    def __init__(self, door: TcpDoor, link: LinkServer) -> None:
        self._door = door
        self._link = link
        self._splitter = Splitter(MAX_GREETING)
        self._transport: asyncio.Transport | None = None
        self._source = ""
        self._judged = False
        self.peer: LinkPeer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit the connection, late if its source has guessed keys."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=MAX_UNSENT, low=MAX_UNSENT // 4)
        self._source = str((transport.get_extra_info("peername") or ("unknown",))[0])
        if len(self._door.connections) >= MAX_CONNECTIONS:
            message = f"{MAX_CONNECTIONS} applications are connected already: close one"
            self._write(encode(Frame("error", {"reason": "LINK_BUSY", "message": message})))
            self._transport.close()
            return
        self._door.opened(self)
        self.peer = self._link.accept("tcp", self._send, self._close, authenticated=False, source=self._source)
        delay = self._door.backoff.delay(self._source)
        if delay:
            # Held, not refused: on one machine the guesser and the honest application share an address.
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(delay, self._resume)

    def _resume(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Cut the stream into frames and hand them on."""
        peer = self.peer
        if peer is None or peer.over:
            return
        try:
            frames = self._splitter.feed(data)
        except FrameError as error:
            self._write(encode(Frame("error", {"reason": "LINK_FRAME", "message": str(error)})))
            peer.lose(f"the peer does not speak the link protocol: {error}")
            return
        for parts in frames:
            peer.receive(parts)
        self._judge(peer)

    def _judge(self, peer: LinkPeer) -> None:
        """Note how the proof of the key went."""
        if self._judged:
            return
        if peer.key_refused:
            self._judged = True
            self._door.backoff.failed(self._source)
        elif peer.authenticated:
            self._judged = True
            self._splitter.limit = MAX_FRAME

    def _send(self, parts: list[bytes]) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            raise ConnectionError("the connection is closed")
        if transport.get_write_buffer_size() > MAX_UNSENT:
            return False
        transport.write(pack(parts))
        return True

    def _write(self, parts: list[bytes]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(pack(parts))

    def _close(self, reason: str) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.close()
            # A peer that does not read would keep the connection, and its buffer, for ever.
            asyncio.get_running_loop().call_later(LAST_WORDS, transport.abort)

    def resume_writing(self) -> None:
        """Send on."""
        if self.peer is not None:
            self.peer.writable()

    def end(self, reason: str) -> None:
        """Say goodbye and close."""
        if self.peer is not None and not self.peer.over:
            self.peer.lose(reason)
        else:
            self._close(reason)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the peer that the connection is gone."""
        self._door.closed(self)
        if self.peer is not None:
            self.peer.disconnected(str(error) if error else "the application closed the connection")
            self._judge(self.peer)
