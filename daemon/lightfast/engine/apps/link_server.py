"""The daemon's half of the link, without I/O: what all connections share, and who may be which.

A door (`wire.zmq`, `wire.tcp`) makes a `LinkPeer` of each connection through `LinkServer.accept` and
moves bytes; the protocol itself is in `link_peer`.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Protocol

import structlog

from lightfast import sdk
from lightfast.core.clock import Clock
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.link_assets import AssetPort
from lightfast.engine.apps.link_peer import LinkPeer

__all__ = ["AssetPort", "LinkPeer", "LinkServer", "Registry"]

log = structlog.get_logger("lightfast.link")

MAX_STREAMS = 4096
"""How many clients are remembered, so that what they send again is not taken twice."""


class Registry(Protocol):
    """What the link asks of the registry of applications."""

    def hello(self, hello: sdk.Hello, channel: sdk.AppChannel, *, transport: str) -> sdk.AppSession:
        """Join an application; raises `LightfastError` or `BridgeError` when it may not."""


class LinkServer:
    """What all peers of one daemon share."""

    def __init__(
        self,
        registry: Registry,
        *,
        position: Callable[[], tuple[str, int]],
        tasks: TaskGroup,
        clock: Clock,
        key: bytes = b"",
        assets: AssetPort | None = None,
    ) -> None:
        """*position* returns the store id and the revision; *key* is the link key that TCP peers must hold."""
        self.registry = registry
        self.position = position
        self.tasks = tasks
        self.clock = clock
        self.key = key
        self.assets = assets
        self.counters: Counter[str] = Counter()
        self._peers: set[LinkPeer] = set()
        self._streams: OrderedDict[str, int] = OrderedDict()

    def accept(
        self,
        transport: str,
        send: Callable[[list[bytes]], bool],
        close: Callable[[str], None],
        *,
        authenticated: bool,
        source: str = "",
    ) -> LinkPeer:
        """Return the peer of a new connection.

        *send* takes one frame, says `False` while its bounded queue is full, and raises `ConnectionError`
        when the other side is gone. *close* ends the connection after what was sent has left. *source*
        is who connected, for messages. A peer that is not *authenticated* must prove that it holds the key.
        """
        if not authenticated and not self.key:
            raise ValueError("a peer cannot prove that it holds a key when there is none")
        peer = LinkPeer(self, transport, send, close, authenticated=authenticated, source=source)
        self._peers.add(peer)
        self.counters["accepted"] += 1
        return peer

    @property
    def peers(self) -> int:
        """How many connections there are, joined or not."""
        return len(self._peers)

    def forget(self, peer: LinkPeer) -> None:
        """Drop a peer that is over."""
        self._peers.discard(peer)

    def probe(self) -> None:
        """Find out which applications are gone without having said so, and tell the registry."""
        for peer in list(self._peers):
            peer.probe()

    def supersede(self, peer: LinkPeer, stream: str) -> None:
        """End an older connection of the client that *peer* is: it has just come back."""
        for other in list(self._peers):
            if other is not peer and stream and other.stream == stream:
                other.lose("the application connected anew")

    def sequence(self, stream: str) -> int:
        """Return the last sequence taken from a client, 0 when it is not known."""
        return self._streams.get(stream, 0)

    def taken(self, stream: str, sequence: int) -> None:
        """Remember that everything up to *sequence* was taken from a client."""
        self._streams[stream] = sequence
        self._streams.move_to_end(stream)
        while len(self._streams) > MAX_STREAMS:
            self._streams.popitem(last=False)

    def close(self, reason: str) -> None:
        """Say goodbye to every application."""
        for peer in list(self._peers):
            peer.lose(reason)
