"""Sealed segments: files of frames that are only ever replaced as a whole, each with its sidecar."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from lightfast.storage.archive import codec, files
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.frame import BrokenFrame, RawFrame
from lightfast.storage.archive.opened import Opened, Shelf
from lightfast.storage.archive.records import Damage
from lightfast.storage.archive.sidecar import Columns, Sidecar

REPAIR = "run 'lightfast archive repair'"


class SegmentInfo(msgspec.Struct, frozen=True):
    """What the manifest says of a segment. *kinds*: frames, bytes as they came, bytes as they lie here."""

    name: str
    shard: str
    frames: int
    length: int
    first: int
    last: int
    min_ms: int
    max_ms: int
    kinds: dict[str, tuple[int, int, int]]
    private: int = 0
    packed: bool = False
    crc: int = 0
    """The CRC32 of the whole file."""


def describe(columns: Columns, name: str, shard: str, length: int, crc: int, *, packed: bool) -> SegmentInfo:
    """Return what the manifest says of a segment with the frames of *columns*."""
    return SegmentInfo(
        name,
        shard,
        len(columns),
        length,
        columns.numbers[0],
        columns.numbers[-1],
        min(columns.times),
        max(columns.times),
        columns.by_kind(),
        sum(columns.flags),
        packed,
        crc,
    )


class Survey:
    """What is found in a file of frames by reading it from end to end."""

    def __init__(self, relative: str) -> None:
        self.relative = relative
        self.columns = Columns()
        self.dictionaries: dict[str, list[tuple[int, int]]] = {}
        """Where the copies of each dictionary lie: offset and length."""
        self.damage: list[Damage] = []

    def read(self, data: Any, start: int = 0) -> Iterator[int]:
        """Take all frames of *data*; yields how far it has come."""
        at, size = start, len(data)
        while at < size:
            try:
                raw = layout.parse(data, at)
                self._take(raw, codec.load_own(raw), at)
            except (BrokenFrame, Damaged) as error:
                if not bytes(data[at : min(at + 64, size)]).strip(b"\0") and _is_empty(data, at):
                    return
                found = layout.find(data, at + 1, size)
                end = found if found >= 0 else size
                frame_id = error.frame_id if isinstance(error, BrokenFrame) else ""
                self.damage.append(Damage(self.relative, at, end - at, error.reason, frame_id, REPAIR))
                at = end
            else:
                at = raw.end
            yield at

    def _take(self, raw: RawFrame, own: dict[str, Any], at: int) -> None:
        kind = own.get("_kind", codec.DEFAULT_KIND)
        if kind == codec.DICTIONARY_KIND:
            self.dictionaries.setdefault(str(own.get("_name", "")), []).append((at, raw.end - at))
            return
        size = codec.size_of(raw, own)
        self.columns.add(
            own.get("_number", 0), int(raw.frame_id, 16), raw.time_ms, at, raw.end - at, size, kind, "_sealed" in own
        )


def _is_empty(data: Any, at: int) -> bool:
    """Say whether nothing but zeros follows: room that was reserved and never used."""
    step = 1 << 20
    return not any(bytes(data[begin : begin + step]).strip(b"\0") for begin in range(at, len(data), step))


class Segment:
    """One sealed segment; used from any thread."""

    def __init__(self, root: Path, info: SegmentInfo, shelf: Shelf) -> None:
        self.root = root
        self.info = info
        self.name = info.name
        self.path = root / "shards" / info.shard / f"{info.name}.frames"
        self.sidecar_path = self.path.with_suffix(".index")
        self._shelf = shelf
        self.sidecar_lost = ""
        """Why the sidecar could not be used, once that was found."""

    @property
    def relative(self) -> str:
        """Return the file's name, relative to the archive."""
        return f"shards/{self.info.shard}/{self.name}.frames"

    def open(self) -> Opened:
        """Return it opened, without its frames where only the sidecar is left; `FileNotFoundError` if nothing is."""
        return self._shelf.get(self.name, self._make)

    def _make(self) -> Opened:
        try:
            sidecar = Sidecar.open(self.sidecar_path)
        except Damaged as error:
            self.sidecar_lost = error.reason
        else:
            if sidecar.header.get("length") == self.info.length:
                return Opened(self.path, sidecar)
            self.sidecar_lost = "the sidecar belongs to another file"
        return Opened(self.path, Sidecar(self._survey()))

    def rebuild(self) -> None:
        """Write the sidecar anew, from the frames alone."""
        self._shelf.drop(self.name)
        files.replace(self.sidecar_path, self._survey())
        self.sidecar_lost = ""

    def _survey(self) -> bytes:
        """Return a sidecar made from the frames alone."""
        survey = Survey(self.relative)
        with self.path.open("rb") as file:
            if os.fstat(file.fileno()).st_size:
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                for _ in survey.read(view):
                    pass
        return survey.columns.write({"length": self.info.length, "dictionaries": survey.dictionaries})
