"""How the arguments of one OSC header are read: compiled once from the type tags."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

MAX_ARRAY_DEPTH = 16
"""How deep arrays may nest."""

_FIXED = {"i": "i", "f": "f", "h": "q", "d": "d", "t": "Q", "r": "I", "m": "4s", "c": "I"}
_PLAIN = frozenset("ifhdtr")  # what struct gives is the argument
_CONSTANT: dict[str, Any] = {"T": True, "F": False, "N": None, "I": math.inf}
_SIZE = struct.Struct(">i")


class OscError(ValueError):
    """A datagram, or a message to build, is not OSC; *offset* is the byte where that showed."""

    def __init__(self, problem: str, offset: int = 0) -> None:
        super().__init__(f"{problem} (at byte {offset})")
        self.problem = problem
        self.offset = offset


def read_text(data: bytes, start: int, end: int) -> str:
    """Return the text in *data*: UTF-8, or Latin-1 where it is not."""
    raw = data[start:end]
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class Template:
    """The reading plan of one header.

    `unpack` is set where the arguments are numbers, then constants (`iF`): it reads the numbers at
    once and raises `struct.error` at the end of the data; `suffix` are the constants. `read` works
    for all.
    """

    __slots__ = ("_count", "_flat", "_shape", "_steps", "address", "suffix", "tags", "unpack")

    def __init__(self, address: str, tags: str, offset: int = 0) -> None:
        """Compile *tags* (without the comma), which lie at *offset*; raise `OscError` for unknown ones."""
        self.address = address
        self.tags = tags
        self._steps: list[struct.Struct | str] = []
        self._count = 0
        self._shape = self._compile(tags, offset)
        self._flat = self._shape == [(index, None) for index in range(self._count)]
        self.unpack: Callable[[bytes, int], tuple[Any, ...]] | None = None
        self.suffix: tuple[Any, ...] = ()
        numbers = tags.rstrip("TFNI")
        if _PLAIN.issuperset(numbers):
            self.unpack = struct.Struct(">" + "".join(_FIXED[tag] for tag in numbers)).unpack_from
            self.suffix = tuple(_CONSTANT[tag] for tag in tags[len(numbers) :])

    def _compile(self, tags: str, offset: int) -> list[Any]:
        """Fill the steps; return the shape: indices into what is read, constants and nested lists."""
        shape: list[Any] = []
        stack = [shape]
        run = ""
        for place, tag in enumerate(tags, offset):
            if tag in _FIXED:
                run += _FIXED[tag]
            elif tag in "sSb":
                self._flush(run)
                run = ""
                self._steps.append("b" if tag == "b" else "s")
            elif tag in _CONSTANT:
                stack[-1].append((None, _CONSTANT[tag]))
                continue
            elif tag == "[":
                if len(stack) > MAX_ARRAY_DEPTH:
                    raise OscError(f"arrays are nested deeper than {MAX_ARRAY_DEPTH} levels", place)
                array: list[Any] = []
                stack[-1].append(array)
                stack.append(array)
                continue
            elif tag == "]":
                if len(stack) == 1:
                    raise OscError("']' closes no array", place)
                stack.pop()
                continue
            else:
                raise OscError(f"the type tag {tag!r} is unknown", place)
            stack[-1].append((self._count, _CONVERSIONS.get(tag)))
            self._count += 1
        if len(stack) > 1:
            raise OscError("an array is not closed", offset + len(tags))
        self._flush(run)
        return shape

    def _flush(self, run: str) -> None:
        if run:
            self._steps.append(struct.Struct(">" + run))

    def read(self, data: bytes, position: int) -> tuple[Any, ...]:
        """Return the arguments that begin at *position*; raise `OscError` where the data end early."""
        flat: list[Any] = []
        length = len(data)
        for step in self._steps:
            if step == "s":
                end = data.find(b"\0", position)
                if end < 0:
                    raise OscError("a string has no end", position)
                flat.append(read_text(data, position, end))
                position = (end + 4) & -4
            elif isinstance(step, struct.Struct):
                if position + step.size > length:
                    raise OscError(f"the arguments ',{self.tags[:40]}' end early", position)
                flat += step.unpack_from(data, position)
                position += step.size
            else:
                size = _SIZE.unpack_from(data, position)[0] if position + 4 <= length else -1
                if size < 0 or position + 4 + size > length:
                    raise OscError("a blob ends early", position)
                flat.append(data[position + 4 : position + 4 + size])
                position = (position + 7 + size) & -4
        return tuple(flat if self._flat else _assemble(self._shape, flat, position))


def _assemble(shape: list[Any], flat: list[Any], position: int) -> list[Any]:
    """Put what was read into its shape."""
    out: list[Any] = []
    for item in shape:
        if isinstance(item, list):
            out.append(_assemble(item, flat, position))
            continue
        index, what = item
        if index is None:
            out.append(what)
        elif what is None:
            out.append(flat[index])
        else:
            try:
                out.append(what(flat[index]))
            except (ValueError, OverflowError):
                raise OscError(f"{flat[index]} is no character", position) from None
    return out


def _character(code: int) -> str:
    """Return the character of a `c` argument; a lone surrogate is none."""
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError(code)
    return chr(code)


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"m": tuple, "c": _character}
