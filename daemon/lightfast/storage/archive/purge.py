"""Purging frames: their bytes are gone from the disk when it is done, and a note says so."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from lightfast.core.errors import FailedPrecondition
from lightfast.storage.archive import files, pack
from lightfast.storage.archive.segment import Segment
from lightfast.storage.archive.tail import Tail

if TYPE_CHECKING:
    from lightfast.storage.archive.holdings import Holdings

log = structlog.get_logger("lightfast.archive")

NAME = "tombstones.jsonl"
MAX_REASON = 500


class Tombstone(msgspec.Struct, frozen=True):
    """A frame that was purged, when and why."""

    frame_id: str
    time_ms: int
    reason: str


class Tombstones:
    """Which frames were purged: a file of JSON lines, `{"purge": [ids], "time_ms", "reason"}`, then `{"done": true}`.

    The first line is written before anything is changed, so that a purge that was cut off is finished at the next
    start.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / NAME
        self._read_to = 0
        self._found: dict[int, Tombstone] = {}
        self.unfinished: list[str] = []

    def get(self, key: int) -> Tombstone | None:
        """Return the note on a frame, or `None`."""
        self.read()
        return self._found.get(key)

    def __len__(self) -> int:
        self.read()
        return len(self._found)

    def read(self) -> None:
        """Read what was added since."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read_to)
                data = file.read()
        except FileNotFoundError:
            return
        whole = data[: data.rfind(b"\n") + 1]
        self._read_to += len(whole)
        for line in whole.splitlines():
            try:
                found: dict[str, Any] = msgspec.json.decode(line)
            except msgspec.DecodeError:
                continue  # a line that was torn, before anything was purged
            for frame_id in found.get("purge", ()):
                self._found[int(frame_id, 16)] = Tombstone(frame_id, found.get("time_ms", 0), found.get("reason", ""))
            self.unfinished = [] if found.get("done") else list(found.get("purge", ()))

    def write(self, line: dict[str, Any]) -> None:
        """Add a line, durably."""
        is_new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            torn = b"\n" if end and files.pread(descriptor, 1, end - 1) != b"\n" else b""
            files.pwrite(descriptor, torn + msgspec.json.encode(line) + b"\n", end)
            files.sync_data(descriptor)
        finally:
            os.close(descriptor)
        if is_new:
            files.sync_folder(self.path.parent)


Steps = Generator[int, None, list[str]]


def remove(stock: Holdings, frame_ids: Sequence[str], reason: str) -> Steps:
    """Purge frames; yields how many frames were looked at, returns the ids of those that were there."""
    reader = stock.reader()
    wanted: set[int] = set()
    segments: dict[str, Segment] = {}
    in_tail = False
    there: list[str] = []
    for frame_id in dict.fromkeys(frame_ids):
        place = reader.find(frame_id)
        if place is None:
            continue
        there.append(frame_id)
        wanted.add(int(frame_id, 16))
        if isinstance(place.home, Tail):
            in_tail = True
        else:
            segments[place.home.name] = place.home
    if not there:
        return []
    if stock.read_only:
        raise FailedPrecondition(
            f"the archive {stock.root} cannot be written, so nothing can be purged from it", reason="ARCHIVE_READ_ONLY"
        )
    now = stock.clock.now_ns() // 1_000_000
    stock.tombstones.write({"purge": there, "time_ms": now, "reason": reason[:MAX_REASON]})
    yield 0
    if in_tail:
        stock.exchange_tail(wanted)
        yield 0
    for segment in segments.values():
        yield from pack.rewrite(stock, [segment], without=wanted, set_aside=True)
    _forget_damaged(stock.root, there)
    stock.tombstones.write({"done": True})
    log.info("frames were purged from the archive", frames=len(there))
    return there


def finish(stock: Holdings) -> None:
    """Finish a purge that was cut off: at the start, before anything can be read."""
    stock.tombstones.read()
    left = list(stock.tombstones.unfinished)
    if left and not stock.read_only:
        first = stock.tombstones.get(int(left[0], 16))
        reason = first.reason if first is not None else ""
        for _ in remove(stock, left, reason):
            pass
        _forget_damaged(stock.root, left)  # a file that the purge had replaced may have been set aside just now
        stock.tombstones.write({"done": True})


def _forget_damaged(root: Path, frame_ids: Sequence[str]) -> None:
    """Delete what was set aside of the purged frames."""
    folder = root / "damaged"
    if not folder.is_dir():
        return
    needles = [frame_id.encode() for frame_id in frame_ids]
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if any(needle in data for needle in needles):
            path.unlink()
