"""The asset store: immutable bytes, named by their SHA-256.

A blob is written beside its place, synced, and renamed: a file under its hash is always whole. Its
row follows. A note in between lets the next start remove a blob that a crash left without a row.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
import weakref
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import (
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    NotFound,
    OutOfRange,
)
from lightfast.core.ids import new_id
from lightfast.storage.asset_uses import Uses
from lightfast.storage.assets import (
    COLUMNS,
    AssetRecord,
    Provenance,
    check_description,
    check_sha256,
    from_row,
    to_row,
)
from lightfast.storage.blob_files import fault, has_size, lost, open_blob, read_at, sync_folder
from lightfast.storage.database import Database

__all__ = ["AssetRecord", "BlobStore", "BlobWriter", "Provenance"]

log = structlog.get_logger("lightfast.storage")

T = TypeVar("T")
Records = list[AssetRecord]
Texts = list[str]

CHUNK = 256 << 10
_THREADS = 2
_NOTE = ".note"


class BlobStore:
    """Open one with `await BlobStore.open(folder, db, quota_bytes)`. Files are read and written off the loop.

    *total_bytes* is what all assets take, *quota_bytes* the most they may.
    """

    def __init__(self, folder: Path, db: Database, quota_bytes: int, clock: Clock) -> None:
        """Use `open`."""
        self.folder = folder
        self.quota_bytes = quota_bytes
        self.total_bytes = 0
        self._db = db
        self._clock = clock
        self._reserved = 0
        self._parts = folder / "parts"
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lightfast-blobs")
        self._writers: set[BlobWriter] = set()
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self.uses = Uses(db, clock)
        self.on_adopted: list[Callable[[AssetRecord], None]] = []
        """Called on the loop with each asset that is new."""

    @classmethod
    async def open(cls, folder: Path, db: Database, quota_bytes: int, clock: Clock = SYSTEM) -> BlobStore:
        """Open or create the store in *folder*, and clear away what a crash left half done."""
        store = cls(folder, db, quota_bytes, clock)
        notes = await store._off_loop(store._prepare)
        for sha256 in notes:
            if not await db.query("SELECT 1 FROM assets WHERE sha256 = ?", (sha256,)):
                await store._off_loop(store.path_of(sha256).unlink, True)
                log.info("unfinished asset removed", sha256=sha256)
            await store._off_loop(store._note_of(sha256).unlink, True)
        store.total_bytes = (await db.query("SELECT coalesce(sum(size), 0) FROM assets"))[0][0]
        return store

    async def close(self) -> None:
        """Throw away what is half written, and wait for the file operations that run."""
        for writer in list(self._writers):
            await writer.abort()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)

    def path_of(self, sha256: str) -> Path:
        """Return where the bytes of an asset lie, or would."""
        return self.folder / sha256[:2] / sha256

    def writer(
        self,
        media_type: str,
        name: str,
        provenance: Provenance,
        expect_sha256: str = "",
        expect_size: int = 0,
    ) -> BlobWriter:
        """Return a writer for one asset; what is expected is checked when it is committed."""
        check_description(media_type, name, provenance)
        if expect_sha256:
            check_sha256(expect_sha256, "asset.sha256")
        if expect_size < 0:
            raise InvalidArgument(f"size {expect_size} is negative", field="asset.size")
        if expect_size:
            self._check_quota(expect_size)
        part = self._parts / new_id("part")
        writer = BlobWriter(self, part, media_type, name, provenance, expect_sha256, expect_size)
        self._writers.add(writer)
        return writer

    async def put(self, data: bytes, media_type: str, name: str, provenance: Provenance) -> AssetRecord:
        """Store *data*; bytes that are there already keep their first description."""
        writer = self.writer(media_type, name, provenance)
        await writer.write(data)
        return await writer.commit()

    async def get(self, sha256: str) -> AssetRecord:
        """Return one asset, or raise `NotFound` (ASSET_NOT_FOUND)."""
        record = await self._find(check_sha256(sha256))
        if record is None:
            raise NotFound(
                f"there is no asset {sha256}", reason="ASSET_NOT_FOUND", metadata={"sha256": sha256}, field="sha256"
            )
        self.uses.note(sha256)
        return record

    async def read(self, sha256: str, offset: int = 0, length: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield the bytes from *offset*, *length* of them or (0) all, in chunks of at most 256 KiB.

        Raises `NotFound` (ASSET_NOT_FOUND), `OutOfRange`, and `Unavailable` (ASSET_LOST) where the file
        is gone or shorter than it was.
        """
        record = await self.get(sha256)
        if offset < 0 or length < 0:
            raise InvalidArgument("offset and length cannot be negative", field="offset")
        if offset > record.size:
            raise OutOfRange(
                f"offset {offset} lies behind the end of asset {sha256}, which has {record.size} bytes",
                reason="OFFSET_TOO_LARGE",
                field="offset",
            )
        end = min(record.size, offset + length) if length else record.size
        file = await self._off_loop(open_blob, record)
        try:
            while offset < end:
                data = await self._off_loop(read_at, file, min(CHUNK, end - offset), offset)
                if not data:
                    raise lost(record)
                offset += len(data)
                yield data
        finally:
            file.close()

    async def list(self, media_type_prefix: str = "", limit: int = 100, before: str = "") -> Records:
        """Return at most *limit* assets, newest first, after the one whose SHA-256 is *before*."""
        if before:
            check_sha256(before, "page_token")
        rows = await self._db.query(
            f"SELECT {COLUMNS} FROM assets WHERE substr(media_type, 1, length(?1)) = ?1"  # noqa: S608  (constant)
            " AND (?2 = '' OR seq < (SELECT seq FROM assets WHERE sha256 = ?2)) ORDER BY seq DESC LIMIT ?3",
            (media_type_prefix, before, limit),
        )
        return [from_row(row, self.path_of(row[0])) for row in rows]

    async def _find(self, sha256: str) -> AssetRecord | None:
        rows = await self._db.query(
            f"SELECT {COLUMNS} FROM assets WHERE sha256 = ?",  # noqa: S608  (constant)
            (sha256,),
        )
        return from_row(rows[0], self.path_of(sha256)) if rows else None

    def reserve(self, size: int) -> None:
        """Count *size* more bytes as taken, or raise `Exhausted` (ASSET_QUOTA)."""
        self._check_quota(size)
        self._reserved += size

    def forget(self, writer: BlobWriter) -> None:
        """Note that *writer* has ended."""
        self._writers.discard(writer)

    def release(self, size: int) -> None:
        """Give reserved bytes back."""
        self._reserved -= size

    def _check_quota(self, size: int) -> None:
        taken = self.total_bytes + self._reserved
        if taken + size > self.quota_bytes:
            raise Exhausted(
                f"the asset store is full: {taken} of {self.quota_bytes} bytes are taken, {size} more do not fit. "
                "Raise assets.quota_bytes, or move old assets away",
                reason="ASSET_QUOTA",
                metadata={"taken": str(taken), "quota": str(self.quota_bytes), "wanted": str(size)},
            )

    async def adopt(self, part: Path, record: AssetRecord) -> AssetRecord:
        """Make the synced file *part* the asset *record*; for `BlobWriter`."""
        lock = self._locks.setdefault(record.sha256, asyncio.Lock())
        async with lock:
            known = await self._find(record.sha256)
            whole = known is not None and await self._off_loop(has_size, known.path, known.size)
            if known is not None and whole:
                self.uses.note(record.sha256)
                await self.uses.write()  # before it is acknowledged: somebody counts on it again
                await self._off_loop(part.unlink, True)
                return known
            note = self._note_of(record.sha256)
            await self._off_loop(self._install, part, record.path, note)
            if known is not None:  # its file was lost, and is back
                await self._off_loop(note.unlink, True)
                return known
            unit = self._db.unit()
            unit.execute(f"INSERT INTO assets({COLUMNS}) VALUES(?, ?, ?, ?, ?, ?)", to_row(record))
            self.total_bytes += record.size  # at once: the row is written even if the caller goes away
            try:
                await self._db.commit(unit)
            except LightfastError:
                self.total_bytes -= record.size
                await self._off_loop(record.path.unlink, True)
                raise
            finally:
                await self._off_loop(note.unlink, True)
            for listener in self.on_adopted:
                listener(record)
            return record

    def _prepare(self) -> Texts:
        """Create the folders, remove parts, and return the hashes that are noted."""
        self._parts.mkdir(parents=True, exist_ok=True)
        notes = []
        for path in self._parts.iterdir():
            if path.suffix == _NOTE:
                notes.append(path.stem)
            else:
                path.unlink()
        return notes

    def _note_of(self, sha256: str) -> Path:
        return self._parts / (sha256 + _NOTE)

    def _install(self, part: Path, path: Path, note: Path) -> None:
        note.touch()
        sync_folder(note.parent)
        path.parent.mkdir(exist_ok=True)
        part.replace(path)
        sync_folder(path.parent)
        sync_folder(self.folder)

    async def _off_loop(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *args)
        except OSError as error:
            raise fault(error, self.folder) from error


