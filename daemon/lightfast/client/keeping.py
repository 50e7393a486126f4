"""Purge and backups, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import admin_pb2, upkeep_pb2

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")


class KeepingCalls:
    """Methods of `AsyncClient`; *context* and *admin* are stubs."""

    context: Any
    admin: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    async def purge(
        self,
        *patterns: str,
        text: str = "",
        memories: Sequence[str] = (),
        frame_ids: Sequence[str] = (),
        assets: Sequence[str] = (),
        reason: str = "",
        validate_only: bool = False,
    ) -> AsyncIterator[upkeep_pb2.PurgeResponse]:
        """Remove something for ever, and yield how far that has come; the last message has the tombstone.

        With *validate_only*, say what would go. Once it has begun it goes on when nobody listens any more.
        """
        request = upkeep_pb2.PurgeRequest(
            patterns=patterns,
            text=text,
            memories=memories,
            frame_ids=frame_ids,
            assets=assets,
            reason=reason,
            validate_only=validate_only,
            request_id="" if validate_only else uuid.uuid4().hex,
        )
        async with aclosing(self.messages(partial(self.context.Purge, request, metadata=self.metadata))) as messages:
            async for message in messages:
                yield message

    async def collect_garbage(
        self, *, kinds: Sequence[str] = (), seconds: float = 60.0, size: int = 0, validate_only: bool = False
    ) -> AsyncIterator[upkeep_pb2.CollectGarbageResponse]:
        """Move what is old and delete what nothing reaches, at most *seconds* and *size* bytes (0: no limit).

        Yields what was done; with *validate_only*, what would be.
        """
        request = upkeep_pb2.CollectGarbageRequest(kinds=kinds, byte_budget=size, validate_only=validate_only)
        request.time_budget.FromTimedelta(timedelta(seconds=seconds))
        start = partial(self.context.CollectGarbage, request, metadata=self.metadata)
        async with aclosing(self.messages(start)) as messages:
            async for message in messages:
                yield message

    async def backup(
        self, path: str = "", *, assets: bool = True, recordings: bool = True
    ) -> AsyncIterator[admin_pb2.BackupResponse]:
        """Copy everything into one file on the daemon's machine, and yield how far that has come.

        The last message has the backup; who stops listening before stops it.
        """
        request = admin_pb2.BackupRequest(path=path, without_assets=not assets, without_recordings=not recordings)
        async with aclosing(self.messages(partial(self.admin.Backup, request, metadata=self.metadata))) as messages:
            async for message in messages:
                yield message

    async def backups(self) -> list[admin_pb2.BackupInfo]:
        """Return the backups that were made and still exist, newest first."""
        response = await self.call(self.admin.ListBackups, admin_pb2.ListBackupsRequest())
        return list(response.backups)


class BlockingKeepingCalls:
    """The same methods, blocking; see `KeepingCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def purge(self, *patterns: str, **what: Any) -> Iterator[upkeep_pb2.PurgeResponse]:
        """Remove something for ever, and yield how far that has come; the last message has the tombstone."""
        return self._iterate(self.aio.purge(*patterns, **what))

    def collect_garbage(self, **how: Any) -> Iterator[upkeep_pb2.CollectGarbageResponse]:
        """Move what is old and delete what nothing reaches, and yield what was done."""
        return self._iterate(self.aio.collect_garbage(**how))

    def backup(self, path: str = "", **what: Any) -> Iterator[admin_pb2.BackupResponse]:
        """Copy everything into one file on the daemon's machine, and yield how far that has come."""
        return self._iterate(self.aio.backup(path, **what))

    def backups(self) -> list[admin_pb2.BackupInfo]:
        """Return the backups that were made and still exist, newest first."""
        return self._run(self.aio.backups())
