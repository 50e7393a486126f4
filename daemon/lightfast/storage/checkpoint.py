"""Moves the log into the database file, away from the writer's path."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import apsw
import structlog

from lightfast.core.clock import SYSTEM

log = structlog.get_logger("lightfast.storage")

EVERY_SIZE = 2 << 20
"""Characters written between two checkpoints."""
EVERY_GROUPS = 500
"""Groups written between two checkpoints."""
TRUNCATE_SIZE = 64 << 20
"""A log larger than this many bytes is cut back, even if the writer must wait for a moment."""
READERS_WAIT_MS = 30
"""So long a cut waits for readers, and the writer with it. One that reads for longer would hold up all writes."""
CUT_AGAIN = 10.0
"""Seconds after a cut that a reader prevented, before the next one is tried."""


class Checkpointer:
    """A thread with a connection of its own; `written` is called by the writer thread."""

    def __init__(self, connect: Callable[[], apsw.Connection], path: Path) -> None:
        self._connect = connect
        self._log = path.with_name(path.name + "-wal")
        self._wake = threading.Event()
        self._ending = False
        self._size = 0
        self._groups = 0
        self._cut_again = 0.0
        self._told = 0
        self._thread: threading.Thread | None = None

    def written(self, size: int) -> None:
        """Note that a group of *size* characters was committed."""
        self._size += size
        self._groups += 1
        if self._size >= EVERY_SIZE or self._groups >= EVERY_GROUPS:
            self._size = self._groups = 0
            if self._thread is None:  # most short lives never need one
                thread = threading.Thread(target=self._run, name="lightfast-store-checkpoint", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system has no thread left: the writer must not end for that
                    log.warning("checkpoint failed", error=str(error))
                    return
                self._thread = thread
            self._wake.set()

    def stop(self) -> None:
        """End the thread and wait for it; called from a thread that may block."""
        self._ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        connection = self._connect()
        connection.set_busy_timeout(READERS_WAIT_MS)
        try:
            while self._wake.wait() and not self._ending:
                self._wake.clear()
                self._checkpoint(connection)
        finally:
            connection.close()

    def _checkpoint(self, connection: apsw.Connection) -> None:
        try:
            # First what can be done beside the writer; a cut then has little left to do while the writer waits.
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            size = self._log.stat().st_size
            if size > TRUNCATE_SIZE and SYSTEM.monotonic() >= self._cut_again:
                self._cut(connection, size)
        except (apsw.Error, OSError) as error:  # the log keeps everything; the next checkpoint tries again
            log.warning("checkpoint failed", error=str(error))

    def _cut(self, connection: apsw.Connection, size: int) -> None:
        """Cut the log back, unless somebody reads an older state of the file; and say so each time it has doubled."""
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._told = 0
        except apsw.BusyError:
            self._cut_again = SYSTEM.monotonic() + CUT_AGAIN
            if size >= 2 * self._told:
                self._told = size
                log.warning(
                    "the log of the store grows: something reads the database file and does not end",
                    log_mb=size >> 20,
                    path=str(self._log),
                    remedy="end the program that has the file open (a backup, a database browser)",
                )
