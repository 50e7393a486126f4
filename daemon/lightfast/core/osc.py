"""OSC 1.0 and 1.1 datagrams to messages: fast, and strict only about its own memory.

What real applications send is accepted: addresses without a slash (`#reply`), every type tag of
both versions, Latin-1 strings, time tags, nested bundles and arrays, a missing type tag string,
and last zero bytes that were left away. Anything else raises `OscError` with the offset.

The header of a message (address and type tags) repeats; it is compiled once into a template that
is found by its bytes, so that the usual message costs two searches, one look-up and one unpack.
Building messages is the business of `osc_build`.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from lightfast.core.osc_template import OscError, Template, read_text

__all__ = ["Decoder", "OscError", "OscMessage", "decode", "decode_timed", "timetag_ns"]

MAX_BUNDLE_DEPTH = 8
"""How deep bundles may nest."""
MAX_TEMPLATES = 4096
"""How many headers are remembered; the one after that clears them all."""
MAX_HEADER_BYTES = 512
"""Longer headers are decoded, but not remembered."""

_BUNDLE = b"#bundle\0"
_UNIX_EPOCH = 2_208_988_800  # in seconds after 1900, where time tags begin
_SIZE = struct.Struct(">i")
_TIME = struct.Struct(">Q")


class OscMessage(NamedTuple):
    """One message: *tags* are its type tags without the comma, arrays are lists.

    `t` is the raw 64-bit time tag, `m` four bytes as a tuple, `r` a 32-bit integer, `I` infinity.
    """

    address: str
    tags: str
    args: tuple[Any, ...]


class Decoder:
    """Decodes datagrams and remembers their headers."""

    def __init__(self, max_templates: int = MAX_TEMPLATES) -> None:
        self._templates: dict[bytes, Template] = {}
        self._max_templates = max_templates

    def decode(self, datagram: bytes) -> list[OscMessage]:
        """Return the messages of one datagram in their order, or raise `OscError`."""
        if datagram.startswith(_BUNDLE):
            return [message for _, message in self.decode_timed(datagram)]
        return [self._message(datagram)]

    def decode_timed(self, datagram: bytes) -> list[tuple[int, OscMessage]]:
        """Return the messages with the time of their bundle, in ns since 1970; 0 means immediately."""
        if not datagram.startswith(_BUNDLE):
            return [(0, self._message(datagram))]
        messages: list[tuple[int, OscMessage]] = []
        self._bundle(datagram, 0, 1, messages)
        return messages

    def _message(self, data: bytes) -> OscMessage:
        body = (data.find(b"\0", (data.find(b"\0") + 4) & -4) + 4) & -4
        template = self._templates.get(data[:body])
        if template is None:
            return self._unknown(data)
        if template.unpack is not None:
            try:
                args = template.unpack(data, body)
            except struct.error:
                return self._unknown(data)
            if template.suffix:
                args += template.suffix
            return tuple.__new__(OscMessage, (template.address, template.tags, args))
        return OscMessage(template.address, template.tags, template.read(data, body))

    def _unknown(self, data: bytes) -> OscMessage:
        """Decode a message with a header not seen before, or one that needs a closer look."""
        end = data.find(b"\0")
        if end < 0:
            raise OscError("the address has no end", 0)
        data += b"\0" * (-len(data) % 4)  # some senders leave the last zero bytes away
        address = read_text(data, 0, end)
        if not address or not address.isprintable():
            raise OscError("the address is empty or holds control characters", 0)
        start = (end + 4) & -4
        if start == len(data):
            return OscMessage(address, "", ())
        if data[start] != ord(","):
            raise OscError("there are arguments without a type tag string", start)
        stop = data.find(b"\0", start)
        if stop < 0:
            raise OscError("the type tag string has no end", start)
        template = Template(address, data[start + 1 : stop].decode("latin-1"), start + 1)
        body = (stop + 4) & -4
        args = template.read(data, body)
        if body <= MAX_HEADER_BYTES:
            if len(self._templates) >= self._max_templates:
                self._templates.clear()
            self._templates[data[:body]] = template
        return OscMessage(address, template.tags, args)

    def _bundle(self, data: bytes, offset: int, depth: int, into: list[tuple[int, OscMessage]]) -> None:
        """Decode a bundle that lies at *offset* of the datagram."""
        if depth > MAX_BUNDLE_DEPTH:
            raise OscError(f"bundles are nested deeper than {MAX_BUNDLE_DEPTH} levels", offset)
        if len(data) < 16:
            raise OscError("the bundle has no time tag", offset + 8)
        time = timetag_ns(_TIME.unpack_from(data, 8)[0])
        position = 16
        while position < len(data):
            if position + 4 > len(data):
                raise OscError("the bundle ends within a size", offset + position)
            size = _SIZE.unpack_from(data, position)[0]
            start = position + 4
            position = start + size
            if size <= 0 or position > len(data):
                raise OscError(f"a bundle element claims {size} bytes", offset + start - 4)
            element = data[start:position]
            if element.startswith(_BUNDLE):
                self._bundle(element, offset + start, depth + 1, into)
                continue
            try:
                into.append((time, self._message(element)))
            except OscError as error:
                raise OscError(error.problem, offset + start + error.offset) from None


def timetag_ns(tag: int) -> int:
    """Return a 64-bit time tag as ns since 1970; 0 for "immediately" and for times before 1970."""
    seconds = (tag >> 32) - _UNIX_EPOCH
    return seconds * 1_000_000_000 + ((tag & 0xFFFFFFFF) * 1_000_000_000 >> 32) if seconds > 0 else 0


_DECODER = Decoder()
decode = _DECODER.decode
"""Return the messages of one datagram in their order, or raise `OscError`."""
decode_timed = _DECODER.decode_timed
"""Return the messages of one datagram with the time of their bundle, or raise `OscError`."""
