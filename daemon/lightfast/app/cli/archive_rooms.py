"""Where `lightfast archive` works: on the archive of a daemon, or on a folder that no daemon holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lightfast.app.cli.session import Session

if TYPE_CHECKING:
    from lightfast.client import Client
    from lightfast.storage.archive.archive import Archive
    from lightfast.storage.archive.records import Damage

Message = dict[str, Any]
SLOW_S = 60.0
_HOLDS = ("archive.json", "shards", "lock")
"""What a folder holds that is an archive, if only a damaged one."""


class Room(Protocol):
    """What the commands do; messages are those of the API as proto JSON."""

    def stats(self) -> Message:
        """Return an `ArchiveStatsResponse`."""

    def steps(self, method: str, fields: Message) -> Iterator[Message]:
        """Yield the messages of `VerifyArchive`, `RepairArchive` or `MigrateArchive`."""

    def export(self, kinds: list[str], after_ms: int, before_ms: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield bytes, frames so far and frames in all."""

    def take_in(self, pieces: Iterable[bytes]) -> Message:
        """Import, and return an `ImportArchiveResponse`."""


class Daemon:
    """The archive of the daemon."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def stats(self) -> Message:
        """Return the figures."""
        return self._client.call_json("MemoryService.ArchiveStats", {}, SLOW_S)

    def steps(self, method: str, fields: Message) -> Iterator[Message]:
        """Yield the messages."""
        return self._client.stream_json(f"MemoryService.{method}", fields)

    def export(self, kinds: list[str], after_ms: int, before_ms: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the pieces."""
        for message in self._client.export_archive(kinds, after_ms=after_ms, before_ms=before_ms):
            yield message.data, message.frames, message.total_frames

    def take_in(self, pieces: Iterable[bytes]) -> Message:
        """Import."""
        from lightfast.client import generic

        return generic.to_json(self._client.import_archive(pieces))


class Folder:
    """An archive's folder, opened here; refused while a daemon holds it."""

    def __init__(self, archive: Archive, runner: asyncio.Runner) -> None:
        self._archive = archive
        self._runner = runner

    def stats(self) -> Message:
        """Return the figures."""
        found = self._runner.run(self._archive.stats())
        shards = [{"name": one.name, "frames": str(one.frames), "bytes": str(one.bytes)} for one in found.shards]
        kinds = [
            {"name": one.name, "frames": str(one.frames), "raw_bytes": str(one.raw_bytes), "bytes": str(one.bytes)}
            for one in found.kinds
        ]
        return _message(
            frames=found.frames, chunks=found.chunks, waiting=found.waiting, bytes=found.bytes, shards=shards,
            kinds=kinds, private_frames=found.private_frames, damage=list(found.damage),
            lost=list(found.lost), incoming=list(found.incoming), tombstones=found.tombstones, quota_bytes=found.quota,
        )  # fmt: skip

    def steps(self, method: str, fields: Message) -> Iterator[Message]:
        """Yield the messages."""
        archive, dry = self._archive, bool(fields.get("validate_only"))
        if method == "VerifyArchive":
            steps = archive.verify(tuple(fields.get("shards", ())))
        else:
            steps = archive.repair(dry=dry) if method == "RepairArchive" else archive.migrate(dry=dry)
        names = {"VerifyArchive": "frames", "RepairArchive": "kept", "MigrateArchive": "done_frames"}
        for step in self._each(steps):
            yield _message(**{
                "done_bytes": step.done_bytes, "total_bytes": step.total_bytes, names[method]: step.frames,
                "total_frames": step.total_frames, "migrated": step.changed, "lost": step.lost,
                "damage": [_damage(one) for one in step.damage], "done": step.done,
            })  # fmt: skip

    def export(self, kinds: list[str], after_ms: int, before_ms: int) -> Iterator[tuple[bytes, int, int]]:
        """Yield the pieces."""
        for piece in self._each(self._archive.export(kinds=kinds, after_ms=after_ms, before_ms=before_ms)):
            yield piece.data, piece.frames, piece.total_frames

    def take_in(self, pieces: Iterable[bytes]) -> Message:
        """Import."""

        async def each() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        found = self._runner.run(self._archive.import_frames(each()))
        damage = [_damage(one) for one in found.damage]
        return _message(imported=found.imported, skipped=found.skipped, damage=damage)

    def _each(self, source: AsyncGenerator[Any, None]) -> Iterator[Any]:
        """Yield what an asynchronous generator yields; it ends with this one."""
        try:
            while True:
                try:
                    yield self._runner.run(_next(source))
                except StopAsyncIteration:
                    return
        finally:
            self._runner.run(source.aclose())


async def _next(source: AsyncGenerator[Any, None]) -> Any:
    return await anext(source)


def _message(**fields: Any) -> Message:
    """Return fields as proto JSON has them: without the empty ones, 64-bit numbers as text."""
    return {
        name: str(one) if isinstance(one, int) and not isinstance(one, bool) else one
        for name, one in fields.items()
        if one
    }


def _damage(one: Damage) -> Message:
    return _message(
        file=one.file, offset=one.offset, length=one.length, frame_id=one.frame_id, reason=one.reason, remedy=one.remedy
    )


@contextmanager
def room(session: Session, folder: Path | None, *, new: bool = False) -> Iterator[Room]:
    """Yield the daemon's archive, or the one in *folder*, where none has to be yet if *new*."""
    if folder is None:
        with session.client() as client:
            yield Daemon(client)
        return
    import typer

    from lightfast.app.cli.session import hush
    from lightfast.storage.archive.archive import Archive

    if not folder.is_dir():
        raise typer.BadParameter(f"--folder {folder}: there is no such folder")
    if not new and not any((folder / name).exists() for name in _HOLDS):
        raise typer.BadParameter(
            f"--folder {folder}: there is no archive; the one of a daemon lies in the folder state/archive of its home"
        )
    hush()
    with asyncio.Runner() as runner:
        archive = runner.run(Archive.open(folder.resolve()))
        try:
            yield Folder(archive, runner)
        finally:
            runner.run(archive.close())
