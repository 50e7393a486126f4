"""A sealed group, mapped into memory: of its file is read what is asked for, and checked before it is believed."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lightfast.core.checksum import crc32
from lightfast.storage.archive.search import layout

if TYPE_CHECKING:
    from pyroaring import BitMap, BitMap64

_STARTS = struct.Struct("<IIII")
_SLOT = struct.Struct("<I")
_TIME = struct.Struct("<q")
_NUMBER = struct.Struct("<Q")


class GroupDamaged(Exception):
    """The file of a group is not what was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path.name}: {reason}")
        self.path = path
        self.reason = reason


class Group:
    """One file; see `layout`. Opening reads and checks its head alone.

    It may be read from several threads. After `release` a read may raise `GroupDamaged`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                start = file.read(layout.PREFIX.size)
                if len(start) < layout.PREFIX.size:
                    raise GroupDamaged(path, "it is too short for a head")
                magic, length, checksum = layout.PREFIX.unpack(start)
                if magic != layout.MAGIC or length > 1 << 20:
                    raise GroupDamaged(path, "it does not begin as a group does")
                head = file.read(length)
                if len(head) < length or crc32(head) != checksum:
                    raise GroupDamaged(path, "its head has another checksum")
                self.head = msgspec.msgpack.decode(head, type=layout.Head)
                self._body = layout.PREFIX.size + length
                blocks = -(-self.head.body // layout.BLOCK)
                file.seek(self._body + self.head.body)
                self._sums = file.read(blocks * 4 + 1)
                if len(self._sums) != blocks * 4 or crc32(self._sums) != self.head.sums:
                    raise GroupDamaged(path, "its checksums are not whole")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                self.size = len(self._map)
        except OSError as error:
            raise GroupDamaged(path, f"it cannot be read: {error.strerror or error}") from error
        except msgspec.DecodeError as error:
            raise GroupDamaged(path, f"its head is not one: {error}") from error
        self._is_checked = bytearray(blocks)
        self._sections = {name: (self._body + at, length) for name, (at, length) in self.head.sections.items()}
        self._ids, self._times = self._sections["ids"][0], self._sections["times"][0]
        self._numbers = self._sections["numbers"][0]
        slots, length = self._sections["slots"]
        self._slots, self._slot_mask = slots, length // 4 - 1
        self._starts, self._words = self._sections["starts"][0], self._sections["words"][0]
        self._frames = self._sections["frames"][0]
        self._are_ids_checked = False
        self.count = self.head.count
        self.low, self.high = self.head.low, self.head.high

    def release(self) -> None:
        """Let go of the file where a mapped one cannot be replaced; searches under way start again."""
        if os.name == "nt":
            self._map.close()

    def check(self) -> None:
        """Check the whole file."""
        self._take(self._body, self.head.body)

    def find(self, word: bytes, checksum: int) -> tuple[int, int] | None:
        """Return where the frames of *word* are written and how many bytes they take; *checksum* is its CRC-32."""
        slot = checksum & self._slot_mask
        for _ in range(self._slot_mask + 1):
            at = self._slots + slot * 4
            (rank,) = _SLOT.unpack(self._take(at, 4))
            if not rank:
                return None
            begin, frames, end, until = _STARTS.unpack(self._take(self._starts + (rank - 1) * 8, 16))
            if end - begin == len(word) and self._take(self._words + begin, end - begin) == word:
                return self._frames + frames, until - frames
            slot = (slot + 1) & self._slot_mask
        return None

    def add(self, word: bytes, checksum: int, into: BitMap, base: int) -> BitMap:
        """Add the frames of *word* to the bitmap *into*, their places raised by *base*; returns it."""
        found = self.find(word, checksum)
        return into if found is None else self._add(found, into, base)

    def places(self, word: bytes) -> BitMap:
        """Return the places of the frames of *word*."""
        from pyroaring import BitMap

        return self.add(word, crc32(word), BitMap(), 0)

    def _add(self, place: tuple[int, int], into: BitMap, base: int) -> BitMap:
        from pyroaring import BitMap

        data = self._take(*place)
        if data[0] == layout.LIST:
            places = struct.unpack_from(f"<{(len(data) - 1) // 2}H", data, 1)
            into.update([base + place for place in places] if base else places)
            return into
        bitmap = BitMap.deserialize(data[1:])
        into |= bitmap.shift(base) if base else bitmap
        return into

    def all_words(self) -> list[tuple[bytes, BitMap]]:
        """Return all words with the places of their frames, to write the group again."""
        from pyroaring import BitMap

        count = self.head.words
        pairs = struct.unpack(f"<{2 * count + 2}I", self._take(self._starts, 8 * count + 8))
        found = []
        for index in range(count):
            begin, frames, end, until = pairs[2 * index : 2 * index + 4]
            word = self._take(self._words + begin, end - begin)
            found.append((word, self._add((self._frames + frames, until - frames), BitMap(), 0)))
        return found

    def rows(self) -> list[layout.Row]:
        """Return all frames, in their order."""
        data = self._take(self._ids, 8 * self.count).hex()
        times = struct.unpack(f"<{self.count}q", self._take(self._times, 8 * self.count))
        numbers = struct.unpack(f"<{self.count}Q", self._take(self._numbers, 8 * self.count))
        return [
            layout.Row(time_ms, number, data[16 * place : 16 * place + 16])
            for place, (time_ms, number) in enumerate(zip(times, numbers, strict=True))
        ]

    def places_of(self, frame_ids: Iterable[str]) -> list[int]:
        """Return the places of those of *frame_ids* that are here."""
        data = self.id_bytes()
        places = []
        for frame_id in frame_ids:
            wanted = bytes.fromhex(frame_id)
            at = data.find(wanted)
            while at >= 0 and at % 8:  # across two ids
                at = data.find(wanted, at + 1)
            if at >= 0:
                places.append(at // 8)
        return places

    def id_bytes(self) -> bytes:
        """Return all ids, 8 bytes each."""
        return self._take(self._ids, 8 * self.count)

    def held(self) -> BitMap64:
        """Return the numbers of all frames."""
        from pyroaring import BitMap64

        return BitMap64.deserialize(self._take(*self._sections["held"]))

    def checked_ids(self) -> tuple[mmap.mmap, int]:
        """Return where the ids are, 8 bytes each from the offset on, to be read by who is in a hurry."""
        if not self._are_ids_checked:
            self.id_bytes()
            self._are_ids_checked = True
        return self._map, self._ids

    def hex_id(self, place: int) -> str:
        """Return the id of a frame."""
        return self._take(self._ids + 8 * place, 8).hex()

    def time(self, place: int) -> int:
        """Return the time of a frame in ms."""
        return int(_TIME.unpack(self._take(self._times + 8 * place, 8))[0])

    def number(self, place: int) -> int:
        """Return the number of a frame in the archive."""
        return int(_NUMBER.unpack(self._take(self._numbers + 8 * place, 8))[0])

    def _take(self, at: int, length: int) -> bytes:
        try:
            first, last = (at - self._body) // layout.BLOCK, (at + length - 1 - self._body) // layout.BLOCK
            if not self._is_checked[first] or not self._is_checked[last] or last - first > 1:
                self._check(first, last)
            data = self._map[at : at + length]
        except (ValueError, IndexError) as error:
            raise GroupDamaged(self.path, f"a place in it leads out of it, or it is closed: {error}") from error
        if len(data) != length:
            raise GroupDamaged(self.path, "it ends too early")
        return data

    def _check(self, first: int, last: int) -> None:
        for block in range(first, last + 1):
            if self._is_checked[block]:
                continue
            at = self._body + block * layout.BLOCK
            data = self._map[at : min(at + layout.BLOCK, self._body + self.head.body)]
            if crc32(data) != _SLOT.unpack_from(self._sums, block * 4)[0]:
                raise GroupDamaged(self.path, f"the bytes from {at} on have another checksum")
            self._is_checked[block] = 1
