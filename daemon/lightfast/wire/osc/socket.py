"""UDP sockets that lose little: a large receive buffer, and many datagrams drained per wake-up.

Where the loop watches file descriptors (`add_reader`), the socket is read until it is empty or
the bound of one wake-up is reached; elsewhere (Windows' proactor) asyncio's own datagram
transport is used, and its datagrams are gathered until the end of the tick.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import structlog

from lightfast.core.errors import FailedPrecondition, InvalidArgument
from lightfast.core.ports import holder

log = structlog.get_logger("lightfast.wire.osc")

Datagram = tuple[bytes, tuple[str, int]]
"""The bytes, and the host and port they came from."""
Receive = Callable[[list[Datagram]], None]

RECEIVE_BUFFER = 4 << 20
"""Bytes asked of the kernel; Linux gives at most net.core.rmem_max."""
SEND_BUFFER = 1 << 20
"""Bytes that may wait in asyncio's transport, where that is used; further messages are dropped."""
DRAIN = 256
"""The most datagrams of one wake-up; the rest wakes the loop again, after others had their turn."""
DRAIN_BYTES = 128 << 10
"""The same in bytes, as one datagram may be a bundle of many messages: about 15 ms of work."""
MAX_TOLD = 64
"""The most troubles with sending that are logged at a time."""
_SO_MEMINFO = 55  # Linux: nine 32-bit numbers, the last counts dropped datagrams
_MEMINFO = struct.Struct("=9I")


@dataclass(slots=True)
class SocketCounts:
    """What passed through one socket."""

    received: int = 0
    sent: int = 0
    dropped_sending: int = 0


class UdpSocket:
    """One bound UDP socket; `receive` is called with the datagrams of each wake-up."""

    def __init__(self, sock: socket.socket, receive: Receive, max_bytes: int) -> None:
        self._socket = sock
        self._receive = receive
        self._max_bytes = max_bytes
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None  # asyncio's datagram transport, which is typed without its buffer size
        self._gathered: list[Datagram] = []
        self._closed = False
        self._told: set[tuple[tuple[str, int], int | None]] = set()
        """What was logged of sending, by where to and error; what goes out there again is forgotten."""
        self.counts = SocketCounts()
        self.address: tuple[str, int] = sock.getsockname()[:2]
        self.receive_buffer = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)

    @classmethod
    async def open(cls, local: tuple[str, int], receive: Receive, *, max_bytes: int = 65_536) -> UdpSocket:
        """Bind *local* (port 0: any) and begin to read; longer datagrams are cut to *max_bytes*.

        Raises `InvalidArgument` for an address that does not exist here, `FailedPrecondition` for a
        port that is taken, naming who holds it where that can be found out.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(*local, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise InvalidArgument(f"cannot listen on {local[0]}: {error}", field="listen") from None
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            sock.bind(address)
            opened = cls(sock, receive, max_bytes)
        except OSError as error:
            sock.close()
            # Who holds the port is found by looking at all processes, which takes longer than the loop can wait.
            raise await asyncio.to_thread(_bind_error, error, local) from None
        await opened._start()
        return opened

    async def _start(self) -> None:
        try:
            self._loop.add_reader(self._socket, self._drain)
        except NotImplementedError:
            self._transport, _ = await self._loop.create_datagram_endpoint(
                lambda: _Gatherer(self._gather), sock=self._socket
            )

    def _drain(self) -> None:
        """Read until the socket is empty, or the bound of one wake-up is reached."""
        batch: list[Datagram] = []
        read = self._socket.recvfrom
        size = self._max_bytes
        left = DRAIN_BYTES
        try:
            for _ in range(DRAIN):
                data, sender = read(size)
                batch.append((data, sender[:2]))
                left -= len(data)
                if left <= 0:
                    break
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:  # a refused earlier send may be reported here; the socket stays good
            log.debug("osc receive error", error=str(error), address=self.address)
        if batch:
            self.counts.received += len(batch)
            self._receive(batch)

    def _gather(self, data: bytes, sender: tuple[str, int]) -> None:
        if not self._gathered:
            self._loop.call_soon(self._deliver)
        self._gathered.append((data[: self._max_bytes], sender))

    def _deliver(self) -> None:
        batch, self._gathered = self._gathered, []
        self.counts.received += len(batch)
        if not self._closed:
            self._receive(batch)

    def send(self, datagram: bytes, remote: tuple[str, int]) -> bool:
        """Send without waiting; False means that it was dropped and counted."""
        if self._closed:
            return False
        try:
            if self._transport is not None:
                if self._transport.get_write_buffer_size() > SEND_BUFFER:
                    self.counts.dropped_sending += 1
                    return False
                self._transport.sendto(datagram, remote)
            else:
                self._socket.sendto(datagram, remote)
        except (BlockingIOError, InterruptedError):
            self.counts.dropped_sending += 1
            return False
        except OSError as error:
            self.counts.dropped_sending += 1
            # A network that is down refuses each of thousands; a server's peers are many, so their number is bounded.
            trouble = (remote, error.errno)
            if trouble not in self._told and len(self._told) < MAX_TOLD:
                self._told.add(trouble)
                log.warning("osc message not sent", remote=remote, error=str(error), size=len(datagram))
            return False
        if self._told:
            self._told = {trouble for trouble in self._told if trouble[0] != remote}
        self.counts.sent += 1
        return True

    def kernel_drops(self) -> int | None:
        """Return how many datagrams the kernel dropped for want of room; None where it does not say."""
        if self._closed or not hasattr(socket, "SO_PEERCRED"):  # Linux only
            return None
        try:
            info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        except OSError:
            return None
        return int(_MEMINFO.unpack(info)[8]) if len(info) == _MEMINFO.size else None

    def close(self) -> None:
        """Stop reading and close; may be called twice."""
        if self._closed:
            return
        self._closed = True
        if self._transport is not None:
            self._transport.close()
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()


class _Gatherer(asyncio.DatagramProtocol):
    """Hands each datagram on."""

    def __init__(self, gather: Callable[[bytes, tuple[str, int]], None]) -> None:
        self._gather = gather

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Hand one datagram on."""
        self._gather(data, (addr[0], addr[1]))


def _bind_error(error: OSError, local: tuple[str, int]) -> InvalidArgument | FailedPrecondition:
    where = f"UDP {local[0]}:{local[1]}"
    if error.errno == errno.EADDRINUSE:
        return FailedPrecondition(
            f"{where} is taken by {holder(local[1], 'udp') or 'another program'}: stop it, or choose another port",
            reason="PORT_TAKEN",
            metadata={"port": str(local[1])},
        )
    return InvalidArgument(f"cannot listen on {where}: {error.strerror}", field="listen")
