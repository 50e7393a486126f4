"""Backups: everything in one file, made while the daemon runs.

A backup is written under a name that nobody lists, and gets its own name when it is whole and on the disk: there is
never half a backup. It shows one revision of the database with all that belongs to it; writers do not wait for it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import (
    AlreadyExists,
    Cancelled,
    Exhausted,
    FailedPrecondition,
    InvalidArgument,
    LightfastError,
    Unavailable,
)
from lightfast.core.ids import new_id
from lightfast.core.tasks import TaskGroup
from lightfast.storage.backup_records import SUFFIX, Head, Missing, Sources
from lightfast.storage.blob_files import sync_folder
from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.backup")

T = TypeVar("T")


class Backup(msgspec.Struct, frozen=True):
    """One backup. *before_purge*: something was purged since, and is still in it. Times in ns since 1970."""

    path: Path
    create_time: int
    size: int
    revision: int
    store_id: str
    before_purge: bool = False


class Progress(msgspec.Struct, frozen=True):
    """How far a backup has come, in bytes; *total* is 0 while it is not known, *backup* is set at the end."""

    done: int = 0
    total: int = 0
    backup: Backup | None = None


class Backups:
    """Makes and lists backups. *folder* is the daemon's own, where the newest *keep* stay.

    *turn* is held while one is made: what must not happen meanwhile (a purge) takes it, too.
    """

    def __init__(
        self,
        db: Database,
        folder: Path,
        sources: Sources,
        *,
        keep: int,
        version: str,
        turn: asyncio.Lock | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self.folder = folder
        self.keep = keep
        self._db = db
        self._sources = sources
        self._version = version
        self._turn = turn or asyncio.Lock()
        self._clock = clock
        self._tasks = TaskGroup("backup")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lightfast-backup")
        self._part = f".lightfast-part-{db.store_id}-"
        self._busy = False
        self._stop = False

    async def start(self) -> None:
        """Remove what a crash left in the daemon's own folder, in the background."""
        self._tasks.start(self._off_loop(lambda: self.clean(self.folder)), "clean")

    async def close(self) -> None:
        """End what is under way; nothing of it stays."""
        self._stop = True
        await self._tasks.close(10.0)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.shutdown)

    async def make(
        self, path: str = "", *, assets: bool = True, recordings: bool = True
    ) -> AsyncGenerator[Progress, None]:
        """Make a backup at *path*, or in the daemon's own folder; yield how far it has come.

        Whoever stops listening stops it. Raises `InvalidArgument`, `AlreadyExists` (BACKUP_EXISTS),
        `FailedPrecondition` (BACKUP_UNDER_WAY), `Exhausted` (DISK_FULL) and `Unavailable` (STORE_IO).
        """
        if self._busy:
            raise FailedPrecondition("another backup is under way: wait for its end", reason="BACKUP_UNDER_WAY")
        chosen = self._place(path)
        sources = replace(
            self._sources,
            assets=self._sources.assets if assets else None,
            recordings=self._sources.recordings if recordings else None,
        )
        state = _State()
        self._busy = True

        async def work() -> Backup | LightfastError:
            try:
                async with self._turn:
                    return await self._make(chosen, sources, state, own=not path)
            except LightfastError as error:
                return error
            finally:
                self._busy = False

        task = self._tasks.start(work(), "make")
        try:
            while not task.done():
                await asyncio.wait((task,), timeout=0.1)
                yield Progress(state.done, state.total)
        finally:
            state.stopped = True
            if not task.done():
                await asyncio.wait((task,), timeout=30.0)
        outcome = task.result()
        if isinstance(outcome, LightfastError):
            raise outcome
        yield Progress(state.done, state.done, outcome)

    async def listed(self) -> list[Backup]:
        """Return the backups that were made and still exist, newest first."""
        rows = await self._db.query("SELECT path FROM backups")
        purged = await self._db.query("SELECT coalesce(max(end_time), 0) FROM purges")
        last = int(purged[0][0])

        def look() -> list[Backup]:
            from lightfast.storage.backup_file import read_head

            own = list(self.folder.glob(f"*{SUFFIX}")) if self.folder.is_dir() else []
            found = {}
            for path in {*own, *(Path(path) for (path,) in rows)}:
                with suppress(OSError, LightfastError):  # gone, or no backup of ours
                    found[path] = _backup(path, read_head(path), path.stat().st_size, last)
            return sorted(found.values(), key=lambda backup: backup.create_time, reverse=True)

        return await self._off_loop(look)

    async def before_purge(self) -> list[str]:
        """Return the names of all backups there are: what is purged now, they still hold."""
        return [
            f"the backup {backup.path}, made before: delete it when it is no longer needed"
            for backup in await self.listed()
        ]

    # ---- making one

    def _place(self, path: str) -> Path:
        if not path:
            now = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
            return self.folder / f"lightfast-{now:%Y%m%dT%H%M%S%f}Z{SUFFIX}"
        chosen = Path(path)
        if not chosen.is_absolute() or "\0" in path:
            raise InvalidArgument(f"{path!r:.200} is no absolute path on the daemon's machine", field="path")
        return chosen

    async def _make(self, chosen: Path, sources: Sources, state: _State, *, own: bool) -> Backup:
        started = self._clock.monotonic()
        head, size = await self._off_loop(lambda: self._copy(chosen, sources, state, own=own))
        if not own:
            unit = self._db.unit()
            unit.execute(
                "INSERT OR REPLACE INTO backups VALUES(?, ?, ?, ?, ?)",
                (str(chosen), head.create_time, size, head.revision, head.store_id),
            )
            await self._db.commit(unit)
        log.info(
            "backup made", path=str(chosen), bytes=size, revision=head.revision,
            took_s=round(self._clock.monotonic() - started, 3),
        )  # fmt: skip
        return _backup(chosen, head, size, 0)

    def _copy(self, chosen: Path, sources: Sources, state: _State, *, own: bool) -> tuple[Head, int]:
        """Make it beside its place, and rename it; in the thread."""
        from lightfast.storage.backup_copy import copy

        folder = chosen.parent
        if own:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.clean(folder)
        if chosen.exists():
            raise _exists(chosen)
        work = folder / f"{self._part}{new_id('backup')}"

        def told(size: int) -> None:
            state.done += size
            if state.stopped or self._stop:
                raise Cancelled("the backup was stopped; nothing of it is left", reason="BACKUP_STOPPED")

        def whole(size: int) -> None:
            state.total = size

        try:
            work.mkdir(mode=0o700)
            part = work / f"whole{SUFFIX}"
            head, size = copy(sources, work, part, self._version, self._clock.now_ns(), told, whole)
            _publish(part, chosen)
        except Missing as error:
            raise Unavailable(str(error), reason="BACKUP_FAILED", retry_after=5.0) from error
        except (OSError, EOFError) as error:
            raise _fault(error, folder) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if own:
            self._drop_old()
        return head, size

    def clean(self, folder: Path) -> None:
        """Remove what a crash left in *folder* of backups of this store that were not finished; blocks."""
        for left in folder.glob(f"{self._part}*"):
            shutil.rmtree(left, ignore_errors=True)

    def _drop_old(self) -> None:
        from lightfast.storage.backup_file import read_head

        dated = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            with suppress(OSError, LightfastError):
                dated.append((read_head(path).create_time, path))
        for _, path in sorted(dated, reverse=True)[self.keep :]:
            path.unlink(missing_ok=True)
            log.info("old backup deleted", path=str(path), keep=self.keep)

    async def _off_loop(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)


