"""The layout of a frame, byte by byte; README.md of this folder describes it with an example.

All integers are big-endian: `FE ED`, version, length of the id and the id, time (int64, ms since 1970), length of
the content and the content, length of the metadata and the metadata (JSON), CRC32 over everything before it.
Version 01 holds UTF-8 text; version 02 holds bytes, whose codings the metadata lists under `enc`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from lightfast.core.checksum import crc32_function

Buffer = bytes | bytearray | memoryview

MAGIC = b"\xfe\xed"
TEXT_VERSION = 1
CODED_VERSION = 2
NEWEST = CODED_VERSION
ID_LENGTH = 16
MIN_TIME, MAX_TIME = -(1 << 63), (1 << 63) - 1
MAX_LENGTH = (1 << 32) - 1
OVERHEAD = 2 + 1 + 4 + ID_LENGTH + 8 + 4 + 4 + 4
"""Bytes of a frame besides its content and its metadata."""

_START = struct.Struct(">2sBI")
HEAD = struct.Struct(">2sBI16sqI")
_TIME = struct.Struct(">qI")
LENGTH = struct.Struct(">I")


class RawFrame(NamedTuple):
    """A frame as its bytes say, checked and not decoded; *content* and *metadata* may be views of a file."""

    version: int
    frame_id: str
    time_ms: int
    content: Buffer
    metadata: Buffer
    end: int
    """Where the next frame begins, in the buffer it was read from."""


class BrokenFrame(Exception):
    """The bytes are no whole frame; *frame_id* is known where it can be read, *cut* says that they end too early."""

    def __init__(self, reason: str, frame_id: str = "", *, cut: bool = False, version: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frame_id = frame_id
        self.cut = cut
        self.version = version


def encode(version: int, frame_id: bytes, time_ms: int, content: bytes, metadata: bytes) -> bytes:
    """Return the bytes of a frame; *frame_id* is in ASCII."""
    body = b"%b%b%b%b" % (
        HEAD.pack(MAGIC, version, ID_LENGTH, frame_id, time_ms, len(content)),
        content,
        LENGTH.pack(len(metadata)),
        metadata,
    )
    return body + LENGTH.pack(crc32_function()(body))


def parse(data: Buffer, offset: int = 0) -> RawFrame:
    """Return the frame that begins at *offset* of *data*; raise `BrokenFrame` where there is none, or not all of it."""
    size = len(data)
    try:
        magic, version, id_length = _START.unpack_from(data, offset)
    except struct.error:
        raise BrokenFrame("the file ends in the head of a frame", cut=True) from None
    if magic != MAGIC:
        raise BrokenFrame("no frame begins here")
    at = offset + _START.size + id_length
    try:
        time_ms, content_length = _TIME.unpack_from(data, at)
        frame_id = bytes(data[offset + _START.size : at])
        content_at = at + _TIME.size
        metadata_at = content_at + content_length + 4
        (metadata_length,) = LENGTH.unpack_from(data, metadata_at - 4)
        (checksum,) = LENGTH.unpack_from(data, metadata_at + metadata_length)
    except struct.error:
        name = bytes(data[offset + _START.size : min(at, size)]) if id_length == ID_LENGTH else b""
        raise BrokenFrame("the frame reaches beyond the end of the file", _name(name), cut=True) from None
    end = metadata_at + metadata_length
    if crc32_function()(data[offset:end]) != checksum:
        raise BrokenFrame("the checksum does not fit", _name(frame_id))
    if not TEXT_VERSION <= version <= NEWEST:
        raise BrokenFrame(f"version {version} of the layout is not known", _name(frame_id), version=version)
    try:
        text = frame_id.decode()
    except UnicodeDecodeError:
        raise BrokenFrame("the id is not UTF-8") from None
    return RawFrame(
        version, text, time_ms, data[content_at : metadata_at - 4], data[metadata_at:end], end + LENGTH.size
    )


def claimed_end(data: Buffer, offset: int) -> int:
    """Return where the frame at *offset* ends by its own lengths, or -1; nothing is checked."""
    try:
        _, _, id_length = _START.unpack_from(data, offset)
        _, content_length = _TIME.unpack_from(data, offset + _START.size + id_length)
        at = offset + _START.size + id_length + _TIME.size + content_length
        (metadata_length,) = LENGTH.unpack_from(data, at)
        return int(at + 8 + metadata_length)
    except struct.error:
        return -1


def claimed_content(data: Buffer, offset: int) -> int:
    """Return how long the content of the frame at *offset* says it is, or -1; nothing is checked."""
    try:
        id_length = _START.unpack_from(data, offset)[2]
        return int(_TIME.unpack_from(data, offset + _START.size + id_length)[1])
    except struct.error:
        return -1


def is_id(text: str) -> bool:
    """Say whether *text* is an id as this archive gives them: 16 lower-case hex digits."""
    return len(text) == ID_LENGTH and not text.strip("0123456789abcdef")


def _name(frame_id: bytes) -> str:
    """Return the id of a broken frame as far as it is one."""
    text = frame_id.decode("ascii", "replace")
    return text if is_id(text) else ""


def find(data: Buffer, start: int, end: int) -> int:
    """Return where the next whole frame begins at or after *start*, or -1; looks no further than *end*."""
    window = 1 << 20
    while start < end:
        piece = bytes(data[start : min(start + window, end)])
        at = piece.find(MAGIC)
        while at >= 0:
            try:
                parse(data, start + at)
            except BrokenFrame:
                at = piece.find(MAGIC, at + 1)
            else:
                return start + at
        start += max(len(piece) - 1, 1)
    return -1
