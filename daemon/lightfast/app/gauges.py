"""What the daemon shows to Prometheus: the numbers its rooms keep anyway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from lightfast import __version__
from lightfast.app.doors import OscKeeper
from lightfast.app.notify import Health
from lightfast.app.tier_gauges import measure_tiers
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core import log as logging
from lightfast.core.metrics import Metrics
from lightfast.engine.apps.link_server import LinkServer
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.links.links import Links
from lightfast.gateway.router import Gateway
from lightfast.host.plugins import PluginHost
from lightfast.storage.blobs import BlobStore


def measure(
    metrics: Metrics,
    *,
    store: Store,
    bus: Bus,
    blobs: BlobStore,
    registry: AppRegistry,
    links: Links,
    gateway: Gateway,
    host: PluginHost,
    link_server: LinkServer,
    calls: Callable[[], tuple[int, int]],
    health: Health,
    osc: OscKeeper,
) -> None:
    """Register every number; each is read when somebody scrapes.

    *calls* returns how many short gRPC calls and how many streams are under way.
    """
    begin = store.revision
    metrics.gauge("info", "Always 1; what runs is in the labels.", lambda: {(__version__,): 1}, labels=("version",))
    metrics.counter("commits", "Transactions committed since the start.", lambda: store.revision - begin)
    metrics.gauge("revision", "The last committed revision.", lambda: store.revision)
    metrics.gauge("oldest_revision", "The oldest revision that can be read.", lambda: store.oldest_revision)
    metrics.gauge("entries", "Entries in the live tree.", lambda: store.entry_count)
    measure_tiers(metrics, store)
    metrics.gauge("watchers", "Watchers now.", lambda: bus.watchers)
    metrics.gauge("asset_bytes", "Bytes that all assets take.", lambda: blobs.total_bytes)
    metrics.gauge("asset_quota_bytes", "The most that assets may take.", lambda: blobs.quota_bytes)
    metrics.gauge("loop_lag_seconds", "How late the event loop ran.", lambda: health.lag_s)
    metrics.gauge("healthy", "1 while the watchdog is fed.", lambda: int(not health.trouble))
    metrics.counter("errors", "Errors logged.", lambda: logging.errors.total)
    metrics.counter("log_lines_lost", "Lines the log could not take.", lambda: logging.errors.unwritten)
    metrics.gauge("links", "Links between paths.", lambda: len(links))
    metrics.gauge("link_peers", "Connections of the link protocol.", lambda: link_server.peers)
    metrics.gauge("grpc_calls", "Short gRPC calls under way.", lambda: calls()[0])
    metrics.gauge("grpc_streams", "gRPC streams open.", lambda: calls()[1])
    metrics.gauge("generations", "Generations under way.", lambda: gateway.running)
    metrics.gauge(
        "wishes_pending",
        "Wishes an application has not answered, by mount.",
        lambda: {(record.mount,): record.pending for record in registry.list() if record.pending},
        labels=("mount",),
    )

    def plugins() -> dict[tuple[str, ...], int]:
        return dict(Counter((record.state.lower(),) for record in host.records()))

    metrics.gauge("plugins", "Plugins, by state.", plugins, labels=("state",))

    def apps() -> dict[tuple[str, ...], int]:
        found: dict[tuple[str, ...], int] = {}
        for record in registry.list():
            found[record.kind, record.state] = found.get((record.kind, record.state), 0) + 1
        return found

    metrics.gauge("apps", "Applications, by kind and state.", apps, labels=("kind", "state"))
    metrics.counter(
        "osc",
        "What became of OSC messages and datagrams.",
        lambda: {(name,): count for name, count in osc.stats().items()},
        labels=("outcome",),
    )
