"""Runs the daemon's halves of bridges, and starts them again when they fail."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.config import is_loopback
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.apps.session import Session
from lightfast.sdk import AppChannel, Asset, Bridge, BridgeError, Hello, OscMessage, OscSender, OscServer, Peer
from lightfast.storage.blobs import BlobStore, Provenance

log = structlog.get_logger("lightfast.bridges")

FIRST_PAUSE = 0.5
"""Seconds before a bridge that failed is started again; each failure in a row doubles them."""
LONGEST_PAUSE = 10.0
"""The most seconds between two starts."""
STOP_BUDGET = 4.8
"""Seconds a bridge has to end when it is cancelled: an MCP server that heeds nothing is killed after 4.5."""
REMOTE = "remote"
"""The capability of an application that runs on another machine."""
HEALTHY_AFTER = 30.0
"""Seconds after which a bridge that fails is taken as a new failure, not one in a row."""


class OscPort(Protocol):
    """Where bridges get OSC sockets from; the edge implements it."""

    async def open(
        self,
        remote: tuple[str, int],
        local: tuple[str, int],
        receive: Callable[[list[OscMessage]], None],
    ) -> OscSender:
        """Open a UDP socket bound to *local* that sends to *remote*; `BridgeError` names who holds the port."""

    async def serve(
        self, local: tuple[str, int], receive: Callable[[list[tuple[Peer, list[OscMessage]]]], None]
    ) -> OscServer:
        """Open a UDP socket bound to *local* that answers whoever asked; `BridgeError` as above."""


class Host:
    """What one running bridge is lent; implements `sdk.BridgeHost`."""

    def __init__(
        self, registry: AppRegistry, osc: OscPort, kind: str, config: Mapping[str, Any], folder: str = ""
    ) -> None:
        self.config = config
        self.folder = folder
        self._registry = registry
        self._osc = osc
        self._kind = kind
        self._sessions: list[Session] = []
        self._far = not is_loopback(str(config.get("host", "") or "localhost"))
        # Those that are open: the loop holds them. One that the bridge has closed and let go of is gone from here.
        self._senders: weakref.WeakSet[OscSender | OscServer] = weakref.WeakSet()

    def hello(self, hello: Hello, channel: AppChannel) -> Session:
        """Join an application; one that is spoken to on another machine has the capability `remote`."""
        if self._far:
            hello = replace(hello, capabilities=hello.capabilities | {REMOTE})
        try:
            session = self._registry.hello(hello, channel, transport=hello.transport)
        except LightfastError as error:
            raise BridgeError(error.message) from error
        self._sessions = [known for known in self._sessions if not known.closing] + [session]
        return session

    def absent(self, reason: str, name: str = "") -> None:
        """Say that the application was not found."""
        self._registry.absent(self._kind, reason, name or name_of(self.config))

    async def open_osc(
        self,
        remote: tuple[str, int],
        local: tuple[str, int],
        receive: Callable[[list[OscMessage]], None],
    ) -> OscSender:
        """Open a UDP socket, which is closed with the bridge."""
        self._far = self._far or not is_loopback(remote[0])
        sender = await self._osc.open(remote, local, receive)
        self._senders.add(sender)
        return sender

    async def serve_osc(
        self, local: tuple[str, int], receive: Callable[[list[tuple[Peer, list[OscMessage]]]], None]
    ) -> OscServer:
        """Open a UDP socket that answers whoever asked; it is closed with the bridge."""
        server = await self._osc.serve(local, receive)
        self._senders.add(server)
        return server

    async def save_asset(self, name: str, media_type: str, data: bytes) -> Asset:
        """Keep *data* among the assets."""
        origin = self._sessions[-1].origin if self._sessions else f"bridge:{self._kind}"
        try:
            record = await self._blobs().put(data, media_type, name, Provenance(origin=origin))
        except LightfastError as error:
            raise BridgeError(error.message) from error
        return Asset(record.uri, record.media_type, record.sha256, record.size)

    async def load_asset(self, sha256: str) -> bytes:
        """Return the bytes of an asset."""
        try:
            return b"".join([chunk async for chunk in self._blobs().read(sha256)])
        except LightfastError as error:
            raise BridgeError(error.message) from error

    def _blobs(self) -> BlobStore:
        if self._registry.blobs is None:
            raise BridgeError("this daemon keeps no assets")
        return self._registry.blobs

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def leave(self, reason: str) -> None:
        """Let go of all that the bridge held."""
        for session in self._sessions:
            session.lost(reason)
        for sender in list(self._senders):
            sender.close()
        self._sessions = []
        self._senders.clear()


class BridgeRunner:
    """Supervises `Bridge.run`, each in a task of its own, with back-off."""

    def __init__(
        self,
        registry: AppRegistry,
        osc_port: OscPort,
        *,
        clock: Clock = SYSTEM,
        first_pause: float = FIRST_PAUSE,
        folder: Path | None = None,
    ) -> None:
        """*folder* holds one folder per kind, with the user's files for it."""
        self._registry = registry
        self._osc = osc_port
        self._clock = clock
        self._first_pause = first_pause
        self._folder = folder
        self._tasks = TaskGroup("bridges")
        self._running: dict[str, list[asyncio.Task[None]]] = {}
        self._names: dict[str, list[str]] = {}
        self.failures: dict[str, str] = {}

    def add(self, bridge: Bridge, config: Mapping[str, Any] | None = None) -> None:
        """Make *bridge* known, and run it, once per instance, unless its applications connect by themselves."""
        try:
            tables = instances(config or {})
        except BridgeError as error:
            self._registry.add_kind(bridge)
            log.warning("the instances of a bridge cannot be used", bridge=bridge.kind, reason=str(error))
            self.failures[bridge.kind] = str(error)
            self._registry.absent(bridge.kind, str(error))
            return
        self._registry.add_kind(bridge, tables)
        if bridge.link:
            return
        self._names[bridge.kind] = [name_of(table) or bridge.kind for table in tables]
        self._running[bridge.kind] = [
            self._tasks.start(self._supervise(bridge, table), name_of(table) or bridge.kind) for table in tables
        ]

    async def remove(self, kind: str) -> None:
        """Stop a bridge and forget its kind."""
        tasks = self._running.pop(kind, [])
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        self._registry.remove_kind(kind)
        for name in self._names.pop(kind, ()):
            self.failures.pop(name, None)

    async def close(self) -> None:
        """Stop all bridges."""
        self._running.clear()
        await self._tasks.close()

    async def _supervise(self, bridge: Bridge, config: Mapping[str, Any]) -> None:
        pause = self._first_pause
        told = ""
        while True:
            began = self._clock.monotonic()
            reason = await self._run_once(bridge, config, told)
            if self._clock.monotonic() - began >= HEALTHY_AFTER:
                pause = self._first_pause
            name = name_of(config)
            self.failures[name or bridge.kind] = reason
            say = log.debug if reason == told else log.warning  # what does not change is no news
            say("a bridge ended", bridge=bridge.kind, name=name, reason=reason, again_in_s=pause)
            told = reason
            self._registry.absent(bridge.kind, f"{reason}; trying again", name)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _run_once(self, bridge: Bridge, config: Mapping[str, Any], told: str = "") -> str:
        """Run a bridge until it ends, and return why; the trace of a failure is logged unless *told* says the same."""
        folder = str(self._folder / bridge.kind) if self._folder is not None else ""
        host = Host(self._registry, self._osc, bridge.kind, config, folder)
        # A task of its own: so whatever it raises is seen, and its end can be waited for.
        run = asyncio.ensure_future(_contained(bridge, host))
        reason = "the daemon is stopping"
        try:
            await asyncio.wait([run])
            reason = _reason(run, told)
        finally:
            run.cancel()
            await asyncio.wait([run], timeout=STOP_BUDGET)
            host.leave(reason)
        return reason


