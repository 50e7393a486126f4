"""OSC sockets for bridges: messages in, batch by batch; messages out, built by python-osc."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import structlog

from lightfast.core.config import is_loopback
from lightfast.core.errors import LightfastError
from lightfast.core.osc import OscError
from lightfast.core.osc_build import encode
from lightfast.sdk.bridge import OscMessage, Peer
from lightfast.sdk.errors import BridgeError
from lightfast.wire.osc.decoders import Decode, decoder_named
from lightfast.wire.osc.socket import Datagram, UdpSocket

log = structlog.get_logger("lightfast.wire.osc")

Receive = Callable[[list[OscMessage]], None]
ReceiveFrom = Callable[[list[tuple[Peer, list[OscMessage]]]], None]


class OscPort:
    """Opens OSC sockets for bridges, as `BridgeHost.open_osc` promises."""

    def __init__(self, decoder: str = "lightfast") -> None:
        """Use *decoder* (`lightfast` or `python-osc`) for all sockets."""
        decoder_named(decoder)
        self._decoder = decoder
        self._open: set[PortSocket | ServerSocket] = set()

    async def open_osc(self, remote: tuple[str, int], local: tuple[str, int], receive: Receive) -> PortSocket:
        """Open a socket bound to *local* that sends to *remote*; see `BridgeHost.open_osc`."""
        loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        try:
            found = await loop.getaddrinfo(*remote, family=family, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise BridgeError(f"{remote[0]} is not known: {error}") from None
        peer = PortSocket((str(found[0][4][0]), remote[1]), receive, decoder_named(self._decoder), self._open)
        try:
            await peer.open(local)
        except LightfastError as error:
            raise BridgeError(error.message) from None
        return peer

    async def serve_osc(self, local: tuple[str, int], receive: ReceiveFrom) -> ServerSocket:
        """Open a socket bound to *local* that answers whoever asked; see `BridgeHost.serve_osc`."""
        if not is_loopback(local[0]):
            raise BridgeError(
                f"{local[0]}:{local[1]} can be reached from other machines, and OSC asks for no password: "
                "serve on 127.0.0.1"
            )
        server = ServerSocket(receive, decoder_named(self._decoder), self._open)
        try:
            await server.open(local)
        except LightfastError as error:
            raise BridgeError(error.message) from None
        return server

    def stats(self) -> list[dict[str, Any]]:
        """Return the counts of each open socket."""
        return [peer.stats() for peer in self._open]

    def close(self) -> None:
        """Close what bridges left open."""
        for peer in list(self._open):
            peer.close()


class PortSocket:
    """One bridge's socket; implements `sdk.OscSender`."""

    def __init__(self, remote: tuple[str, int], receive: Receive, decode: Decode, registry: set[Any]) -> None:
        self.remote = remote
        self.address = ("", 0)
        self.malformed = 0
        self.foreign = 0
        self._receive = receive
        self._decode = decode
        self._registry = registry
        self._socket: UdpSocket | None = None

    async def open(self, local: tuple[str, int]) -> None:
        """Bind; raises as `UdpSocket.open` does."""
        self._socket = await UdpSocket.open(local, self._datagrams)
        self.address = self._socket.address
        self._registry.add(self)

    def _datagrams(self, batch: list[Datagram]) -> None:
        messages: list[OscMessage] = []
        host = self.remote[0]
        for data, sender in batch:
            if sender[0] != host:
                self.foreign += 1
                continue
            try:
                messages += [message for _, message in self._decode(data)]
            except OscError as error:
                self.malformed += 1
                log.debug("osc datagram dropped", sender=sender, error=str(error))
        if messages:
            self._receive(messages)

    def send(self, address: str, *arguments: Any) -> None:
        """Send one message, built by python-osc; raises `BridgeError` for what OSC cannot carry."""
        _send(self._socket, self.remote, address, arguments)

    def stats(self) -> dict[str, Any]:
        """Return the counts, by name."""
        counts = asdict(self._socket.counts) if self._socket else {}
        drops = self._socket.kernel_drops() if self._socket else None
        return {
            "remote": self.remote,
            "local": self.address,
            "malformed": self.malformed,
            "foreign": self.foreign,
            "kernel_drops": drops,
            **counts,
        }

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._registry.discard(self)
        if self._socket is not None:
            self._socket.close()


class ServerSocket:
    """One socket that answers whoever asked; implements `sdk.OscServer`."""

    def __init__(self, receive: ReceiveFrom, decode: Decode, registry: set[Any]) -> None:
        self.address = ("", 0)
        self.malformed = 0
        self._receive = receive
        self._decode = decode
        self._registry = registry
        self._socket: UdpSocket | None = None

    async def open(self, local: tuple[str, int]) -> None:
        """Bind; raises as `UdpSocket.open` does."""
        self._socket = await UdpSocket.open(local, self._datagrams)
        self.address = self._socket.address
        self._registry.add(self)

    def _datagrams(self, batch: list[Datagram]) -> None:
        found: dict[Peer, list[OscMessage]] = {}
        for data, sender in batch:
            try:
                messages: list[OscMessage] = [message for _, message in self._decode(data)]
            except OscError as error:
                self.malformed += 1
                log.debug("osc datagram dropped", sender=sender, error=str(error))
                continue
            found.setdefault(sender, []).extend(messages)
        if found:
            self._receive(list(found.items()))

    def send(self, peer: Peer, address: str, *arguments: Any) -> None:
        """Send one message to *peer*; raises `BridgeError` for what OSC cannot carry."""
        _send(self._socket, peer, address, arguments)

    def stats(self) -> dict[str, Any]:
        """Return the counts, by name."""
        counts = asdict(self._socket.counts) if self._socket else {}
        drops = self._socket.kernel_drops() if self._socket else None
        return {"local": self.address, "malformed": self.malformed, "kernel_drops": drops, **counts}

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._registry.discard(self)
        if self._socket is not None:
            self._socket.close()


def _send(opened: UdpSocket | None, remote: tuple[str, int], address: str, arguments: Sequence[Any]) -> None:
    if opened is None:
        raise BridgeError("the OSC socket is not open")
    try:
        datagram = encode(address, *arguments)
    except OscError as error:
        raise BridgeError(error.problem) from None
    opened.send(datagram, remote)
