"""The sidecar of a sealed segment: what lies where in it, so that neither the start nor a read has to scan.

It can be lost: it is made from the frames alone. Layout: 8 bytes magic, uint32 length of a JSON header and the
header, zeros up to a multiple of 8; then one array per column, each beginning at a multiple of 8; at the end the
CRC32 of all before. Integers are little-endian. `ids` is sorted, and `order` names the frame of each of its members.
"""

from __future__ import annotations

import bisect
import mmap
import struct
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from lightfast.core.checksum import crc32
from lightfast.storage.archive.codec import Damaged

if TYPE_CHECKING:
    from lightfast.storage.archive.rows import Rows

MAGIC = b"LFINDEX1"
_U32 = struct.Struct("<I")
PRIVATE = 1
COLUMNS = (
    ("numbers", "Q"),
    ("times", "q"),
    ("ids", "Q"),
    ("order", "I"),
    ("offsets", "I"),
    ("lengths", "I"),
    ("sizes", "I"),
    ("kinds", "H"),
    ("flags", "B"),
)
NATIVE = sys.byteorder == "little"


def to_bytes(column: array[int]) -> bytes:
    """Return a column in little-endian order."""
    if not NATIVE:
        column = array(column.typecode, column)
        column.byteswap()
    return column.tobytes()


def from_bytes(code: str, data: bytes) -> array[int]:
    """Return the column that `to_bytes` wrote."""
    column = array(code, data)
    if not NATIVE:
        column.byteswap()
    return column


def _order(ids: array[int]) -> list[int]:
    """Return the places of *ids* in the order of their size; by numpy, ten times as fast, where it is loaded anyway."""
    if "numpy" not in sys.modules or not ids:
        return sorted(range(len(ids)), key=ids.__getitem__)
    import numpy as np

    found: list[int] = np.argsort(np.frombuffer(ids, dtype=np.uint64)).tolist()
    return found


class Columns:
    """Frames of one file, column by column, as they are collected; `add` in the order of their numbers."""

    def __init__(self) -> None:
        self.numbers = array("Q")
        self.times = array("q")
        self.ids = array("Q")
        """In the order of the frames, here."""
        self.offsets = array("Q")
        self.lengths = array("I")
        self.sizes = array("I")
        self.kinds = array("H")
        self.flags = array("B")
        self.names: list[str] = []
        self._kind_of: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def add(
        self, number: int, frame_id: int, time_ms: int, offset: int, length: int, size: int, kind: str, private: bool
    ) -> None:
        """Add a frame; *size* is that of its content as it came, in bytes."""
        self.times.append(time_ms)
        self.ids.append(frame_id)
        self.offsets.append(offset)
        self.lengths.append(length)
        self.sizes.append(min(size, 0xFFFFFFFF))
        self.kinds.append(self.kind_number(kind))
        self.flags.append(PRIVATE if private else 0)
        self.numbers.append(number)  # last: it is what readers count

    def add_rows(self, rows: Rows, number: int, offset: int) -> None:
        """Add frames that lie one after the other from *offset* on, the first with *number*."""
        if not rows:
            return
        count = len(rows)
        if count == 1:
            self.add(
                number, rows.keys[0], rows.times[0], offset, rows.lengths[0], rows.sizes[0], rows.kinds[0],
                rows.private[0],
            )  # fmt: skip
            return
        # Packed first: arrays take bytes in a third of the time that numbers one by one would take.
        self.times.frombytes(struct.pack(f"={count}q", *rows.times))
        self.ids.frombytes(struct.pack(f"={count}Q", *rows.keys))
        self.offsets.frombytes(struct.pack(f"={count}Q", *accumulate(rows.lengths[:-1], initial=offset)))
        self.lengths.frombytes(struct.pack(f"={count}I", *rows.lengths))
        self.sizes.frombytes(struct.pack(f"={count}I", *rows.sizes))
        if rows.kinds.count(rows.kinds[0]) == count:
            self.kinds.extend(array("H", (self.kind_number(rows.kinds[0]),)) * count)
        else:
            self.kinds.extend(map(self.kind_number, rows.kinds))
        self.flags.frombytes(bytes(rows.private))
        # Last: it is what readers count.
        self.numbers.frombytes(struct.pack(f"={count}Q", *range(number, number + count)))

    def kind_number(self, kind: str) -> int:
        """Return the number of a kind, a new one where it has none."""
        found = self._kind_of.get(kind)
        if found is None:
            found = len(self.names)
            if found > 0xFFFF:
                raise OverflowError("a segment has at most 65,536 kinds")
            self.names.append(kind)
            self._kind_of[kind] = found
        return found

    def dump(self, start: int, end: int) -> list[Any]:
        """Return the frames from *start* to *end* as plain data."""
        columns = (
            self.numbers, self.ids, self.times, self.offsets, self.lengths, self.sizes, self.kinds, self.flags
        )  # fmt: skip
        return [self.names, *(to_bytes(column[start:end]) for column in columns)]

    def extend(self, dumped: list[Any]) -> None:
        """Add what `dump` returned."""
        names, numbers, ids, times, offsets, lengths, sizes, kinds, flags = dumped
        self.ids.extend(from_bytes("Q", ids))
        self.times.extend(from_bytes("q", times))
        self.offsets.extend(from_bytes("Q", offsets))
        self.lengths.extend(from_bytes("I", lengths))
        self.sizes.extend(from_bytes("I", sizes))
        number_of = [self.kind_number(name) for name in names]
        self.kinds.extend([number_of[kind] for kind in from_bytes("H", kinds)])
        self.flags.extend(from_bytes("B", flags))
        self.numbers.extend(from_bytes("Q", numbers))

    def by_kind(self) -> dict[str, tuple[int, int, int]]:
        """Return frames, bytes as they came and bytes as they lie here, by kind."""
        found = [[0, 0, 0] for _ in self.names]
        for kind, size, length in zip(self.kinds, self.sizes, self.lengths, strict=True):
            row = found[kind]
            row[0] += 1
            row[1] += size
            row[2] += length
        return {name: (row[0], row[1], row[2]) for name, row in zip(self.names, found, strict=True)}

    def write(self, header: dict[str, Any]) -> bytes:
        """Return the bytes of the sidecar."""
        order = _order(self.ids)
        columns = {
            "numbers": self.numbers,
            "times": self.times,
            "ids": array("Q", [self.ids[at] for at in order]),
            "order": array("I", order),
            "offsets": array("I", self.offsets),
            "lengths": self.lengths,
            "sizes": self.sizes,
            "kinds": self.kinds,
            "flags": self.flags,
        }
        head = msgspec.json.encode({**header, "count": len(self), "kinds": self.names})
        parts = [MAGIC, _U32.pack(len(head)), head]
        length = 12 + len(head)
        for name, _ in COLUMNS:
            data = to_bytes(columns[name])
            padding = -length % 8
            parts += [bytes(padding), data]
            length += padding + len(data)
        body = b"".join(parts)
        return body + _U32.pack(crc32(body))


