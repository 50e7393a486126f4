"""The composition: floor by floor onto one exit stack; leaving it is the shutdown."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from lightfast import __version__
from lightfast.app import doors, endpoints
from lightfast.app.gauges import measure
from lightfast.app.joints import BeatPort, BridgePort, Brought, LinkAssets, once_loaded
from lightfast.app.lock import Lock
from lightfast.app.notify import Health, Notifier
from lightfast.app.reload import Reloader, join_show
from lightfast.app.settings import Settings, app_tables, plugin_tables, transport_options
from lightfast.app.signals import Signals
from lightfast.app.stages import Stages
from lightfast.context.leases import Leases
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core import log as logging
from lightfast.core.clock import SYSTEM
from lightfast.core.config_load import Loaded
from lightfast.core.metrics import Metrics
from lightfast.core.paths import Paths
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.link_server import LinkServer
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.journal.journal import Journal
from lightfast.engine.links.links import Links
from lightfast.engine.show.show import Show
from lightfast.engine.transport.transport import Transport
from lightfast.gateway.router import Gateway
from lightfast.host.plugins import PluginHost
from lightfast.security.keys import ensure_secret
from lightfast.security.tokens import TokenBook, ensure_first_token
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests
from lightfast.storage.tokens import TokenRows
from lightfast.wire.grpc.services import DaemonInfo, Services

log = structlog.get_logger("lightfast.daemon")


async def serve(loaded: Loaded[Settings], paths: Paths, read: Callable[[], Loaded[Settings]]) -> int:
    """Run until SIGTERM or SIGINT; return 0 when every stage of the stop kept its budget, else 1.

    *read* reads the settings anew, for SIGHUP.
    """
    settings, start_time = loaded.settings, SYSTEM.now_ns()
    async with AsyncExitStack() as stack:
        stages = Stages(stack)

        # ---- alone on this folder, before any bind
        paths.create()
        stack.enter_context(Lock(paths.state / "lock"))
        stack.enter_context(Lock(paths.lock_file))
        endpoints.remove(paths.endpoints_file)  # what a crash left behind would lead into the void
        signals = stack.enter_context(Signals(stages.cut))
        notifier = Notifier()
        stack.callback(notifier.close)
        doors.check_ports(settings)

        # ---- storage
        db = await Database.open(paths.store_file, clock=SYSTEM)
        stages.leave("storage", "database", db.close)
        blobs = await BlobStore.open(paths.assets, db, settings.assets.quota, SYSTEM)
        stages.leave("storage", "blobs", blobs.close)
        requests = Requests(db, SYSTEM)
        await requests.start()
        stages.leave("storage", "requests", requests.close)

        # ---- security
        tokens = await TokenBook.open(TokenRows(db), SYSTEM)
        await ensure_first_token(tokens, paths.token_file, "owner")
        link_key = ensure_secret(paths.link_key_file)

        # ---- context
        bus = Bus(db.store_id)
        store = await Store.open(db, clock=SYSTEM, bus=bus)
        stages.leave("context", "store", store.close)
        leases = Leases(store, db, SYSTEM)
        await leases.start()
        stages.leave("context", "leases", leases.stop)

        # ---- gateway and engine
        tasks = TaskGroup("daemon")
        stages.leave("apps", "tasks", tasks.close)
        show = await Show.open(store, db, SYSTEM, tasks)
        stages.leave("apps", "show", show.close)
        gateway = Gateway(store, blobs, db, SYSTEM, tasks, most=settings.limits.generations)
        gateway.may_write = show.check_ai
        await gateway.start()
        stages.leave("apps", "gateway", gateway.close)
        registry = AppRegistry(store, db, SYSTEM, tasks, blobs, app_tables(settings))
        show.panic.join("apps", registry)  # before it starts: what was stopped stays stopped
        await registry.start()
        stages.leave("apps", "registry", registry.close)
        links = Links(store, db)
        show.panic.join("links", links)
        await links.start()
        stages.leave("apps", "links", links.close)
        recordings = paths.state / "recordings"
        journal = Journal(
            store,
            links,
            SYSTEM,
            recordings,
            max_size=settings.recordings.max_size,
            version=__version__,
            guard=show.guard,
        )
        stages.leave("apps", "journal", journal.close)
        show.panic.join("replays", journal.replays)
        bridge_port = BridgePort(settings.osc.decoder)
        stack.callback(bridge_port.close)
        beat_port = BeatPort(bridge_port, settings.transport.osc_out)
        await beat_port.open()
        transport = Transport(store, registry, SYSTEM, transport_options(settings), beat_port or None)
        show.panic.join("transport", transport)
        await transport.start()
        stages.leave("apps", "transport", transport.close)
        bridges = BridgeRunner(registry, bridge_port, clock=SYSTEM, folder=paths.config)
        stages.leave("apps", "bridges", bridges.close)
        host = PluginHost(
            plugin_tables(settings),
            paths.dropins,
            paths.state / "plugins.json",
            sink=Brought(gateway, bridges, tasks),
            clock=SYSTEM,
        )
        stages.leave("apps", "plugins", host.close)
        gateway.settled, gateway.plugins = host.settled, host.records
        registry.kinds.settled = host.settled

        # ---- wires
        link_server = LinkServer(
            registry,
            position=lambda: (store.store_id, store.revision),
            tasks=tasks,
            clock=SYSTEM,
            key=link_key,
            assets=LinkAssets(blobs),
        )
        health = Health(notifier, db.check, lag_limit_s=settings.daemon.lag_limit_s)
        metrics = Metrics()
        found: dict[str, str | int] = {
            "pid": os.getpid(),
            "store_id": store.store_id,
            "token_file": str(paths.token_file),
            "link_key_file": str(paths.link_key_file),
        }
        reloader = Reloader(loaded, read, notifier)
        join_show(show, host, reloader)

        def info() -> DaemonInfo:
            bound = {key: str(value) for key, value in found.items()}
            return DaemonInfo(__version__, os.getpid(), start_time, bound, health.lag_s, str(paths.state))

        services = Services(
            store=store,
            leases=leases,
            blobs=blobs,
            registry=registry,
            links=links,
            gateway=gateway,
            host=host,
            tokens=tokens,
            requests=requests,
            info=info,
            config=lambda: reloader.loaded.rows,
            errors=logging.errors.newest,
            show=show,
            journal=journal,
            transport=transport,
        )
        bound, calls = await doors.open_grpc(stages, settings, paths, services)
        found |= bound
        found |= await doors.open_zmq(stages, settings, paths, link_server, bus)
        found |= await doors.open_tcp(stages, settings, link_server)
        osc = doors.OscKeeper(store)
        found |= await osc.open(settings.osc)
        stages.leave("wires", "osc", osc.stop)
        http = doors.open_http(stages, settings, tokens, metrics, health, found)
        oscquery = await doors.open_oscquery(stages, settings, store, bus, found)
        measure(
            metrics,
            store=store,
            bus=bus,
            blobs=blobs,
            registry=registry,
            links=links,
            gateway=gateway,
            host=host,
            link_server=link_server,
            calls=calls,
            health=health,
            osc=osc,
        )

        # ---- open
        endpoints.write(paths.endpoints_file, found, shared=paths.shared)
        stack.callback(endpoints.remove, paths.endpoints_file)
        log.info("ready", version=__version__, **{key: value for key, value in found.items() if value})
        notifier.ready("serving")
        tasks.start(health.run(), "health")
        reloader.follow("osc", osc.follow)
        reloader.follow("plugins", lambda fresh: host.reconfigure(plugin_tables(fresh)))
        tasks.start(reloader.run(signals.reload), "reload")
        if http is not None:
            tasks.start(http.serve(), "http")
        if oscquery is not None:
            tasks.start(oscquery.serve(), "oscquery")
        await host.start()
        tasks.start(once_loaded(host, transport), "timelines")
        gc.collect()
        gc.freeze()  # what the start made stays; no collection need look at it again
        gc.enable()
        await signals.stop.wait()
        log.info("stopping")
        notifier.stopping()
    log.info("stopped", clean=stages.clean)
    return 0 if stages.clean else 1
