"""Verification: every byte of every file of frames is looked at; what is damaged is named, frame by frame."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from lightfast.core.checksum import crc32
from lightfast.core.errors import NotFound
from lightfast.storage.archive import codec
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.frame import BrokenFrame
from lightfast.storage.archive.opened import Neighbours, Opened
from lightfast.storage.archive.progress import Progress
from lightfast.storage.archive.records import Damage
from lightfast.storage.archive.scan import give_back
from lightfast.storage.archive.segment import REPAIR, Segment
from lightfast.storage.archive.sidecar import Sidecar
from lightfast.storage.archive.tail import Tail
from lightfast.storage.archive.view import View

if TYPE_CHECKING:
    from lightfast.storage.archive.holdings import Holdings

STEP = 4 << 20
"""Bytes between two steps."""

Check = Generator[int, None, list[Damage]]
"""Yields how many bytes were looked at since the last step; returns what is damaged."""


def verify(stock: Holdings, shards: Sequence[str] = ()) -> Generator[Progress, None, None]:
    """Look at everything, or at some months (`2026/11`); in any thread. `NotFound` names months that are not there."""
    view = stock.view
    there = {segment.info.shard for segment in view.segments} | ({view.tail.shard} if view.tail is not None else set())
    if absent := [shard for shard in shards if shard not in there]:
        raise NotFound(
            f"the archive has nothing of {', '.join(absent)}: it has {', '.join(sorted(there)) or 'nothing at all'}",
            reason="SHARD_NOT_FOUND",
            field="shards",
        )
    segments = [segment for segment in view.segments if not shards or segment.info.shard in shards]
    tail = view.tail if view.tail is not None and (not shards or view.tail.shard in shards) else None
    total = sum(segment.info.length for segment in segments) + (tail.length if tail is not None else 0)
    done = frames = 0
    checks = [(segment.name, segment.info.frames, check_segment(segment)) for segment in segments]
    if tail is not None:
        checks.append((tail.name, view.tail_count, check_tail(view, tail)))
    if stock.gone and not shards:
        yield Progress(0, total, 0, damage=tuple(stock.gone))
    for name, count, check in checks:
        found: list[Damage] = []
        try:
            while True:
                done += next(check)
                yield Progress(done, total, frames)
        except StopIteration as end:
            found = end.value
        now = stock.view
        if all(segment.name != name for segment in now.segments) and (now.tail is None or now.tail.name != name):
            found = []  # it was replaced while we looked, and what replaced it was just written
        for damage in found:
            stock.note_damage(damage)
        frames += count
        yield Progress(min(done, total), total, frames, damage=tuple(found))
    yield Progress(total, total, frames, done=True)


def check_segment(segment: Segment) -> Check:
    """Check one segment: all at once by the checksum of the file, and frame by frame where that does not fit."""
    info = segment.info
    found: list[Damage] = []
    try:
        sidecar: Sidecar | None = Sidecar.open(segment.sidecar_path)
        if sidecar is not None and sidecar.header.get("length") != info.length:
            sidecar = None
    except Damaged:
        sidecar = None
    try:
        opened = segment.open()
        data = opened.map()
    except (FileNotFoundError, Damaged) as error:
        reason = error.reason if isinstance(error, Damaged) else "the file is missing"
        return [Damage(segment.relative, 0, info.length, reason, "", REPAIR)]
    if len(data) > info.length and not bytes(data[info.length :]).strip(b"\0"):
        data = data[: info.length]  # room that was reserved: its sealing was cut off, and nobody could give it back
    if sidecar is None:
        name = segment.relative.replace(".frames", ".index")
        found.append(Damage(name, 0, 0, "the sidecar is missing or damaged: reads take longer", "", REPAIR))
    crc = 0
    for at in range(0, len(data), STEP):
        piece = data[at : at + STEP]
        crc = crc32(piece, crc)
        length = len(piece)
        del piece
        give_back(data)
        yield length
    if len(data) == info.length and crc == info.crc:
        return found
    found += yield from _check_frames(segment, opened, data)
    return found


def _check_frames(segment: Segment, opened: Opened, data: memoryview) -> Check:
    """Check one frame after the other, and what lies between them."""
    sidecar = opened.sidecar
    ids = [0] * sidecar.count
    for at, place in enumerate(sidecar.order):
        ids[place] = sidecar.ids[at]
    around = Neighbours(opened)
    found: list[Damage] = []
    covered = 0
    places = [(sidecar.offsets[at], sidecar.lengths[at], ids[at]) for at in range(sidecar.count)]
    for copies in sidecar.header.get("dictionaries", {}).values():
        places += [(offset, length, -1) for offset, length in copies]
    for done, (offset, length, key) in enumerate(sorted(places)):
        if offset > covered:
            found.append(Damage(segment.relative, covered, offset - covered, "these bytes are no frame", "", REPAIR))
        covered = offset + length
        frame_id = f"{key:016x}" if key >= 0 else ""
        try:
            raw = layout.parse(data, offset)
            if key >= 0:
                codec.undo(raw, codec.load_own(raw), around, None)
        except (BrokenFrame, Damaged) as error:
            if not (isinstance(error, Damaged) and error.locked):
                reason = error.reason if key >= 0 else f"a copy of a dictionary: {error.reason}"
                found.append(Damage(segment.relative, offset, length, reason, frame_id, REPAIR))
        if done % 256 == 255:
            yield 0
    if len(data) > covered:
        found.append(Damage(segment.relative, covered, len(data) - covered, "these bytes are no frame", "", REPAIR))
    return found


def check_tail(view: View, tail: Tail) -> Check:
    """Check the frames of the open segment that *view* knows."""
    found = list(tail.damage)
    columns, since = tail.columns, 0
    for at in range(view.tail_count):
        offset, length = columns.offsets[at], columns.lengths[at]
        try:
            layout.parse(tail.read(offset, length))
        except BrokenFrame as error:
            found.append(Damage(tail.relative, offset, length, error.reason, f"{columns.ids[at]:016x}", REPAIR))
        since += length
        if since >= STEP or at % 1024 == 1023:
            yield since
            since = 0
    yield since
    return found