class _State:
    """What the thread and the loop know of each other; each field has one writer."""

    done = 0
    total = 0
    stopped = False


def _publish(part: Path, chosen: Path) -> None:
    """Give a finished backup its name, and never that of another file."""
    try:
        os.link(part, chosen)
    except FileExistsError:
        raise _exists(chosen) from None
    except OSError:  # a file system without second names
        if chosen.exists():
            raise _exists(chosen) from None
        part.rename(chosen)
    sync_folder(chosen.parent)


def _exists(chosen: Path) -> AlreadyExists:
    return AlreadyExists(f"{chosen} is there already: choose another name", reason="BACKUP_EXISTS", field="path")


def _backup(path: Path, head: Head, size: int, last_purge: int) -> Backup:
    return Backup(path, head.create_time, size, head.revision, head.store_id, last_purge > head.create_time)


def _fault(error: Exception, folder: Path) -> LightfastError:
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Exhausted(
            f"the disk is full: no backup can be written to {folder}; nothing of it is left. Free some space there, or "
            "name a file on another disk",
            reason="DISK_FULL",
            metadata={"folder": str(folder)},
        )
    if isinstance(error, FileNotFoundError) and not folder.is_dir():
        return InvalidArgument(f"the folder {folder} is not there: make it first", field="path")
    return Unavailable(f"the backup to {folder} failed: {error}", reason="BACKUP_FAILED", retry_after=5.0)
