"""What the archive holds, from its manifest and its open segment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightfast.storage.archive import leftovers
from lightfast.storage.archive.progress import Share, Stats

if TYPE_CHECKING:
    from lightfast.storage.archive.holdings import Holdings


def stats(stock: Holdings) -> Stats:
    """Return figures of *stock*; in any thread."""
    view = stock.view
    per_chunk = stock.options.frames_per_chunk
    shards: dict[str, list[int]] = {}
    kinds: dict[str, list[int]] = {}
    private = chunks = waiting = 0
    parts = [
        (segment.info.shard, segment.info.frames, segment.info.length, segment.info.kinds) for segment in view.segments
    ]
    for segment in view.segments:
        private += segment.info.private
        chunks += -(-segment.info.frames // per_chunk)
    if view.tail is not None and view.tail_count:
        tail = view.tail
        parts.append((tail.shard, view.tail_count, tail.length, tail.columns.by_kind()))
        private += sum(tail.columns.flags[: view.tail_count])
        chunks += tail.built // per_chunk
        waiting = tail.waiting
    for shard, frames, length, by_kind in parts:
        _add(shards, shard, frames, sum(raw for _, raw, _ in by_kind.values()), length)
        for kind, figures in by_kind.items():
            _add(kinds, kind, *figures)
    damage = [f"{one.file} at {one.offset}: {one.frame_id or '?'}: {one.reason}" for one in stock.damage.values()]
    return Stats(
        frames=view.count,
        chunks=chunks,
        waiting=waiting,
        bytes=sum(_sizes(stock.root)),
        private_frames=private,
        shards=tuple(_shares(sorted(shards.items()))),
        kinds=tuple(_shares(sorted(kinds.items()))),
        damage=(*damage, *(line for line in stock.missing if line not in stock.lost)),
        lost=tuple(stock.lost),
        incoming=tuple(leftovers.incoming(stock.root)),
        tombstones=len(stock.tombstones),
        quota=stock.options.quota,
    )


def _add(found: dict[str, list[int]], name: str, frames: int, raw: int, stored: int) -> None:
    row = found.setdefault(name, [0, 0, 0])
    row[0] += frames
    row[1] += raw
    row[2] += stored


def _shares(rows: Iterable[tuple[str, list[int]]]) -> Iterator[Share]:
    for name, (frames, raw, stored) in rows:
        yield Share(name, frames, raw, stored)


def _sizes(folder: Path) -> Iterator[int]:
    """Yield the sizes of all files."""
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                yield Path(place, name).stat().st_size
            except FileNotFoundError:
                continue
