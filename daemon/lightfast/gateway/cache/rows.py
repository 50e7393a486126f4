"""The rows of kept answers: what they hold, and how it is written and read.

A body is one byte that says how it is packed (0: as it is, 1: zlib), the CRC-32 of what is packed in four bytes (most
significant first), and the answer with its question as MessagePack. The question is there for the purge: an answer goes
when what it was made from held the text that has to go.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from typing import Any

import msgspec

from lightfast.gateway.ports import Asked, Kept
from lightfast.sdk import Usage
from lightfast_link.value import Asset

COMPRESSED_FROM = 512
"""Bodies of so many bytes and more are compressed."""
ROW_BYTES = 400
"""What a row takes beside its body, with its places in the indexes, about."""
MOST_UNPACKED = 64 << 20
"""No body unpacks to more: a damaged one must not fill the memory."""


class Body(msgspec.Struct, array_like=True):
    """What a row holds: the answer, and the texts of its question."""

    model: str
    text: str
    assets: list[tuple[str, str, str, int]]
    usage: dict[str, Any]
    cost_usd: float
    finish_reason: str
    seed: int
    prompt: str
    system: str
    messages: list[tuple[str, str]]
    sources: list[str]
    settings: str

    def kept(self) -> Kept:
        """Return the answer."""
        return Kept(
            self.model,
            self.text,
            tuple(Asset(*asset) for asset in self.assets),
            Usage(**self.usage),
            self.cost_usd,
            self.finish_reason,
            self.seed,
        )


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Body)


def pack(asked: Asked, kept: Kept) -> bytes:
    """Return the body of a row; may take some milliseconds for a long text."""
    plain = _ENCODER.encode(
        Body(
            kept.model,
            kept.text,
            [(asset.uri, asset.media_type, asset.sha256, asset.size) for asset in kept.assets],
            asdict(kept.usage),
            kept.cost_usd,
            kept.finish_reason,
            kept.seed,
            asked.prompt,
            asked.system,
            list(asked.messages),
            list(asked.sources),
            json.dumps(dict(asked.settings), ensure_ascii=False, default=repr),
        )
    )
    packed = zlib.compress(plain, 3) if len(plain) >= COMPRESSED_FROM else plain
    return bytes([packed is not plain]) + zlib.crc32(packed).to_bytes(4, "big") + packed


def unpack(body: bytes) -> Body:
    """Return what a row holds; raise `ValueError` for one that is damaged."""
    packed = body[5:]
    if len(body) < 5 or body[0] > 1 or zlib.crc32(packed) != int.from_bytes(body[1:5], "big"):
        raise ValueError("the checksum is wrong")
    if body[0]:
        unpacker = zlib.decompressobj()
        try:
            packed = unpacker.decompress(packed, MOST_UNPACKED)
        except zlib.error as error:
            raise ValueError(str(error)) from error
        if not unpacker.eof:
            raise ValueError("it is cut short, or too large")
    try:
        return _DECODER.decode(packed)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
