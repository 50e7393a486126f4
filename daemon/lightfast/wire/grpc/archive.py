"""Care of the archive: methods of MemoryService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.core.errors import DeadlineExceeded, InvalidArgument, Unavailable
from lightfast.security.tokens import Scope
from lightfast.wire.grpc import convert
from lightfast.wire.grpc.services import ADMIN, WATCH, Caller, Services

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from lightfast.storage.archive.archive import Archive
    from lightfast.storage.archive.progress import Stats
    from lightfast.storage.archive.records import Damage

_MS = 1_000_000
MAX_PIECE = 2 << 20
PIECE_DEADLINE_S = 60.0
"""An import waits so long for its next piece."""
SHARD = "YYYY/MM"


class ArchiveMethods:
    """Care of the archive: methods of MemoryService."""

    SCOPES: ClassVar[Mapping[str, Scope | None]] = {
        "ArchiveStats": WATCH,
        "VerifyArchive": ADMIN,
        "RepairArchive": ADMIN,
        "MigrateArchive": ADMIN,
        "ExportArchive": ADMIN,
        "ImportArchive": ADMIN,
    }
    ONCE: ClassVar[frozenset[str]] = frozenset()
    LOCKED: ClassVar[Mapping[str, str]] = {}

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ArchiveStats(self, request: pb.ArchiveStatsRequest, caller: Caller) -> pb.ArchiveStatsResponse:
        """Tell what the archive holds."""
        archive = self._room()
        response = _stats(await archive.stats())
        for name, figure in (archive.caches.figures() | archive.index.figures()).items():
            response.caches[name] = figure
        response.unlocked = archive.unlocked
        response.layers.extend(archive.layers)
        return response

    async def VerifyArchive(
        self, request: pb.VerifyArchiveRequest, caller: Caller
    ) -> AsyncGenerator[pb.VerifyArchiveResponse, None]:
        """Check every frame."""
        for shard in request.shards:
            year, _, month = shard.rpartition("/")
            if not year.lstrip("-").isdigit() or not month.isdigit():
                raise InvalidArgument(
                    f"{shard!r} is no month: write it as {SHARD}, for example 2026/11", field="shards"
                )
        async with aclosing(self._room().verify(tuple(request.shards))) as steps:
            async for step in steps:
                yield pb.VerifyArchiveResponse(
                    done_bytes=step.done_bytes,
                    total_bytes=step.total_bytes,
                    frames=step.frames,
                    damage=map(put_damage, step.damage),
                    done=step.done,
                )

    async def RepairArchive(
        self, request: pb.RepairArchiveRequest, caller: Caller
    ) -> AsyncGenerator[pb.RepairArchiveResponse, None]:
        """Isolate what is damaged."""
        if not request.validate_only:
            self._services.show.guard.check("a repair of the archive")
        async with aclosing(self._room().repair(dry=request.validate_only)) as steps:
            async for step in steps:
                if step.done and not request.validate_only:
                    await self._services.store.tiers.rebuild()
                yield pb.RepairArchiveResponse(
                    done_bytes=step.done_bytes,
                    total_bytes=step.total_bytes,
                    damage=map(put_damage, step.damage),
                    kept=step.frames,
                    lost=step.lost,
                    done=step.done,
                )

    async def MigrateArchive(
        self, request: pb.MigrateArchiveRequest, caller: Caller
    ) -> AsyncGenerator[pb.MigrateArchiveResponse, None]:
        """Bring it to the newest format."""
        if not request.validate_only:
            self._services.show.guard.check("a migration of the archive")
        async with aclosing(self._room().migrate(dry=request.validate_only)) as steps:
            async for step in steps:
                yield pb.MigrateArchiveResponse(
                    done_frames=step.frames,
                    total_frames=step.total_frames,
                    migrated=step.changed,
                    done=step.done,
                    damage=map(put_damage, step.damage),
                )

    async def ExportArchive(
        self, request: pb.ExportArchiveRequest, caller: Caller
    ) -> AsyncGenerator[pb.ExportArchiveResponse, None]:
        """Send frames."""
        after = _time(request.after, "after") if request.HasField("after") else 0
        before = _time(request.before, "before") if request.HasField("before") else 0
        pieces = self._room().export(kinds=tuple(request.kinds), after_ms=after, before_ms=before)
        async with aclosing(pieces) as steps:
            async for step in steps:
                for begin in range(0, max(len(step.data), 1), MAX_PIECE):
                    data = step.data[begin : begin + MAX_PIECE]
                    yield pb.ExportArchiveResponse(data=data, frames=step.frames, total_frames=step.total_frames)

    async def ImportArchive(
        self, requests: AsyncIterator[pb.ImportArchiveRequest], caller: Caller
    ) -> pb.ImportArchiveResponse:
        """Take frames in."""
        self._services.show.guard.check("an import into the archive")
        found = await self._room().import_frames(_pieces(requests))
        return pb.ImportArchiveResponse(
            imported=found.imported, skipped=found.skipped, damage=map(put_damage, found.damage)
        )

    def _room(self) -> Archive:
        if self._services.archive is None:
            raise Unavailable("this daemon has no archive", reason="ARCHIVE_ABSENT")
        return self._services.archive


async def _pieces(requests: AsyncIterator[pb.ImportArchiveRequest]) -> AsyncIterator[bytes]:
    """Yield the pieces; a client that stalls must not hold the import for ever."""
    while True:
        try:
            async with asyncio.timeout(PIECE_DEADLINE_S):
                request = await anext(requests, None)
        except TimeoutError:
            raise DeadlineExceeded(
                f"no piece came for {PIECE_DEADLINE_S:g} s; what came is imported: send the export again, what is "
                "there already is skipped"
            ) from None
        if request is None:
            return
        yield request.data


def _stats(found: Stats) -> pb.ArchiveStatsResponse:
    return pb.ArchiveStatsResponse(
        frames=found.frames,
        chunks=found.chunks,
        bytes=found.bytes,
        shards=[
            pb.ArchiveStatsResponse.Shard(name=one.name, frames=one.frames, bytes=one.bytes) for one in found.shards
        ],
        kinds=[
            pb.ArchiveStatsResponse.Kind(name=one.name, frames=one.frames, raw_bytes=one.raw_bytes, bytes=one.bytes)
            for one in found.kinds
        ],
        private_frames=found.private_frames,
        damage=found.damage,
        lost=found.lost,
        incoming=found.incoming,
        waiting=found.waiting,
        tombstones=found.tombstones,
        quota_bytes=found.quota,
    )


def put_damage(damage: Damage) -> pb.Damage:
    """Return *damage* as a message."""
    return pb.Damage(
        file=damage.file,
        offset=damage.offset,
        length=damage.length,
        frame_id=damage.frame_id,
        reason=damage.reason,
        remedy=damage.remedy,
    )


def _time(stamp: Timestamp, field: str) -> int:
    return convert.get_time(stamp, field) // _MS
