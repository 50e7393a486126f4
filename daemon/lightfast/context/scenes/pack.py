"""How the entries of a scene lie in the database: blocks of them, ordered by path, packed and compressed.

A block is one byte that names the form, then the compressed MessagePack of a list of
`[path, value, revision, object id, signal]` (nil for one that was purged), the value in the JSON form of
`lightfast_link.value`. Ordered paths share most of their beginnings, so a block takes a tenth of its text or less.
"""

from __future__ import annotations

import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from lightfast.context.scenes.records import SceneEntry
from lightfast.core.errors import FailedPrecondition
from lightfast_link.value import Asset, Value, from_json, to_json

BLOCK = 2000
"""Entries of one block."""
_DEFLATED = 1
_LEVEL = 3
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode
_PLAIN = (str, int, bool)


def pack(entries: Sequence[SceneEntry]) -> list[bytes]:
    """Return the blocks of *entries*, which are ordered by path."""
    blocks = []
    for start in range(0, len(entries), BLOCK):
        rows = [_row(entry) for entry in entries[start : start + BLOCK]]
        blocks.append(_packed(rows))
    return blocks


def unpack(blocks: Iterable[bytes]) -> Iterator[SceneEntry]:
    """Yield the entries of *blocks*; raise `FailedPrecondition` (SCENE_DAMAGED) for one that cannot be read."""
    for number, block in enumerate(blocks):
        try:
            for row in rows_of(block):
                if row is not None:
                    yield entry_of(row)
        except (ValueError, IndexError, TypeError, zlib.error, msgspec.MsgspecError) as error:
            raise FailedPrecondition(
                f"block {number} of the scene cannot be read: {error}; save the scene again, or restore a backup",
                reason="SCENE_DAMAGED",
            ) from None


def entry_of(row: Any) -> SceneEntry:
    """Return the entry of one row."""
    path, value, revision, object_id, signal = row
    return SceneEntry(path, from_json(value), revision, object_id, signal)


def without(block: bytes, places: Container[int]) -> tuple[bytes, int]:
    """Return *block* with the rows at *places* emptied, and how many those were; all others keep their places."""
    rows = rows_of(block)
    gone = sum(row is not None for place, row in enumerate(rows) if place in places)
    return _packed([None if place in places else row for place, row in enumerate(rows)]), gone


def _packed(rows: list[Any]) -> bytes:
    return bytes([_DEFLATED]) + zlib.compress(_encode(rows), _LEVEL)


def rows_of(block: bytes) -> Any:
    """Return the rows of *block*: lists, and `None` where one was purged. Raises what `unpack` translates."""
    if block[0] != _DEFLATED:
        raise ValueError(f"it has the form {block[0]}")
    return _decode(zlib.decompress(block[1:]))


def _row(entry: SceneEntry) -> tuple[object, ...]:
    value = entry.value
    plain = value if type(value) in _PLAIN else to_json(value)
    return (entry.path, plain, entry.revision, entry.object_id, entry.signal)


def assets_of(value: Value) -> Iterator[str]:
    """Yield the SHA-256 of each asset that *value* refers to."""
    if isinstance(value, Asset):
        yield value.sha256
    elif isinstance(value, list):
        for item in value:
            yield from assets_of(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from assets_of(item)
