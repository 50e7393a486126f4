"""The composition: floor by floor onto one exit stack; leaving it is the shutdown."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from contextlib import AsyncExitStack

import structlog

from lightfast import __version__
from lightfast.app import doors, endpoints
from lightfast.app.answer_joints import ProviderEmbedders, join_answers, measure_answers
from lightfast.app.cost_joints import book_leftovers, join_costs
from lightfast.app.gateway_following import follow_gateway
from lightfast.app.gauges import measure
from lightfast.app.gauges_engine import measure_engine
from lightfast.app.gauges_flow import measure_flow
from lightfast.app.gauges_gateway import measure_gateway
from lightfast.app.gauges_memory import measure_rooms
from lightfast.app.gauges_routing import measure_routing
from lightfast.app.joints import (
    BeatPort,
    BridgePort,
    Brought,
    LinkAssets,
    archive_options,
    once_loaded,
    tier_options,
    view_builder,
)
from lightfast.app.keeping import Keeping, join_vault
from lightfast.app.layers import Layers
from lightfast.app.lock import Lock
from lightfast.app.meta import Work, begin, join_meta, mirror_folder
from lightfast.app.notify import Health, Notifier
from lightfast.app.reload import Reloader, join_show
from lightfast.app.routing_joints import check_aliases, join_accounts, join_routing, join_views
from lightfast.app.session_joints import join_sessions
from lightfast.app.settings import Settings, app_tables, plugin_tables, transport_options
from lightfast.app.signals import Signals
from lightfast.app.stages import Stages
from lightfast.context.flow.flow import Flow
from lightfast.context.flow.media import Media
from lightfast.context.flow.processors import Processors
from lightfast.context.flow.statistics import Statistics
from lightfast.context.leases import Leases
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.store import MemoryStore
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core import log as logging
from lightfast.core.clock import SYSTEM
from lightfast.core.config_load import Loaded
from lightfast.core.heap import settle_heap
from lightfast.core.metrics import Metrics
from lightfast.core.paths import Paths
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.link_server import LinkServer
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.journal.journal import Journal
from lightfast.engine.links.links import Links
from lightfast.engine.scenes.recalls import Recalls
from lightfast.engine.show.show import Show
from lightfast.engine.transport.transport import Transport
from lightfast.gateway.router import Gateway
from lightfast.host.plugins import PluginHost
from lightfast.security.keys import ensure_secret
from lightfast.security.sealing.vault import Vault
from lightfast.security.tokens import TokenBook, ensure_first_token
from lightfast.storage.archive.archive import Archive
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
        vault = Vault(paths.archive, SYSTEM)
        stages.leave("storage", "vault", vault.close)
        archive = await Archive.open(
            paths.archive, options=archive_options(settings.archive), clock=SYSTEM, sealer=vault.seals
        )
        join_vault(vault, archive)
        stages.leave("storage", "archive", archive.close)
        requests = Requests(db, SYSTEM)
        await requests.start()
        stages.leave("storage", "requests", requests.close)

        # ---- security
        tokens = await TokenBook.open(TokenRows(db), SYSTEM)
        await ensure_first_token(tokens, paths.token_file, "owner")
        link_key = ensure_secret(paths.link_key_file)

        # ---- context
        flow = Flow(target=settings.flow.target_ms / 1000, floor=min(1.0, settings.flow.floor))
        processors = Processors()
        stages.leave("context", "processors", processors.close)
        bus = Bus(db.store_id)
        store = await Store.open(
            db, clock=SYSTEM, bus=bus, cache_size=settings.cache.size, archive=archive, tiers=tier_options(settings)
        )
        stages.leave("context", "store", store.close)
        store.use(processors.structure.run)
        store.tiers.demoter.turn = lambda: flow.background(name="demotion")
        media = Media(db, blobs, processors.media, flow)
        stages.leave("context", "media", media.close)
        media.start()
        statistics = Statistics(store, processors.numeric, flow)
        stages.leave("context", "statistics", statistics.close)
        statistics.start()
        leases = Leases(store, db, SYSTEM)
        await leases.start(hold=True)
        stages.leave("context", "leases", leases.stop)

        embedders = EmbedderBook(settings.memory.embedder, settings.archive.embedding_cache_size)
        stages.leave("context", "embedders", embedders.close)
        memory = await MemoryStore.open(
            db, requests, embedders, clock=SYSTEM, archive=archive, revision=lambda: store.revision
        )
        stages.leave("context", "memory", memory.close)

        # ---- gateway and engine
        tasks = TaskGroup("daemon")
        stages.leave("apps", "tasks", tasks.close)
        show = await Show.open(store, db, SYSTEM, tasks)
        stages.leave("apps", "show", show.close)
        gateway = Gateway(store, blobs, db, SYSTEM, tasks, most=settings.limits.generations)
        gateway.may_write = show.check_ai
        routing, prompts = join_routing(gateway, settings.gateway, db, SYSTEM)
        stages.leave("apps", "prompts", prompts.close)
        sessions = await join_sessions(gateway, settings, paths, db, SYSTEM)
        stages.leave("apps", "sessions", sessions.close)
        accounts = await join_costs(gateway, settings, db, SYSTEM, tasks)
        stages.leave("apps", "costs", accounts.costs.close)
        answers, vectors = join_answers(gateway, settings.gateway, db, blobs, SYSTEM)
        stages.leave("apps", "answers", answers.close)
        await gateway.start()
        stages.leave("apps", "gateway", gateway.close)
        await book_leftovers(gateway, accounts.costs)
        layers = Layers(archive, settings.archive, gateway)
        layers.turn = lambda: flow.background(name="layers")
        stages.leave("apps", "layers", layers.close)
        registry = AppRegistry(store, db, SYSTEM, tasks, blobs, app_tables(settings))
        show.panic.join("apps", registry)  # before it starts: what was stopped stays stopped
        await registry.start()
        stages.leave("apps", "registry", registry.close)
        links = Links(store, db)
        show.panic.join("links", links)
        await links.start()
        stages.leave("apps", "links", links.close)
        scenes = Scenes(store, db, SYSTEM)
        recalls = Recalls(store, scenes, registry, links, SYSTEM)
        stages.leave("apps", "recalls", recalls.close)
        show.panic.join("recalls", recalls)
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
        keeping = Keeping(
            db,
            store,
            blobs,
            archive,
            memory,
            scenes,
            journal,
            vault,
            paths,
            gateway.forget,
            keep=settings.backups.keep,
            collecting=settings.collector,
            tasks=tasks,
            show=show,
            score=layers.rating,
            background=lambda: flow.background(name="collector"),
            answers=answers,
            vectors=vectors,
            mirror=mirror_folder(settings),
            servers=settings.memory.servers,
        )
        stages.leave("apps", "keeping", keeping.close)
        await keeping.start()
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
        views = view_builder(store, registry, memory, processors, prompts.counter)

        async def loaded_plugins() -> None:
            await host.settled()

        meta = await join_meta(
            stages,
            settings,
            paths,
            now=lambda: reloader.loaded.settings,
            settled=loaded_plugins,
            db=db,
            store=store,
            blobs=blobs,
            requests=requests,
            gateway=gateway,
            costs=accounts.costs,
            registry=registry,
            scenes=scenes,
            recalls=recalls,
            transport=transport,
            memory=memory,
            views=views,
            show=show,
            tokens=tokens,
        )
        keeping.meta, keeping.failures = meta, accounts.failures
        work = Work(meta.operations, meta.jobs)
        host = PluginHost(
            plugin_tables(settings),
            paths.dropins,
            paths.state / "plugins.json",
            sink=Brought(gateway, bridges, embedders, tasks, ProviderEmbedders(gateway, embedders, tasks), work),
            clock=SYSTEM,
        )
        stages.leave("apps", "plugins", host.close)
        gateway.settled, gateway.plugins = host.settled, host.records
        routing.settled = host.settled
        registry.kinds.settled = host.settled

        join_views(prompts, views)
        join_accounts(gateway, routing, prompts)

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
        found: dict[str, str | int] = {"pid": os.getpid(), "store_id": store.store_id}
        found |= {"token_file": str(paths.token_file), "link_key_file": str(paths.link_key_file)}
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
            flow=flow,
            media=media,
            costs=accounts.costs,
            failures=accounts.failures,
            scenes=scenes,
            recalls=recalls,
            archive=archive,
            layers=layers,
            memory=memory,
            vault=vault,
            purger=keeping.purger,
            backups=keeping.backups,
            collector=keeping.collector,
            views=views,
            meta=meta,
        )
        bound, calls = await doors.open_grpc(stages, settings, paths, services)
        found |= bound
        found |= await doors.open_zmq(stages, settings, paths, link_server, bus)
        found |= await doors.open_tcp(stages, settings, link_server)
        osc = doors.OscKeeper(store)
        found |= await osc.open(settings.osc)
        stages.leave("wires", "osc", osc.stop)
        http = doors.open_http(stages, settings, tokens, metrics, health, found, store=store, events=meta.events)
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
        measure_flow(metrics, flow, processors, store.cache)
        measure_gateway(metrics, tally=accounts.tally, costs=accounts.costs, failures=accounts.failures)
        measure_routing(metrics, routing, prompts)
        measure_engine(metrics, meta, db, lambda: 0 if http is None else http.streams_open)
        measure_answers(metrics, gateway, answers)
        measure_rooms(
            metrics,
            archive=archive,
            vault=vault,
            embedders=embedders,
            collector=lambda: keeping.made_collector,
            layers=layers,
            recalls=recalls,
        )

        # ---- open
        endpoints.write(paths.endpoints_file, found, shared=paths.shared)
        stack.callback(endpoints.remove, paths.endpoints_file)
        leases.begin()  # who holds one can keep it only now
        log.info("ready", version=__version__, **{key: value for key, value in found.items() if value})
        notifier.ready("serving")
        tasks.start(health.run(), "health")
        store.tiers.start()
        if settings.recordings.pack_days:
            packing = journal.keep_packed(settings.recordings.pack_days, settings.recordings.pack_hz)
            tasks.start(packing, "packing")
        reloader.follow("osc", osc.follow)
        follow_gateway(reloader, sessions, accounts.prices, routing)
        reloader.follow("plugins", lambda fresh: host.reconfigure(plugin_tables(fresh)))
        tasks.start(reloader.run(signals.reload), "reload")
        tasks.start(vault.unlock_from_credential(os.environ.get("CREDENTIALS_DIRECTORY", "")), "unlock")
        if http is not None:
            tasks.start(http.serve(), "http")
        if oscquery is not None:
            tasks.start(oscquery.serve(), "oscquery")
        late = stages.group("late")
        await begin(meta, late)
        await host.start()
        late.start(once_loaded(host, transport, embedders, layers), "timelines")
        late.start(check_aliases(host, routing), "aliases")
        gc.collect()
        gc.freeze()  # what the start made stays; no collection need look at it again
        gc.enable()
        tasks.start(settle_heap(), "heap")
        await signals.stop.wait()
        log.info("stopping")
        notifier.stopping()
    log.info("stopped", clean=stages.clean)
    return 0 if stages.clean else 1
