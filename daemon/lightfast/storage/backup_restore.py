"""Puts a backup back, into the home of a daemon that does not run.

First the whole backup is read and compared with its manifest. Then it is unpacked beside the place, made durable, and
given a new store id, for its history may differ from what clients saw; what was under way at AI services is left to
the daemon that began it. One rename puts it in place; what was there before stays beside it, under a name that says so.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw
import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import FailedPrecondition, InvalidArgument
from lightfast.core.ids import new_id
from lightfast.core.paths import Paths
from lightfast.storage.backup_file import DATABASE, HEAD, MANIFEST, check, damaged, members
from lightfast.storage.backup_records import Head
from lightfast.storage.blob_files import sync_folder
from lightfast.storage.faults import check_library
from lightfast.storage.peek import peek
from lightfast.storage.schema import APPLICATION_ID, MIGRATIONS

log = structlog.get_logger("lightfast.backup")

_CHUNK = 1 << 20
LOCK = "lock"
"""The name of the daemon's lock file in the state."""
NOT_OURS = (
    "this store was restored from a backup that was made meanwhile: the daemon that began this may still work on it, so"
    " it was not gone on with here; where it has a job_id, look for it at the service"
)
"""Why an operation ended that was under way when the backup was made."""
_EXCHANGE = 2
_HERE = -100


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back; *before* is where the state that was there lies now, if there was one."""

    head: Head
    store_id: str
    state: Path
    before: Path | None


def restore(path: Path, paths: Paths, *, told: Callable[[str, int], None], clock: Clock = SYSTEM) -> Restored:
    """Put the backup at *path* into *paths*; *told* hears a stage and how many more bytes are through.

    The caller holds the locks of the daemon. Raises `FailedPrecondition` (BACKUP_DAMAGED, BACKUP_TOO_NEW,
    STORE_TOO_NEW) and `InvalidArgument`; then nothing was changed.
    """
    check_library()
    if not path.is_file():
        raise InvalidArgument(f"there is no backup {path}", reason="BACKUP_NOT_FOUND", field="path")
    state = paths.state
    head, listed = check(path, lambda size: told("check", size))
    if DATABASE not in listed:
        raise damaged(path, f"{DATABASE} is missing")
    state.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in state.parent.glob(f".{state.name}-restore-*"):
        shutil.rmtree(left)
    work = state.parent / f".{state.name}-restore-{new_id('x')}"
    work.mkdir(mode=0o700)
    try:
        try:
            _unpack(path, work, lambda size: told("unpack", size))
        except (tarfile.TarError, EOFError) as error:
            raise damaged(path, f"it changed while it was read: {error}") from None
        fresh = work / "state"
        store_id = _renew(path, fresh / Path(DATABASE).name, clock)
        _sync_all(work)
        before = _swap(fresh, state, clock)
        _restore_config(work / "config", paths.config)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    log.info("backup restored", path=str(path), store_id=store_id, revision=head.revision)
    return Restored(head, store_id, state, before)


def _unpack(path: Path, work: Path, told: Callable[[int], None]) -> None:
    for member, content in members(path):
        if member.name in {HEAD, MANIFEST}:
            continue
        target = work / member.name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with target.open("xb") as file:
            while chunk := content.read(_CHUNK):
                file.write(chunk)
                told(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        target.chmod(0o444 if member.name.startswith("state/assets/") else 0o600)


def _renew(path: Path, database: Path, clock: Clock) -> str:
    """Look at the database, and give it a new identity."""
    try:
        header = peek(database)
    except ValueError as error:
        raise damaged(path, f"its database: {error}") from None
    if header is None or header.application_id != APPLICATION_ID:
        raise damaged(path, "its database is that of another program")
    if header.user_version > len(MIGRATIONS):
        raise FailedPrecondition(
            f"the store in {path} was written by a newer Lightfast (format {header.user_version}, this one knows up to "
            f"{len(MIGRATIONS)}): install the newer version; nothing was changed",
            reason="STORE_TOO_NEW",
        )
    store_id = new_id("store")
    connection = apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        found = [row[0] for row in connection.execute("PRAGMA quick_check(1)")]
        if found != ["ok"]:
            raise damaged(path, f"its database: {found[0]}")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'store_id'", (store_id,))
        connection.execute("INSERT OR REPLACE INTO meta VALUES('restored', ?)", (clock.now_ns(),))
        _leave_to_the_first(connection, clock.now_ns())
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise damaged(path, f"its database: {error}") from None
    finally:
        connection.close()
    return store_id


def _leave_to_the_first(connection: apsw.Connection, now: int) -> None:
    """End what was under way at AI services when the backup was made.

    Those jobs belong to the daemon that began them, which may still run: a copy that polled, cancelled or began them
    anew would take its results from it, or pay twice. What was held for them stays held; the next start books it at its
    upper bound, for nobody here will learn what it has cost.
    """
    changes = "body = json_set(body, '$.state', 'FAILED', '$.end_time', ?, '$.error', ?)"
    columns = [name for (name,) in connection.execute("SELECT name FROM pragma_table_info('operations')")]
    if "state" in columns:  # formats before 3 have it only in the body
        changes += ", state = 'FAILED'"
    connection.execute(
        f"UPDATE operations SET {changes} WHERE body ->> '$.state' = 'RUNNING'",  # noqa: S608  (constants)
        (now, NOT_OURS),
    )


def _swap(fresh: Path, state: Path, clock: Clock) -> Path | None:
    """Put *fresh* in the place of *state*, in one step where the system can; return where the old one lies."""
    if not state.exists():
        fresh.rename(state)
        sync_folder(state.parent)
        return None
    now = datetime.fromtimestamp(clock.now_ns() / 1e9, UTC)
    before = state.with_name(f"{state.name}-before-{now:%Y%m%dT%H%M%S%f}Z")
    if _exchange(fresh, state):
        fresh.rename(before)
    else:
        state.rename(before)
        fresh.rename(state)
    sync_folder(state.parent)
    if all(path.name == LOCK for path in before.iterdir()):  # the folder was made to hold the lock
        shutil.rmtree(before)
        return None
    return before


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or its file system cannot."""
    if sys.platform != "linux":
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def _restore_config(source: Path, config: Path) -> None:
    """Put the settings back, unless there are some."""
    if not source.is_dir():
        return
    config.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in source.iterdir():
        target = config / path.name
        if not target.exists():
            path.rename(target)
    sync_folder(config)


def _sync_all(folder: Path) -> None:
    for place, _, names in os.walk(folder):
        for name in names:
            with Path(place, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(Path(place))
