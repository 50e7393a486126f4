"""CRC32 as zlib has it (polynomial 0xEDB88320, start 0), by the fastest code that is there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache


@cache
def crc32_function() -> Callable[..., int]:
    """Return `isal`'s CRC32, 3 to 9 times as fast as zlib's and bit for bit the same, or zlib's where there is none."""
    try:
        from isal.isal_zlib import crc32
    except ImportError:
        from zlib import crc32
    return crc32  # type: ignore[no-any-return,unused-ignore]


def crc32(data: bytes | bytearray | memoryview, value: int = 0) -> int:
    """Return the checksum of *data*, going on from *value*; an unsigned 32-bit number."""
    return crc32_function()(data, value)
