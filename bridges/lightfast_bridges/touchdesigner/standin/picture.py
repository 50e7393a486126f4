"""A small real PNG."""

from __future__ import annotations

import struct
import zlib


def png(width: int, height: int, color: tuple[float, float, float, float]) -> bytes:
    """Return a picture that fades from black to *color* (red, green, blue, alpha, each 0 to 1)."""
    red, green, blue, alpha = (min(max(round(part * 255), 0), 255) for part in color)
    rows = bytearray()
    for _ in range(height):
        rows.append(0)
        for x in range(width):
            share = x / max(width - 1, 1)
            rows += bytes((round(red * share), round(green * share), round(blue * share), alpha))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")
    )
