"""The small joints between floors: what one floor asks for through a port, and another has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from lightfast.app.layers import Layers
from lightfast.app.memory_settings import ArchiveSettings
from lightfast.app.settings import Settings
from lightfast.context.flow.processors import Processors
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.store import MemoryStore
from lightfast.context.store import Store
from lightfast.context.tiers.tiers import TierOptions
from lightfast.core.clock import SYSTEM
from lightfast.core.config import is_loopback, split_address
from lightfast.core.heap import give_back_memory
from lightfast.core.tasks import TaskGroup
from lightfast.core.tokens import TokenCounter
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.transport.transport import Transport
from lightfast.gateway.router import Gateway
from lightfast.host.plugins import PluginHost
from lightfast.sdk import (
    Bridge,
    Embedder,
    JobType,
    Model,
    Operation,
    OscMessage,
    OscSender,
    OscServer,
    Peer,
    Provider,
)
from lightfast.storage.archive.records import Options
from lightfast.storage.blobs import AssetRecord, BlobStore, Provenance
from lightfast_link.value import Asset

if TYPE_CHECKING:
    from lightfast.app.answer_joints import ProviderEmbedders
    from lightfast.context.views.views import Views
    from lightfast.wire.osc.port import OscPort


class LinkAssets:
    """Where assets that travel over a link are kept: the blob store."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    async def put(self, name: str, media_type: str, chunks: AsyncIterator[bytes], origin: str) -> Asset:
        """Store the chunks; nothing is kept when they break off."""
        writer = self._blobs.writer(media_type, name, Provenance(origin=origin))
        try:
            async for chunk in chunks:
                await writer.write(chunk)
            record = await writer.commit()
        except BaseException:
            await writer.abort()
            raise
        return _asset(record)

    async def get(self, sha256: str) -> tuple[Asset, AsyncIterator[bytes]]:
        """Return an asset and its bytes in chunks."""
        record = await self._blobs.get(sha256)
        return _asset(record), self._blobs.read(sha256, 0, record.size)


def _asset(record: AssetRecord) -> Asset:
    return Asset(record.uri, record.media_type, record.sha256, record.size)


class BridgePort:
    """Opens OSC sockets for bridges; the library for it is loaded by the first that asks."""

    def __init__(self, decoder: str) -> None:
        self._decoder = decoder
        self._port: OscPort | None = None

    async def open(
        self, remote: tuple[str, int], local: tuple[str, int], receive: Callable[[list[OscMessage]], None]
    ) -> OscSender:
        """Open a UDP socket bound to *local* that sends to *remote*."""
        return await self._loaded().open_osc(remote, local, receive)

    async def serve(
        self, local: tuple[str, int], receive: Callable[[list[tuple[Peer, list[OscMessage]]]], None]
    ) -> OscServer:
        """Open a UDP socket bound to *local* that answers whoever asked."""
        return await self._loaded().serve_osc(local, receive)

    def _loaded(self) -> OscPort:
        if self._port is None:
            from lightfast.wire.osc.port import OscPort

            self._port = OscPort(self._decoder)
        return self._port

    def close(self) -> None:
        """Close what bridges left open."""
        if self._port is not None:
            self._port.close()


class BeatPort:
    """Sends the transport's beat by OSC to those who are listed; implements `engine.transport.beats.BeatOut`."""

    def __init__(self, port: BridgePort, targets: Sequence[str]) -> None:
        self._port = port
        self._targets = targets
        self._senders: list[OscSender] = []

    def __bool__(self) -> bool:
        """Say whether anybody is listed."""
        return bool(self._targets)

    async def open(self) -> None:
        """Open a socket for each target; what comes back is left unread. It is closed with the port."""
        for target in self._targets:
            host, port = split_address(target)
            self._senders.append(await self._port.open((host, port), (_local(host), 0), lambda _: None))

    def send(self, address: str, *arguments: Any) -> None:
        """Send one message to all."""
        for sender in self._senders:
            sender.send(address, *arguments)


def _local(host: str) -> str:
    """Return the address that a socket to *host* is bound to; it takes nothing but from there."""
    if is_loopback(host):
        return "::1" if ":" in host else "127.0.0.1"
    return "::" if ":" in host else "0.0.0.0"  # noqa: S104


