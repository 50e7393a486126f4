"""The context's OSC door: datagrams become writes to granted paths, everything else is counted.

OSC has no authentication, so the door is narrow: sources must be allowed, paths granted, values
fit what is declared, and each source has a budget. Writes to signals are published at once. State
is committed, one transaction at a time for each source; what arrives meanwhile waits, by path,
the latest value of each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import structlog

from lightfast.context.entry import Declaration, Entry, Mutation, Set
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.config import is_loopback, split_address
from lightfast.core.errors import (
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    Unavailable,
)
from lightfast.core.osc import OscError, OscMessage
from lightfast.core.tasks import TaskGroup
from lightfast.wire.osc.admission import Buckets, Sources
from lightfast.wire.osc.decoders import decoder_named
from lightfast.wire.osc.socket import Datagram, UdpSocket
from lightfast.wire.osc.values import Refused, fit, value_of
from lightfast_link.path import Pattern, check_path, compile_pattern, unicode_path

log = structlog.get_logger("lightfast.wire.osc")

MAX_DATAGRAM = 8192
"""The longest datagram that is read, in bytes."""
MAX_WAITING = 10_000
"""How many paths may wait for a commit, per source; writes to further ones are dropped and counted."""
MAX_COMMIT = 1_000
"""The most writes of one transaction."""
MAX_ROUTES = 8192
"""How many addresses are remembered; the one after that clears them all."""
OWN = "/lightfast/"
"""What the daemon says of itself lies here: who is joined, what was overwritten. No grant opens it to OSC."""
TRANSPORT = "/lightfast/transport/"
"""The timeline sends its beat from here; what comes in by the same addresses is meant for `/transport/`."""
MAX_SKEW_NS = 3_600_000_000_000
"""A bundle's time tag further from our clock than this is not believed."""


class DoorStore(Protocol):
    """What the door asks of the store."""

    def declaration(self, path: str) -> Declaration | None:
        """Return what is declared for *path*."""

    def mount_of(self, path: str) -> str:
        """Return the mount *path* lies under, or an empty string."""

    def get(self, path: str) -> Entry | None:
        """Return the entry at *path*."""

    def publish(self, mutations: Sequence[Mutation], *, origin: str) -> Any:
        """Publish signals: returns at once with `accepted`, `dropped` and `first_reason`."""

    async def apply(self, mutations: Sequence[Mutation], *, origin: str) -> Any:
        """Commit state."""


