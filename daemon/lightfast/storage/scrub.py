"""Makes what was deleted from the database unreadable in its files, too.

A deleted row stays in the file: in a page that is free now, in the gap a page keeps between its cells, in the log.
`secure_delete` overwrites what is deleted while it is on, but not what an earlier split of a page left behind. So
while a purge erases it is on; then the log is moved into the file and cut to nothing; and where bytes of what was
purged are still met, the file is written anew. That is sure, and writes wait for it: about 1 s for 100 MB.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import structlog

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted, LightfastError, Unavailable
from lightfast.storage.database import BUSY_TIMEOUT_MS, Database

log = structlog.get_logger("lightfast.storage")

READERS_WAIT_MS = 100
"""So long one attempt to cut the log waits for readers, and writes with it."""
CUT_WITHIN = 30.0
"""Seconds after which it is given up: somebody reads and does not end."""
IN_MEMORY = 64 << 20
"""A file up to this size is written anew in memory, a larger one through the system's temporary folder."""
_CHUNK = 4 << 20


@asynccontextmanager
async def overwriting(db: Database) -> AsyncIterator[None]:
    """Overwrite with zeros what is deleted in the block."""
    await db.alone(lambda connection: _pragma(connection, "secure_delete = ON"))
    try:
        yield
    finally:
        if not db.closed:
            await db.alone(lambda connection: _pragma(connection, "secure_delete = OFF"))


async def cut_log(db: Database) -> None:
    """Move the log into the file and leave it empty; raises `Unavailable` (STORE_READ) where a reader does not end."""
    deadline = SYSTEM.monotonic() + CUT_WITHIN
    while not await db.alone(_cut):
        if SYSTEM.monotonic() > deadline:
            raise Unavailable(
                f"something has been reading {db.path} for {CUT_WITHIN:g} s, so its log cannot be cut: end the "
                "backup or the database browser, then purge again",
                reason="STORE_READ",
                retry_after=30.0,
            )
        await asyncio.sleep(0.1)


def _cut(connection: Any) -> bool:
    connection.set_busy_timeout(READERS_WAIT_MS)
    try:
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except (apsw.BusyError, apsw.LockedError):
        return False
    finally:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return True


async def rewrite(db: Database) -> None:
    """Write the file anew, without anything that was deleted; writes wait for it."""
    size = db.path.stat().st_size

    def vacuum(connection: Any) -> None:
        _pragma(connection, f"temp_store = {'MEMORY' if size <= IN_MEMORY else 'FILE'}")
        try:
            list(connection.execute("VACUUM"))
        finally:
            _pragma(connection, "temp_store = MEMORY")

    try:
        await db.alone(vacuum)
    except Exhausted as error:
        raise Exhausted(
            f"{error.message} (the database is written anew to be rid of what was deleted, which takes "
            f"{size >> 20} MiB twice over for a while)",
            reason=error.reason,
            metadata=error.metadata,
        ) from error
    log.info("the database was written anew", size_mb=size >> 20)


async def scrub(db: Database, needles: Sequence[bytes] | None) -> list[str]:
    """Leave nothing of *needles* in the files of the database; without any, take no chances and write it anew.

    Returns what could not be done, as text for people.
    """
    try:
        await cut_log(db)
        if needles is None or await asyncio.to_thread(holds, db.path, needles):
            await rewrite(db)
            await cut_log(db)
    except LightfastError as error:
        log.warning("what was purged may still be in the files of the database", reason=error.reason)
        return [f"free space in {db.path}: {error.message}"]
    return []


def holds(path: Path, needles: Sequence[bytes]) -> bool:
    """Say whether the file at *path* holds one of *needles* anywhere; one that is gone holds nothing.

    It may be a database that this process has open: its locks stay.
    """
    longest = max(map(len, needles), default=1)
    try:
        rest = b""
        for chunk in _chunks(path):
            window = rest + chunk
            if any(needle in window for needle in needles):
                return True
            rest = window[-(longest - 1) :] if longest > 1 else b""
    except FileNotFoundError:
        return False
    return False


def _chunks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file.

    POSIX takes all locks of a process on a file away as soon as that process closes any descriptor of it. Whoever opens
    the database next would then take itself for the only one: it cuts the index of the log, of which this process dies,
    and deletes the log when it leaves, with all that is written from then on. So SQLite itself opens what it may have
    locked, and keeps the descriptor until the locks are gone.
    """
    if path.name.endswith("-shm"):
        return  # the index of the log: numbers of pages, no content, and locked
    if path.suffix == ".db":
        yield from _chunks_of_database(path)
        return
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _chunks_of_database(path: Path) -> Iterator[bytes]:
    path.stat()  # raises what SQLite would not tell
    try:
        file = apsw.VFSFile("", str(path), [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0])
        try:
            at = 0
            while chunk := file.xRead(_CHUNK, at):
                yield chunk
                at += len(chunk)
        finally:
            file.xClose()
    except apsw.Error as error:
        raise OSError(f"{path} cannot be read: {error}") from error


def _pragma(connection: Any, text: str) -> None:
    list(connection.execute(f"PRAGMA {text}"))
