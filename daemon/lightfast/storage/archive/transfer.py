"""Export and import: an export is frames of the archive's own format, one after the other, each complete in itself."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from lightfast.storage.archive import codec
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.frame import BrokenFrame, RawFrame
from lightfast.storage.archive.pack import item_of
from lightfast.storage.archive.progress import Piece
from lightfast.storage.archive.records import Damage
from lightfast.storage.archive.view import ALONE

if TYPE_CHECKING:
    from lightfast.storage.archive.stock import Stock

PIECE = 256 << 10
MAX_FRAME = 256 << 20
"""A frame that claims to be longer is taken for damage."""
MAX_DAMAGE = 1000
STREAM = "import"
"""Stands for the file in the damage of an import; offsets count from its first byte."""


def export(stock: Stock, kinds: Sequence[str], after_ms: int, before_ms: int) -> Generator[Piece, None, None]:
    """Yield frames in the order of their numbers, in pieces; in any thread. Sealed frames stay sealed."""
    reader = stock.reader()
    total = reader.count
    parts: list[bytes] = []
    size = count = 0
    for data in reader.scan_with(_plain, kinds=kinds, after_ms=after_ms, before_ms=before_ms):
        parts.append(data)
        size += len(data)
        count += 1
        if size >= PIECE:
            yield Piece(b"".join(parts), count, total)
            parts.clear()
            size = 0
    yield Piece(b"".join(parts), count, total)


def _plain(raw: RawFrame, number: int, source: codec.Source) -> bytes:
    return plain(raw, source)


def plain(raw: RawFrame, source: codec.Source) -> bytes:
    """Return a frame that needs no other to be read, without the archive's own number; raises `Damaged`."""
    item = item_of(raw, 0, source)
    own = item.own
    own.pop("_number", None)
    own.pop("enc", None)
    if not item.verbatim:
        own.pop("_size", None)
    version = layout.TEXT_VERSION
    if item.codings != ["utf8"]:
        own["enc"] = item.codings
        version = layout.CODED_VERSION
    return layout.encode(version, raw.frame_id.encode(), raw.time_ms, item.data, codec.dump(own))


class Importer:
    """Cuts a stream of bytes into frames, wherever its pieces are cut; names what is none."""

    def __init__(self) -> None:
        self.damage: list[Damage] = []
        self._data = bytearray()
        self._at = 0
        """Where the first byte of `_data` lies in the stream."""
        self._need = 0
        """So many bytes of `_data` are needed before another look is worth while."""

    def feed(self, data: bytes) -> list[RawFrame]:
        """Take some bytes in; return the frames that are whole by now."""
        self._data += data
        return self._cut(at_end=False) if len(self._data) >= self._need else []

    def finish(self) -> list[RawFrame]:
        """Return the last frames, when there are no more bytes."""
        return self._cut(at_end=True)

    def _cut(self, *, at_end: bool) -> list[RawFrame]:
        data = bytes(self._data)
        found: list[RawFrame] = []
        at = self._need = 0
        while at < len(data):
            try:
                raw = layout.parse(data, at)
            except BrokenFrame as error:
                if not at_end and _may_go_on(data, at, error):
                    self._need = len(data) - at + 1
                    if (claimed := layout.claimed_content(data, at)) > 0:
                        self._need = max(self._need, claimed + layout.OVERHEAD)
                    break
                end = _next(data, at + 1, at_end=at_end)
                self._note(at, end - at, error.reason, error.frame_id)
                at = end
            else:
                found.append(raw)
                at = raw.end
        del self._data[:at]
        self._at += at
        return found

    def _note(self, offset: int, length: int, reason: str, frame_id: str) -> None:
        begin = self._at + offset
        last = self.damage[-1] if self.damage else None
        if last is not None and last.offset + last.length == begin and not frame_id:
            self.damage[-1] = Damage(STREAM, last.offset, last.length + length, last.reason, last.frame_id)
        elif len(self.damage) < MAX_DAMAGE:
            self.damage.append(Damage(STREAM, begin, length, reason, frame_id))


def _may_go_on(data: bytes, at: int, error: BrokenFrame) -> bool:
    """Say whether what begins at *at* may be a frame of which the rest is still to come."""
    return error.cut and max(len(data) - at, layout.claimed_content(data, at)) < MAX_FRAME


def _next(data: bytes, start: int, *, at_end: bool) -> int:
    """Return where the next frame begins, or may begin, or the end of *data*."""
    at = data.find(layout.MAGIC, start)
    while at >= 0:
        try:
            layout.parse(data, at)
        except BrokenFrame as error:
            if not at_end and _may_go_on(data, at, error):
                return at
            at = data.find(layout.MAGIC, at + 1)
        else:
            return at
    return len(data) - (not at_end and data[-1:] == layout.MAGIC[:1])


def adopt(stock: Stock, frames: Sequence[RawFrame]) -> Generator[None, None, tuple[list[str], int, list[Damage]]]:
    """Take frames in that have their ids already; return the ids taken, how many were there, and what was refused.

    Their kind, time, content and metadata stay; they get new numbers. A job of the writer thread.
    """
    taken: list[str] = []
    refused: list[Damage] = []
    skipped = 0
    batch: list[tuple[RawFrame, bytes]] = []
    seen: set[str] = set()
    size = 0
    for raw in frames:
        if not layout.is_id(raw.frame_id):
            reason = "the id is none of this archive's: 16 lower-case hex digits"
            refused.append(Damage(STREAM, 0, 0, reason, raw.frame_id[:64]))
            continue
        key = int(raw.frame_id, 16)
        if raw.frame_id in seen or stock.has(key):
            skipped += 1
            continue
        tombstone = stock.tombstones.get(key)
        if tombstone is not None:
            refused.append(Damage(STREAM, 0, 0, f"it was purged: {tombstone.reason}", raw.frame_id))
            continue
        try:
            data = plain(raw, ALONE)
        except Damaged as error:
            refused.append(Damage(STREAM, 0, 0, error.reason, raw.frame_id))
            continue
        seen.add(raw.frame_id)
        batch.append((raw, data))
        size += len(data)
        if len(batch) >= 256 or size >= PIECE:
            taken += stock.adopt([layout.parse(data) for _, data in batch])
            batch.clear()
            size = 0
            yield
    if batch:
        taken += stock.adopt([layout.parse(data) for _, data in batch])
    return taken, skipped, refused
