"""Copies what a daemon has while it runs: one revision of the database, and what that revision names."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import structlog

from lightfast.storage.backup_file import DATABASE, TOKENS_LEFT_OUT, BackupWriter, Told
from lightfast.storage.backup_records import Head, Missing, Sources
from lightfast.storage.faults import translate

log = structlog.get_logger("lightfast.backup")

_PAGES = 512
"""Pages copied in one step."""
_TRIES = 20
_SYNC = 8 << 20


def copy(
    sources: Sources, work: Path, target: Path, version: str, now: int, told: Told, whole: Callable[[int], None]
) -> tuple[Head, int]:
    """Write a backup of *sources* to *target*; *work* is an empty folder on the same disk. Blocks: for a thread.

    *whole* hears how many bytes it will be. Returns what the backup says of itself, and its size.
    """
    database = work / "lightfast.db"
    source = apsw.Connection(str(sources.store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        source.set_busy_timeout(5000)
        source.execute("BEGIN")  # from its first read on it shows one state, and nobody waits for it
        revision = int(_one(source, "SELECT coalesce(max(revision), 0) FROM transactions") or 0)
        store_id = str(_one(source, "SELECT value FROM meta WHERE key = 'store_id'"))
        archive = [] if sources.archive is None else freeze(sources.archive, work / "archive")
        assets = [] if sources.assets is None else _assets(source, sources.assets)
        recordings = [] if sources.recordings is None else list(sources.recordings())
        try:
            _copy_database(source, database, told)
        except (apsw.FullError, apsw.IOError, apsw.CantOpenError) as error:
            raise translate(error, str(target.parent)) from error
    except apsw.Error as error:
        raise translate(error, str(sources.store.parent)) from error
    finally:
        source.close()
    files: list[tuple[str, Path]] = [(DATABASE, database)]
    files += [(f"state/archive/{name}", path) for name, path in archive]
    files += [(f"state/assets/{path.parent.name}/{path.name}", path) for path in assets]
    files += [(f"state/recordings/{path.name}", path) for path in recordings]
    files += [(name, path) for name, path in sources.extra.items() if path.is_file()]
    sizes = [_size(path) for _, path in files]
    whole(2 * sizes[0] + sum(sizes[1:]))
    parts = [
        name
        for name, there in (
            ("archive", sources.archive),
            ("assets", sources.assets),
            ("recordings", sources.recordings),
        )
        if there is not None
    ]
    head = Head(store_id, revision, now, version, parts)
    writer = BackupWriter(target, head, told)
    try:
        for (name, path), size in zip(files, sizes, strict=True):
            with path.open("rb") as content:
                # The archive may seal its open file meanwhile, and gives back the room that it had reserved in it.
                writer.add(name, content, size, room=name.endswith(".frames"))
        return head, writer.finish()
    finally:
        writer.close()


def _copy_database(source: apsw.Connection, target: Path, told: Told) -> None:
    """Copy the state that *source* sees, page by page, and take the tokens out."""
    copied = apsw.Connection(str(target))
    try:
        for pragma in ("synchronous = OFF", "journal_mode = MEMORY", "secure_delete = ON", "cache_size = -2000"):
            list(copied.execute(f"PRAGMA {pragma}"))
        size = int(_one(source, "PRAGMA page_size"))
        unsynced = 0
        with copied.backup("main", source, "main") as backup:
            while not backup.done:
                left = backup.remaining
                backup.step(_PAGES)
                went = (left - backup.remaining if left else _PAGES) * size
                told(max(went, 0))
                unsynced += max(went, 0)
                if unsynced >= _SYNC:
                    unsynced = 0
                    _sync(target)
        list(copied.execute("PRAGMA journal_mode = DELETE"))
        copied.execute(TOKENS_LEFT_OUT)
    finally:
        copied.close()


def freeze(archive: Path, work: Path) -> list[tuple[str, Path]]:
    """Return the files of the archive as of one moment, by their names in it; they stay as they are.

    Its files are only appended to or replaced, never changed (but for the room behind the last frame, which may go): a
    second name for each holds on to it. Where the list of them is replaced meanwhile, it begins again.
    """
    for _ in range(_TRIES):
        shutil.rmtree(work, ignore_errors=True)
        before = _read(archive / "archive.json")
        try:
            found = [(name, _hold(path, work / name)) for name, path in _walk(archive)]
        except FileNotFoundError:
            continue
        if _read(archive / "archive.json") == before:
            return found
    raise Missing(f"the archive {archive} changes all the time: try again when less is going on")


def _walk(archive: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files that cannot be made anew: those at the top, and the shards."""
    if not archive.is_dir():
        return
    for path in sorted(archive.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".lock" and path.name != "lock":
            yield path.name, path
    for path in sorted((archive / "shards").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path.relative_to(archive).as_posix(), path


def _hold(path: Path, name: Path) -> Path:
    name.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, name)
    except FileNotFoundError:
        raise
    except OSError:  # a file system without second names
        shutil.copyfile(path, name)
    return name


def _assets(source: apsw.Connection, folder: Path) -> list[Path]:
    """Return the files of the assets; the size of each is that of its row."""
    found = []
    for sha256, size in source.execute("SELECT sha256, size FROM assets ORDER BY seq"):
        path = folder / str(sha256)[:2] / str(sha256)
        try:
            whole = path.stat().st_size == size
        except FileNotFoundError:
            whole = False
        if whole:
            found.append(path)
        else:  # lost before: there is nothing to save, and `lightfast` says so to whoever asks for it
            log.warning("an asset is lost, and not in the backup", sha256=sha256)
    return found


def _read(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def _size(path: Path) -> int:
    return path.stat().st_size


def _one(connection: apsw.Connection, query: str) -> Any:
    for (value,) in connection.execute(query):
        return value
    return None


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
