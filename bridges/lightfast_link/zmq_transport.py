"""The link over ZMQ; the `zmq` module is passed in, so that this package needs nothing but Python."""

from __future__ import annotations

import os
import re
import socket
import sys
from pathlib import Path
from typing import Any, List, Optional

from lightfast_link.frame import MAX_FRAME, MAX_PARTS
from lightfast_link.messages import LinkError

QUEUE = 256
"""The most frames that wait in ZMQ each way; then the sender holds back."""
LINGER_MS = 500
"""How long what was sent last may take to leave, after the connection was closed, in milliseconds."""

_KEY_LINE = re.compile(r'^\s*(public-key|secret-key)\s*=\s*"([!-~]{40})"\s*$', re.MULTILINE)


def load_keypair(path: str) -> "tuple[bytes, bytes]":
    """Return the public and the secret CURVE key in the file at *path*, made by `lightfast pair`; raise `ValueError`."""
    keys = dict(_KEY_LINE.findall(Path(path).read_text(encoding="utf-8")))
    if len(keys) != 2:
        raise ValueError("%s holds no CURVE key pair: it needs the lines public-key and secret-key" % path)
    return keys["public-key"].encode("ascii"), keys["secret-key"].encode("ascii")


class ZmqTransport:
    """Connects to the daemon's ZMQ door at *endpoint* (`ipc://…`, or `tcp://…` with CURVE keys)."""

    authenticates = False
    """The file system (ipc) or CURVE (tcp) has settled who may connect."""
    key = None

    def __init__(
        self,
        zmq_module: Any,
        endpoint: str,
        *,
        server_key: bytes = b"",
        public_key: bytes = b"",
        secret_key: bytes = b"",
        context: Any = None,
    ) -> None:
        if endpoint.startswith("tcp://") and not (server_key and public_key and secret_key):
            raise ValueError("ZMQ over TCP needs the daemon's server_key and our own public_key and secret_key")
        self._zmq = zmq_module
        self._context = context
        self.endpoint = endpoint
        self._curve = (server_key, public_key, secret_key) if server_key else None

    def __str__(self) -> str:
        return self.endpoint

    def open(self, waker: socket.socket, timeout: float) -> "ZmqConnection":
        """Start to connect; ZMQ itself says later, or not at all, whether it worked."""
        zmq = self._zmq
        own = None if self._context is not None else zmq.Context()
        try:
            sock = self._set_up((self._context if own is None else own).socket(zmq.DEALER))
            return ZmqConnection(zmq, sock, waker, self.endpoint, own)
        except BaseException as error:
            if own is not None:
                own.destroy(0)  # else the collector would end it, and wait for ever for a socket that is open
            if isinstance(error, zmq.ZMQError):  # no descriptor is left, for example
                raise LinkError("LINK_LOST", "ZMQ: %s" % error) from None
            raise

    def _set_up(self, sock: Any) -> Any:
        zmq = self._zmq
        sock.setsockopt(zmq.LINGER, LINGER_MS)
        sock.setsockopt(zmq.SNDHWM, QUEUE)
        sock.setsockopt(zmq.RCVHWM, QUEUE)
        sock.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        # Nothing is queued for a daemon that is not there: what we could not send, we know.
        sock.setsockopt(zmq.IMMEDIATE, 1)
        # Not to be guessed: whoever knew it could take this connection's place at the daemon.
        sock.setsockopt(zmq.IDENTITY, b"L" + os.urandom(16))
        if self._curve:
            sock.curve_serverkey, sock.curve_publickey, sock.curve_secretkey = self._curve
        return sock


class ZmqConnection:
    """One DEALER socket, used by the link's thread alone; *own* is the context that is its own."""

    def __init__(self, zmq: Any, sock: Any, waker: socket.socket, endpoint: str, own: Any = None) -> None:
        self._zmq = zmq
        self._sock = sock
        self._own = own
        events = zmq.EVENT_DISCONNECTED
        for name in (
            "EVENT_HANDSHAKE_FAILED_AUTH",
            "EVENT_HANDSHAKE_FAILED_PROTOCOL",
            "EVENT_HANDSHAKE_FAILED_NO_DETAIL",
        ):
            events |= getattr(zmq, name, 0)
        self._monitor = sock.get_monitor_socket(events)
        self._ended: Optional[LinkError] = None
        self._poller = zmq.Poller()
        self._poller.register(sock, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        self._poller.register(waker, zmq.POLLIN)
        self._sock.connect(endpoint)

    def send(self, parts: List[bytes]) -> bool:
        """Send one frame; `False` when there is no room, or no connection yet: try again later."""
        try:
            self._sock.send_multipart(parts, self._zmq.NOBLOCK)
        except self._zmq.Again:
            return False
        except self._zmq.ZMQError as error:
            raise LinkError("LINK_LOST", "ZMQ: %s" % error) from None
        return True

    def wait(self, timeout: float, *, writable: bool) -> None:
        """Wait until a frame may have come, the waker was touched, or, if asked, there is room to send."""
        if self._ended is not None:
            return  # only what it said before it left is still to be had
        zmq = self._zmq
        self._poller.modify(self._sock, zmq.POLLIN | (zmq.POLLOUT if writable else 0))
        self._poller.poll(timeout * 1000)

    def receive(self) -> List[List[bytes]]:
        """Return the frames that have come; raise `LinkError` when the connection is gone."""
        end = self._end()
        # Looked at before the frames, so that the last words of a daemon that then left are not lost.
        frames = self._drain()
        if end is not None and not frames:
            raise end
        self._ended = end
        return frames

    def _drain(self) -> List[List[bytes]]:
        frames: List[List[bytes]] = []
        for _ in range(QUEUE):
            try:
                parts = self._sock.recv_multipart(self._zmq.NOBLOCK)
            except self._zmq.Again:
                break
            except self._zmq.ZMQError as error:
                raise LinkError("LINK_LOST", "ZMQ: %s" % error) from None
            if len(parts) > MAX_PARTS:
                raise LinkError("LINK_FRAME", "the peer sent a frame of %d parts" % len(parts))
            frames.append(parts)
        return frames

    def _end(self) -> Optional[LinkError]:
        """Return why the connection is gone, once it is."""
        zmq = self._zmq
        if self._ended is None and self._monitor.poll(0):
            event = int.from_bytes(self._monitor.recv_multipart()[0][:2], sys.byteorder)
            if event == getattr(zmq, "EVENT_HANDSHAKE_FAILED_AUTH", -1):
                return LinkError("LINK_KEY", "the daemon does not know our CURVE key: pair this machine with it again")
            if event == zmq.EVENT_DISCONNECTED:
                return LinkError("LINK_LOST", "the daemon closed the connection")
            return LinkError("LINK_KEY", "the CURVE handshake failed: the daemon's key is not the one we were given")
        return self._ended

    def close(self) -> None:
        """Close the socket, and wait until what was sent last has left, or for `LINGER_MS`.

        ZMQ sends in a thread of its own, which ends with the process: an application that said goodbye and ended took
        its last reports with it (the goodbye of 3 in 15, and most of 3,000 reports). Only the end of a context waits for
        that thread, so each connection has one of its own; one that was passed in is its owner's to end.
        """
        self._sock.disable_monitor()
        self._monitor.close(0)
        self._sock.close()
        if self._own is not None:
            self._own.term()
