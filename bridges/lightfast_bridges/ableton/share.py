"""One Live for many AbletonOSC clients: what they send is passed on, and each gets what is its own.

AbletonOSC answers one port, and whoever sent last gets everybody's events. Here a client sends to
`[plugins.ableton] share` as if it were Live:

* Answers go to who asked (see `ledger`), never to another client.
* Listeners are counted over all clients and the bridge itself: Live is told to stop by the last. Events go to each
  client that listens. After a restart of Live, and when tracks or scenes have moved, they are started again.
* `/live/error` goes to the client whose batch caused it. An error that comes outside of every batch is the bridge's.
* All goes to the port a client sends from, and to `share_reply_port` on its machine, too, if that is set: for clients
  that can only hear there. Whoever holds that port hears what is meant for any client.
* A client is gone when the port it sent from is not bound any more; one that was silent for `SILENT_S` is looked
  after. Its listeners go with it.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from lightfast.sdk import BridgeError, OscMessage, OscServer, Peer
from lightfast_bridges.ableton.asking import ERROR, MARK, WINDOW, Send
from lightfast_bridges.ableton.ledger import Ask, Found, Ledger, asks, ids_in
from lightfast_bridges.ableton.paths import Target, target

log = structlog.get_logger("lightfast.bridges.ableton")

CHECK = 10.0
"""Seconds between two looks for clients that are gone."""
SILENT_S = 30.0
MAX_CLIENTS = 64
MAX_LISTENS = 2048
"""The most listeners of all clients together."""
MAX_WAITING = 2000
"""The most messages that wait for the next tick; what is more is refused."""
TICK_S = 0.1

Key = tuple[str, str, tuple[Any, ...]]
"""What is listened to: kind of object, property, indices."""


@dataclass(slots=True, eq=False)
class _Client:
    peer: Peer
    heard: float
    listens: set[Key] = field(default_factory=set)
    refused: float = 0.0


class Share:
    """The clients of one Live. *send* and *server* are set while there is a way to Live, and to them."""

    def __init__(self, budget: int = WINDOW, reply_port: int = 0) -> None:
        """*budget* is how many messages go to Live per tick."""
        self.server: OscServer | None = None
        self.send: Send | None = None
        self.held: Callable[[Target], bool] = lambda _: False
        """Whether the bridge itself listens."""
        self.stuck: Callable[[Key], bool] = lambda _: False
        """Whether Live cannot start a listener again."""
        self.reloaded: Callable[[], None] = lambda: None
        """Called when a client has AbletonOSC loaded anew, which forgets all listeners."""
        self._budget = max(3, budget)
        self._left = self._budget
        self._reply_port = reply_port
        self._live = False
        self._ledger = Ledger()
        self._clients: dict[Peer, _Client] = {}
        self._listening: dict[tuple[str, str], dict[tuple[Any, ...], set[Peer]]] = {}
        self._waiting: deque[tuple[Peer | None, OscMessage]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def clients(self) -> list[Peer]:
        """Who is there."""
        return list(self._clients)

    def holds(self, one: Target) -> bool:
        """Say whether a client listens to *one*."""
        return bool(self._listening.get((one.stem, one.verb), {}).get(one.ids))

    # ------------------------------------------------------------------ the way to Live

    def attach(self) -> None:
        """Live is in step: start what clients listen to, for the objects that have the indices now."""
        self._live = True
        for (stem, name), table in self._listening.items():
            for ids in table:
                if self.stuck((stem, name, ids)):
                    continue
                self._waiting.append((None, (f"/live/{stem}/start_listen/{name}", "", ids)))
        self._pump()

    def detach(self) -> None:
        """Live is gone."""
        self._live = False
        self._ledger.clear()
        self._waiting.clear()

    def receive(self, batch: list[tuple[Peer, list[OscMessage]]]) -> None:
        """Take what clients sent in one wake-up."""
        now = asyncio.get_running_loop().time()
        for peer, messages in batch:
            client = self._clients.get(peer) or self._welcome(peer, now)
            if client is None:
                continue
            client.heard = now
            if not self._live:
                self._refuse(client, now, "Live does not answer, or is not in step yet; try again later")
                continue
            for message in messages:
                if len(self._waiting) >= MAX_WAITING:
                    self._refuse(client, now, f"more than {MAX_WAITING} messages wait for Live; this one is dropped")
                    break
                self._waiting.append((peer, message))
        self._pump()

    def _pump(self) -> None:
        """Send what this tick still has room for: batch by batch, each of one client."""
        while self._waiting and self._left >= 3 and self._live:
            peer, _ = self._waiting[0]
            batch: list[OscMessage] = []
            while self._waiting and self._waiting[0][0] == peer and len(batch) < self._left - 2:
                batch.append(self._waiting.popleft()[1])
            self._left -= len(batch) + 2
            self._forward(peer, batch)
        if self._timer is None and self._left < self._budget:
            self._timer = asyncio.get_running_loop().call_later(TICK_S, self._refill)

    def _refill(self) -> None:
        self._timer = None
        self._left = self._budget
        self._pump()

    def _forward(self, peer: Peer | None, batch: list[OscMessage]) -> None:
        """Send one batch to Live, between marks where somebody waits for answers."""
        send = self.send
        if send is None:
            return
        if peer is None:
            for address, _, args in batch:
                send(address, *args)
            return
        client = self._clients.get(peer)
        if client is None:
            return  # dropped meanwhile
        questions: list[Ask] = []
        wanted: list[tuple[Any, ...]] = []
        for address, tags, args in batch:
            try:
                wanted += self._prepare(client, address, tags, tuple(args), questions)
            except BridgeError as error:
                self._say(peer, ERROR, str(error))
        if not wanted:
            return
        first, last = self._ledger.begin(peer, questions)
        send(MARK, first)
        for message in wanted:
            try:
                send(*message)
            except BridgeError as error:
                self._say(peer, ERROR, f"{message[0]} cannot be passed on: {error}")
        send(MARK, last)

    def _prepare(
        self, client: _Client, address: str, tags: str, args: tuple[Any, ...], questions: list[Ask]
    ) -> list[tuple[Any, ...]]:
        """Return what to send for one message, and note what it asks; raise `BridgeError` for what cannot be shared."""
        if "[" in tags:
            raise BridgeError(f"{address} holds an array, which AbletonOSC does not take")
        typed = [(tag, arg) if tag in "dhrmtc" else arg for tag, arg in zip(tags.replace(",", ""), args, strict=False)]
        stem, way, name = _listen(address)
        if not way:
            if address == "/live/api/reload":
                self.reloaded()
            questions.append(asks(address, args))
            return [(address, *typed)]
        if "*" in address:
            raise BridgeError(f"{address} cannot be shared: listen to each property by its name")
        ids = ids_in(f"/live/{stem}/get/{name}", args) or args
        key = (stem, name, ids)
        if way == "stop_listen":
            return [(address, *ids)] if self._drop(client, key) else []
        self._listen_to(client, key)
        questions.append(Ask(f"/live/{stem}/get/{name}", ids))
        if name == "parameter/value":
            questions.append(Ask(f"/live/{stem}/get/parameter/value_string", ids))
        return [(address, *ids)]

    # ------------------------------------------------------------------ listening

    def _listen_to(self, client: _Client, key: Key) -> None:
        if key not in client.listens and sum(len(one.listens) for one in self._clients.values()) >= MAX_LISTENS:
            raise BridgeError(f"the clients of Live listen to {MAX_LISTENS} properties already: stop some")
        client.listens.add(key)
        stem, name, ids = key
        self._listening.setdefault((stem, name), {}).setdefault(ids, set()).add(client.peer)

    def _drop(self, client: _Client, key: Key) -> bool:
        """Take one client's listener away; true where Live is to be told, as nobody else listens."""
        if key not in client.listens:
            return False
        client.listens.discard(key)
        stem, name, ids = key
        table = self._listening[stem, name]
        table[ids].discard(client.peer)
        if table[ids]:
            return False
        del table[ids]
        if not table:
            del self._listening[stem, name]
        try:
            return not self.held(target(stem, name, *ids))
        except KeyError:
            return True

    # ------------------------------------------------------------------ the way back

    def hear(self, address: str, args: tuple[Any, ...]) -> bool:
        """Pass one message from Live on to whom it is for; false where it cannot answer the bridge."""
        if not self._clients:
            return True
        found, peer = self._ledger.hear(address, args)
        if found is Found.EVENT:
            for listener in self._listeners(address, args):
                self._say(listener, address, *args)
            return True
        if peer is not None:
            self._say(peer, address, *args)
        return False

    def _listeners(self, address: str, args: tuple[Any, ...]) -> set[Peer]:
        stem, got, name = address.removeprefix("/live/").partition("/get/")
        if not got:
            return set()
        table = self._listening.get((stem, "parameter/value" if name == "parameter/value_string" else name), {})
        found: set[Peer] = set()
        for count in range(min(len(args), 6)):
            found |= table.get(args[:count], set())
        return found

    def _say(self, peer: Peer, address: str, *args: Any) -> None:
        if self.server is None:
            return
        self.server.send(peer, address, *args)
        if self._reply_port and peer[1] != self._reply_port:
            self.server.send((peer[0], self._reply_port), address, *args)

    # ------------------------------------------------------------------ coming and going

    def _welcome(self, peer: Peer, now: float) -> _Client | None:
        if len(self._clients) >= MAX_CLIENTS:
            self.sweep(silent=0.0)
        if len(self._clients) >= MAX_CLIENTS:
            self._say(peer, ERROR, f"{MAX_CLIENTS} clients share Live already: end one of them")
            return None
        log.info("a client shares Live", client=f"{peer[0]}:{peer[1]}")
        client = self._clients[peer] = _Client(peer, now)
        return client

    def _refuse(self, client: _Client, now: float, reason: str) -> None:
        """Say why nothing is passed on; once a second at most."""
        if now - client.refused >= 1.0:
            client.refused = now
            self._say(client.peer, ERROR, reason)

    def sweep(self, silent: float = SILENT_S) -> None:
        """Drop the clients that are gone."""
        now = asyncio.get_running_loop().time()
        for client in list(self._clients.values()):
            if now - client.heard >= silent and not _is_bound(client.peer):
                del self._clients[client.peer]
                log.info("a client of Live is gone", client=f"{client.peer[0]}:{client.peer[1]}")
                for key in list(client.listens):
                    stem, name, ids = key
                    if self._drop(client, key) and self._live:
                        self._waiting.append((None, (f"/live/{stem}/stop_listen/{name}", "", ids)))
        self._pump()


def _listen(address: str) -> tuple[str, str, str]:
    """Return kind, `start_listen` or `stop_listen`, and property of a message; empty where it is none."""
    for way in ("start_listen", "stop_listen"):
        stem, found, name = address.removeprefix("/live/").partition(f"/{way}/")
        if found:
            return stem, way, name
    return "", "", ""


def _is_bound(peer: Peer) -> bool:
    """Say whether some program on this machine still has the port that a client sent from."""
    with socket.socket(socket.AF_INET6 if ":" in peer[0] else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(peer)
        except OSError:
            return True
    return False
