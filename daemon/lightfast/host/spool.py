"""Hands large contents between the daemon and a child: through a file without a name, which nothing can leave behind.

Through the pipe they would cost the daemon's loop a millisecond for each megabyte. The descriptor is inherited, which
POSIX has; elsewhere, and where the disk is full, contents go through the pipe.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Sequence
from typing import IO

LARGE = 1 << 18
"""What is at least so large goes through the spool, in bytes."""

Place = tuple[int, int]
"""Where a content begins, and how long it is."""


class Spool:
    """A file in which one generation's sources lie, and then what was made of them. It blocks.

    Each side counts for itself where it writes next: the sources have been read when the first result is written.
    """

    def __init__(self, descriptor: int, file: IO[bytes] | None = None) -> None:
        """*file* is what keeps *descriptor* open, where it is this side's to close."""
        self.descriptor = descriptor
        self._end = 0
        self._file = file
        self._closed = False
        self._lock = threading.Lock()  # a descriptor that is closed during a write may soon be that of another file

    @classmethod
    def opened(cls) -> Spool | None:
        """Return a new one, or `None` where there can be none."""
        if os.name != "posix":
            return None
        try:
            file = tempfile.TemporaryFile()  # noqa: SIM115 — `close` does it
        except OSError:
            return None
        return cls(file.fileno(), file)

    def write(self, content: bytes) -> Place | None:
        """Add *content*; return its place, or `None` where it is small, or there is no room for it."""
        if len(content) < LARGE:
            return None
        with self._lock:
            at = self._end
            view = memoryview(content)
            try:
                while view and not self._closed:
                    written = os.pwrite(self.descriptor, view, self._end)
                    view = view[written:]
                    self._end += written
            except OSError:
                self._end = at
            return (at, len(content)) if self._end == at + len(content) else None

    def read(self, at: int, size: int) -> bytes:
        """Return what lies there; raise `OSError` where that is not as long."""
        with self._lock:
            found = [b""]
            while size and not self._closed and (part := os.pread(self.descriptor, size, at)):
                found.append(part)
                at += len(part)
                size -= len(part)
        if size:
            raise OSError("the spool ends before its content does")
        return found[-1] if len(found) == 2 else b"".join(found)

    def begin(self, sources: Sequence[bytes]) -> list[Place | None]:
        """Empty it, and add *sources*; return their places."""
        with self._lock:
            if not self._closed:
                os.ftruncate(self.descriptor, 0)
            self._end = 0
        return [self.write(source) for source in sources]

    def close(self) -> None:
        """Give it up, on the side that has opened it."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()
