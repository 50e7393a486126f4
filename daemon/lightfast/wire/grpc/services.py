"""What the services work with: the rooms of the daemon, and who calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lightfast.context.watch import Bus
from lightfast.security.tokens import Principal, Scope

if TYPE_CHECKING:
    from lightfast.context.leases import Leases
    from lightfast.context.store import Store
    from lightfast.core.config import Row
    from lightfast.core.ring import ErrorEntry
    from lightfast.engine.apps.registry import AppRegistry
    from lightfast.engine.journal.journal import Journal
    from lightfast.engine.links.links import Links
    from lightfast.engine.show.show import Show
    from lightfast.engine.transport.transport import Transport
    from lightfast.gateway.router import Gateway
    from lightfast.host.plugins import PluginHost
    from lightfast.security.tokens import TokenBook
    from lightfast.storage.blobs import BlobStore
    from lightfast.storage.requests import Requests


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """What the composition knows of the daemon; *start_time* in ns since 1970, *loop_lag* in seconds."""

    version: str
    pid: int
    start_time: int
    endpoints: dict[str, str] = field(default_factory=dict)
    loop_lag: float = 0.0
    state_directory: str = ""


@dataclass(frozen=True, slots=True)
class Services:
    """The rooms the services of this door open onto."""

    store: Store
    leases: Leases
    blobs: BlobStore
    registry: AppRegistry
    links: Links
    gateway: Gateway
    host: PluginHost
    tokens: TokenBook
    requests: Requests
    info: Callable[[], DaemonInfo]
    config: Callable[[], Sequence[Row]]
    errors: Callable[[int], Sequence[ErrorEntry]]
    """Returns the newest errors, at most so many."""
    show: Show
    journal: Journal
    transport: Transport | None = None

    @property
    def bus(self) -> Bus:
        """Return the bus of the store, which here is one that can be watched."""
        bus = self.store.bus
        if not isinstance(bus, Bus):
            raise TypeError("the store was opened with another bus, which cannot be watched")
        return bus


class Caller:
    """Who calls, with the origin that is stamped on what they write."""

    __slots__ = ("origin", "principal")

    def __init__(self, principal: Principal, session: str) -> None:
        self.principal = principal
        self.origin = f"{principal.origin}#{session}" if session else principal.origin


WATCH, OPERATE, ADMIN = Scope.WATCH, Scope.OPERATE, Scope.ADMIN
