"""The accounts with AI services, for both clients."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import generation_pb2 as pb
from lightfast.api.v1 import generation_pb2_grpc

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

_SLOW = 60.0
"""How long a check may take, in seconds: the service is asked with each account."""


class AccountCalls:
    """Methods of `AsyncClient`."""

    channel: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    async def provider_sessions(self, provider: str = "") -> list[pb.Session]:
        """Return the accounts with all services, or with *provider*: state, limits, balance; never a key."""
        stub = generation_pb2_grpc.GenerationServiceStub(self.channel)
        found = await self.call(stub.ListSessions, pb.ListSessionsRequest(provider=provider))
        return list(found.sessions)

    async def check_provider(self, provider: str) -> list[pb.Session]:
        """Look for the keys of *provider* anew, and ask it with each account; return how they stand."""
        stub = generation_pb2_grpc.GenerationServiceStub(self.channel)
        found = await self.call(stub.CheckProvider, pb.CheckProviderRequest(provider=provider), _SLOW)
        return list(found.sessions)


class BlockingAccountCalls:
    """The same methods, blocking; see `AccountCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def provider_sessions(self, provider: str = "") -> list[pb.Session]:
        """Return the accounts with all services, or with *provider*: state, limits, balance; never a key."""
        return self._run(self.aio.provider_sessions(provider))

    def check_provider(self, provider: str) -> list[pb.Session]:
        """Look for the keys of *provider* anew, and ask it with each account; return how they stand."""
        return self._run(self.aio.check_provider(provider))
