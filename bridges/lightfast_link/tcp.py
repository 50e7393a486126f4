"""The link over plain TCP, for hosts without pyzmq: standard library only."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from typing import List, Optional

from lightfast_link.frame import FrameError, Splitter, pack
from lightfast_link.messages import LinkError

MAX_UNSENT = 1 << 20
"""The most bytes that wait in this process for the peer to read; then the sender holds back."""
LINGER = 0.5
"""Seconds that what was sent last may take to be read, before the socket is closed."""


class TcpTransport:
    """Connects to the daemon's TCP door at *host*:*port*; *key* is the link key, which is not sent."""

    authenticates = True
    """The two sides must prove that they hold the key, before anything else."""

    def __init__(self, host: str, port: int, key: Optional[bytes] = None) -> None:
        self.host = host
        self.port = port
        self.key = key

    def __str__(self) -> str:
        return "tcp://%s:%d" % (self.host, self.port)

    def open(self, waker: socket.socket, timeout: float) -> "TcpConnection":
        """Connect within *timeout* seconds; raise `OSError`. *waker* ends a `wait` when it can be read."""
        return TcpConnection(socket.create_connection((self.host, self.port), timeout), waker)


class TcpConnection:
    """One connection, used by the link's thread alone."""

    def __init__(self, sock: socket.socket, waker: socket.socket) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._splitter = Splitter()
        self._unsent = bytearray()
        self._writing = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock, selectors.EVENT_READ)
        self._selector.register(waker, selectors.EVENT_READ)

    def send(self, parts: List[bytes]) -> bool:
        """Send one frame, or keep it until the peer reads; `False` when too much is kept already: try again later."""
        if len(self._unsent) > MAX_UNSENT:
            self._flush()
            if len(self._unsent) > MAX_UNSENT:
                return False
        self._unsent += pack(parts)
        self._flush()
        return True

    def _flush(self) -> None:
        while self._unsent:
            try:
                sent = self._sock.send(memoryview(self._unsent)[: 256 << 10])
            except (BlockingIOError, InterruptedError):
                break
            del self._unsent[:sent]
        self._watch_writing(bool(self._unsent))

    def _watch_writing(self, wanted: bool) -> None:
        if wanted != self._writing:
            self._writing = wanted
            self._selector.modify(self._sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0))

    def wait(self, timeout: float, *, writable: bool) -> None:
        """Wait until a frame may have come, the waker was touched, or there may be room to send."""
        self._selector.select(timeout)

    def receive(self) -> List[List[bytes]]:
        """Return the frames that have come; raise `LinkError` when the connection is gone or talks nonsense."""
        if self._unsent:
            self._flush()
        frames: List[List[bytes]] = []
        for _ in range(16):  # a bound, so that a fast peer does not keep us from sending
            try:
                data = self._sock.recv(256 << 10)
            except (BlockingIOError, InterruptedError):
                break
            if not data:
                if frames:
                    break
                raise LinkError("LINK_LOST", "the daemon closed the connection")
            try:
                frames += self._splitter.feed(data)
            except FrameError as error:
                raise LinkError("LINK_FRAME", "the peer does not speak the link protocol: %s" % error) from None
        return frames

    def close(self) -> None:
        """Close the socket, once the daemon has taken all that was sent and hung up, or after `LINGER` seconds.

        A socket that is closed at once resets the connection when something comes in, such as an acknowledgement, and
        what the daemon has not read by then is lost: of the last 3,000 reports up to half.
        """
        with contextlib.suppress(OSError):  # gone already, and so is whoever would read this
            until = time.monotonic() + LINGER
            self._sock.settimeout(LINGER)
            self._sock.sendall(self._unsent)
            self._sock.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv(256 << 10):
                    break
        self._selector.close()
        self._sock.close()
