"""The most common call, in half the time of the general way: texts, and nothing else to say of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from itertools import repeat
from typing import Any

from lightfast.core.checksum import crc32_function
from lightfast.storage.archive import frame as layout
from lightfast.storage.archive.codec import DEFAULT_KIND
from lightfast.storage.archive.ids import HEAD, NOISE, Ids
from lightfast.storage.archive.records import NewFrame
from lightfast.storage.archive.rows import Appended, Rows

MAX_TEXT = 1 << 20

_START = struct.pack(">2sBI", layout.MAGIC, layout.TEXT_VERSION, layout.ID_LENGTH)
_TIME = struct.Struct(">q").pack


def encode_texts(
    frames: Sequence[NewFrame], number: int, now_ms: int, ids: Ids, calls: Sequence[int] = ()
) -> tuple[list[bytes], Rows, Appended] | None:
    """Return what `codec.check`, `Ids.new` and `codec.fresh` make of *frames*; `None` if one of them is no plain text.

    *calls* says how many of the frames each call has, one after the other; without it they are one call. Written
    column by column: a tenth of a microsecond for each frame counts here, for this is what a group of frames costs
    besides its sync.
    """
    count = len(frames)
    if count == 1:
        return _encode_one(frames[0], number, now_ms, ids)
    if not count:
        return [], Rows(), Appended([], number, [])
    if [1 for new in frames if new.metadata or new.private or not new.delta or new.kind != DEFAULT_KIND]:
        return None  # a list, and not any(): a generator would take twice as long
    texts: list[Any] = [new.content for new in frames]
    try:
        contents = list(map(str.encode, texts))
    except (TypeError, UnicodeEncodeError):  # bytes, or lone surrogates
        return None
    sizes = list(map(len, contents))
    times = [new.time_ms or now_ms for new in frames]
    first, last = min(times), max(times)
    if max(sizes) > MAX_TEXT or first < layout.MIN_TIME or last > layout.MAX_TIME:
        return None
    is_ascii = sum(sizes) == sum(map(len, texts))
    heads = [data[:HEAD] for data in contents] if is_ascii else [text[:HEAD].encode() for text in texts]
    noise = ids.noise(count)
    noises = [noise[at : at + NOISE] for at in range(0, count * NOISE, NOISE)]
    if first == last:
        middle = b"\0%d\0" % first
        digests = [sha256(head + middle + one).digest() for head, one in zip(heads, noises, strict=True)]
        clock: Sequence[bytes] | repeat[bytes] = repeat(_TIME(first), count)
    else:
        digests = [sha256(b"%b\0%d\0%b" % one).digest() for one in zip(heads, times, noises, strict=True)]
        clock = list(map(_TIME, times))
    joined = b"".join(digests)
    keys = list(struct.unpack(">" + "Q24x" * count, joined))  # the first 8 of 32 bytes
    digits = joined.hex()
    names = [digits[at : at + 16] for at in range(0, count * 64, 64)]
    join, length, crc32 = b"".join, layout.LENGTH.pack, crc32_function()
    parts = [
        (body := join((_START, name, time, length(size), content, own))) + length(crc32(body))
        for name, time, size, content, own in zip(
            map(str.encode, names), clock, sizes, contents, _metadata(number, frames, calls or (count,)), strict=True
        )
    ]  # fmt: skip
    rows = Rows(keys, times, list(map(len, parts)), sizes, [DEFAULT_KIND] * count, [False] * count)
    return parts, rows, Appended(names, number, times)


def _encode_one(new: NewFrame, number: int, now_ms: int, ids: Ids) -> tuple[list[bytes], Rows, Appended] | None:
    """Do the same with a lone frame, in a third of the time that columns of one would take."""
    content = new.content
    if new.metadata or new.private or not new.delta or new.kind != DEFAULT_KIND or not isinstance(content, str):
        return None
    time_ms = new.time_ms or now_ms
    if len(content) > MAX_TEXT or not layout.MIN_TIME <= time_ms <= layout.MAX_TIME:
        return None
    try:
        data = content.encode()
    except UnicodeEncodeError:
        return None
    digest = sha256(b"%b\0%d\0%b" % (content[:HEAD].encode(), time_ms, ids.noise(1))).digest()[:8]
    frame_id, size = digest.hex(), len(data)
    own = b'{"_number":%d%b}' % (number, _request(new))
    part = layout.encode(layout.TEXT_VERSION, frame_id.encode(), time_ms, data, own)
    key = int.from_bytes(digest, "big")
    return (
        [part],
        Rows([key], [time_ms], [len(part)], [size], [DEFAULT_KIND], [False]),
        Appended([frame_id], number, [time_ms]),
    )


def _request(new: NewFrame) -> bytes:
    return b',"_request":"%b"' % new.request.encode() if new.request else b""


def _metadata(number: int, frames: Sequence[NewFrame], calls: Sequence[int]) -> list[bytes]:
    """Return the metadata of *frames*, each with its length before it."""
    count = len(frames)
    end = number + count
    digits = len(str(number))
    length = layout.LENGTH.pack
    if digits == len(str(end)):
        begin = length(len('{"_number":}') + digits) + b'{"_number":'
        found = [b"%b%d}" % (begin, one) for one in range(number, end)]
    else:
        found = [length(len(own)) + own for own in [b'{"_number":%d}' % one for one in range(number, end)]]
    at = 0
    for size in calls:
        if size > 1 or (size and frames[at].request):
            group = b',"_group":%d' % size if size > 1 else b""
            own = b'{"_number":%d%b%b}' % (number + at, group, _request(frames[at]))
            found[at] = length(len(own)) + own
        at += size
    return found