class BlobWriter:
    """Writes one asset; end it with `commit` or `abort`. A failed write or commit has aborted it.

    As an async context manager it aborts what was not committed.
    """

    def __init__(
        self,
        store: BlobStore,
        part: Path,
        media_type: str,
        name: str,
        provenance: Provenance,
        expect_sha256: str,
        expect_size: int,
    ) -> None:
        """Use `BlobStore.writer`."""
        self._store = store
        self._part = part
        self._media_type = media_type
        self._name = name
        self._provenance = provenance
        self._expect_sha256 = expect_sha256
        self._expect_size = expect_size
        self._hash = hashlib.sha256()
        self._file: Any = None
        self._size = 0
        self._ended = False
        # Who is cancelled while a thread still writes throws away in another thread: one after the other.
        self._turn = threading.Lock()
        self._discarded = False

    async def write(self, data: bytes) -> None:
        """Append *data*; raises `Exhausted` (ASSET_QUOTA, DISK_FULL)."""
        self._check_open()
        try:
            self._store.reserve(len(data))
            self._size += len(data)
            await self._store._off_loop(self._append, data)  # noqa: SLF001  (the two are one)
        except BaseException:
            await self.abort()
            raise

    async def commit(self) -> AssetRecord:
        """Make the asset durable and return it; raises `InvalidArgument` if it is not what was expected."""
        self._check_open()
        store = self._store
        try:
            sha256 = self._hash.hexdigest()
            self._check_expected(sha256)
            await store._off_loop(self._finish)  # noqa: SLF001
            record = AssetRecord(
                sha256,
                self._media_type,
                self._size,
                self._name,
                store._clock.now_ns(),  # noqa: SLF001
                self._provenance,
                store.path_of(sha256),
                "asset:" + sha256,
            )
            adopted = await store.adopt(self._part, record)
        except BaseException:
            await self.abort()
            raise
        self._end()
        return adopted

    async def abort(self) -> None:
        """Throw away what was written; after the end this does nothing."""
        if not self._ended:
            self._end()
            await self._store._off_loop(self._discard)  # noqa: SLF001

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.abort()

    def _end(self) -> None:
        self._ended = True
        self._store.release(self._size)
        self._store.forget(self)

    def _check_open(self) -> None:
        if self._ended:
            raise FailedPrecondition("this asset was committed or aborted already: begin a new one")

    def _check_expected(self, sha256: str) -> None:
        if self._expect_size and self._size != self._expect_size:
            raise InvalidArgument(
                f"the asset was announced with {self._expect_size} bytes, and {self._size} came: send it again",
                reason="ASSET_SIZE_MISMATCH",
                field="asset.size",
            )
        if self._expect_sha256 and sha256 != self._expect_sha256:
            raise InvalidArgument(
                f"the bytes that came have the SHA-256 {sha256}, not {self._expect_sha256}: send them again",
                reason="ASSET_HASH_MISMATCH",
                field="asset.sha256",
            )

    def _append(self, data: bytes) -> None:
        with self._turn:
            if self._discarded:
                return
            if self._file is None:
                self._file = self._part.open("xb")
            self._hash.update(data)
            self._file.write(data)

    def _finish(self) -> None:
        with self._turn:
            if self._discarded:
                return
            if self._file is None:
                self._file = self._part.open("xb")
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.chmod(0o444)

    def _discard(self) -> None:
        with self._turn:
            self._discarded = True
            if self._file is not None:
                try:
                    self._file.close()  # flushes, which may fail on a full disk
                except OSError:
                    log.debug("an aborted asset was not flushed", part=str(self._part))
            self._part.unlink(missing_ok=True)
