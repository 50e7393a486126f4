"""Packing: a sealed segment is written anew, each frame in the month it belongs to, in the coding that takes least.

The same job purges frames, re-bases what was a delta of them, and puts small segments together. The manifest
commits: until it names the new files the old ones count, and nothing of a change that is cut off is ever read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.checksum import crc32
from lightfast.storage.archive import codec, files
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import Damaged
from lightfast.storage.archive.coder import STEP, Coder, Item, dictionary_frame
from lightfast.storage.archive.frame import BrokenFrame
from lightfast.storage.archive.months import month_of
from lightfast.storage.archive.opened import Neighbours
from lightfast.storage.archive.records import Damage
from lightfast.storage.archive.segment import REPAIR, Segment, SegmentInfo, describe
from lightfast.storage.archive.sidecar import Columns

if TYPE_CHECKING:
    from lightfast.storage.archive.holdings import Holdings

log = structlog.get_logger("lightfast.archive")

Steps = Generator[int, None, None]
"""Yields how many frames were done since the last step."""


@dataclass(slots=True)
class Packed:
    """What a rewriting of segments comes to."""

    kept: int = 0
    damage: list[Damage] = field(default_factory=list)


def rewrite(
    stock: Holdings,
    segments: Sequence[Segment],
    *,
    without: Collection[int] = (),
    set_aside: bool = False,
    coder: type[Coder] | Any = Coder,
) -> Generator[int, None, Packed]:
    """Write *segments* anew and put the result in their place; frames whose ids are in *without* are left out.

    What is damaged stops it, unless it is to be *set_aside*: then it goes to the folder `damaged`.
    """
    result = Packed()
    months: dict[str, list[Item]] = {}
    for segment in segments:
        for item in _items(segment, without, result):
            if item is not None:
                months.setdefault(month_of(item.time_ms), []).append(item)
            yield 0
    if result.damage and not set_aside:
        for damage in result.damage:
            stock.note_damage(damage)
        return result
    if set_aside:
        keep_damaged(stock.root, result.damage)
    made: list[SegmentInfo] = []
    try:
        for month in sorted(months):
            items = months.pop(month)
            items.sort(key=lambda item: item.number)
            result.kept += len(items)
            made.append((yield from _write(stock, month, items, coder())))
    except BaseException:
        for info in made:
            _unlink(stock.root, info)
        raise
    stock.exchange([segment.info for segment in segments], made)
    return result


def _items(segment: Segment, without: Collection[int], result: Packed) -> Iterator[Item | None]:
    """Yield what is to be kept of a segment, and `None` now and then."""
    try:
        opened = segment.open()
        data = opened.map()
    except (FileNotFoundError, Damaged):
        result.damage.append(Damage(segment.relative, 0, segment.info.length, "the file is missing", "", REPAIR))
        return
    sidecar, around = opened.sidecar, Neighbours(opened)
    ids = [0] * sidecar.count
    for at, place in enumerate(sidecar.order):
        ids[place] = sidecar.ids[at]
    for at in range(sidecar.count):
        if ids[at] in without:
            continue
        offset = sidecar.offsets[at]
        try:
            yield item_of(layout.parse(data, offset), sidecar.numbers[at], around)
        except (BrokenFrame, Damaged) as error:
            reason = error.reason
            result.damage.append(
                Damage(segment.relative, offset, sidecar.lengths[at], reason, f"{ids[at]:016x}", REPAIR)
            )
        if at % STEP == 0:
            yield None


def item_of(raw: layout.RawFrame, number: int, around: codec.Source) -> Item:
    """Return a frame ready to be stored anew; raises `Damaged`."""
    own = codec.load(raw.metadata)
    own.pop("_group", None)
    kind = own.get("_kind", codec.DEFAULT_KIND)
    codings = codec.codings_of(raw, own)
    if "sealed" in codings:
        size = own.get("_size", 0)
        return Item(
            number, raw.frame_id, raw.time_ms, kind, own, bytes(raw.content), codings,
            private=True, verbatim=True, size=size,
        )  # fmt: skip
    data, rest = codec.undo(raw, own, around, None)
    return Item(number, raw.frame_id, raw.time_ms, kind, own, data, rest, size=len(data))


def _write(stock: Holdings, month: str, items: list[Item], coder: Coder) -> Generator[int, None, SegmentInfo]:
    """Write one segment, durably, with its sidecar; the manifest does not know it yet."""
    for _ in coder.learn(items):
        yield 0
    name = stock.new_name()
    folder = stock.root / "shards" / month
    files.make_folder(folder)
    path = folder / f"{name}.frames"
    columns = Columns()
    places: dict[str, list[tuple[int, int]]] = {}
    time_ms = stock.clock.now_ns() // 1_000_000
    heads = [(one.name, dictionary_frame(one, time_ms)) for one in coder.dictionaries.values()]
    length = crc = 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        for dictionary, data in heads:
            places[dictionary] = [(length, len(data))]
            length, crc = _put(descriptor, data, length, crc)
        waiting: list[bytes] = []
        at = length
        for done, item in enumerate(items):
            data = coder.encode(item)
            columns.add(
                item.number, int(item.frame_id, 16), item.time_ms, at, len(data), item.size, item.kind, item.private
            )
            at += len(data)
            waiting.append(data)
            if done % STEP == STEP - 1:
                length, crc = _put(descriptor, b"".join(waiting), length, crc)
                waiting.clear()
                yield STEP
        length, crc = _put(descriptor, b"".join(waiting), length, crc)
        for dictionary, data in heads:  # once more: without its dictionary a content is lost
            places[dictionary].append((length, len(data)))
            length, crc = _put(descriptor, data, length, crc)
        yield len(waiting)
        os.fsync(descriptor)
        os.close(descriptor)
        descriptor = -1
        header = {"length": length, "crc": crc, "dictionaries": places}
        files.replace(path.with_suffix(".index"), columns.write(header))
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        for left in (path, path.with_suffix(".index"), path.with_suffix(".index.new")):
            left.unlink(missing_ok=True)
        raise
    return describe(columns, name, month, length, crc, packed=True)


def _put(descriptor: int, data: bytes, length: int, crc: int) -> tuple[int, int]:
    if data:
        files.pwrite(descriptor, data, length)
    return length + len(data), crc32(data, crc)


def _unlink(root: Path, info: SegmentInfo) -> None:
    for suffix in (".frames", ".index"):
        with contextlib.suppress(OSError):
            (root / "shards" / info.shard / f"{info.name}{suffix}").unlink()


def keep_damaged(root: Path, damage: Sequence[Damage]) -> None:
    """Copy the bytes of damaged places to the folder `damaged`."""
    for one in damage:
        try:
            with (root / one.file).open("rb") as file:
                file.seek(one.offset)
                data = file.read(one.length)
        except OSError:
            continue  # there is nothing left to keep
        folder = root / "damaged"
        files.make_folder(folder)
        name = Path(one.file).stem
        (folder / f"{name}-{one.offset}.bytes").write_bytes(data)
