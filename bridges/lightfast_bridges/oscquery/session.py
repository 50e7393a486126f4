"""One server, joined: read, listened to (or polled where it cannot be), written, and read again when it changes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import structlog

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Change, Hello, OscMessage, OscSender, Value, Wish
from lightfast.sdk.osc import OscError, encode
from lightfast.sdk.settings import capabilities_at, listen_for
from lightfast_bridges.oscquery.errors import DroppedError, TroubleError
from lightfast_bridges.oscquery.feed import Feed
from lightfast_bridges.oscquery.nodes import Node, Tree
from lightfast_bridges.oscquery.remote import HostInfo, Remote
from lightfast_bridges.oscquery.values import from_arguments, readable, to_arguments, values_of
from lightfast_bridges.oscquery.wishes import Wishes
from lightfast_link.path import decode_segment, encode_segment
from lightfast_link.value import close

log = structlog.get_logger("lightfast.bridges.oscquery")

FLUSH = 0.01
"""Values are gathered this long, in seconds, before they are reported."""
REREAD = 0.2
"""After word of a change of structure, the tree is read this much later; more such word is one change."""
SHARE = 10.0
"""Polling pauses at least this many times as long as a reading takes."""
RETRIES = (0.1, 1.0, 2.0)
STRUCTURE = frozenset(("PATH_CHANGED", "PATH_ADDED", "PATH_REMOVED", "PATH_RENAMED", "ATTRIBUTES_CHANGED"))


class ServerSession:
    """The life of one server from its first answer to its last; implements `sdk.AppChannel`."""

    def __init__(self, host: BridgeHost, remote: Remote, name: str, poll: float) -> None:
        """*name* is the mount the user wants, *poll* the seconds between two readings of one that cannot be heard."""
        self._host, self._remote, self._wanted, self._poll = host, remote, name, poll
        self._tree = Tree()
        self._info: HostInfo | None = None
        self._by_address: dict[str, Node] = {}
        self._held: dict[str, Value] = {}
        self._changes: dict[str, Change] = {}
        self._flushing: asyncio.TimerHandle | None = None
        self._stale = asyncio.Event()
        self._taking = asyncio.Lock()
        self._readings: list[set[str]] = []
        """For each reading under way the paths told or read back meanwhile, which is newer."""
        self._hellos = 0
        self._feed: Feed | None = None
        self._sender: OscSender | None = None
        self._wishes = Wishes(lambda: self.session, remote.value, remote.tree, self._read_back)
        self._closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Future[Any]] = set()
        self.session: AppSession | None = None
        self.name = name

    async def run(self) -> None:
        """Join and live; raises `TroubleError` with the reason of the end."""
        try:
            info = self._info = await self._remote.host_info()
            if info.ours:
                raise TroubleError(f"{self._remote.url} is this daemon itself: it would mirror itself without end")
            self.name = self._wanted or mount_name(info.name, self._remote.port)
            await self._open_osc(info)
            tree = await self._connect(info)
            self._join(tree)
            await self._live(info)
        finally:
            self._stop()
            if self._feed is not None:
                await self._feed.close()
            if self._sender is not None:
                self._sender.close()

    async def _live(self, info: HostInfo) -> None:
        parts = [self._follow(info), self._wishes.run(), self._reread()]
        running = [asyncio.ensure_future(part) for part in parts]
        watched: list[asyncio.Future[Any]] = [*running, self._closed]
        try:
            done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise TroubleError(self._closed.result() if self._closed.done() else "it ended")
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running, timeout=2.0)

    def _stop(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
        for task in self._tasks:
            task.cancel()
        self._wishes.forget()

    # ------------------------------------------------------------------ joining

    async def _open_osc(self, info: HostInfo) -> None:
        """Open the way for writes: to the server's own host, whatever address it names."""
        if not info.udp:
            return
        local = listen_for(self._remote.host)
        try:
            # What comes in there is dropped: nobody was asked to send, so anybody may have.
            self._sender = await self._host.open_osc((self._remote.host, info.osc_port), (local, 0), _dropped)
        except BridgeError as error:
            raise TroubleError(f"OSC cannot be sent to {self._remote.host}:{info.osc_port}: {error}") from None

    async def _connect(self, info: HostInfo) -> Tree:
        """Begin to listen, where the server lets one, and read the tree."""
        tree = await self._remote.tree()
        if not info.listens:
            return tree
        feed = Feed(self._remote.host, info.ws_port, self._told, self._news)
        try:
            await feed.open()
            await feed.listen(readable(tree))
        except DroppedError as error:
            await feed.close()
            log.info("an oscquery server is polled", server=self._remote.url, reason=str(error))
            return tree
        self._feed = feed
        return await self._remote.tree()  # again: what changed before we listened was told to nobody

    def _join(self, tree: Tree, told: Mapping[str, Value] | None = None) -> None:
        """Say hello with what the tree has now, but for what was *told* since, and report all of it."""
        self._adopt(tree)
        self._held.update(told or {})
        hello = Hello(
            "oscquery",
            f"oscquery:{self._remote.host}:{self._remote.port}",
            name=self.name,
            document_id=self._info.name if self._info is not None else "",
            # The first time nobody knows what happened meanwhile. Another structure brings its own values, which hold.
            generation=self._hellos or -1,
            transport="oscquery",
            parameters=tuple(node.parameter for node in tree.nodes.values()),
            commands=tree.commands,
            capabilities=capabilities_at(self._remote.url),
        )
        try:
            self.session = self._host.hello(hello, self)
        except BridgeError as error:
            raise TroubleError(str(error)) from None
        self._hellos += 1
        self.session.report([Change(path, value) for path, value in self._held.items()])
        self.session.synced()
        if tree.left_out:
            self.session.degraded(f"{tree.left_out} of its nodes are left out; {tree.why}")

    def _adopt(self, tree: Tree) -> None:
        self._tree = tree
        self._by_address = {node.address: node for node in tree.nodes.values() if node.access != "w"}
        self._held = dict(values_of(tree))

    # ------------------------------------------------------------------ what it says

    async def _follow(self, info: HostInfo) -> None:
        """Take what it tells; or, where it tells nothing, look again and again."""
        while True:
            if self._feed is None:
                await self._poll_once(info)
                continue
            try:
                await self._feed.run()
            except DroppedError as error:
                await self._listen_again(info, str(error))

    async def _poll_once(self, info: HostInfo) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with self._reading() as newer:
            await self._take(await self._connect(info), newer)
        if self._is_heard():
            return
        await self._host.sleep(max(self._poll, SHARE * (loop.time() - begin)))

    async def _listen_again(self, info: HostInfo, reason: str) -> None:
        """Mend a broken socket, which has lost every LISTEN: connect, listen and read; raises `TroubleError`."""
        log.info("an oscquery server is listened to again", server=self._remote.url, reason=reason)
        broken, self._feed = self._feed, None
        if broken is not None:
            await broken.close()
        for pause in RETRIES:
            await self._host.sleep(pause)
            with self._reading() as newer:
                await self._take(await self._connect(info), newer)
            if self._is_heard():
                return

    def _is_heard(self) -> bool:
        return self._feed is not None

    async def _reread(self) -> None:
        """Read the tree anew after word of another structure."""
        while True:
            await self._stale.wait()
            await self._host.sleep(REREAD)
            self._stale.clear()
            await self._read()

    async def _read(self) -> None:
        """Read the tree, and take it; raises `TroubleError`."""
        with self._reading() as newer:
            await self._take(await self._remote.tree(), newer)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[set[str]]:
        """Note for the length of a block which paths are told."""
        newer: set[str] = set()
        self._readings.append(newer)
        try:
            yield newer
        finally:
            self._readings = [one for one in self._readings if one is not newer]

    async def _take(self, tree: Tree, newer: AbstractSet[str] = frozenset()) -> None:
        """Bring the session in step with *tree*, but for *newer* paths; another structure is another hello."""
        async with self._taking:
            await self._take_now(tree, newer)

    async def _take_now(self, tree: Tree, newer: AbstractSet[str]) -> None:
        if tree.shape == self._tree.shape:
            self._tell_all(tree, newer)
            return
        before = self._tree
        gone = [path for path in before.nodes if path not in tree.nodes]
        self._flush()
        if self.session is not None and gone:
            self.session.report([Change(path, None) for path in gone])
        self._wishes.forget()
        told = {path: value for path, value in self._held.items() if path in newer and path in tree.nodes}
        self._join(tree, told)
        if self._feed is not None:
            try:
                await self._feed.listen(sorted(set(readable(tree)) - set(readable(before))))
            except DroppedError:
                return  # the one who reads it notices, too, and listens to everything again
            with self._reading() as told_since:
                self._tell_all(await self._remote.tree(), told_since)

    def _tell_all(self, tree: Tree, newer: AbstractSet[str]) -> None:
        for path, value in values_of(tree):
            if path in self._tree.nodes and path not in newer:
                self._tell(path, value)

    def _told(self, message: OscMessage) -> None:
        node = self._by_address.get(message[0])
        if node is not None:
            value = from_arguments(node, message[2])
            if value is not None:
                for newer in self._readings:
                    newer.add(node.path)
                self._tell(node.path, value)

    def _read_back(self, path: str, value: Value) -> None:
        """Take note of what was read back: it comes with the answer to a wish, after what was told before."""
        for newer in self._readings:
            newer.add(path)
        self._held[path] = value
        self._changes.pop(path, None)

    def _news(self, command: str, data: Any) -> None:
        if command == "PATH_RENAMED" and isinstance(data, dict):
            self._renamed(data.get("OLD"), data.get("NEW"))
        if command in STRUCTURE:
            self._stale.set()

    def _renamed(self, old: Any, new: Any) -> None:
        """Let links and scenes follow a rename; the tree is read anew besides."""
        node = self._by_address.get(old) if isinstance(old, str) else None
        if node is None or not isinstance(new, str) or self.session is None:
            return
        parts = new.strip("/").split("/")
        if new == "/" + "/".join(parts) and parts[:-1] == node.address.strip("/").split("/")[:-1]:
            path = "/".join([*node.path.split("/")[:-1], encode_segment(decode_segment(parts[-1]))])
            self._flush()
            self.session.report([Change(path, None, moved_from=node.path)])

    def _tell(self, path: str, value: Value) -> None:
        """Report a value, unless it settles a wish or is known."""
        if self._wishes.hear(path, value):
            self._held[path] = value
            self._changes.pop(path, None)
            return
        known = self._held.get(path)
        if known is not None and type(known) is type(value) and close(known, value, 1e-12):
            return
        self._held[path] = value
        self._changes[path] = Change(path, value)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH, self._flush)

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        changes, self._changes = self._changes, {}
        if changes and self.session is not None:
            self.session.report(list(changes.values()))

    # ------------------------------------------------------------------ the channel

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Send wishes."""
        for wish in wishes:
            try:
                self._apply(wish)
            except (ValueError, BridgeError) as error:
                if not wish.signal and self.session is not None:
                    self.session.reject(wish.wish_id, str(error))

    def _apply(self, wish: Wish) -> None:
        node = self._tree.nodes.get(wish.path)
        if node is None:
            raise ValueError(f"the server has no {wish.path}")
        if wish.value is None:
            raise ValueError(f"{wish.path} is a value of the server and cannot be removed")
        if node.access == "r":
            raise ValueError(f"{wish.path} can only be read")
        self._send(node.path, node.address, to_arguments(node, wish.value), critical=node.critical)
        if wish.signal or self.session is None:
            return
        if node.access == "w":
            self.session.settle(wish.wish_id)  # nobody can say what became of it
        else:
            self._wishes.add(node, wish.value, self._held.get(wish.path), wish.wish_id)

    def _send(self, path: str, address: str, arguments: list[Any], *, critical: bool) -> None:
        if self._feed is not None and (critical or self._sender is None):
            try:
                self._feed.send(path, encode(address, *arguments))
            except OscError as error:
                raise ValueError(error.problem) from None
        elif self._sender is not None:
            self._sender.send(address, *arguments)
        else:
            raise ValueError("the server takes OSC over TCP only, and its WebSocket is not open")

    def invoke(self, call: Call) -> None:
        """Run a command: a message without a value."""
        if self.session is None:
            return
        address = self._tree.triggers.get(call.command)
        if address is None:
            self.session.fail(call.call_id, f"the server has no trigger {call.command!r}")
            return
        try:
            self._send(address, address, [], critical=True)
        except (ValueError, BridgeError) as error:
            self.session.fail(call.call_id, str(error))
        else:
            self.session.result(call.call_id, None)

    def cancel(self, call_id: int) -> None:
        """Do nothing: a message that was sent cannot be taken back."""

    def resync(self) -> None:
        """Read everything and report it."""
        task = asyncio.ensure_future(self._resync())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _resync(self) -> None:
        try:
            await self._read()
        except TroubleError as error:
            self.close(str(error))
            return
        self._flush()
        if self.session is not None:
            self.session.report([Change(path, value) for path, value in self._held.items()])
            self.session.synced()

    def close(self, reason: str) -> None:
        """End the session."""
        if not self._closed.done():
            self._closed.set_result(reason)


def _dropped(messages: list[OscMessage]) -> None:
    """Take what comes to the socket that only sends."""


def mount_name(name: str, port: int) -> str:
    """Return what a server that calls itself *name* is mounted as."""
    plain = re.sub(r"[^\w.-]+", "-", name, flags=re.UNICODE).strip("-.").lower()
    return plain if plain and plain not in ("lightfast", "oscquery") else f"oscquery-{port}"
