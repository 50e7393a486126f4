"""The form of a backup: one tar file.

    backup.json          first: {"format": 1, "lightfast", "store_id", "revision", "create_time", "parts"}
    state/lightfast.db   the database, as of one revision, without the tokens
    state/archive/…      the archive's frames, its list of them, and the sealed keys of private frames
    state/assets/…       the assets that the database names
    state/recordings/…   the recordings that were closed
    config/lightfast.toml
    manifest.json        last: {"files": {name: {"size", "sha256"}}}

The manifest names every file but itself, so a backup without it is not whole. Times are ns since 1970. Left out, and
made anew after a restore: all tokens, the key of links, keys of doors, indexes of the archive; plugins that are single
files are code, not state. Any tar program can look into a backup; it holds what it was made of in plain, but for
private frames.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from lightfast.core.errors import FailedPrecondition
from lightfast.storage.backup_records import FORMAT, Head

HEAD = "backup.json"
MANIFEST = "manifest.json"
DATABASE = "state/lightfast.db"
TOKENS_LEFT_OUT = "DELETE FROM tokens"
_CHUNK = 1 << 20
_SYNC = 8 << 20
"""Bytes between two syncs: much that waits for the disk would hold up the syncs of others."""
_MAX_JSON = 256 << 20

Told = Callable[[int], None]
"""Called with how many more bytes were copied or checked; may raise to end the work."""


class Sum(msgspec.Struct, frozen=True):
    """What a file must be."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """All files but the manifest itself."""

    files: dict[str, Sum]


class BackupWriter:
    """Writes a backup to *path*, which must not exist; `finish` makes it whole."""

    def __init__(self, path: Path, head: Head, told: Told) -> None:
        self._file = path.open("xb")
        os.chmod(path, 0o600)  # noqa: PTH101
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT, copybufsize=_CHUNK)
        self._files: dict[str, Sum] = {}
        self._time = head.create_time // 1_000_000_000
        self._told = told
        self._unsynced = 0
        self._put(HEAD, msgspec.json.encode(head))

    def add(self, name: str, source: IO[bytes], size: int, *, room: bool = False) -> None:
        """Copy *size* bytes of *source*; `EOFError` where there are fewer.

        *room*: those at its end may be room that was reserved, in zeros, and is given back meanwhile.
        """
        reader = _Counted(source, size, self._went, room=room)
        self._tar.addfile(self._info(name, size), reader)
        self._files[name] = Sum(size, reader.sha256.hexdigest())

    def finish(self) -> int:
        """Write the manifest, sync, and return the size of the file."""
        self._put(MANIFEST, msgspec.json.encode(Manifest(self._files)))
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        size = self._file.tell()
        self._file.close()
        return size

    def close(self) -> None:
        """Give up the file; it is not whole."""
        self._file.close()

    def _put(self, name: str, data: bytes) -> None:
        if name != MANIFEST:
            self._files[name] = Sum(len(data), hashlib.sha256(data).hexdigest())
        self._tar.addfile(self._info(name, len(data)), io.BytesIO(data))

    def _info(self, name: str, size: int) -> tarfile.TarInfo:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self._time, 0o600
        return info

    def _went(self, size: int) -> None:
        self._unsynced += size
        if self._unsynced >= _SYNC:
            self._unsynced = 0
            self._file.flush()
            os.fsync(self._file.fileno())
        self._told(size)


class _Counted:
    """Reads at most *size* bytes, and hashes and counts them; where there is *room*, zeros stand for missing ones."""

    def __init__(self, source: IO[bytes], size: int, told: Told, *, room: bool) -> None:
        self._room = room
        self.sha256 = hashlib.sha256()
        self._source = source
        self._left = size
        self._told = told

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._source.read(wanted)
        if len(data) < wanted and self._room:
            data = data.ljust(wanted, b"\0")
        if len(data) < wanted:
            raise EOFError(f"{wanted - len(data)} bytes are missing: the file became shorter while it was copied")
        self._left -= len(data)
        self.sha256.update(data)
        self._told(len(data))
        return data


def read_head(path: Path) -> Head:
    """Return what the backup at *path* says of itself; raises as `check` does. Reads only its beginning."""
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            if first is None or first.name != HEAD or first.size > _MAX_JSON:
                raise damaged(path, f"it does not begin with {HEAD}")
            return _decode_head(path, _content(tar, first))
    except (tarfile.TarError, EOFError) as error:
        raise damaged(path, str(error)) from None


def check(path: Path, told: Told) -> tuple[Head, dict[str, Sum]]:
    """Read the whole backup and compare every file with the manifest; return what it says of itself and holds.

    Raises `FailedPrecondition` (BACKUP_DAMAGED, BACKUP_TOO_NEW).
    """
    try:
        return _check(path, told)
    except (tarfile.TarError, EOFError) as error:  # by reading a file in it
        raise damaged(path, str(error)) from None


def _check(path: Path, told: Told) -> tuple[Head, dict[str, Sum]]:
    found: dict[str, Sum] = {}
    head: Head | None = None
    listed: dict[str, Sum] | None = None
    for member, content in members(path):
        if listed is not None:
            raise damaged(path, f"{member.name} lies behind the manifest")
        if member.name == MANIFEST:
            try:
                listed = msgspec.json.decode(_all(content, member.size), type=Manifest).files
            except msgspec.MsgspecError as error:
                raise damaged(path, f"{MANIFEST}: {error}") from None
            continue
        if member.name in found:
            raise damaged(path, f"{member.name} is there twice")
        if head is None:
            if member.name != HEAD:
                raise damaged(path, f"it does not begin with {HEAD}")
            data = _all(content, member.size)
            head = _decode_head(path, data)
            found[HEAD] = Sum(len(data), hashlib.sha256(data).hexdigest())
            continue
        sha256, size = hashlib.sha256(), 0
        while chunk := content.read(_CHUNK):
            sha256.update(chunk)
            size += len(chunk)
            told(len(chunk))
        found[member.name] = Sum(size, sha256.hexdigest())
    if head is None or listed is None:
        raise damaged(path, f"{MANIFEST} is missing: it was not finished, or cut off")
    for name, wanted in listed.items():
        if found.get(name) != wanted:
            raise damaged(path, f"{name} {'is not what it was' if name in found else 'is missing'}")
    if extra := found.keys() - listed.keys():
        raise damaged(path, f"{min(extra)} does not belong to it")
    return head, listed


def members(path: Path) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    """Yield the files of a backup with their content; refuse what a backup never has."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or not is_safe(member.name):
                    raise damaged(path, f"{member.name!r:.80} is no file of a backup")
                yield member, content
    except (tarfile.TarError, EOFError) as error:
        raise damaged(path, str(error)) from None


