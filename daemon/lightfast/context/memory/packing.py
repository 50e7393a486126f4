"""Vectors as bytes: small enough for a hundred thousand of them, exact enough for their order.

Dense: a float32 scale, then an int8 for each number (1/127 of the largest). Sparse, for those that are nearly all
zeros: the dimensions that are not as uint16, then as many weights as uint16 (1/65535). Both little-endian.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Mapping, Sequence

WEIGHT = 65535


def pack_dense(vector: Sequence[float]) -> bytes:
    """Return the bytes of *vector*."""
    scale = max(map(abs, vector), default=0.0) / 127 or 1.0
    return struct.pack("<f", scale) + array("b", [round(number / scale) for number in vector]).tobytes()


def pack_sparse(weights: Mapping[int, float]) -> bytes:
    """Return the bytes of a vector of numbers from 0 to 1 that is given by its *weights*; dimensions below 65536."""
    kept = {dimension: round(min(1.0, weight) * WEIGHT) for dimension, weight in sorted(weights.items())}
    return _little(array("H", kept)) + _little(array("H", kept.values()))


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()
