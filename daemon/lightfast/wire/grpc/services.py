"""What the services work with: the rooms of the daemon, and who calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from lightfast.context.flow.flow import Flow
from lightfast.context.flow.records import Lane
from lightfast.context.watch import Bus
from lightfast.core.errors import Unavailable
from lightfast.security.tokens import Principal, Scope

if TYPE_CHECKING:
    from lightfast.context.flow.media import Media
    from lightfast.context.leases import Leases
    from lightfast.context.memory.port import TemporalMemory
    from lightfast.context.scenes.scenes import Scenes
    from lightfast.context.store import Store
    from lightfast.context.upkeep.collector import Collector
    from lightfast.context.upkeep.purge import Purger
    from lightfast.context.views.views import Views
    from lightfast.core.config import Row
    from lightfast.core.ring import ErrorEntry
    from lightfast.engine.apps.registry import AppRegistry
    from lightfast.engine.journal.journal import Journal
    from lightfast.engine.links.links import Links
    from lightfast.engine.meta import MetaComputer
    from lightfast.engine.scenes.recalls import Recalls
    from lightfast.engine.show.show import Show
    from lightfast.engine.transport.transport import Transport
    from lightfast.gateway.cost.costs import Costs
    from lightfast.gateway.failure_log import FailureLog
    from lightfast.gateway.router import Gateway
    from lightfast.host.plugins import PluginHost
    from lightfast.security.sealing.vault import Vault
    from lightfast.security.tokens import TokenBook
    from lightfast.storage.archive.archive import Archive
    from lightfast.storage.archive.emergence.layer import EmergenceLayer
    from lightfast.storage.backup import Backups
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
    memory: TemporalMemory | None = None
    archive: Archive | None = None
    views: Callable[[], Views] | None = None
    """Returns what builds views; like the collector, the purger and the backups it is made by the first that asks."""
    collector: Callable[[], Collector] | None = None
    scenes: Scenes | None = None
    recalls: Recalls | None = None
    vault: Vault | None = None
    purger: Callable[[], Purger] | None = None
    backups: Callable[[], Backups] | None = None
    flow: Flow = field(default_factory=Flow)
    layers: LayerBook | None = None
    costs: Costs | None = None
    failures: FailureLog | None = None
    media: Media | None = None
    meta: MetaComputer | None = None

    def computer(self, why: str = "the engine is not there", reason: str = "NO_ENGINE") -> MetaComputer:
        """Return the meta-computer; raise `Unavailable` where there is none."""
        if self.meta is None:
            raise Unavailable(why, reason=reason)
        return self.meta

    @property
    def bus(self) -> Bus:
        """Return the bus of the store, which here is one that can be watched."""
        bus = self.store.bus
        if not isinstance(bus, Bus):
            raise TypeError("the store was opened with another bus, which cannot be watched")
        return bus


class LayerBook(Protocol):
    """The layers over the archive."""

    @property
    def emergence(self) -> EmergenceLayer | None:
        """The one that finds clusters; `None` where it is not there."""
        ...

    @property
    def emergence_off(self) -> str:
        """What to do where it is not there."""
        ...

    async def arrive(self) -> None:
        """Wait, for a while, until it is known which there are."""
        ...


class Caller:
    """Who calls, with the origin that is stamped on what they write; *lane* is the one they asked for."""

    __slots__ = ("lane", "origin", "principal")

    def __init__(self, principal: Principal, session: str, lane: Lane = Lane.INTERACTIVE) -> None:
        self.principal = principal
        self.lane = lane
        self.origin = f"{principal.origin}#{session}" if session else principal.origin


WATCH, OPERATE, ADMIN = Scope.WATCH, Scope.OPERATE, Scope.ADMIN
