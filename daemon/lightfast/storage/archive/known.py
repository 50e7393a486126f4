"""Which segment holds an id: sorted runs of ids over many segments, so that few have to be looked into.

Runs are made from sidecars and may be lost: a segment that no run covers is looked into itself. A run may name a
segment that has been replaced, and is then wrong about it; so whoever asks looks into the segment named, and on.
A file: 8 bytes magic, uint32 count and uint32 number of segments; the segments' numbers (uint32), zeros up to a
multiple of 8, the ids (uint64) in order, the number of each one's segment (uint32); the CRC32 of all before. All
integers are little-endian.
"""

from __future__ import annotations

import bisect
import importlib
import mmap
import struct
import sys
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.checksum import crc32
from lightfast.storage.archive import files
from lightfast.storage.archive.sidecar import NATIVE, Sidecar, from_bytes, to_bytes

if TYPE_CHECKING:
    from lightfast.storage.archive.segment import Segment

log = structlog.get_logger("lightfast.archive")

FOLDER = "ids"
MAGIC = b"LFIDRUN1"
_HEAD = struct.Struct("<8sII")
_U32 = struct.Struct("<I")
LOOSE = 4
"""A run is made when so many segments are in none."""
FAN = 4
"""So many runs of about one size become one."""
LARGEST = 1 << 20
"""Larger runs are left as they are: merging one takes memory and a tenth of a second."""
FEW = 24
"""Up to so many ids are looked for one by one, more of them together."""


