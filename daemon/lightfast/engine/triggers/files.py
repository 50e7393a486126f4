"""Tells of files that appeared in folders the user named, once they have come to rest."""

from __future__ import annotations

import asyncio
import fnmatch
import mimetypes
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lightfast.core.errors import InvalidArgument
from lightfast.host.dropins import DEBOUNCE, DropinWatch
from lightfast.storage.assets import Provenance
from lightfast_link.value import Asset

if TYPE_CHECKING:
    from lightfast.storage.blobs import BlobStore

STABLE_S = 0.3
"""A file of the same size and time that much later has come to rest, in seconds."""
GIVE_UP_S = 600.0
"""A file that still grows after that is let go of, until it changes again."""
MOST_FILES = 10_000
"""How many files of one folder are remembered."""
_CHUNK = 1 << 20

Mark = tuple[int, int, int]
"""Inode, size and time of change of a file."""


@dataclass(slots=True)
class _Growing:
    mark: Mark | None
    since: float


class FolderWatch:
    """One folder. *appeared* is called with a file at rest, *stirred* when `look` has something to do.

    Links are not followed, and nothing but plain files directly in the folder counts.
    """

    def __init__(
        self,
        folder: Path,
        stirred: Callable[[], None],
        appeared: Callable[[Path, int], None],
        debounce: float = DEBOUNCE,
    ) -> None:
        self.folder = folder
        self._stirred = stirred
        self._appeared = appeared
        self._growing: dict[Path, _Growing] = {}
        self._seen: dict[str, Mark] = {}
        self._watch = DropinWatch(folder, self._changed, debounce=debounce, suffixes=(), what="watched folder")
        self._now: Callable[[], float] = float

    def start(self, now: Callable[[], float]) -> None:
        """Begin: what is there already does not appear. Blocks."""
        self._now = now
        try:
            for each in sorted(os.scandir(self.folder), key=lambda entry: entry.name)[:MOST_FILES]:
                if (mark := mark_of(Path(each.path))) is not None:
                    self._seen[each.name] = mark
        except OSError:
            pass  # it is made by the watch, if it can be
        self._watch.start()

    def close(self) -> None:
        """End. Blocks."""
        self._watch.close()

    @property
    def busy(self) -> bool:
        """Say whether a file is not at rest yet."""
        return bool(self._growing)

    def _changed(self, path: Path) -> None:
        if path.name.startswith("."):
            return
        if len(self._growing) < MOST_FILES:
            self._growing.setdefault(path, _Growing(None, self._now()))
            self._stirred()

    async def look(self, now: float) -> None:
        """Look at the files that changed; call it again after `STABLE_S` while `busy`."""
        paths = list(self._growing)
        marks = await asyncio.to_thread(lambda: [mark_of(path) for path in paths])
        for path, mark in zip(paths, marks, strict=True):
            growing = self._growing.get(path)
            if growing is None:
                continue
            if mark is None or now - growing.since > GIVE_UP_S:
                del self._growing[path]
                self._seen.pop(path.name, None)
            elif mark != growing.mark or mark[1] == 0:
                growing.mark = mark
            else:
                del self._growing[path]
                if self._seen.get(path.name) != mark:
                    self._seen.pop(path.name, None)
                    self._seen[path.name] = mark
                    while len(self._seen) > MOST_FILES:
                        self._seen.pop(next(iter(self._seen)))
                    self._appeared(path, mark[1])


def mark_of(path: Path) -> Mark | None:
    """Return the mark of a plain file; `None`: it is none, or a link, or gone."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def said(name: str) -> str:
    """Return a file's name as text: it may hold bytes that are none."""
    return name.encode(errors="replace").decode()


def matches(name: str, glob: str) -> bool:
    """Say whether a file's name fits, without regard to case."""
    return fnmatch.fnmatchcase(name.casefold(), glob.casefold())


async def take_in(path: Path, blobs: BlobStore, trigger: str) -> Asset:
    """Store a file as an asset; a link that was put in its place meanwhile is refused."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise InvalidArgument(f"{path.name} cannot be read: {error.strerror}", reason="FILE_UNREADABLE") from None
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidArgument(f"{path.name} is no plain file", reason="FILE_UNREADABLE")
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        provenance = Provenance(origin=f"trigger:{trigger}", generator="file")
        async with blobs.writer(kind, said(path.name), provenance) as writer:
            while data := await asyncio.to_thread(stream.read, _CHUNK):
                await writer.write(data)
            record = await writer.commit()
    return Asset(record.uri, record.media_type, record.sha256, record.size)