class Sidecar:
    """A sidecar, mapped into memory; raises `Damaged` if it is not whole."""

    numbers: Sequence[int]
    times: Sequence[int]
    ids: Sequence[int]
    order: Sequence[int]
    offsets: Sequence[int]
    lengths: Sequence[int]
    sizes: Sequence[int]
    kinds: Sequence[int]
    flags: Sequence[int]

    def __init__(self, data: Any) -> None:
        view = memoryview(data)
        if len(view) < 16 or view[:8] != MAGIC or crc32(view[:-4]) != _U32.unpack_from(view, len(view) - 4)[0]:
            raise Damaged("the sidecar is damaged")
        length = _U32.unpack_from(view, 8)[0]
        self.header: dict[str, Any] = msgspec.json.decode(view[12 : 12 + length])
        self.names: list[str] = self.header["kinds"]
        self.count: int = self.header["count"]
        at = 12 + length
        for name, code in COLUMNS:
            at += -at % 8
            end = at + self.count * array(code).itemsize
            column = view[at:end].cast(code)  # type: ignore[call-overload]  # one of COLUMNS
            setattr(self, name, column if NATIVE else from_bytes(code, column.tobytes()))
            at = end

    @classmethod
    def open(cls, path: Path) -> Sidecar:
        """Map the sidecar at *path*; raise `Damaged` if it is missing or not whole."""
        try:
            with path.open("rb") as file:
                return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise Damaged(f"the sidecar cannot be read: {error}") from None

    def find(self, frame_id: int) -> int:
        """Return the place of a frame by its id, or -1."""
        at = bisect.bisect_left(self.ids, frame_id)
        return self.order[at] if at < self.count and self.ids[at] == frame_id else -1

    def find_number(self, number: int) -> int:
        """Return the place of a frame by its number, or -1."""
        at = bisect.bisect_left(self.numbers, number)
        return at if at < self.count and self.numbers[at] == number else -1