class Brought:
    """Takes what plugins bring to the floors above the host: implements `host.records.PluginSink`."""

    def __init__(
        self,
        gateway: Gateway,
        bridges: BridgeRunner,
        embedders: EmbedderBook,
        tasks: TaskGroup,
        remote: ProviderEmbedders | None = None,
        work: WorkSink | None = None,
    ) -> None:
        """*remote* makes an embedder of a provider's model, where the settings ask for it.

        *work* takes operations and types of jobs.
        """
        self._work = work
        self._remote = remote
        self._gateway = gateway
        self._bridges = bridges
        self._embedders = embedders
        self._tasks = tasks
        self._leaving: dict[str, asyncio.Task[None]] = {}

    def provider_added(self, plugin: str, provider: Provider, models: Sequence[Model]) -> None:
        """Offer a provider's models."""
        self._gateway.register(provider, plugin, models)
        if self._remote is not None:
            self._remote.arrived(provider)

    def provider_removed(self, plugin: str, provider: Provider) -> None:
        """Offer them no more; the gateway closes the provider when it is idle."""
        if self._remote is not None:
            self._remote.left(provider)
        self._gateway.unregister(provider)

    def bridge_added(self, plugin: str, bridge: Bridge, config: Mapping[str, Any]) -> None:
        """Run a bridge; one of the same kind that is still leaving goes first."""
        leaving = self._leaving.get(bridge.kind)
        if leaving is None:
            self._bridges.add(bridge, config)
            return

        async def follow() -> None:
            await asyncio.wait([leaving])
            self._bridges.add(bridge, config)

        self._tasks.start(follow(), f"replace bridge {bridge.kind}")

    def bridge_removed(self, plugin: str, bridge: Bridge) -> None:
        """Stop a bridge."""
        kind = bridge.kind

        async def leave() -> None:
            try:
                await self._bridges.remove(kind)
            finally:
                self._leaving.pop(kind, None)

        self._leaving[kind] = self._tasks.start(leave(), f"remove bridge {kind}")

    def embedder_added(self, plugin: str, embedder: Embedder) -> None:
        """Offer an embedder."""
        self._embedders.register(embedder, plugin)

    def embedder_removed(self, plugin: str, embedder: Embedder) -> None:
        """Offer it no more; the book closes it when it is idle."""
        self._embedders.unregister(embedder)

    def operation_added(self, plugin: str, operation: Operation) -> None:
        """Offer an operation to programs."""
        if self._work is not None:
            self._work.add_operation(plugin, operation)

    def operation_removed(self, plugin: str, operation: Operation) -> None:
        """Start it no more."""
        if self._work is not None:
            self._work.remove_operation(plugin, operation)

    def job_type_added(self, plugin: str, job_type: JobType) -> None:
        """Offer a type of jobs."""
        if self._work is not None:
            self._work.add_job_type(plugin, job_type)

    def job_type_removed(self, plugin: str, job_type: JobType) -> None:
        """Start no more jobs of this type."""
        if self._work is not None:
            self._work.remove_job_type(plugin, job_type)


class WorkSink(Protocol):
    """Takes the operations and the types of jobs that plugins bring."""

    def add_operation(self, plugin: str, operation: Operation) -> None:
        """Offer an operation; raises `AlreadyExists` where the name is taken."""

    def remove_operation(self, plugin: str, operation: Operation) -> None:
        """Start it no more."""

    def add_job_type(self, plugin: str, job_type: JobType) -> None:
        """Offer a type of jobs; raises `AlreadyExists` where the name is taken."""

    def remove_job_type(self, plugin: str, job_type: JobType) -> None:
        """Start no more jobs of this type."""


def archive_options(settings: ArchiveSettings) -> Options:
    """Return the options of the archive: the settings of the same names."""
    return Options(**{name: getattr(settings, name) for name in Options.__struct_fields__})


def tier_options(settings: Settings) -> TierOptions:
    """Return what `[history]`, `[cache]` and `[archive]` say about where history lies."""
    return TierOptions(
        keep_days=settings.history.keep_days,
        quota=settings.history.quota,
        archive_quota=settings.archive.quota,
        cache_size=settings.cache.history,
        prefetch=settings.cache.prefetch,
    )


async def once_loaded(host: PluginHost, transport: Transport, embedders: EmbedderBook, layers: Layers) -> None:
    """Let the transport look again when all kinds are known, say if an embedder is missing, and start the layers.

    Then the memory that the start has freed goes back to the system.
    """
    await host.settled()
    transport.refresh()
    embedders.check()
    await layers.start(embedders)
    give_back_memory()


def view_builder(
    store: Store,
    registry: AppRegistry,
    memory: MemoryStore,
    processors: Processors,
    counters: Callable[[str], TokenCounter] | None = None,
) -> Callable[[], Views]:
    """Return what returns what builds views, counting by *counters*; it is loaded and made by the first that asks."""

    @cache
    def made() -> Views:
        from lightfast.app.view_joints import DialectBook, recall_for_views
        from lightfast.context.views.views import Views

        views = Views(store, SYSTEM, DialectBook(registry), recall_for_views(memory), counters)
        views.offload = processors.text.run
        return views

    return made
