"""The standard services: health, whose `Check` alone is open to everybody, and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer

from lightfast.core.errors import NotFound
from lightfast.security.tokens import Scope
from lightfast.wire.grpc.services import WATCH, Caller


class HealthService:
    """`grpc.health.v1.Health`: SERVING until the server drains."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = health_pb2.DESCRIPTOR.services_by_name["Health"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {"Check": None, "Watch": WATCH, "List": WATCH}
    ONCE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self.names: Sequence[str] = ()
        self._serving = True
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Say NOT_SERVING from now on."""
        self._serving = False
        self._changed.set()

    async def Check(self, request: Any, caller: Caller) -> Any:
        """Say whether a service, or with an empty name the server, serves."""
        if request.service and request.service not in self.names:
            raise NotFound(f"there is no service {request.service!r}", reason="SERVICE_UNKNOWN")
        return self._response(request.service)

    async def Watch(self, request: Any, caller: Caller) -> AsyncGenerator[Any, None]:
        """Say it now and when it changes, which is once."""
        yield self._response(request.service)
        await self._changed.wait()
        yield self._response(request.service)

    async def List(self, request: Any, caller: Caller) -> Any:
        """Say it of all services."""
        return health_pb2.HealthListResponse(statuses={name: self._response(name) for name in ("", *self.names)})

    def _response(self, name: str) -> Any:
        kind = health_pb2.HealthCheckResponse
        if name and name not in self.names:
            return kind(status=kind.SERVICE_UNKNOWN)
        return kind(status=kind.SERVING if self._serving else kind.NOT_SERVING)


class ReflectionService:
    """`grpc.reflection`: shows the contract to tools such as grpcurl."""

    DESCRIPTOR: ClassVar[ServiceDescriptor] = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
    SCOPES: ClassVar[Mapping[str, Scope | None]] = {"ServerReflectionInfo": WATCH}
    ONCE: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, names: Sequence[str]) -> None:
        """*names* are the services that it lists."""
        self._servicer = ReflectionServicer(names)

    def ServerReflectionInfo(self, requests: AsyncIterator[Any], caller: Caller) -> AsyncGenerator[Any, None]:
        """Answer each question."""
        return self._servicer.ServerReflectionInfo(requests, None)  # type: ignore[no-any-return]
