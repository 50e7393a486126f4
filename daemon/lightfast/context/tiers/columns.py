"""Columns of numbers as bytes that a general compressor does well on.

Integers: one byte for how often differences were taken (0 to 2), one for the width of what is left (0, 1, 2, 4 or
8 bytes; 0 where it is one number throughout), the first numbers and, at width 0, that number as 8 bytes each, then
the rest as planes: all lowest bytes, then all second ones, and so on. Little-endian, two's complement.

Doubles: `D`, one byte *k* and the integers `value * 10^k` where that is exact for all, else `X` and the planes of
the 8 bytes of each, combined by exclusive or with those of the one before (the idea of Pelkonen et al., "Gorilla:
a fast, scalable, in-memory time series database", VLDB 2015). Both are exact to the last bit.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from operator import sub, xor
from struct import pack, unpack_from

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_EXACT = float(1 << 53)
_MOST_DECIMALS = 4


def pack_ints(values: Sequence[int]) -> bytes:
    """Return the column of *values*, each within 64 bits."""
    if not values:
        return b""
    best: tuple[int, int, list[int], Sequence[int]] | None = None
    firsts: list[int] = []
    rest: Sequence[int] = values
    for order in range(3):
        if not rest:
            break
        width = _width(min(rest), max(rest))
        if width is None:
            break
        if best is None or width < best[1]:
            best = (order, width, list(firsts), rest)
        if not width:
            break
        firsts.append(rest[0])
        rest = [later - earlier for earlier, later in pairwise(rest)]
    if best is None:
        raise ValueError("a number does not fit 64 bits")
    order, width, firsts, rest = best
    if not width:
        return pack(f"<BB{order + 1}q", order, 0, *firsts, rest[0])
    return pack(f"<BB{order}q", order, width, *firsts) + _planes(array(_CODES[width], rest))


def unpack_ints(data: bytes, count: int) -> array[int]:
    """Return the *count* numbers of a column; raise `ValueError` where it does not hold so many."""
    if not count:
        return array("q")
    if len(data) < 2:
        raise ValueError("a column of numbers is cut short")
    order, width = data[0], data[1]
    if order > 2 or width not in (0, 1, 2, 4, 8) or count < order or len(data) < 2 + 8 * (order + (not width)):
        raise ValueError("a column of numbers has an unknown form")
    firsts = unpack_from(f"<{order}q", data, 2)
    rest: Iterable[int]
    if width:
        if len(data) != 2 + 8 * order + width * (count - order):
            raise ValueError("a column of numbers has the wrong length")
        rest = _joined(memoryview(data)[2 + 8 * order :], _CODES[width], count - order)
    else:
        (same,) = unpack_from("<q", data, 2 + 8 * order)
        rest = [same] * (count - order)
    for first in reversed(firsts):
        rest = accumulate(rest, initial=first)
    return array("q", rest)


def pack_floats(values: Sequence[float]) -> bytes:
    """Return the column of *values*."""
    if not values:
        return b""
    for decimals in range(_MOST_DECIMALS + 1):
        scaled = _scaled(values, float(10**decimals))
        if scaled is not None:
            return b"D" + bytes((decimals,)) + pack_ints(scaled)
    bits = array("Q", array("d", values).tobytes())
    return b"X" + _planes(array("Q", map(xor, bits, [0, *bits[:-1]])))


def unpack_floats(data: bytes, count: int) -> array[float]:
    """Return the *count* numbers of a column; raise `ValueError` where it does not hold so many."""
    if not count:
        return array("d")
    if data[:1] == b"D" and len(data) > 1:
        scale = float(10 ** data[1])
        return array("d", [number / scale for number in unpack_ints(data[2:], count)])
    if data[:1] != b"X" or len(data) != 1 + 8 * count:
        raise ValueError("a column of doubles has an unknown form")
    bits = array("Q", accumulate(_joined(memoryview(data)[1:], "Q", count), xor))
    return array("d", bits.tobytes())


def differences(values: Sequence[int], bases: Sequence[int]) -> list[int]:
    """Return `values[i] - bases[i]`."""
    return list(map(sub, values, bases))


def _width(low: int, high: int) -> int | None:
    if low < _LEAST or high > _MOST:
        return None
    if low == high:
        return 0
    for width in (1, 2, 4):
        if low >= -(1 << (8 * width - 1)) and high < 1 << (8 * width - 1):
            return width
    return 8


def _scaled(values: Sequence[float], scale: float) -> list[int] | None:
    found = []
    for value in values:
        scaled = value * scale
        if not -_EXACT < scaled < _EXACT:
            return None
        number = round(scaled)
        if number / scale != value or (not number and math.copysign(1.0, value) < 0):
            return None
        found.append(number)
    return found


def _planes(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers.byteswap()
    data, width = numbers.tobytes(), numbers.itemsize
    return data if width == 1 else b"".join([data[plane::width] for plane in range(width)])


def _joined(planes: memoryview, code: str, count: int) -> array[int]:
    numbers = array(code)
    width = numbers.itemsize
    data = bytearray(width * count)
    for plane in range(width):
        data[plane::width] = planes[plane * count : (plane + 1) * count]
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