def instances(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one table per instance that *config* names in `instances`, each over the common keys; else *config*.

    Raises `BridgeError` for instances without a name of their own.
    """
    common = {key: value for key, value in config.items() if key != "instances"}
    given = config.get("instances")
    if given is None:
        return [common]
    if not isinstance(given, list) or not given or not all(isinstance(table, Mapping) for table in given):
        raise BridgeError('instances must be a list of tables, such as instances = [{name = "foh", port = 3820}]')
    names = [table.get("name") for table in given]
    for name in names:
        if not isinstance(name, str) or not name or "/" in name:
            raise BridgeError(f"each of the instances needs a name, which is its mount: {name!r} is none")
        if names.count(name) > 1:
            raise BridgeError(f"two of the instances are named {name!r}: give each a name of its own")
    return [{**common, **table} for table in given]


def name_of(config: Mapping[str, Any]) -> str:
    """Return the name the user gave the instance of *config*; empty where there is none."""
    name = config.get("name", "")
    return name if isinstance(name, str) else ""


async def _contained(bridge: Bridge, host: Host) -> None:
    try:
        await bridge.run(host)
    except SystemExit as error:  # it would end the daemon
        raise BridgeError(f"the bridge called sys.exit({error.code!r})") from error
    except KeyboardInterrupt as error:  # so would this
        raise BridgeError("the bridge raised KeyboardInterrupt") from error


def _reason(run: asyncio.Future[None], told: str) -> str:
    if run.cancelled():
        return "the bridge was cancelled"
    error = run.exception()
    if error is None:
        return "the bridge ended by itself"
    if isinstance(error, BridgeError):
        return str(error)
    reason = f"the bridge failed: {type(error).__name__}: {error}"
    if reason != told:
        log.error("a bridge failed", exc_info=error)
    return reason
