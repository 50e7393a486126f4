"""The small joints between floors: what one floor asks for through a port, and another has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightfast.core.config import is_loopback, split_address
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.transport.transport import Transport
from lightfast.gateway.router import Gateway
from lightfast.host.plugins import PluginHost
from lightfast.sdk import Bridge, Model, OscMessage, OscSender, OscServer, Peer, Provider
from lightfast.storage.blobs import AssetRecord, BlobStore, Provenance
from lightfast_link.value import Asset

if TYPE_CHECKING:
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

    def __init__(self, gateway: Gateway, bridges: BridgeRunner, tasks: TaskGroup) -> None:
        self._gateway = gateway
        self._bridges = bridges
        self._tasks = tasks
        self._leaving: dict[str, asyncio.Task[None]] = {}

    def provider_added(self, plugin: str, provider: Provider, models: Sequence[Model]) -> None:
        """Offer a provider's models."""
        self._gateway.register(provider, plugin, models)

    def provider_removed(self, plugin: str, provider: Provider) -> None:
        """Offer them no more; the gateway closes the provider when it is idle."""
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


async def once_loaded(host: PluginHost, transport: Transport) -> None:
    """Let the transport look again when all kinds are known: the daemon is ready before that."""
    await host.settled()
    transport.refresh()
