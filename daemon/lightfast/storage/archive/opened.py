"""Opened segments: a descriptor and a sidecar, kept for a while; whoever holds one reads on when it was replaced."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightfast.storage.archive import codec, files
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.frame import BrokenFrame
from lightfast.storage.archive.sidecar import Sidecar

if TYPE_CHECKING:
    from lightfast.storage.archive.caches import Cache

    ChunkCache = Cache[tuple[int, int], tuple[int, bytes]]

MAX_OPEN = 96
CHUNK = 50
"""A chunk of a file that is read at once is that of so many frames,"""
MAX_CHUNK = 64 << 10
"""if they take no more bytes: reading what is not asked for must not cost more than reading twice."""
_KEYS = itertools.count()
_KEPT = 4 << 20
"""So many bytes of contents that deltas may be based on are kept while one segment is read."""


class Opened:
    """An opened segment; closed when nobody uses it any more. *lost* says why its frames cannot be read, if so."""

    def __init__(self, path: Path, sidecar: Sidecar) -> None:
        self.sidecar = sidecar
        self.lost = ""
        self._descriptor = -1
        self._dictionaries: dict[str, Any] = {}
        self.chunks: ChunkCache | None = None
        """Where chunks of the file are kept for the frames beside the one that is read; joined by the shelf."""
        self._key = next(_KEYS)
        try:
            self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            self.lost = "the file is missing"
        except OSError as error:
            self.lost = f"the file cannot be opened: {error.strerror}"

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, at: int) -> bytes:
        """Return the bytes of the frame at the place *at*; raises `Damaged` where they cannot be read."""
        offset, length = self.sidecar.offsets[at], self.sidecar.lengths[at]
        chunks = self.chunks
        if chunks is None or self.lost:
            return self._bytes(offset, length)
        first = at - at % CHUNK
        kept = chunks.get((self._key, first))
        if kept is None:
            begin = self.sidecar.offsets[first]
            last = min(first + CHUNK, self.sidecar.count) - 1
            size = self.sidecar.offsets[last] + self.sidecar.lengths[last] - begin
            if size > MAX_CHUNK:
                return self._bytes(offset, length)
            epoch = chunks.epoch
            kept = (begin, self._bytes(begin, size))
            chunks.put((self._key, first), kept, size, epoch)
        begin, data = kept
        return data[offset - begin : offset - begin + length]

    def _bytes(self, offset: int, length: int) -> bytes:
        if self.lost:
            raise Damaged(self.lost)
        try:
            return files.pread(self._descriptor, length, offset)
        except OSError as error:
            raise Damaged(f"the disk failed: {error.strerror}") from None

    def map(self) -> memoryview:
        """Return the whole file, mapped; raises `Damaged` where it cannot be read."""
        if self.lost:
            raise Damaged(self.lost)
        if not os.fstat(self._descriptor).st_size:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_READ))

    def dictionary(self, name: str) -> Any:
        """Return a dictionary of this segment, made ready; raises `Damaged` if all its copies are lost."""
        found = self._dictionaries.get(name)
        if found is not None:
            return found
        reason = "it is not in this segment"
        for offset, length in self.sidecar.header.get("dictionaries", {}).get(name, ()):
            try:
                raw = layout.parse(self._bytes(offset, length))
            except BrokenFrame as error:
                reason = error.reason
                continue
            found = self._dictionaries[name] = codec.ready_dictionary(bytes(raw.content))
            return found
        raise Damaged(f"the dictionary {name!r} that the content was compressed with is lost: {reason}")


class Neighbours:
    """The frames of one segment for its deltas; the contents last used are kept."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def dictionary(self, name: str) -> Any:
        """Return a dictionary; raises `Damaged`."""
        return self.opened.dictionary(name)

    def plain(self, frame_id: str) -> bytes:
        """Return the content of a frame of the segment; raises `Damaged`."""
        found = self._kept.get(frame_id)
        if found is not None:
            self._kept.move_to_end(frame_id)
            return found
        at = self.opened.sidecar.find(int(frame_id, 16))
        if at < 0:
            raise Damaged(f"the frame {frame_id} that this is a delta of is lost")
        try:
            raw = layout.parse(self.opened.read(at))
        except BrokenFrame as error:
            raise Damaged(f"the frame {frame_id} that this is a delta of is damaged: {error.reason}") from None
        data, _ = codec.undo(raw, codec.load(raw.metadata), self, None)
        self._kept[frame_id] = data
        self._size += len(data)
        while self._size > _KEPT and len(self._kept) > 1:
            self._size -= len(self._kept.popitem(last=False)[1])
        return data


class Shelf:
    """The segments that are open, the least lately used of which is given up."""

    def __init__(self, most: int = MAX_OPEN) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Opened] = OrderedDict()
        self.chunks: ChunkCache | None = None

    def get(self, name: str, make: Callable[[], Opened]) -> Opened:
        """Return an open segment."""
        with self._lock:
            found = self._open.get(name)
            if found is not None:
                self._open.move_to_end(name)
                return found
        found = make()
        found.chunks = self.chunks
        if found.lost:
            return found
        with self._lock:
            self._open[name] = found
            while len(self._open) > self._most:
                self._open.popitem(last=False)
        return found

    def drop(self, name: str) -> None:
        """Forget a segment."""
        with self._lock:
            self._open.pop(name, None)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._open.clear()