def is_safe(name: str) -> bool:
    """Say whether *name* can only lead below the folder it is joined to."""
    parts = name.split("/")
    return (name in {HEAD, MANIFEST} or (len(parts) > 1 and parts[0] in {"state", "config"})) and not any(
        part in {"", ".", ".."} or "\\" in part or ":" in part or "\0" in part for part in parts
    )


def damaged(path: Path, why: str) -> FailedPrecondition:
    """Return the error for a file that is no whole backup."""
    return FailedPrecondition(
        f"{path} is no whole backup ({why}): nothing was changed; take another one",
        reason="BACKUP_DAMAGED",
        metadata={"path": str(path)},
    )


def _decode_head(path: Path, data: bytes) -> Head:
    try:
        number = msgspec.json.decode(data, type=_Format).format
        if number > FORMAT:
            raise FailedPrecondition(
                f"{path} was made by a newer Lightfast (format {number}, this one knows {FORMAT}): install the newer "
                "version; nothing was changed",
                reason="BACKUP_TOO_NEW",
            )
        return msgspec.json.decode(data, type=Head)
    except msgspec.MsgspecError as error:
        raise damaged(path, f"{HEAD}: {error}") from None


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = tar.extractfile(member)
    return b"" if content is None else content.read()


def _all(content: IO[bytes], size: int) -> bytes:
    if size > _MAX_JSON:
        raise EOFError("it is too long")
    return content.read()


class _Format(msgspec.Struct):
    format: int
