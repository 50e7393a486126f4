"""The ROUTER socket of the link: one `LinkPeer` for each connected application."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from functools import partial

import structlog
import zmq

from lightfast.core.clock import Clock
from lightfast.engine.apps.link_server import LinkPeer, LinkServer
from lightfast.wire.zmq.ready import BUDGET, Readiness
from lightfast_link.frame import MAX_FRAME, MAX_PARTS, Frame, encode

log = structlog.get_logger("lightfast.wire.zmq")

QUEUE = 256
"""The most frames that wait in ZMQ for one application; then it is told that there is no room."""
MAX_PEERS = 256
TICK = 0.25
PROBE_AFTER = (0.02, 0.2)
"""Seconds after somebody left when all are asked whether they are still there."""
HANG_UP = 0.5
"""Seconds that applications have to hang up after the goodbye."""
GONE = "the application is gone"


def make_router(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """Return the socket, not bound yet."""
    sock = context.socket(zmq.ROUTER)
    sock.setsockopt(zmq.ROUTER_MANDATORY, 1)  # a send to one who is gone is an error, not a silence
    sock.setsockopt(zmq.ROUTER_HANDOVER, 1)  # who comes back under his name takes his place at once
    sock.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
    sock.setsockopt(zmq.SNDHWM, QUEUE)
    sock.setsockopt(zmq.RCVHWM, QUEUE)
    sock.setsockopt(zmq.HANDSHAKE_IVL, 5000)
    sock.setsockopt(zmq.LINGER, 300)
    return sock


class Router:
    """Moves frames between the socket and the peers."""

    def __init__(self, sock: zmq.Socket[bytes], link: LinkServer, clock: Clock) -> None:
        self._sock = sock
        self._link = link
        self._clock = clock
        self._peers: dict[bytes, LinkPeer] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._probes: list[asyncio.TimerHandle] = []
        self._leaving: set[bytes] = set()
        self._closed = False
        self._to_hang_up: int | None = None
        self._hung_up = asyncio.Event()
        self._monitor = sock.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self._ready = Readiness(sock, self._drain)
        self._monitor_ready = Readiness(self._monitor, self._drain_monitor)

    @property
    def peers(self) -> int:
        """How many applications are connected."""
        return len(self._peers)

    def _drain(self) -> bool:
        for _ in range(BUDGET):
            try:
                message = self._sock.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                self._let_go()
                return False
            self._receive(message[0], message[1:])
        return True

    def _receive(self, identity: bytes, parts: list[bytes]) -> None:
        peer = self._peers.get(identity)
        if peer is None:
            if self._to_hang_up is not None:
                return  # everybody was told goodbye
            if len(self._peers) >= MAX_PEERS:
                message = f"{MAX_PEERS} applications are connected already: close one"
                self._send_quietly(identity, encode(Frame("error", {"reason": "LINK_BUSY", "message": message})))
                return
            close = partial(self._forget, identity)
            source = "zmq " + identity[:6].hex()
            peer = self._link.accept("zmq", partial(self._send, identity), close, authenticated=True, source=source)
            self._peers[identity] = peer
            self._tick_soon()
        peer.receive(parts[: MAX_PARTS + 1])

    def _send(self, identity: bytes, parts: list[bytes]) -> bool:
        try:
            self._sock.send_multipart([identity, *parts], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH and identity in self._peers:
                self._read_out(identity)
                return True
            if error.errno == zmq.EHOSTUNREACH:
                raise ConnectionError(GONE) from None
            raise ConnectionError(f"ZMQ: {error}") from error
        finally:
            self._ready.check()
        return True

    def _read_out(self, identity: bytes) -> None:
        """Let an application go that cannot be reached any more, once all that it said is read.

        ZMQ says so as soon as the connection is gone, also while frames of it wait here. Who was let go then had said
        goodbye, or reported more, in vain: the acknowledgement of the first frame already failed.
        """
        if not self._leaving:
            asyncio.get_running_loop().call_soon(self._read_on)
        self._leaving.add(identity)

    def _read_on(self) -> None:
        if not self._closed and self._drain():
            asyncio.get_running_loop().call_soon(self._read_on)

    def _let_go(self) -> None:
        """End those who are gone: nothing is left to be read."""
        leaving, self._leaving = self._leaving, set()
        for identity in leaving:
            if (peer := self._peers.get(identity)) is not None:
                peer.disconnected(GONE)

    def _send_quietly(self, identity: bytes, parts: list[bytes]) -> None:
        try:
            self._send(identity, parts)
        except ConnectionError as error:
            log.debug("answer not sent", reason=str(error))

    def _forget(self, identity: bytes, reason: str) -> None:
        self._peers.pop(identity, None)

    def _drain_monitor(self) -> bool:
        """Look who is gone: ZMQ says that somebody left, but not who."""
        left = 0
        for _ in range(BUDGET):
            try:
                event = self._monitor.recv_multipart(zmq.NOBLOCK)[0]
            except zmq.Again:
                break
            left += int.from_bytes(event[:2], sys.byteorder) == zmq.EVENT_DISCONNECTED
        else:
            return True
        if self._to_hang_up is not None:
            self._to_hang_up -= left
            if self._to_hang_up <= 0:
                self._hung_up.set()
        elif left:
            loop = asyncio.get_running_loop()
            # The news comes before the socket itself has let go, so it is asked a little later, and once more.
            self._probes = [timer for timer in self._probes if timer.when() > loop.time()]
            self._probes += [loop.call_later(delay, self._link.probe) for delay in PROBE_AFTER]
        return False

    def _tick_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for peer in list(self._peers.values()):
            peer.tick(now)
        if self._peers:
            self._tick_soon()

    async def close(self, reason: str) -> None:
        """Say goodbye to all, and close the socket when they have hung up, or had the time to.

        A socket that is closed at once takes frames with it that its peers have not read: their end of it falls
        together first (4 goodbyes of 14 were lost on a busy machine). So the one who was told hangs up.
        """
        self._to_hang_up = len(self._peers)
        for peer in list(self._peers.values()):
            peer.lose(reason)
        if self._to_hang_up:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANG_UP):
                    await self._hung_up.wait()
        for timer in (self._timer, *self._probes):
            if timer is not None:
                timer.cancel()
        self._closed = True
        self._monitor_ready.close()
        self._ready.close()
        self._sock.disable_monitor()
        self._monitor.close(0)
        self._sock.close()
