"""Frames of the link protocol: `[type, JSON header, binary…]`.

Over ZMQ a frame is one multipart message. Over TCP each frame goes as

    u32 number of parts · u32 length of each part · the parts        (big-endian)

with at most `MAX_PARTS` parts and `MAX_FRAME` bytes in all, so that neither side can make
the other keep more than that.
"""

from __future__ import annotations

import json
import re
import struct
from typing import Any, Iterable

VERSION = 1
"""The newest version of the protocol that this bank speaks."""
VERSIONS = (1,)
"""The versions that this bank speaks: the newest and, once there is one, the one before it."""

MAX_PARTS = 8
MAX_FRAME = 8 << 20
"""The most bytes of one frame, all parts together."""
MAX_HEADER = 4 << 20
"""The most bytes of a header."""
MAX_GREETING = 64 << 10
"""The most bytes of a frame before the other side has proved who it is."""
CHUNK = 256 << 10
"""The most bytes of an asset in one `asset_chunk`."""

_TYPE = re.compile(rb"[a-z][a-z_]{0,31}")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_COUNT = struct.Struct(">I")


class FrameError(ValueError):
    """Bytes that are no frame; the message says what is wrong with them."""


class Frame:
    """One frame: its *type*, its *header*, and the binary parts after them."""

    __slots__ = ("blobs", "header", "type")

    def __init__(
        self,
        type: str,  # noqa: A002  # what it is called on the link
        header: dict[str, Any] | None = None,
        blobs: Iterable[bytes] = (),
    ) -> None:
        self.type = type
        self.header: dict[str, Any] = header if header is not None else {}
        self.blobs = list(blobs)

    def __repr__(self) -> str:
        return "Frame(%r, %.200r, %d blobs)" % (self.type, self.header, len(self.blobs))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Frame):
            return NotImplemented
        return (self.type, self.header, self.blobs) == (other.type, other.header, other.blobs)

    __hash__ = None  # type: ignore[assignment]


def encode(frame: Frame) -> list[bytes]:
    """Return the parts of *frame*; raise `FrameError` for one that the other side would refuse."""
    try:
        header = json.dumps(frame.header, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise FrameError("the header of %r is not JSON: %s" % (frame.type, error)) from None
    parts = [frame.type.encode("utf-8", "replace"), header, *frame.blobs]
    _check(parts)
    return parts


def decode(parts: list[bytes]) -> Frame:
    """Return the frame of *parts*; raise `FrameError` that says what is wrong."""
    _check(parts)
    try:
        header = json.loads(parts[1].decode("utf-8"), parse_constant=_no_constant)
        if _ESCAPED_SURROGATE.search(parts[1]):
            # Half of a pair passes for JSON, and would then break whatever writes the text as UTF-8.
            json.dumps(header, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise FrameError("the header of %r is not JSON: %s" % (parts[0].decode("ascii"), error)) from None
    if type(header) is not dict:
        raise FrameError("the header of %r is not a JSON object" % parts[0].decode("ascii"))
    return Frame(parts[0].decode("ascii"), header, parts[2:])


def _no_constant(name: str) -> None:
    raise ValueError("%s is not JSON" % name)


def _check(parts: list[bytes]) -> None:
    if not 2 <= len(parts) <= MAX_PARTS:
        raise FrameError(
            "a frame has a type, a header and at most %d blobs, not %d parts" % (MAX_PARTS - 2, len(parts))
        )
    if not _TYPE.fullmatch(parts[0]):
        raise FrameError("%.40r is not a frame type" % parts[0])
    if len(parts[1]) > MAX_HEADER:
        raise FrameError("the header of %r has %d bytes, the most is %d" % (parts[0], len(parts[1]), MAX_HEADER))
    size = sum(map(len, parts))
    if size > MAX_FRAME:
        raise FrameError("the frame %r has %d bytes, the most is %d" % (parts[0], size, MAX_FRAME))


def pack(parts: list[bytes]) -> bytes:
    """Return the bytes of one frame on TCP."""
    return struct.pack(">%dI" % (len(parts) + 1), len(parts), *map(len, parts)) + b"".join(parts)


class Splitter:
    """Cuts a TCP stream into frames; keeps at most one incomplete frame.

    *limit* is the most bytes of a frame: small until the other side has proved who it is.
    """

    def __init__(self, limit: int = MAX_FRAME) -> None:
        self.limit = limit
        self._buffer = bytearray()
        self._lengths: tuple[int, ...] = ()
        self._need = 4

    def feed(self, data: bytes) -> list[list[bytes]]:
        """Take in *data* and return the frames it completes; raise `FrameError`, after which the stream is lost."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= self._need:
            if not self._lengths:
                if not self._read_lengths():
                    break
                continue
            frames.append(self._cut())
        return frames

    def _read_lengths(self) -> bool:
        (count,) = _COUNT.unpack_from(self._buffer)
        if not 2 <= count <= MAX_PARTS:
            raise FrameError("a frame of %d parts: this is not the link protocol" % count)
        end = 4 + 4 * count
        if len(self._buffer) < end:
            self._need = end
            return False
        lengths = struct.unpack_from(">%dI" % count, self._buffer, 4)
        if sum(lengths) > self.limit:
            raise FrameError("a frame of %d bytes, the most here is %d" % (sum(lengths), self.limit))
        self._lengths = lengths
        self._need = end + sum(lengths)
        return True

    def _cut(self) -> list[bytes]:
        position = 4 + 4 * len(self._lengths)
        parts = []
        for length in self._lengths:
            parts.append(bytes(self._buffer[position : position + length]))
            position += length
        del self._buffer[:position]
        self._lengths = ()
        self._need = 4
        return parts
