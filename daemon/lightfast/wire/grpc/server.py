"""The gRPC door: one server on a Unix socket and a TCP address."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog
from grpc import ServerCredentials, aio

from lightfast.core.errors import FailedPrecondition
from lightfast.core.tasks import TaskGroup
from lightfast.wire.grpc import bind
from lightfast.wire.grpc.admin import AdminService
from lightfast.wire.grpc.apps import AppService
from lightfast.wire.grpc.assets import AssetService
from lightfast.wire.grpc.context import ContextService
from lightfast.wire.grpc.desk import DeskService
from lightfast.wire.grpc.engine import EngineService
from lightfast.wire.grpc.events import EventService
from lightfast.wire.grpc.generation import GenerationService
from lightfast.wire.grpc.health import HealthService, ReflectionService
from lightfast.wire.grpc.interceptors import MAX_STREAMS, MAX_UNARY, UNARY_DEADLINE, Door
from lightfast.wire.grpc.jobs import JobService
from lightfast.wire.grpc.links import LinkService
from lightfast.wire.grpc.memory_service import MemoryService
from lightfast.wire.grpc.services import Services
from lightfast.wire.grpc.show import ShowService
from lightfast.wire.grpc.table import MethodTable
from lightfast.wire.grpc.transport import TransportService
from lightfast.wire.grpc.workspaces import WorkspaceService

log = structlog.get_logger("lightfast.grpc")

OPTIONS = (
    # Two servers on one port would share it in silence.
    ("grpc.so_reuseport", 0),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_receive_message_length", 4 << 20),
    # A batch never ends inside a transaction, and the move of a large subtree is one.
    ("grpc.max_send_message_length", 64 << 20),
    ("grpc.max_metadata_size", 16 << 10),
)
SWEEP_INTERVAL = 1.0


class GrpcServer:
    """Serves every service of the contract, health and reflection."""

    def __init__(
        self,
        services: Services,
        *,
        max_unary: int = MAX_UNARY,
        max_streams: int = MAX_STREAMS,
        unary_deadline: float = UNARY_DEADLINE,
    ) -> None:
        """*unary_deadline* in seconds holds for calls that bring none of their own."""
        self.door = Door(
            services.tokens,
            services.requests,
            max_unary=max_unary,
            max_streams=max_streams,
            unary_deadline=unary_deadline,
            flow=services.flow,
        )
        self._services = services
        self._tasks = TaskGroup("grpc")
        self._unary_deadline = unary_deadline
        self._server: aio.Server | None = None
        self._health: HealthService | None = None
        self._unix: bind.UnixSocket | None = None

    async def start(
        self,
        listen_tcp: str,
        unix_path: Path | None,
        *,
        credentials: ServerCredentials | None = None,
        group: str = "",
    ) -> dict[str, str]:
        """Bind and serve; return the bound addresses under `grpc` and `grpc_unix`.

        An empty *listen_tcp*, or no *unix_path*, leaves that one out. *credentials* are needed off
        loopback; a *group* may use the Unix socket, otherwise only its owner. Raises
        `FailedPrecondition` for an address that cannot be used.
        """
        self._health = HealthService()
        server = aio.server(options=OPTIONS)
        self._server = server
        server.add_generic_rpc_handlers((self._table(self._health),))
        found: dict[str, str] = {}
        if listen_tcp:
            found["grpc"] = bind.bind_tcp(server, listen_tcp, credentials)
        if unix_path is not None:
            self._unix = bind.UnixSocket(unix_path)
            found["grpc_unix"] = str(self._unix.bind(server, group))
        if not found:
            raise FailedPrecondition("gRPC has no address to listen on: set grpc.listen, or a runtime folder")
        await server.start()
        self._tasks.start(self._sweep(), "sweep")
        log.info("listening", **found)
        return found

    def _table(self, health: HealthService) -> MethodTable:
        services = self._services
        table = MethodTable(
            self.door,
            (
                ContextService(services),
                AssetService(services),
                AppService(services),
                LinkService(services),
                TransportService(services),
                GenerationService(services),
                AdminService(services),
                ShowService(services),
                MemoryService(services),
                EngineService(services),
                EventService(services),
                DeskService(services),
                JobService(services),
                WorkspaceService(services),
                health,
            ),
            services.show.guard.check,
        )
        health.names = tuple(table.names)
        reflection = ReflectionService((*table.names, ReflectionService.DESCRIPTOR.full_name))
        table.add(reflection)
        # Newer tools ask by this name; the messages are the same.
        table.add(reflection, name="grpc.reflection.v1.ServerReflection")
        return table

    async def stop(self, grace: float = 5.0) -> None:
        """Say NOT_SERVING, end what has no end of its own, so that it comes back later, and give calls *grace* s."""
        if self._server is None:
            return
        if self._health is not None:
            self._health.drain()
        self._services.bus.close()
        if self._services.meta is not None:
            self._services.meta.events.send_away()
            self._services.meta.runs.send_away()
        self.door.send_away()
        await self._server.stop(grace)
        await self._tasks.close()
        if self._unix is not None:
            self._unix.remove()
        self._server = None

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(min(SWEEP_INTERVAL, self._unary_deadline))
            self.door.sweep()
