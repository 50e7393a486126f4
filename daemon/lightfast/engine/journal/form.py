"""The file of a recording.

    file    = "LFREC" 0x00, version (u16), record*
    record  = length (u32), crc32 of the payload (u32), payload
    payload = a msgpack array whose first item says what it is (see `Kind`)
    tail    = length of the END record with its head (u32), "LFRECEND" — only after END

Integers of the frame are big-endian. A reader stops at the first record that is not whole: what lies before it is
good, so a file can be read up to there after any crash. `at` is in ns since the recording began, by a clock that
never goes back; other times are in ns since 1970. A *name* is a path or an origin: a number from a NAMES record, or
the text itself. A vector is ext 1 (big-endian doubles), an asset ext 2; other values are as msgpack has them.

    HEAD     [0, {name, by, started, store_id, revision, patterns, declarations, links, mounts, version}]
    ENTRIES  [1, at, [[path, value, signal, origin, event_time, record_time, status]…]]  the state at the beginning
    NAMES    [2, first number, [text…]]
    COMMIT   [3, at, revision, record_time, origin, cause, group, label, [event…]]  one transaction
             event = [type 0 set 1 delete 2 move, path, value, changed, signal, event_time, status, reported, source]
    SAMPLES  [4, at, base, [[path, value, origin, event_time - base, record_time - base, version]…]]  signals, each one
    GAP      [5, at, samples that were dropped before it]
    PACKED   [7, at, …]  many of those in one; only in packed files, see `pack_form`
    END      [6, at, {reason, incomplete, transactions, events, samples, dropped}]
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any

import msgspec
from msgspec.msgpack import Ext

from lightfast.core.errors import FailedPrecondition
from lightfast_link.value import Asset, Value

try:
    from isal.isal_zlib import crc32
except ImportError:
    from zlib import crc32

__all__ = ["MAGIC", "MAX_RECORD", "PLAIN", "VERSION", "Kind", "crc32", "decode", "frame", "opened", "pack"]

VERSION = 2
"""The newest version; a file that is not packed is of version 1."""
MAGIC = b"LFREC\0"
OPENING = MAGIC + struct.pack(">H", 1)
PACKED_OPENING = MAGIC + struct.pack(">H", 2)
HEAD = struct.Struct(">II")
TAIL = struct.Struct(">I8s")
TAIL_MAGIC = b"LFRECEND"
MAX_RECORD = 256 << 20
"""The longest record a reader believes in, in bytes."""
SUFFIX = ".lfrec"

PLAIN = frozenset((float, int, bool, str, bytes, type(None)))
"""Types that msgpack has."""


class Kind(IntEnum):
    """What a record is."""

    HEAD = 0
    ENTRIES = 1
    NAMES = 2
    COMMIT = 3
    SAMPLES = 4
    GAP = 5
    END = 6
    PACKED = 7


_encode = msgspec.msgpack.Encoder().encode


def pack(value: Any) -> Any:
    """Return what msgpack can hold of a value."""
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is tuple:
        return Ext(1, struct.pack(f">{len(value)}d", *value))
    if kind is list:
        return [pack(item) for item in value]
    if kind is dict:
        return {name: pack(item) for name, item in value.items()}
    return Ext(2, _encode([value.uri, value.media_type, value.sha256, value.size]))


def _unpack(code: int, data: memoryview) -> Value:
    if code == 1:
        return struct.unpack(f">{len(data) // 8}d", data)
    if code == 2:
        return Asset(*msgspec.msgpack.decode(data, type=list[Any]))
    raise ValueError(f"ext {code} is not known")


_decode = msgspec.msgpack.Decoder(list[Any], ext_hook=_unpack).decode


def decode(payload: bytes) -> list[Any]:
    """Return the items of a record; raise `ValueError` where they are malformed."""
    try:
        return _decode(payload)
    except (msgspec.MsgspecError, struct.error, TypeError) as error:
        raise ValueError(str(error)) from None


def frame(record: list[Any]) -> bytes:
    """Return the bytes of one record."""
    payload = _encode(record)
    return HEAD.pack(len(payload), crc32(payload)) + payload


def opened(data: bytes, name: str) -> None:
    """Check the first bytes of a file; raise `FailedPrecondition` for what is no recording, or of a newer version."""
    if len(data) < len(OPENING) or not data.startswith(MAGIC):
        raise FailedPrecondition(
            f"the file of {name!r} is no recording, or was cut in its first bytes: delete it",
            reason="RECORDING_CORRUPT",
            metadata={"name": name},
        )
    (version,) = struct.unpack(">H", data[len(MAGIC) : len(OPENING)])
    if version > VERSION:
        raise FailedPrecondition(
            f"the recording {name!r} was made by a newer Lightfast (format {version}, this one knows up to {VERSION}): "
            "install the newer version; nothing was changed",
            reason="RECORDING_TOO_NEW",
            metadata={"format": str(version), "known": str(VERSION)},
        )
