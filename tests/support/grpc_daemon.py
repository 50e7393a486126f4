"""The rooms of a daemon in the test's own loop, behind a real gRPC server on real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

from lightfast.api.v1 import types_pb2
from lightfast.api.v1.admin_pb2_grpc import AdminServiceStub
from lightfast.api.v1.apps_pb2_grpc import AppServiceStub
from lightfast.api.v1.assets_pb2_grpc import AssetServiceStub
from lightfast.api.v1.context_pb2_grpc import ContextServiceStub
from lightfast.api.v1.generation_pb2_grpc import GenerationServiceStub
from lightfast.api.v1.links_pb2_grpc import LinkServiceStub
from lightfast.api.v1.memory_pb2_grpc import MemoryServiceStub
from lightfast.api.v1.show_pb2_grpc import ShowServiceStub
from lightfast.api.v1.transport_pb2_grpc import TransportServiceStub
from lightfast.context.flow.flow import Flow
from lightfast.context.flow.media import Media
from lightfast.context.flow.processors import Processors
from lightfast.context.leases import Leases
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.store import MemoryStore
from lightfast.context.scenes.scenes import Scenes
from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.core.config import Row
from lightfast.core.ring import ErrorRing
from lightfast.core.tasks import TaskGroup
from lightfast.engine.apps.registry import AppRegistry
from lightfast.engine.journal.journal import Journal
from lightfast.engine.links.links import Links
from lightfast.engine.scenes.recalls import Recalls
from lightfast.engine.show.show import Show
from lightfast.engine.transport.transport import Transport
from lightfast.gateway.router import Gateway
from lightfast.host.plugins import PluginHost
from lightfast.security.tokens import LOCAL, Scope, TokenBook
from lightfast.storage.blobs import BlobStore
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests
from lightfast.storage.tokens import TokenRows
from lightfast.wire.grpc.server import GrpcServer
from lightfast.wire.grpc.services import DaemonInfo, Services

STUBS: dict[str, Any] = {
    "context": ContextServiceStub,
    "assets": AssetServiceStub,
    "apps": AppServiceStub,
    "links": LinkServiceStub,
    "memory": MemoryServiceStub,
    "transport": TransportServiceStub,
    "generation": GenerationServiceStub,
    "admin": AdminServiceStub,
    "show": ShowServiceStub,
}


@dataclass
class Daemon:
    """The running rooms, and how to reach them."""

    services: Services
    server: GrpcServer
    addresses: dict[str, str]
    stack: AsyncExitStack
    errors: ErrorRing

    @property
    def store(self) -> Store:
        return self.services.store

    async def token(self, name: str, *scopes: str) -> str:
        _, secret = await self.services.tokens.issue(name, [Scope(scope) for scope in scopes], None, LOCAL)
        return secret

    async def channel(self, key: str = "grpc_unix", **options: int) -> Any:
        """Open a channel to the Unix socket, or with `grpc` to the TCP port; it is closed with the daemon."""
        address = self.addresses[key]
        pairs = [("grpc.use_local_subchannel_pool", 1), *((f"grpc.{name}", value) for name, value in options.items())]
        channel = aio.insecure_channel(f"unix:{address}" if key == "grpc_unix" else address, options=pairs)
        self.stack.push_async_callback(channel.close)
        return channel

    async def stub(self, name: str = "context") -> Any:
        """Open a stub of one service on the Unix socket."""
        return STUBS[name](await self.channel())


@asynccontextmanager
async def running(
    folder: Path,
    *,
    tcp: str = "127.0.0.1:0",
    bookmark_interval: float = 5.0,
    with_transport: bool = False,
    with_media: bool = False,
    **bounds: Any,
) -> AsyncIterator[Daemon]:
    """Run everything below *folder*."""
    async with AsyncExitStack() as stack:
        db = await Database.open(folder / "store.db", clock=SYSTEM)
        stack.push_async_callback(db.close)
        blobs = await BlobStore.open(folder / "assets", db, 64 << 20, SYSTEM)
        stack.push_async_callback(blobs.close)
        requests = Requests(db, SYSTEM)
        await requests.start()
        stack.push_async_callback(requests.close)
        tokens = await TokenBook.open(TokenRows(db), SYSTEM)
        store = await Store.open(db, clock=SYSTEM, bus=Bus(db.store_id, bookmark_interval=bookmark_interval))
        stack.push_async_callback(store.close)
        flow, processors = Flow(), Processors()
        stack.push_async_callback(processors.close)
        media = Media(db, blobs, processors.media, flow)
        stack.push_async_callback(media.close)
        if with_media:  # it shows what assets are like, and others compare them
            media.start()
        leases = Leases(store, db, SYSTEM)
        await leases.start()
        stack.push_async_callback(leases.stop)
        tasks = TaskGroup("test")
        stack.push_async_callback(tasks.close)
        gateway = Gateway(store, blobs, db, SYSTEM, tasks)
        await gateway.start()
        stack.push_async_callback(gateway.close)
        registry = AppRegistry(store, db, SYSTEM, tasks, blobs)
        await registry.start()
        stack.push_async_callback(registry.close)
        links = Links(store, db)
        await links.start()
        stack.push_async_callback(links.close)
        transport = None
        if with_transport:  # it writes what it shows, and others count revisions
            transport = Transport(store, registry, SYSTEM)
            await transport.start()
            stack.push_async_callback(transport.close)
        embedders = EmbedderBook()
        stack.push_async_callback(embedders.close)
        memory = await MemoryStore.open(db, requests, embedders, revision=lambda: store.revision)
        stack.push_async_callback(memory.close)
        show = await Show.open(store, db, SYSTEM, tasks)
        stack.push_async_callback(show.close)
        gateway.may_write = show.check_ai
        scenes = Scenes(store, db, SYSTEM)
        recalls = Recalls(store, scenes, registry, links, SYSTEM)
        stack.push_async_callback(recalls.close)
        journal = Journal(store, links, SYSTEM, folder / "recordings")
        stack.push_async_callback(journal.close)
        for name, room in (("apps", registry), ("links", links), ("recalls", recalls), ("replays", journal.replays)):
            show.panic.join(name, room)
        host = PluginHost({}, folder / "plugins", folder / "plugins.json")
        errors = ErrorRing(100)
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
            info=lambda: DaemonInfo("0.0.test", 42, 1_800_000_000_000_000_000, {"grpc": "here"}, 0.001, str(folder)),
            config=lambda: [
                Row("grpc.listen", '"127.0.0.1:0"', "flag", "Where gRPC listens."),
                Row("ai.key", '"sk-123"', "file", "A secret.", secret=True),
            ],
            errors=errors.newest,
            flow=flow,
            media=media if with_media else None,
            transport=transport,
            memory=memory,
            scenes=scenes,
            recalls=recalls,
            show=show,
            journal=journal,
        )
        server = GrpcServer(services, **bounds)
        found = await server.start(tcp, folder / "grpc.sock")
        stack.push_async_callback(server.stop, 0.5)
        yield Daemon(services, server, found, stack, errors)


@dataclass
class Refusal:
    """A failed call, taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: dict[str, str]
    retry_after: float | None
    fields: list[str]
    entries: list[types_pb2.Entry]


async def refused(call: Awaitable[Any]) -> Refusal:
    """Await *call*, which must fail, and take its error apart."""
    try:
        answer = await call
    except aio.AioRpcError as error:
        return refusal(error)
    raise AssertionError(f"it was not refused: {answer}")


def refusal(error: aio.AioRpcError) -> Refusal:
    """Take the details of *error* apart."""
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            status.ParseFromString(value)
    if status.code:  # a failure of the transport has none
        assert status.code == error.code().value[0]
        assert status.message == error.details()
    found = Refusal(error.code(), error.details() or "", "", "", {}, None, [], [])
    info, retry, bad = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        if detail.Unpack(info):
            found.reason, found.domain, found.metadata = info.reason, info.domain, dict(info.metadata)
        elif detail.Unpack(retry):
            found.retry_after = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        elif detail.Unpack(bad):
            found.fields = [violation.field for violation in bad.field_violations]
        else:
            entry = types_pb2.Entry()
            assert detail.Unpack(entry), detail.type_url
            found.entries.append(entry)
    return found
