"""Stand-ins for the daemon: a workbench, an application's session, and what a bridge is lent.

The fakes keep what they were told, so that a test can look, and wait for more with `until`.
Sockets are real: `FakeBridgeHost.open_osc` opens one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from lightfast.sdk.bridge import AppChannel, Change, Hello, OscMessage, Parameter, Peer
from lightfast.sdk.errors import BridgeError
from lightfast_link.value import Asset, Value

T = TypeVar("T")


class FakeBench:
    """A workbench: threads of the loop. *runs* counts the functions."""

    def __init__(self) -> None:
        self.runs = 0

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run *function* in a thread."""
        self.runs += 1
        return await asyncio.to_thread(function, *args)


class _Noting:
    """Wakes who waits when something was noted."""

    def __init__(self) -> None:
        self._noted = asyncio.Event()

    def wake(self) -> None:
        """Let those who wait look again."""
        self._noted.set()

    async def until(self, condition: Callable[[], Any], what: str, timeout: float = 60.0) -> None:
        """Wait until *condition* holds; raise `TimeoutError` naming *what* did not come."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._noted.clear()
                    await self._noted.wait()
        except TimeoutError:
            if condition():  # a loop that stood still hears of it and of the end of the time in one turn
                return
            raise TimeoutError(f"did not come within {timeout:g} s: {what}") from None


class FakeAppSession(_Noting):
    """The session of a joined application; *values* hold what it last reported, by path."""

    def __init__(self, hello: Hello, channel: AppChannel, mount: str) -> None:
        super().__init__()
        self.hello, self.channel, self.mount = hello, channel, mount
        self.values: dict[str, Value] = {}
        self.declared = list(hello.parameters)
        self.changes: list[Change] = []
        self.syncs = 0
        self.settled: dict[int, Value | None] = {}
        self.rejected: dict[int, str] = {}
        self.results: dict[int, Value | None] = {}
        self.failures: dict[int, str] = {}
        self.steps: list[tuple[int, float, str]] = []
        self.trouble = ""
        self.lost_reason: str | None = None

    def declare(self, parameters: Sequence[Parameter]) -> None:
        """Note the declarations."""
        self.declared = list(parameters)
        self.wake()

    def report(self, changes: Sequence[Change]) -> None:
        """Note the changes, and keep the values they lead to."""
        for change in changes:
            self.changes.append(change)
            if change.moved_from:
                self._move(change.moved_from, change.path)
            elif change.value is None:
                self._forget(change.path)
            else:
                self.values[change.path] = change.value
        self.wake()

    def _move(self, source: str, target: str) -> None:
        for path in [path for path in self.values if path == source or path.startswith(source + "/")]:
            self.values[target + path[len(source) :]] = self.values.pop(path)

    def _forget(self, gone: str) -> None:
        for path in [path for path in self.values if path == gone or path.startswith(gone + "/")]:
            del self.values[path]

    def synced(self) -> None:
        """Note the end of a full report."""
        self.syncs += 1
        self.wake()

    def settle(self, wish_id: int, value: Value | None = None) -> None:
        """Note a settled wish."""
        self.settled[wish_id] = value
        self.wake()

    def reject(self, wish_id: int, reason: str) -> None:
        """Note a rejected wish."""
        self.rejected[wish_id] = reason
        self.wake()

    def progress(self, call_id: int, fraction: float, message: str = "") -> None:
        """Note progress of a command."""
        self.steps.append((call_id, fraction, message))
        self.wake()

    def result(self, call_id: int, value: Value | None) -> None:
        """Note the result of a command."""
        self.results[call_id] = value
        self.wake()

    def fail(self, call_id: int, reason: str) -> None:
        """Note the failure of a command."""
        self.failures[call_id] = reason
        self.wake()

    def degraded(self, reason: str) -> None:
        """Note trouble, or its end."""
        self.trouble = reason
        self.wake()

    def lost(self, reason: str) -> None:
        """Note the end of the session."""
        self.lost_reason = reason
        self.wake()


class FakeBridgeHost(_Noting):
    """What a bridge is lent: *sessions* are the applications that joined, *absences* what it said of missing ones."""

    def __init__(self, config: Mapping[str, Any] | None = None, folder: str = "") -> None:
        super().__init__()
        self.config: Mapping[str, Any] = dict(config or {})
        self.folder = folder
        self.sessions: list[FakeAppSession] = []
        self.absences: list[str] = []
        self.assets: dict[str, bytes] = {}
        self._sockets: list[_Osc | _OscServer] = []

    def hello(self, hello: Hello, channel: AppChannel) -> FakeAppSession:
        """Join an application under its name, its kind, or either with a number."""
        name = hello.name or hello.kind
        taken = {session.mount for session in self.sessions if session.lost_reason is None}
        mount, number = f"/{name}", 2
        while mount in taken:
            mount, number = f"/{name}-{number}", number + 1
        session = FakeAppSession(hello, channel, mount)
        self.sessions.append(session)
        self.wake()
        return session

    def absent(self, reason: str, name: str = "") -> None:
        """Note that an application was not found."""
        self.absences.append(reason)
        self.wake()

    async def open_osc(
        self,
        remote: tuple[str, int],
        local: tuple[str, int],
        receive: Callable[[list[OscMessage]], None],
    ) -> _Osc:
        """Open a real UDP socket; raise `BridgeError` where *local* is taken."""
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_datagram_endpoint(lambda: _Osc(remote, receive), local_addr=local)
        except OSError as error:
            raise BridgeError(f"UDP port {local[1]} cannot be opened: {error}") from None
        self._sockets.append(protocol)
        return protocol

    async def serve_osc(
        self, local: tuple[str, int], receive: Callable[[list[tuple[Peer, list[OscMessage]]]], None]
    ) -> _OscServer:
        """Open a real UDP socket; raise `BridgeError` where *local* is taken."""
        loop = asyncio.get_running_loop()
        try:
            _, protocol = await loop.create_datagram_endpoint(lambda: _OscServer(receive), local_addr=local)
        except OSError as error:
            raise BridgeError(f"UDP port {local[1]} cannot be opened: {error}") from None
        self._sockets.append(protocol)
        return protocol

    async def save_asset(self, name: str, media_type: str, data: bytes) -> Asset:
        """Keep *data* by its hash."""
        sha256 = hashlib.sha256(data).hexdigest()
        self.assets[sha256] = data
        return Asset(f"asset:{sha256}", media_type, sha256, len(data))

    async def load_asset(self, sha256: str) -> bytes:
        """Return what was kept."""
        if sha256 not in self.assets:
            raise BridgeError(f"there is no asset {sha256}")
        return self.assets[sha256]

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def close(self) -> None:
        """Close what the bridge has left open."""
        for each in self._sockets:
            each.close()


class _Osc(asyncio.DatagramProtocol):
    """A real OSC socket."""

    def __init__(self, remote: tuple[str, int], receive: Callable[[list[OscMessage]], None]) -> None:
        self._remote, self._receive = remote, receive
        self._transport: asyncio.DatagramTransport | None = None
        self.address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # by duck, not by class, in some loops
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        from lightfast.sdk.osc import OscError, decode

        if address[0] != self._remote[0]:
            return
        try:
            messages: list[OscMessage] = list(decode(data))
        except OscError:
            return  # as the daemon does: what cannot be read is dropped
        self._receive(messages)

    def send(self, address: str, *arguments: Any) -> None:
        """Send one message."""
        from lightfast.sdk.osc import encode

        if self._transport is not None:
            self._transport.sendto(encode(address, *arguments), self._remote)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()


class _OscServer(asyncio.DatagramProtocol):
    """A real OSC socket that answers whoever asked."""

    def __init__(self, receive: Callable[[list[tuple[Peer, list[OscMessage]]]], None]) -> None:
        self._receive = receive
        self._transport: asyncio.DatagramTransport | None = None
        self.address = ("", 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)  # by duck, not by class, in some loops
        self.address = transport.get_extra_info("sockname")[:2]

    def datagram_received(self, data: bytes, address: tuple[str | Any, int]) -> None:
        from lightfast.sdk.osc import OscError, decode

        try:
            messages: list[OscMessage] = list(decode(data))
        except OscError:
            return  # as the daemon does: what cannot be read is dropped
        self._receive([((address[0], address[1]), messages)])

    def send(self, peer: Peer, address: str, *arguments: Any) -> None:
        """Send one message to *peer*."""
        from lightfast.sdk.osc import encode

        if self._transport is not None:
            self._transport.sendto(encode(address, *arguments), peer)

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()