class OscDoor:
    """One UDP listener that writes to the store. `counts` says what became of every message."""

    def __init__(
        self,
        store: DoorStore,
        *,
        listen: str = "127.0.0.1:50155",
        allow: Iterable[str] = (),
        grants: Iterable[str] = (),
        decoder: str = "lightfast",
        rate: float = 200_000.0,
        burst: float = 200_000.0,
        clock: Clock = SYSTEM,
    ) -> None:
        """Take *allow* (addresses, networks), *grants* (patterns), *rate* and *burst* in messages per source.

        Raises as `admit` does, and `InvalidArgument` for a malformed *listen* or *decoder*.
        """
        self._store = store
        try:
            self._listen = split_address(listen)
        except ValueError as error:
            raise InvalidArgument(f"osc.listen is {listen!r}, expected {error}", field="osc.listen") from None
        self._sources = Sources()
        self._grants: list[Pattern] = []
        self._decode = decoder_named(decoder)
        self._buckets = Buckets(rate, burst, clock)
        self._clock = clock
        self._tasks = TaskGroup("osc door")
        self._socket: UdpSocket | None = None
        self._routes: dict[str, str] = {}
        self._waiting: dict[str, dict[str, Set]] = {}
        self._committing: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.admit(allow=allow, grants=grants)

    def admit(self, *, allow: Iterable[str], grants: Iterable[str]) -> None:
        """Take a new allow list and new grants, at once; nothing changes where they are refused.

        Raises `InvalidArgument` for a malformed one, `FailedPrecondition` where the door can be reached
        from other machines and *allow* is empty.
        """
        sources = Sources(allow)
        try:
            patterns = [compile_pattern(grant) for grant in grants]
        except ValueError as error:
            raise InvalidArgument(f"osc.grants: {error}", field="osc.grants") from None
        host = self._listen[0]
        if not is_loopback(host) and not sources.networks:
            raise FailedPrecondition(
                f"osc.listen is {host}, which other machines can reach, and OSC asks for no password: "
                'list who may send in osc.allow, for example ["192.168.1.0/24"], or listen on 127.0.0.1',
                reason="OSC_ALLOW_MISSING",
            )
        self._sources, self._grants = sources, patterns
        self._routes.clear()

    async def start(self) -> str:
        """Bind and begin; return the bound `host:port`. Raises `FailedPrecondition` for a taken port."""
        self._socket = await UdpSocket.open(self._listen, self._datagrams, max_bytes=MAX_DATAGRAM + 1)
        log.info(
            "osc door open",
            address=self.address,
            grants=[grant.text for grant in self._grants],
            receive_buffer=self._socket.receive_buffer,
        )
        return self.address

    @property
    def address(self) -> str:
        """The bound `host:port`; empty before `start`."""
        if self._socket is None:
            return ""
        host, port = self._socket.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def stop(self) -> None:
        """Close the socket and end the commits under way."""
        if self._socket is not None:
            self._socket.close()
        await self._tasks.close()

    def stats(self) -> dict[str, int]:
        """Return all counts by name, the socket's included; `kernel_drops` where the system tells."""
        found = dict(self.counts)
        if self._socket is not None:
            found.update(asdict(self._socket.counts))
            drops = self._socket.kernel_drops()
            if drops is not None:
                found["kernel_drops"] = drops
        return found

    def take(self, datagram: bytes, host: str) -> None:
        """Take a datagram that *host* sent another way, as through a WebSocket: the same rules hold for it."""
        self._datagrams([(datagram, (host, 0))])

    def _datagrams(self, batch: list[Datagram]) -> None:
        """Take the datagrams of one wake-up."""
        messages: dict[str, list[tuple[int, OscMessage]]] = {}
        counts = self.counts
        for data, sender in batch:
            host = sender[0]
            if not self._sources.allows(host):
                counts["source"] += 1
            elif len(data) > MAX_DATAGRAM:
                counts["oversize"] += 1
            else:
                try:
                    messages.setdefault(host, []).extend(self._decode(data))
                except OscError:
                    counts["malformed"] += 1
        for host, found in messages.items():
            granted = self._buckets.take(host, len(found))
            if granted < len(found):
                counts["rate"] += len(found) - granted
                del found[granted:]
            if found:
                self._messages(host, found)

    def _messages(self, host: str, messages: list[tuple[int, OscMessage]]) -> None:
        """Write the messages of one source: signals now, state in the next commit."""
        signals: list[Set] = []
        states: list[Set] = []
        for time, message in messages:
            try:
                write, signal = self._write(time, message)
            except Refused as refused:
                self.counts[refused.args[0]] += 1
            else:
                (signals if signal else states).append(write)
        self.counts["messages"] += len(messages)
        origin = f"osc:{host}"
        if signals:
            self._publish(signals, origin)
        if states:
            self._wait(origin, states)

    def _publish(self, signals: list[Set], origin: str) -> None:
        try:
            published = self._store.publish(signals, origin=origin)
        except LightfastError as error:
            self.counts["failed"] += len(signals)
            log.warning("osc signals lost", origin=origin, count=len(signals), error=error.message)
            return
        self.counts["accepted"] += published.accepted
        if published.dropped:
            self.counts["refused"] += published.dropped
            log.debug("osc signals refused", origin=origin, reason=published.first_reason)

    def _write(self, time: int, message: OscMessage) -> tuple[Set, bool]:
        """Return what a message writes and whether that is a signal, or raise `Refused`."""
        path = self._routes.get(message.address) or self._route(message.address)
        value = value_of(message)
        declared = self._store.declaration(path)
        if declared is None:
            if self._store.mount_of(path) and self._store.get(path) is None:
                raise Refused("undeclared")
            return Set(path, value, self._event_time(time)), False
        value, clamped = fit(value, declared)
        if clamped:
            self.counts["clamped"] += 1
        return Set(path, value, self._event_time(time)), declared.signal

    def _route(self, address: str) -> str:
        """Return the granted path of an address, or raise `Refused`."""
        try:
            path = check_path(unicode_path(address))
        except ValueError:
            raise Refused("address") from None
        if path.startswith(TRANSPORT):
            path = path.removeprefix("/lightfast")
        if path.startswith(OWN):
            raise Refused("reserved")
        if not any(grant.matches(path) for grant in self._grants):
            raise Refused("not_granted")
        if len(self._routes) >= MAX_ROUTES:
            self._routes.clear()
        self._routes[address] = path
        return path

    def _event_time(self, time: int) -> int:
        """Return a bundle's time where it can be true, else 0, which means now."""
        return time if time and abs(time - self._clock.now_ns()) <= MAX_SKEW_NS else 0

    def _wait(self, origin: str, states: list[Set]) -> None:
        """Queue writes of state for the next commit of their source."""
        waiting = self._waiting.setdefault(origin, {})
        for write in states:
            if write.path in waiting:
                del waiting[write.path]
                self.counts["conflated"] += 1
            elif len(waiting) >= MAX_WAITING:
                self.counts["full"] += 1
                continue
            waiting[write.path] = write
        if origin not in self._committing:
            self._committing.add(origin)
            self._tasks.start(self._commit_all(origin), f"commit {origin}")

    async def _commit_all(self, origin: str) -> None:
        """Commit until nothing waits, then forget the source."""
        try:
            while waiting := self._waiting.get(origin):
                writes = [waiting.pop(path) for path in list(waiting)[:MAX_COMMIT]]
                await self._commit(writes, origin)
        finally:
            self._committing.discard(origin)
            if not self._waiting.get(origin):
                self._waiting.pop(origin, None)

    async def _commit(self, writes: list[Set], origin: str) -> None:
        """Commit *writes*; where one is refused, halve them until the others are in."""
        try:
            await self._store.apply(writes, origin=origin)
        except (Exhausted, Unavailable) as error:
            self.counts["failed"] += len(writes)
            log.warning("osc writes lost", origin=origin, count=len(writes), error=error.message)
        except LightfastError as error:
            if len(writes) == 1:
                self.counts["refused"] += 1
                log.debug("osc write refused", origin=origin, path=writes[0].path, error=error.message)
                return
            middle = len(writes) // 2
            await self._commit(writes[:middle], origin)
            await self._commit(writes[middle:], origin)
        else:
            self.counts["accepted"] += len(writes)
