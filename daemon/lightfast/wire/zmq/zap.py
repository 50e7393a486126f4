"""Who may connect over CURVE: the authenticator that ZMQ asks (RFC 27), on the loop.

Without a running one CURVE lets everybody in, so it starts before any bind, and `prove` shows at
each start that a stranger is turned away.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

import structlog
import zmq
from zmq.utils import z85

from lightfast.core.errors import FailedPrecondition
from lightfast.wire.zmq.curve import DOMAIN, CurveKeys, Pair, new_pair
from lightfast.wire.zmq.ready import BUDGET, Readiness

log = structlog.get_logger("lightfast.wire.zmq")

ADDRESS = "inproc://zeromq.zap.01"
PROOF_WITHIN = 5.0
MAX_LOGGED = 20


class Authenticator:
    """Answers for the context it was made in; *allows* takes a public key in Z85."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], allows: Callable[[bytes], bool]) -> None:
        self._allows = allows
        self.refused = 0
        self._sock = context.socket(zmq.ROUTER)
        self._sock.setsockopt(zmq.LINGER, 0)
        self._sock.bind(ADDRESS)
        self._ready = Readiness(self._sock, self._drain)

    def _drain(self) -> bool:
        for _ in range(BUDGET):
            try:
                message = self._sock.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            self._answer(message)
        return True

    def _answer(self, message: list[bytes]) -> None:
        split = message.index(b"") + 1 if b"" in message else 0
        envelope, request = message[:split], message[split:]
        if len(request) < 6 or request[0] != b"1.0":
            log.error("malformed ZAP request", parts=len(request))
            return
        request_id, domain, address, mechanism = request[1], request[2], request[3], request[5]
        key = z85.encode(request[6]) if len(request) == 7 and len(request[6]) == 32 else b""
        if domain == DOMAIN and mechanism == b"CURVE" and key and self._allows(key):
            answer = [b"200", b"OK", key]
        else:
            self.refused += 1
            if self.refused <= MAX_LOGGED:
                log.warning("CURVE key refused", source=address.decode("ascii", "replace"), key=key.decode("ascii"))
            answer = [b"400", b"unknown key", b""]
        self._sock.send_multipart([*envelope, b"1.0", request_id, *answer, b""])

    def close(self) -> None:
        """Stop answering; close the doors first, for from now on nobody would be asked."""
        self._ready.close()
        self._sock.close()


async def prove(endpoint: str, keys: CurveKeys, socket_type: int) -> None:
    """Knock at our own door: a stranger must be turned away and our own key let in, else `FailedPrecondition`.

    *socket_type* is that of a client: one that does not fit the door is turned away for that, which proves nothing.
    """
    if await _knock(endpoint, keys, new_pair(), socket_type) is not False:
        raise FailedPrecondition(
            f"the door {endpoint} did not turn an unknown key away, so it stays shut: this is a fault of the "
            "ZMQ installation or of this program, please report it",
            reason="CURVE_OPEN",
        )
    if await _knock(endpoint, keys, keys.client, socket_type) is not True:
        raise FailedPrecondition(
            f"the door {endpoint} did not let its own key in: delete the CURVE key files so that new ones are made",
            reason="CURVE_SHUT",
        )


async def _knock(endpoint: str, keys: CurveKeys, pair: Pair, socket_type: int) -> bool | None:
    """Say whether the handshake succeeded, `None` when nothing was decided in time."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sock = context.socket(socket_type)
    sock.setsockopt(zmq.LINGER, 0)
    sock.setsockopt(zmq.CURVE_SERVERKEY, keys.server.public)
    sock.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
    sock.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
    monitor = sock.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PROOF_WITHIN
    try:
        sock.connect(endpoint)
        while loop.time() < deadline:
            if monitor.poll(0):
                event = int.from_bytes(monitor.recv_multipart()[0][:2], sys.byteorder)
                return event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            await asyncio.sleep(0.002)
        return None
    finally:
        sock.disable_monitor()
        monitor.close(0)
        sock.close(0)
        context.term()