class Run:
    """One file of ids, mapped; raises `ValueError` if it is not whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, self.count, covers = _HEAD.unpack_from(view)
        at = _HEAD.size
        ids_at = at + covers * 4 + -(at + covers * 4) % 8
        numbers_at = ids_at + self.count * 8
        end = numbers_at + self.count * 4
        if magic != MAGIC or len(view) != end + 4 or crc32(view[:end]) != _U32.unpack_from(view, end)[0]:
            raise ValueError("it is not whole")
        self.covers = frozenset(from_bytes("I", view[at : at + covers * 4].tobytes()))
        self.ids: Any
        self.numbers: Any
        if NATIVE:
            self.ids, self.numbers = view[ids_at:numbers_at].cast("Q"), view[numbers_at:end].cast("I")
        else:
            self.ids = from_bytes("Q", view[ids_at:numbers_at].tobytes())
            self.numbers = from_bytes("I", view[numbers_at:end].tobytes())

    def find(self, key: int) -> int:
        """Return the number of the segment that holds *key*, as far as this run knows, or 0."""
        at = bisect.bisect_left(self.ids, key)
        return self.numbers[at] if at < self.count and self.ids[at] == key else 0


class Known:
    """The runs and the segments of one moment."""

    def __init__(self, segments: Sequence[Segment] = (), runs: Sequence[Run] = ()) -> None:
        self.runs = tuple(runs)
        self._by_number = {int(segment.name): segment for segment in segments}
        covered: set[int] = set()
        for run in runs:
            covered |= run.covers
        self.loose = tuple(segment for number, segment in self._by_number.items() if number not in covered)

    def segments(self, key: int) -> Iterator[Segment]:
        """Yield the segments that may hold the id *key*."""
        yield from reversed(self.loose)
        for run in reversed(self.runs):
            number = run.find(key)
            if number and (segment := self._by_number.get(number)) is not None:
                yield segment

    def holds(self, key: int) -> bool:
        """Say whether a segment holds the id *key*."""
        return any(sidecar.find(key) >= 0 for sidecar in _sidecars(self.segments(key)))

    def any_of(self, keys: Sequence[int]) -> bool:
        """Say whether a segment holds any of *keys*."""
        if not self.runs and not self.loose:
            return False
        if len(keys) <= FEW:
            return any(map(self.holds, keys))
        import numpy as np

        wanted = np.array(keys, dtype=np.uint64)
        wanted.sort()
        held: list[Any] = [sidecar.ids for sidecar in _sidecars(self.loose)]
        held += [run.ids for run in self.runs]
        for ids in held:
            if not len(ids):
                continue
            column = np.frombuffer(ids, dtype=np.uint64)
            found = column.take(column.searchsorted(wanted), mode="clip")
            if np.count_nonzero(found == wanted) and any(map(self.holds, keys)):
                return True
        return False


def _sidecars(segments: Iterable[Segment]) -> Iterator[Sidecar]:
    """Yield the sidecars; a segment that is lost without a trace has none, and holds nothing any more."""
    for segment in segments:
        try:
            yield segment.open().sidecar
        except FileNotFoundError:
            continue


def warm() -> None:
    """Begin to load numpy: when the first run is to be made, nobody has to wait for it."""
    if "numpy" not in sys.modules:
        threading.Thread(target=importlib.import_module, args=("numpy",), name="lightfast-numpy", daemon=True).start()


def load(root: Path, *, clean: bool) -> list[Run]:
    """Return the runs in *root*; those that are damaged are left out, and with *clean* deleted."""
    runs = []
    for path in sorted((root / FOLDER).glob("*")):
        try:
            runs.append(Run(path))
        except (ValueError, OSError, struct.error) as error:
            log.warning("a run of ids is not used", file=path.name, reason=str(error))
            if clean:
                path.unlink(missing_ok=True)
    return runs


def extend(root: Path, segments: Sequence[Segment], runs: Sequence[Run]) -> list[Run]:
    """Return runs that cover all *segments* but a few, where there is something to do, else *runs*."""
    numbers = {int(segment.name) for segment in segments}
    kept = [run for run in runs if not numbers.isdisjoint(run.covers)]
    loose = Known(segments, kept).loose
    if len(loose) < LOOSE:
        if len(kept) < len(runs):
            _drop(runs, kept)
        return kept
    merged: list[Run] = []
    size = sum(segment.info.frames for segment in loose)
    for run in sorted(kept, key=lambda run: run.count):
        alike = [one for one in kept if size / FAN <= one.count <= size * FAN]
        if run.count <= size or (len(alike) >= FAN - 1 and run in alike):
            if size + run.count > LARGEST:
                break
            merged.append(run)
            size += run.count
    fresh = _write(root, loose, merged, numbers)
    left = [run for run in kept if run not in merged]
    _drop([run for run in runs if run.path != fresh.path], left)
    return [*left, fresh]


def _drop(runs: Sequence[Run], kept: Sequence[Run]) -> None:
    for run in runs:
        if run not in kept:
            run.path.unlink(missing_ok=True)


def _write(root: Path, loose: Sequence[Segment], merged: Sequence[Run], live: set[int]) -> Run:
    import numpy as np

    keys: list[Any] = []
    owners: list[Any] = []
    covers: set[int] = set()
    for segment in loose:
        for sidecar in _sidecars([segment]):
            column: Any = sidecar.ids
            if sidecar.count:
                keys.append(np.frombuffer(column, dtype=np.uint64))
                owners.append(np.full(sidecar.count, int(segment.name), dtype=np.uint32))
        covers.add(int(segment.name))
    for run in merged:
        covers |= run.covers & live
        if not run.count:
            continue
        owner = np.frombuffer(run.numbers, dtype=np.uint32)
        still = np.isin(owner, np.array(sorted(live), dtype=np.uint32))
        keys.append(np.frombuffer(run.ids, dtype=np.uint64)[still])
        owners.append(owner[still])
    ids = np.concatenate([np.empty(0, dtype=np.uint64), *keys])
    order = np.argsort(ids, kind="stable")
    head = _HEAD.pack(MAGIC, len(ids), len(covers)) + to_bytes(array("I", sorted(covers)))
    head += bytes(-len(head) % 8)
    body = b"".join((
        head,
        ids[order].astype("<u8").tobytes(),
        np.concatenate([np.empty(0, dtype=np.uint32), *owners])[order].astype("<u4").tobytes(),
    ))  # fmt: skip
    files.make_folder(root / FOLDER)
    path = root / FOLDER / f"{max(covers):08d}.ids"
    beside = path.with_suffix(".new")
    beside.write_bytes(body + _U32.pack(crc32(body)))
    beside.replace(path)
    return Run(path)
