"""One daemon per store: a lock the operating system lets go of when its holder dies."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import FailedPrecondition


class AlreadyRunning(FailedPrecondition):
    """Another process holds the lock."""

    reason = "ALREADY_RUNNING"


class Lock:
    """Holds *path* while entered; the file says who holds it and since when.

    The file stays when the lock is let go: taking it away would let two processes lock two
    different files of one name.
    """

    def __init__(self, path: Path, *, clock: Clock = SYSTEM) -> None:
        self.path = path
        self._clock = clock
        self._handle = -1

    def __enter__(self) -> Self:
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            _lock_patiently(handle)
        except OSError as error:
            holder = _holder(handle)
            os.close(handle)
            raise AlreadyRunning(
                f"a daemon is running already on {self.path.parent}{holder}: stop it first, "
                "or give this one a folder of its own with --home DIR"
            ) from error
        since = datetime.fromtimestamp(self._clock.now_ns() // 1_000_000_000, UTC)
        note = json.dumps({"pid": os.getpid(), "since": since.isoformat()}).encode()
        os.ftruncate(handle, 0)
        os.pwrite(handle, note, 0) if sys.platform != "win32" else os.write(handle, note)
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.ftruncate(self._handle, 0)
        os.close(self._handle)  # lets go of the lock
        self._handle = -1


def _lock_patiently(handle: int) -> None:
    """Lock, trying a few times: whoever looks for a daemon holds the lock for a moment to see if it is held."""
    for _ in range(4):
        try:
            return _lock(handle)
        except OSError:
            time.sleep(0.05)
    return _lock(handle)


def _holder(handle: int) -> str:
    """Say who holds the lock, as far as its note tells."""
    try:
        note = json.loads(os.read(handle, 4096))
        return f" (process {int(note['pid'])}, since {note['since']})"
    except (ValueError, KeyError, TypeError, OSError):
        return ""


if sys.platform == "win32":
    import msvcrt

    # Locks on Windows keep others from reading, too, so the locked byte lies behind the note.
    _FAR = 1 << 20

    def _lock(handle: int) -> None:
        os.lseek(handle, _FAR, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        os.lseek(handle, 0, os.SEEK_SET)
else:
    import fcntl

    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
