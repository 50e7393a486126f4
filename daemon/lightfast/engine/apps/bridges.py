"""Runs the daemon's halves of bridges, and starts them again when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import LightfastError
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.apps.session import Session
from lightfast.sdk import AppChannel, Bridge, BridgeError, Hello, OscMessage, OscSender

log = structlog.get_logger("lightfast.bridges")

FIRST_PAUSE = 0.5
"""Seconds before a bridge that failed is started again; each failure in a row doubles them."""
LONGEST_PAUSE = 10.0
"""The most seconds between two starts."""
STOP_BUDGET = 2.0
"""Seconds a bridge has to end when it is cancelled."""
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


class Host:
    """What one running bridge is lent; implements `sdk.BridgeHost`."""

    def __init__(self, registry: AppRegistry, osc: OscPort, kind: str, config: Mapping[str, Any]) -> None:
        self.config = config
        self._registry = registry
        self._osc = osc
        self._kind = kind
        self._sessions: list[Session] = []
        self._senders: list[OscSender] = []

    def hello(self, hello: Hello, channel: AppChannel) -> Session:
        """Join an application."""
        try:
            session = self._registry.hello(hello, channel, transport=hello.transport)
        except LightfastError as error:
            raise BridgeError(error.message) from error
        self._sessions = [known for known in self._sessions if not known.closing] + [session]
        return session

    def absent(self, reason: str) -> None:
        """Say that the application was not found."""
        self._registry.absent(self._kind, reason)

    async def open_osc(
        self,
        remote: tuple[str, int],
        local: tuple[str, int],
        receive: Callable[[list[OscMessage]], None],
    ) -> OscSender:
        """Open a UDP socket, which is closed with the bridge."""
        sender = await self._osc.open(remote, local, receive)
        self._senders.append(sender)
        return sender

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def leave(self, reason: str) -> None:
        """Let go of all that the bridge held."""
        for session in self._sessions:
            session.lost(reason)
        for sender in self._senders:
            sender.close()
        self._sessions, self._senders = [], []


class BridgeRunner:
    """Supervises `Bridge.run`, each in a task of its own, with back-off."""

    def __init__(
        self, registry: AppRegistry, osc_port: OscPort, *, clock: Clock = SYSTEM, first_pause: float = FIRST_PAUSE
    ) -> None:
        self._registry = registry
        self._osc = osc_port
        self._clock = clock
        self._first_pause = first_pause
        self._tasks = TaskGroup("bridges")
        self._running: dict[str, asyncio.Task[None]] = {}
        self.failures: dict[str, str] = {}

    def add(self, bridge: Bridge, config: Mapping[str, Any] | None = None) -> None:
        """Make *bridge* known, and run it unless its applications connect by themselves."""
        self._registry.add_kind(bridge)
        if not bridge.link:
            self._running[bridge.kind] = self._tasks.start(self._supervise(bridge, config or {}), bridge.kind)

    async def remove(self, kind: str) -> None:
        """Stop a bridge and forget its kind."""
        self._registry.remove_kind(kind)
        task = self._running.pop(kind, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=5.0)

    async def close(self) -> None:
        """Stop all bridges."""
        self._running.clear()
        await self._tasks.close()

    async def _supervise(self, bridge: Bridge, config: Mapping[str, Any]) -> None:
        pause = self._first_pause
        while True:
            began = self._clock.monotonic()
            reason = await self._run_once(bridge, config)
            if self._clock.monotonic() - began >= HEALTHY_AFTER:
                pause = self._first_pause
            self.failures[bridge.kind] = reason
            log.warning("a bridge ended", bridge=bridge.kind, reason=reason, again_in_s=pause)
            self._registry.absent(bridge.kind, f"{reason}; trying again")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _run_once(self, bridge: Bridge, config: Mapping[str, Any]) -> str:
        """Run a bridge until it ends, and return why."""
        host = Host(self._registry, self._osc, bridge.kind, config)
        # A task of its own: so whatever it raises is seen, and its end can be waited for.
        run = asyncio.ensure_future(_contained(bridge, host))
        reason = "the daemon is stopping"
        try:
            await asyncio.wait([run])
            reason = _reason(run)
        finally:
            run.cancel()
            await asyncio.wait([run], timeout=STOP_BUDGET)
            host.leave(reason)
        return reason


async def _contained(bridge: Bridge, host: Host) -> None:
    try:
        await bridge.run(host)
    except SystemExit as error:  # it would end the daemon
        raise BridgeError(f"the bridge called sys.exit({error.code!r})") from error
    except KeyboardInterrupt as error:  # so would this
        raise BridgeError("the bridge raised KeyboardInterrupt") from error


def _reason(run: asyncio.Future[None]) -> str:
    if run.cancelled():
        return "the bridge was cancelled"
    error = run.exception()
    if error is None:
        return "the bridge ended by itself"
    if isinstance(error, BridgeError):
        return str(error)
    log.error("a bridge failed", exc_info=error)
    return f"the bridge failed: {type(error).__name__}: {error}"
