"""Private frames, for both clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.api.v1 import memory_pb2_grpc

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

_SLOW = 60.0


class VaultCalls:
    """Methods of `AsyncClient`."""

    channel: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    async def unlock_archive(self, secret: str, *, ttl: float | None = None, create: bool = False) -> pb.UnlockResponse:
        """Open the private frames to the daemon, for *ttl* seconds or until `lock_archive`.

        *create* makes this the secret of an archive that has none. `Denied` (SECRET_WRONG) where it is another.
        """
        request = pb.UnlockRequest(secret=secret, create=create)
        if ttl is not None:
            request.ttl.FromNanoseconds(round(ttl * 1e9))
        stub = memory_pb2_grpc.MemoryServiceStub(self.channel)
        return await self.call(stub.Unlock, request, _SLOW)  # type: ignore[no-any-return]

    async def lock_archive(self) -> None:
        """Close them again."""
        await self.call(memory_pb2_grpc.MemoryServiceStub(self.channel).Lock, pb.LockRequest())

    async def rotate_secret(self, secret: str, new_secret: str) -> AsyncIterator[pb.RotateSecretResponse]:
        """Give them another secret, and yield how far that has come."""
        request = pb.RotateSecretRequest(secret=secret, new_secret=new_secret)
        stub = memory_pb2_grpc.MemoryServiceStub(self.channel)
        async with aclosing(self.messages(partial(stub.RotateSecret, request, metadata=self.metadata))) as messages:
            async for message in messages:
                yield message


class BlockingVaultCalls:
    """The same methods, blocking; see `VaultCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def unlock_archive(self, secret: str, *, ttl: float | None = None, create: bool = False) -> pb.UnlockResponse:
        """Open the private frames to the daemon, for *ttl* seconds or until `lock_archive`."""
        return self._run(self.aio.unlock_archive(secret, ttl=ttl, create=create))

    def lock_archive(self) -> None:
        """Close them again."""
        self._run(self.aio.lock_archive())

    def rotate_secret(self, secret: str, new_secret: str) -> Iterator[pb.RotateSecretResponse]:
        """Give them another secret, and yield how far that has come."""
        return self._iterate(self.aio.rotate_secret(secret, new_secret))
