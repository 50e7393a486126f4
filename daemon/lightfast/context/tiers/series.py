"""Values of one path after the other, as columns: each kind of value goes where it compresses best.

A series is a list: the kind of each value (`K` below, one byte each), the column of the integers, that of the
doubles, the lengths of the vectors, which of the texts each other value is, and these texts as one JSON array.
The components of vectors that follow each other at one path stand together, all first ones, then all second ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from lightfast.context.tiers.columns import pack_floats, pack_ints, unpack_floats, unpack_ints

_TEXT, _INT, _FLOAT, _VECTOR = range(4)
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode

Packed = list[bytes]


def pack_series(values: Sequence[Any], owners: Sequence[int]) -> Packed:
    """Return the series of *values* in the JSON form; *owners* has the path of each, as a number."""
    kinds = bytes([_kind(value) for value in values])
    ints: list[int] = []
    floats: list[float] = []
    texts: dict[bytes, int] = {}
    which: list[int] = []
    lengths: list[int] = []
    vectors: list[tuple[int, list[float]]] = []
    for kind, value, owner in zip(kinds, values, owners, strict=True):
        if kind == _INT:
            ints.append(value)
        elif kind == _FLOAT:
            floats.append(value)
        elif kind == _VECTOR:
            lengths.append(len(value["$v"]))
            vectors.append((owner, value["$v"]))
        else:
            which.append(texts.setdefault(_encode(value), len(texts)))
    for run in runs_of([(owner, len(vector)) for owner, vector in vectors]):
        for component in zip(*[vector for _, vector in vectors[run]], strict=True):
            floats += component
    listed = b"[" + b",".join(texts) + b"]"
    return [kinds, pack_ints(ints), pack_floats(floats), pack_ints(lengths), pack_ints(which), listed]


def unpack_series(packed: Packed, owners: Sequence[int]) -> list[Any]:
    """Return the values of a series in the JSON form; raise `ValueError` where it is malformed."""
    kinds, packed_ints, packed_floats, packed_lengths, packed_which, listed = packed
    if len(kinds) != len(owners):
        raise ValueError("a series has the wrong length")
    counts = [kinds.count(kind) for kind in range(4)]
    ints = iter(unpack_ints(packed_ints, counts[_INT]))
    lengths = unpack_ints(packed_lengths, counts[_VECTOR])
    floats = unpack_floats(packed_floats, counts[_FLOAT] + sum(lengths))
    texts = _split(listed)
    which = iter([texts[index] for index in unpack_ints(packed_which, counts[_TEXT])])
    singles = iter(floats[: counts[_FLOAT]])
    vectors = split_vectors(
        [owner for owner, kind in zip(owners, kinds, strict=True) if kind == _VECTOR],
        lengths,
        floats[counts[_FLOAT] :],
    )
    found: list[Any] = []
    for kind in kinds:
        if kind == _FLOAT:
            found.append(next(singles))
        elif kind == _INT:
            found.append(next(ints))
        elif kind == _VECTOR:
            found.append({"$v": next(vectors)})
        else:
            found.append(_decode(next(which)))
    return found


def split_vectors(owners: Sequence[int], lengths: Sequence[int], floats: Sequence[float]) -> Iterator[list[float]]:
    """Yield the vectors of *lengths* whose components stand together, by runs of one owner and length."""
    at = 0
    for run in runs_of(list(zip(owners, lengths, strict=True))):
        count, length = run.stop - run.start, lengths[run.start]
        for index in range(count):
            yield list(floats[at + index : at + count * length : count])
        at += count * length


def runs_of(keys: Sequence[tuple[int, int]]) -> Iterator[slice]:
    """Yield where equal *keys* stand together."""
    start = 0
    for index, (before, after) in enumerate(pairwise(keys), 1):
        if before != after:
            yield slice(start, index)
            start = index
    if keys:
        yield slice(start, len(keys))


def _kind(value: Any) -> int:
    kind = type(value)
    if kind is float:
        return _FLOAT
    if kind is int:
        return _INT
    if kind is dict and len(value) == 1:
        vector = value.get("$v")
        if type(vector) is list and vector and all(type(item) is float for item in vector):
            return _VECTOR
    return _TEXT
