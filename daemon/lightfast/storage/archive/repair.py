"""Repair: what is damaged is set aside, what can be rebuilt is rebuilt, what is lost is named."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import structlog

from lightfast.storage.archive import pack
from lightfast.storage.archive.progress import Progress, quietly
from lightfast.storage.archive.records import Damage
from lightfast.storage.archive.segment import Segment
from lightfast.storage.archive.tail import Tail
from lightfast.storage.archive.verify import check_segment, check_tail

if TYPE_CHECKING:
    from lightfast.storage.archive.holdings import Holdings

log = structlog.get_logger("lightfast.archive")


def repair(stock: Holdings, *, dry: bool) -> Generator[Progress, None, None]:
    """Repair all that is damaged; *dry* only says what would be done. A job of the writer thread."""
    if not dry:
        stock.check_writable()
    view = stock.view
    total = sum(segment.info.length for segment in view.segments) + (view.tail.length if view.tail is not None else 0)
    done = kept = 0
    lost = len(stock.gone)
    if stock.gone:
        yield Progress(0, total, 0, lost=lost, damage=tuple(stock.gone))
    for segment in view.segments:
        found = yield from quietly(check_segment(segment))
        done += segment.info.length
        told, gone = yield from _segment(stock, segment, found, dry=dry)
        kept += segment.info.frames - gone
        lost += gone
        yield Progress(done, total, kept, lost=lost, damage=tuple(told))
    if view.tail is not None:
        told, gone = yield from _tail(stock, view.tail, dry=dry)
        kept += stock.view.tail_count if not dry else view.tail_count - gone
        lost += gone
        yield Progress(total, total, kept, lost=lost, damage=tuple(told))
    if not dry:
        stock.repaired()
    yield Progress(total, total, kept, lost=lost, done=True)


def _segment(
    stock: Holdings, segment: Segment, found: list[Damage], *, dry: bool
) -> Generator[Progress, None, tuple[list[Damage], int]]:
    """Repair one segment; return what is told, and how many frames are lost."""
    if not found:
        return [], 0
    bad = [damage for damage in found if damage.file == segment.relative]
    told = [_with(damage, "the sidecar is made anew from the frames") for damage in found if damage not in bad]
    if not bad:
        if not dry:
            segment.rebuild()
        return told, 0
    missing = any(not damage.offset and damage.length == segment.info.length and not damage.frame_id for damage in bad)
    there = not missing or segment.path.exists()
    remedy = "set aside in the folder damaged" if there else "it cannot be brought back but from a backup"
    told += [_with(damage, remedy) for damage in bad]
    if dry:
        return told, segment.info.frames if not there else len({one.frame_id for one in bad if one.frame_id})
    if not there:
        stock.exchange([segment.info], [])
        stock.note_lost([f"{segment.relative}: the file is missing, with {segment.info.frames} frames"])
        return told, segment.info.frames
    stock.refuse_newer(segment)
    pack.keep_damaged(stock.root, bad)
    before = segment.info.frames
    result = yield from quietly(pack.rewrite(stock, [segment], set_aside=True))
    stock.note_lost([f"{one.file} at {one.offset}: {one.frame_id or 'unknown frame'}: {one.reason}" for one in bad])
    return told, max(before - result.kept, 0)


def _tail(stock: Holdings, tail: Tail, *, dry: bool) -> Generator[Progress, None, tuple[list[Damage], int]]:
    found = yield from quietly(check_tail(stock.view, tail))
    if not found:
        return [], 0
    told = [_with(damage, "set aside in the folder damaged") for damage in found]
    if not dry:
        pack.keep_damaged(stock.root, found)
        gone = {int(damage.frame_id, 16) for damage in found if damage.frame_id}
        stock.exchange_tail(gone)
        stock.note_lost(
            [f"{one.file} at {one.offset}: {one.frame_id or 'unknown frame'}: {one.reason}" for one in found]
        )
    return told, len(found)


def _with(damage: Damage, remedy: str) -> Damage:
    return Damage(damage.file, damage.offset, damage.length, damage.reason, damage.frame_id, remedy)
