"""The two decoders a socket may use: ours, and python-osc's under containment."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pythonosc.osc_message import OscMessage as PythonOscMessage
from pythonosc.osc_message import ParseError

from lightfast.core import osc
from lightfast.core.errors import InvalidArgument
from lightfast.core.osc import OscError, OscMessage
from lightfast.core.osc_template import Template

Decode = Callable[[bytes], list[tuple[int, OscMessage]]]
"""A datagram to messages, each with the time of its bundle in ns since 1970; raises `OscError`."""

NAMES = ("lightfast", "python-osc")
_BUNDLE = b"#bundle\0"
_UNREAD = frozenset("cIS")


def decoder_named(name: str) -> Decode:
    """Return the decoder called *name*, or raise `InvalidArgument` that lists them."""
    if name == "lightfast":
        return osc.Decoder().decode_timed
    if name == "python-osc":
        return decode_with_python_osc
    raise InvalidArgument(f"unknown OSC decoder {name!r}: use one of {', '.join(NAMES)}", field="decoder")


def decode_with_python_osc(datagram: bytes) -> list[tuple[int, OscMessage]]:
    """Decode with python-osc; what it cannot read, or would read wrongly, is an `OscError`.

    We walk the bundles ourselves: python-osc never returns from a negative element size. Type tags
    it does not know are refused, since it goes on reading at the wrong byte after them.
    """
    found: list[tuple[int, OscMessage]] = []
    _walk(datagram, 0, 1, found)
    return found


def _walk(data: bytes, time: int, depth: int, into: list[tuple[int, OscMessage]]) -> None:
    if not data.startswith(_BUNDLE):
        into.append((time, _message(data)))
        return
    if depth > osc.MAX_BUNDLE_DEPTH or len(data) < 16:
        raise OscError("the bundle is nested too deep, or has no time tag", 8)
    time = osc.timetag_ns(int.from_bytes(data[8:16], "big"))
    position = 16
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big", signed=True)
        start = position + 4
        position = start + size
        if size <= 0 or position > len(data):
            raise OscError(f"a bundle element claims {size} bytes", start - 4)
        _walk(data[start:position], time, depth + 1, into)


def _message(data: bytes) -> OscMessage:
    if not data.startswith(b"/"):
        raise OscError("python-osc reads only addresses that begin with '/'", 0)
    tags = _tags(data)
    unknown = set(tags) & _UNREAD
    if unknown:
        raise OscError(f"python-osc cannot read the type tag {min(unknown)!r}", 0)
    Template("", tags)  # refuses what is nested too deep, and tags that no version of OSC knows
    try:
        message = PythonOscMessage(data)
    except (ParseError, ValueError, OverflowError, IndexError, struct.error) as error:
        raise OscError(f"python-osc: {type(error).__name__}: {error}", 0) from None
    return OscMessage(message.address, tags, tuple(_plain(value) for value in message.params))


def _tags(data: bytes) -> str:
    start = (data.find(b"\0") + 4) & -4
    stop = data.find(b"\0", start)
    return data[start + 1 : stop].decode("latin-1") if data[start : start + 1] == b"," and stop > 0 else ""


def _plain(value: Any) -> Any:
    """Return one argument as our decoder gives it: a time tag, here a date and a fraction, as 64 bits."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, tuple) and len(value) == 2:
        moment, fraction = value
        epoch = moment.replace(year=1900, month=1, day=1, hour=0, minute=0, second=0)
        return int((moment - epoch).total_seconds()) << 32 | fraction
    return value
