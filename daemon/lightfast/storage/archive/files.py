"""Files of the archive: what differs between systems, and what their errors mean."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from pathlib import Path

from lightfast.core.errors import Exhausted, FailedPrecondition, LightfastError, Unavailable
from lightfast.storage.blob_files import sync_folder

__all__ = ["Hold", "allocate", "fault", "make_folder", "pread", "pwrite", "replace", "sync_data", "sync_folder"]


def fault(error: OSError, folder: Path) -> LightfastError:
    """Return what *error* means for the archive in *folder*."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return Exhausted(
            f"the disk is full: nothing can be added to the archive {folder}. Free some space there, then try again",
            reason="DISK_FULL",
            metadata={"folder": str(folder)},
            retry_after=5.0,
        )
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return Unavailable(
            f"the archive {folder} cannot be written ({error.strerror}): it can be read; to write, give the folder's "
            "owner the right to, or move the archive to a medium that can be written",
            reason="ARCHIVE_READ_ONLY",
            metadata={"folder": str(folder)},
        )
    return Unavailable(f"the archive {folder} failed: {error}. Check the disk", reason="ARCHIVE_IO", retry_after=5.0)


if sys.platform == "win32":
    _lock = threading.Lock()

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        """Return at most *size* bytes from *offset*."""
        with _lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            return os.read(descriptor, size)

    def pwrite(descriptor: int, data: bytes, offset: int) -> None:
        """Write all of *data* at *offset*."""
        with _lock:
            os.lseek(descriptor, offset, os.SEEK_SET)
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]

    def sync_data(descriptor: int) -> None:
        """Make what was written durable."""
        os.fsync(descriptor)

    def allocate(descriptor: int, offset: int, size: int, *, fill: bool = False) -> None:
        """Do without: Windows has no such call for ordinary users."""
else:

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        """Return at most *size* bytes from *offset*."""
        return os.pread(descriptor, size, offset)

    def pwrite(descriptor: int, data: bytes, offset: int) -> None:
        """Write all of *data* at *offset*."""
        done = os.pwrite(descriptor, data, offset)
        while done < len(data):
            done += os.pwrite(descriptor, memoryview(data)[done:], offset + done)

    sync_data = getattr(os, "fdatasync", os.fsync)

    def allocate(descriptor: int, offset: int, size: int, *, fill: bool = False) -> None:
        """Reserve room, and write zeros into it where *fill* says so; file systems that cannot are left alone."""
        if not hasattr(os, "posix_fallocate"):
            return
        try:
            os.posix_fallocate(descriptor, offset, size)
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                raise
        else:
            if fill:
                pwrite(descriptor, bytes(size), offset)


def make_folder(folder: Path) -> None:
    """Create *folder* and what leads there, durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    sync_folder(folder.parent)


def replace(path: Path, data: bytes) -> None:
    """Write *data* to *path*: durable, and at every moment either the old file or the new one."""
    beside = path.with_name(path.name + ".new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o600)
    try:
        pwrite(descriptor, data, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    sync_folder(path.parent)


class Hold:
    """Keeps other processes from writing into an archive; the system lets go of it when its holder dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor = -1

    def take(self) -> None:
        """Take it, unless it is held here; raise `FailedPrecondition` (ARCHIVE_HELD) where another has it."""
        if self._descriptor >= 0:
            return
        path = self.folder / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock_file(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise FailedPrecondition(
                f"the archive {self.folder} is held by another process: ask the daemon that runs on it, or stop it "
                "first ('lightfast archive …' without --folder asks the daemon)",
                reason="ARCHIVE_HELD",
            ) from error
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1


if sys.platform == "win32":
    import msvcrt

    def _lock_file(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock_file(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
