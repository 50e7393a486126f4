r"""The file of a sealed group: the words of at most 16,384 frames, and which frames they are in.

    magic      8 bytes `LFWORDS1`
    length     4 bytes, of the head
    checksum   4 bytes, CRC-32 of the head
    head       MessagePack of `Head`
    body       the sections of the head, at offsets from the beginning of the body
    sums       CRC-32 of each 64 KiB of the body, 4 bytes each; their own checksum is in the head

All integers are little-endian. A frame has a place in the group, from 0 in the order of their times, those of the same
millisecond in the order of appending; and the number it has in the archive. The sections:

    ids        8 bytes each: the frame id, which is 16 hex digits
    times      8 bytes each, signed: ms since 1970
    numbers    8 bytes each: the number in the archive
    held       the same numbers as a roaring bitmap (64 bits, portable format, run-length coded)
    slots      4 bytes each, 2ⁿ of them: a hash table from words to their ranks, from 1; 0 is free, and the next slot
               is looked at in turn. The hash of a word is the CRC-32 of its bytes
    starts     8 bytes for each word and one more: where its bytes begin in `words`, where its frames in `frames`
    words      the words in UTF-8, one after the other, in the order of their bytes
    frames     one byte that says how they are written, then their places: 0 for 2 bytes each, 1 for a roaring bitmap
               in its portable format

Words that begin with a zero byte are marks, not text: `\0kind\0note` for the frames of a kind, `\0private` for those
that are sealed, of which nothing else is written here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from lightfast.core.checksum import crc32

if TYPE_CHECKING:
    from pyroaring import BitMap

MAGIC = b"LFWORDS1"
BLOCK = 64 << 10
MAX_FRAMES = 16_384
"""How many frames a group has at most: their places fit into two bytes, and it is sealed within a blink."""
STEP = 256
"""Words that are written between two rests."""
FEW = 12
"""Up to so many places are smaller as they are than as a bitmap."""
PRIVATE = b"\0private"
PREFIX = struct.Struct("<8sII")
LIST, BITMAP = 0, 1


class Row(NamedTuple):
    """A frame: its time in ms, its number in the archive, its id. Rows sort as groups hold them."""

    time_ms: int
    number: int
    frame_id: str


Key = tuple[int, int]
"""A time in ms, and a number: the order of frames in time; no two frames of an archive have the same."""


class Head(msgspec.Struct, frozen=True):
    """What a group is: *sequence* counts the groups of a shard from 1, *low* and *high* are its first and its last key.

    *sections* are (offset, length) in the body, *body* its length, *sums* the checksum of the sums.
    """

    shard: str
    sequence: int
    count: int
    low: Key
    high: Key
    words: int
    sections: dict[str, tuple[int, int]]
    body: int
    sums: int


def kind_mark(kind: str) -> bytes:
    """Return the mark of a kind."""
    return b"\0kind\0" + kind.encode(errors="surrogatepass")


def encode(
    shard: str,
    sequence: int,
    rows: Sequence[Row],
    postings: Mapping[bytes, Sequence[int] | BitMap],
    rest: Callable[[], None] | None = None,
) -> bytes:
    """Return the file of the frames *rows*, in their order, and of the places of each word's frames among them.

    *rest* is called between small steps.
    """
    from pyroaring import BitMap64

    held = BitMap64(row.number for row in rows)
    held.run_optimize()
    words = sorted(postings)
    packed: list[bytes] = []
    for begin in range(0, len(words), STEP):
        packed += [_pack(postings[word]) for word in words[begin : begin + STEP]]
        if rest is not None:
            rest()
    starts: list[int] = []
    at = begin = 0
    for word, data in zip(words, packed, strict=True):
        starts += (at, begin)
        at, begin = at + len(word), begin + len(data)
    starts += (at, begin)
    slots = _slots(words, rest)
    parts: dict[str, bytes] = {
        "ids": bytes.fromhex("".join(row.frame_id for row in rows)),
        "times": struct.pack(f"<{len(rows)}q", *(row.time_ms for row in rows)),
        "numbers": struct.pack(f"<{len(rows)}Q", *(row.number for row in rows)),
        "held": held.serialize(),
        "slots": struct.pack(f"<{len(slots)}I", *slots),
        "starts": struct.pack(f"<{len(starts)}I", *starts),
        "words": b"".join(words),
        "frames": b"".join(packed),
    }
    sections: dict[str, tuple[int, int]] = {}
    at = 0
    for name, data in parts.items():
        sections[name] = (at, len(data))
        at += len(data)
    body = b"".join(parts.values())
    sums = b"".join(struct.pack("<I", crc32(body[begin : begin + BLOCK])) for begin in range(0, len(body), BLOCK))
    head = msgspec.msgpack.encode(
        Head(
            shard=shard,
            sequence=sequence,
            count=len(rows),
            low=rows[0][:2] if rows else (0, 0),
            high=rows[-1][:2] if rows else (0, 0),
            words=len(words),
            sections=sections,
            body=len(body),
            sums=crc32(sums),
        )
    )
    return PREFIX.pack(MAGIC, len(head), crc32(head)) + head + body + sums


def _pack(places: Any) -> bytes:
    if len(places) <= FEW:
        return struct.pack(f"<B{len(places)}H", LIST, *places)
    from pyroaring import BitMap

    bitmap = places if isinstance(places, BitMap) else BitMap(places)
    return b"\x01" + bytes(bitmap.serialize())


def _slots(words: Sequence[bytes], rest: Callable[[], None] | None) -> list[int]:
    size = 2
    while size < len(words) * 3 // 2 + 1:
        size *= 2
    slots = [0] * size
    for rank, word in enumerate(words, 1):
        slot = crc32(word) & (size - 1)
        while slots[slot]:
            slot = (slot + 1) & (size - 1)
        slots[slot] = rank
        if rest is not None and not rank % STEP:
            rest()
    return slots
