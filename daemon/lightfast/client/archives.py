"""Care of the archive, for both clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.api.v1 import memory_pb2_grpc

if TYPE_CHECKING:
    from lightfast.client.aio import AsyncClient

T = TypeVar("T")

PIECE = 1 << 20
_SLOW = 60.0


class ArchiveCalls:
    """Methods of `AsyncClient`."""

    channel: Any
    metadata: Any

    async def call(self, method: Any, request: Any, timeout: float | None = None) -> Any:
        """Make one unary call."""
        raise NotImplementedError

    def messages(self, start: Callable[[], Any]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a streaming call."""
        raise NotImplementedError

    def translated(self) -> AbstractContextManager[None]:
        """Turn the errors of gRPC into ours in a block."""
        raise NotImplementedError

    async def archive_stats(self) -> pb.ArchiveStatsResponse:
        """Return what the archive holds: frames, chunks, bytes, by month and by kind."""
        return await self.call(self._frames.ArchiveStats, pb.ArchiveStatsRequest(), _SLOW)  # type: ignore[no-any-return]

    async def verify_archive(self, shards: Sequence[str] = ()) -> AsyncIterator[pb.VerifyArchiveResponse]:
        """Check every frame, or those of some months (`2026/11`), and yield how far that is and what is damaged."""
        async for message in self._stream("VerifyArchive", pb.VerifyArchiveRequest(shards=shards)):
            yield message

    async def repair_archive(self, *, validate_only: bool = False) -> AsyncIterator[pb.RepairArchiveResponse]:
        """Set aside what is damaged, rebuild what can be; with *validate_only* only say what would be done."""
        async for message in self._stream("RepairArchive", pb.RepairArchiveRequest(validate_only=validate_only)):
            yield message

    async def migrate_archive(self, *, validate_only: bool = False) -> AsyncIterator[pb.MigrateArchiveResponse]:
        """Bring the archive to the newest layout; with *validate_only* only count."""
        async for message in self._stream("MigrateArchive", pb.MigrateArchiveRequest(validate_only=validate_only)):
            yield message

    async def export_archive(
        self, kinds: Sequence[str] = (), *, after_ms: int = 0, before_ms: int = 0
    ) -> AsyncIterator[pb.ExportArchiveResponse]:
        """Yield the archive as frames of its own format; times in ms since 1970, 0 for no bound."""
        request = pb.ExportArchiveRequest(kinds=kinds)
        if after_ms:
            request.after.FromMilliseconds(after_ms)
        if before_ms:
            request.before.FromMilliseconds(before_ms)
        async for message in self._stream("ExportArchive", request):
            yield message

    async def import_archive(self, data: AsyncIterator[bytes] | Iterable[bytes] | bytes) -> pb.ImportArchiveResponse:
        """Take the frames of an export in, whatever its pieces; those that are there are skipped.

        What *data* raises is raised here.
        """
        if isinstance(data, str):
            raise TypeError("give the bytes of an export, or its pieces: a path is to be read first")
        failed: list[Exception] = []

        async def watched() -> AsyncIterator[pb.ImportArchiveRequest]:
            try:
                async for each in requests():
                    yield each
            except Exception as error:  # gRPC would only cancel the call, and not say why
                failed.append(error)
                raise

        async def requests() -> AsyncIterator[pb.ImportArchiveRequest]:
            if isinstance(data, bytes):
                for begin in range(0, len(data), PIECE):
                    yield pb.ImportArchiveRequest(data=data[begin : begin + PIECE])
            elif isinstance(data, AsyncIterator):
                async for piece in data:
                    yield pb.ImportArchiveRequest(data=piece)
            else:
                for piece in data:
                    yield pb.ImportArchiveRequest(data=piece)

        try:
            with self.translated():
                return await self._frames.ImportArchive(watched(), metadata=self.metadata)  # type: ignore[no-any-return]
        except BaseException:
            if failed:
                raise failed[0] from None
            raise

    @property
    def _frames(self) -> Any:
        return memory_pb2_grpc.MemoryServiceStub(self.channel)

    async def _stream(self, method: str, request: Any) -> AsyncIterator[Any]:
        start = partial(getattr(self._frames, method), request, metadata=self.metadata)
        async with aclosing(self.messages(start)) as messages:
            async for message in messages:
                yield message


class BlockingArchiveCalls:
    """The same methods, blocking; see `ArchiveCalls`."""

    aio: AsyncClient

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raise NotImplementedError

    def _iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        raise NotImplementedError

    def archive_stats(self) -> pb.ArchiveStatsResponse:
        """Return what the archive holds."""
        return self._run(self.aio.archive_stats())

    def verify_archive(self, shards: Sequence[str] = ()) -> Iterator[pb.VerifyArchiveResponse]:
        """Check every frame, or those of some months, and yield how far that is and what is damaged."""
        return self._iterate(self.aio.verify_archive(shards))

    def repair_archive(self, *, validate_only: bool = False) -> Iterator[pb.RepairArchiveResponse]:
        """Set aside what is damaged, and rebuild what can be."""
        return self._iterate(self.aio.repair_archive(validate_only=validate_only))

    def migrate_archive(self, *, validate_only: bool = False) -> Iterator[pb.MigrateArchiveResponse]:
        """Bring the archive to the newest layout."""
        return self._iterate(self.aio.migrate_archive(validate_only=validate_only))

    def export_archive(
        self, kinds: Sequence[str] = (), *, after_ms: int = 0, before_ms: int = 0
    ) -> Iterator[pb.ExportArchiveResponse]:
        """Yield the archive as frames of its own format."""
        return self._iterate(self.aio.export_archive(kinds, after_ms=after_ms, before_ms=before_ms))

    def import_archive(self, data: Iterable[bytes] | bytes) -> pb.ImportArchiveResponse:
        """Take the frames of an export in."""
        return self._run(self.aio.import_archive(data))
