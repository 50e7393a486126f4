"""Packing: a recording that is over, as columns, in a tenth of its bytes and still read by the same `Reader`.

A packed file is of version 2: HEAD, ENTRIES, END and the tail are as before, and everything between them is in PACKED
records; see `pack_form`. Nothing is lost but what was asked for: with *hz* above 0, of the samples of a signal only
the first within each of so many parts of a second stays. What a signal settled at is state, and all state is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec

from lightfast.core.errors import FailedPrecondition
from lightfast.engine.journal.form import OPENING, PACKED_OPENING, TAIL, TAIL_MAGIC, Kind, frame, pack
from lightfast.engine.journal.pack_form import packed
from lightfast.engine.journal.reader import Commit, End, Gap, Item, Reader, Samples

MAX_ROWS = 20_000
"""Rows of one PACKED record."""
_encode = msgspec.msgpack.Encoder().encode


def pack_file(path: Path, hz: float) -> tuple[int, int]:
    """Pack the recording at *path* in its place; return its size before and after, in bytes.

    It is written beside, read back, compared, and only then put in the place of the other. Raises
    `FailedPrecondition` (RECORDING_PACKED, RECORDING_INCOMPLETE, RECORDING_CORRUPT) and `OSError`.
    """
    with path.open("rb") as file:
        if file.read(len(OPENING)) == PACKED_OPENING:
            raise FailedPrecondition(f"the recording {path.stem} is packed already", reason="RECORDING_PACKED")
    before = path.stat().st_size
    beside = path.with_suffix(".packing")
    try:
        with beside.open("wb") as file:
            _write(path, hz, file)
            file.flush()
            os.fsync(file.fileno())
        _compare(path, beside, hz)
        beside.replace(path)
        if os.name == "posix":
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    finally:
        beside.unlink(missing_ok=True)
    return before, path.stat().st_size


def thinned(items: Iterable[Item], hz: float) -> Iterator[Item]:
    """Yield *items* with at most *hz* samples a second of each signal; 0 for all of them."""
    last: dict[str, int] = {}
    for item in items:
        if not hz or not isinstance(item, Samples):
            yield item
            continue
        window = int(item.at * hz / 1e9)
        kept = []
        for sample in item.samples:
            if last.get(sample.path) != window:
                last[sample.path] = window
                kept.append(sample)
        if kept:
            yield Samples(item.at, kept)


def _write(path: Path, hz: float, file: Any) -> None:
    with Reader(path) as reader:
        file.write(PACKED_OPENING)
        file.write(frame([Kind.HEAD, reader.head]))
        batch: list[Commit | Samples | Gap] = []
        count = kept = 0
        for item in thinned(reader.items(), hz):
            if isinstance(item, list):
                file.write(frame([Kind.ENTRIES, 0, [[row[0], pack(row[1]), *row[2:]] for row in item]]))
            elif isinstance(item, End):
                if batch:
                    file.write(frame(packed(batch)))
                totals = {**item.totals, "samples": kept}
                if hz:
                    totals["hz"] = hz
                record = frame([Kind.END, item.at, totals])
                file.write(record + TAIL.pack(len(record) + TAIL.size, TAIL_MAGIC))
            else:
                batch.append(item)
                rows = len(item.samples) if isinstance(item, Samples) else 1
                kept += rows if isinstance(item, Samples) else 0
                count += len(item.changes) if isinstance(item, Commit) else rows
                if count >= MAX_ROWS:
                    file.write(frame(packed(batch)))
                    batch, count = [], 0
        if not reader.whole:
            raise FailedPrecondition(
                f"the recording {path.stem} has no end, and stays as it is: what is left of it can be replayed",
                reason="RECORDING_INCOMPLETE",
            )


def _compare(path: Path, packed: Path, hz: float) -> None:
    with Reader(path) as one, Reader(packed) as other:
        for mine, theirs in zip_longest(thinned(one.items(), hz), other.items()):
            if isinstance(mine, End) and isinstance(theirs, End):
                continue  # the number of its samples may differ
            if _encode(_plainly(mine)) != _encode(_plainly(theirs)):
                raise FailedPrecondition(
                    f"the recording {path.stem} does not come out of its packed form as it was: it stays as it is",
                    reason="RECORDING_DIFFERS",
                )


def _plainly(item: Any) -> Any:
    if isinstance(item, tuple) and hasattr(item, "_fields"):
        return [_plainly(field) for field in item]
    if isinstance(item, list) and item and hasattr(item[0], "_fields"):
        return [_plainly(field) for field in item]
    if type(item) is tuple and item and hasattr(item[0], "_fields"):
        return [_plainly(field) for field in item]
    return pack(item) if item is not None else None
