"""The open segment, where frames are appended: one file, one write and one sync for a group.

Beside it lies a `.chunks` file: a record for each batch of frames that was built into a chunk, so that the next
start need not read them. It is never synced and may be lost: frames are in the segment itself before it says so.
A record is a uint32 length, msgpack of `[chunk, first, columns]` (`Columns.dump`) and the CRC32 of that: the frames
from the place *first* on. Chunk *c* holds those from *c* × `frames_per_chunk` on, and is sealed when it has that many.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec
import structlog

from lightfast.core.checksum import crc32
from lightfast.storage.archive import codec, files
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.frame import BrokenFrame, RawFrame
from lightfast.storage.archive.newer import newer
from lightfast.storage.archive.records import Damage
from lightfast.storage.archive.rows import Rows
from lightfast.storage.archive.sidecar import Columns

log = structlog.get_logger("lightfast.archive")

RESTORE = "restore it from a backup"

STEP = 1 << 20
"""Room is reserved in such steps: a write into reserved room is synced in two thirds of the time."""
MAX_FILLED = 64 << 10
"""Up to so many bytes a write has its room filled with zeros: where there were bytes before, a sync changes nothing but
them, and takes two thirds of the time again. Larger ones would lose more by being written twice."""
_U32 = struct.Struct(">I")


class Tail:
    """One open segment; the writer thread alone calls what changes it, readers may call `read` and `find`."""

    def __init__(self, root: Path, shard: str, name: str, frames_per_chunk: int) -> None:
        self.root = root
        self.shard = shard
        self.name = name
        self.folder = root / "shards" / shard
        self.path = self.folder / f"{name}.frames"
        self.chunks_path = self.folder / f"{name}.chunks"
        self.columns = Columns()
        self.places: dict[int, int] = {}
        self.damage: list[Damage] = []
        self.short: Damage | None = None
        """What the file lacks of what was once written to it."""
        self.length = 0
        self.built = 0
        """So many frames are in chunks."""
        self._per_chunk = frames_per_chunk
        self._room = 0
        self._descriptor = -1
        self._chunks = -1
        self._chunks_end = 0

    def __del__(self) -> None:
        self.close()

    @property
    def waiting(self) -> int:
        """Return how many frames are in no chunk yet."""
        return len(self.columns) - self.built

    def create(self) -> None:
        """Make the files, durably."""
        files.make_folder(self.folder)
        self._open(os.O_RDWR | os.O_CREAT | os.O_EXCL)
        files.sync_folder(self.folder)

    def _open(self, flags: int) -> None:
        extra = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._descriptor = os.open(self.path, flags | extra, 0o600)
        if flags & os.O_RDWR:
            self._chunks = os.open(self.chunks_path, os.O_RDWR | os.O_CREAT | extra, 0o600)

    def close(self) -> None:
        """Give back the room that was reserved, and close."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            if self._room > self.length:
                os.ftruncate(descriptor, self.length)
            os.close(descriptor)
        chunks, self._chunks = self._chunks, -1
        if chunks >= 0:
            os.close(chunks)

    def trim(self) -> None:
        """Give back the room that was reserved: no more is written."""
        if self._room > self.length:
            os.ftruncate(self._descriptor, self.length)
            self._room = self.length

    def checksum(self) -> int:
        """Return the CRC32 of all frames."""
        value, at, step = 0, 0, 1 << 20
        while at < self.length:
            value = crc32(self.read(at, min(step, self.length - at)), value)
            at += step
        return value

    # ---- writing

    def write(self, data: bytes) -> int:
        """Append *data*, durably, and return where it begins; after an `OSError` nothing of it is there."""
        begin, end = self.length, self.length + len(data)
        try:
            if end > self._room:
                room = -(-end // STEP) * STEP
                files.allocate(self._descriptor, self._room, room - self._room, fill=len(data) <= MAX_FILLED)
                self._room = room
            files.pwrite(self._descriptor, data, begin)
            files.sync_data(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, begin)
            self._room = begin
            raise
        self.length = end
        return begin

    def add(
        self, number: int, frame_id: int, time_ms: int, at: int, length: int, size: int, kind: str, private: bool
    ) -> None:
        """Note a frame that was written."""
        self.places[frame_id] = len(self.columns)
        self.columns.add(number, frame_id, time_ms, at, length, size, kind, private)

    def add_rows(self, rows: Rows, number: int, at: int) -> None:
        """Note frames that were written one after the other from *at* on, the first with *number*."""
        count = len(self.columns)
        self.places.update(zip(rows.keys, range(count, count + len(rows)), strict=True))
        self.columns.add_rows(rows, number, at)

    def build(self) -> int:
        """Put the waiting frames into chunks; return how many chunks were sealed by that."""
        columns, sealed = self.columns, 0
        records = []
        built = self.built
        while built < len(columns):
            chunk = built // self._per_chunk
            until = min((chunk + 1) * self._per_chunk, len(columns))
            body = msgspec.msgpack.encode([chunk, built, columns.dump(built, until)])
            records.append(_U32.pack(len(body)) + body + _U32.pack(crc32(body)))
            sealed += until % self._per_chunk == 0
            built = until
        if records:
            end, data = self._chunks_end, b"".join(records)
            try:
                files.pwrite(self._chunks, data, end)
            except OSError:
                os.ftruncate(self._chunks, end)
                raise
            self._chunks_end = end + len(data)
        self.built = built
        return sealed

    # ---- loading

    def load(self, *, read_only: bool = False) -> None:
        """Read what a former run left: the chunks by their records, the rest frame by frame; cut a torn tail."""
        self._open(os.O_RDONLY if read_only else os.O_RDWR)
        size = os.fstat(self._descriptor).st_size
        end = self._load_chunks(size)
        self._load_frames(end, size, read_only=read_only)
        self._room = self.length

    def _load_chunks(self, size: int) -> int:
        """Take the frames that are in chunks; return where the last of them ends."""
        try:
            data = self.chunks_path.read_bytes()
        except FileNotFoundError:
            return 0
        at = 0
        while len(data) - at >= 8:
            (length,) = _U32.unpack_from(data, at)
            body = data[at + 4 : at + 4 + length]
            if not length or len(data) < at + 8 + length or crc32(body) != _U32.unpack_from(data, at + 4 + length)[0]:
                break
            chunk, built, dumped = msgspec.msgpack.decode(body)
            if built != self.built or chunk != built // self._per_chunk:
                break  # a record before it is missing, or chunks had another size
            columns = self.columns
            columns.extend(dumped)
            end = columns.offsets[-1] + columns.lengths[-1]
            if end > size:  # frames are synced before their chunk is written: nobody was still to write them
                reason = "the file is shorter than what was written to it: the frames after this are lost"
                self.short = Damage(self.relative, size, end - size, reason, "", RESTORE)
                self._forget(built)
                break
            self.built = len(columns)
            at += 8 + length
        if at < len(data) and self._chunks >= 0:
            os.ftruncate(self._chunks, at)
        self._chunks_end = at
        columns = self.columns
        self.places = {frame_id: place for place, frame_id in enumerate(columns.ids)}
        return columns.offsets[-1] + columns.lengths[-1] if columns.ids else 0

    def _load_frames(self, start: int, size: int, *, read_only: bool) -> None:
        """Take the frames after *start*; what is damaged among them is noted, what is torn at the end is cut."""
        data = files.pread(self._descriptor, size - start, start) if size > start else b""
        at = 0
        group_end, group_at, group_count = 0, 0, 0
        while at < len(data):
            try:
                raw = layout.parse(data, at)
                own = codec.load_own(raw)
            except (BrokenFrame, codec.Damaged) as error:
                frame_id = error.frame_id if isinstance(error, BrokenFrame) else ""
                if isinstance(error, BrokenFrame) and error.version > layout.NEWEST:
                    raise newer(self.root) from None
                found = layout.find(data, at + 1, len(data))
                if found < 0:  # the last one: a write that was torn ends too early, one that was whole is damaged
                    found = layout.claimed_end(data, at)
                    if not 0 < found <= len(data.rstrip(b"\0")):
                        break
                self._damaged(start + at, found - at, error.reason, frame_id)
                at = found
                continue
            if len(self.columns) >= group_end:
                group_at, group_count = at, len(self.columns)
                group_end = group_count + int(own.get("_group", 1))
            self.take(raw, own, start + at, raw.end - at)
            at = raw.end
        torn = at
        if len(self.columns) < group_end and not self.damage:
            self._forget(group_count)
            torn = group_at
        self.length = start + torn
        rest = data[torn:].rstrip(b"\0")
        if rest and not read_only:
            self._cut(rest)
        if not read_only and self.length < size:
            os.ftruncate(self._descriptor, self.length)

    def _damaged(self, offset: int, length: int, reason: str, frame_id: str) -> None:
        self.damage.append(
            Damage(self.relative, offset, length, reason, frame_id, "run 'lightfast archive repair' to set it aside")
        )
        log.error("a frame of the archive is damaged", file=self.relative, offset=offset, length=length,
                  frame=frame_id, reason=reason)  # fmt: skip

    def _cut(self, rest: bytes) -> None:
        """Keep what is cut off: it was never acknowledged, but somebody may want to look at it."""
        folder = self.root / "damaged"
        files.make_folder(folder)
        kept = folder / f"{self.name}-torn-{self.length}.bytes"
        kept.write_bytes(rest)
        log.warning(
            "the last write before the end was torn: cut at the last whole frame",
            file=self.relative,
            offset=self.length,
            bytes=len(rest),
            kept=str(kept.relative_to(self.root)),
        )

    def _forget(self, count: int) -> None:
        """Take back the frames after the first *count*: their call was not written to the end."""
        kept = self.columns
        self.columns, self.places = Columns(), {}
        for at in range(count):
            self.add(
                kept.numbers[at], kept.ids[at], kept.times[at], kept.offsets[at], kept.lengths[at], kept.sizes[at],
                kept.names[kept.kinds[at]], bool(kept.flags[at]),
            )  # fmt: skip

    def take(self, raw: RawFrame, own: dict[str, Any], offset: int, length: int) -> None:
        """Note a frame that was read."""
        self.add(
            own.get("_number", 0),
            int(raw.frame_id, 16),
            raw.time_ms,
            offset,
            length,
            own.get("_size", len(raw.content)),
            own.get("_kind", codec.DEFAULT_KIND),
            "_sealed" in own,
        )

    def without(self, name: str, gone: Collection[int]) -> Tail:
        """Return another open segment called *name* with all frames but those whose ids are in *gone*, durably."""
        fresh = Tail(self.root, self.shard, name, self._per_chunk)
        fresh.create()
        columns, parts, at = self.columns, [], 0
        for place, frame_id in enumerate(columns.ids):
            if frame_id in gone:
                continue
            data = self.read(columns.offsets[place], columns.lengths[place])
            data = _without_group(data)
            kind = columns.names[columns.kinds[place]]
            fresh.add(
                columns.numbers[place], frame_id, columns.times[place], at, len(data), columns.sizes[place], kind,
                bool(columns.flags[place]),
            )  # fmt: skip
            parts.append(data)
            at += len(data)
        fresh.write(b"".join(parts))
        fresh.build()
        return fresh

    # ---- reading

    @property
    def relative(self) -> str:
        """Return the file's name, relative to the archive."""
        return f"shards/{self.shard}/{self.name}.frames"

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the file."""
        if self._descriptor >= 0:
            return files.pread(self._descriptor, length, offset)
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(length)


def _without_group(data: bytes) -> bytes:
    """Return a frame that no longer says how many were appended with it; one that is damaged stays as it is."""
    try:
        raw = layout.parse(data)
        own = codec.load(raw.metadata)
    except (BrokenFrame, codec.Damaged):
        return data
    if own.pop("_group", None) is None:
        return data
    return layout.encode(raw.version, raw.frame_id.encode(), raw.time_ms, bytes(raw.content), codec.dump(own))
