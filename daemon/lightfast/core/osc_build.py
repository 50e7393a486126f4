"""Messages to OSC datagrams, built by python-osc: the one module of the floor that knows it."""

from __future__ import annotations

import re
from typing import Any

from pythonosc.osc_message_builder import BuildError, OscMessageBuilder

from lightfast.core.osc_template import OscError

MAX_DATAGRAM = 65_507
"""The most bytes UDP carries over IPv4."""

_INT32 = 1 << 31
_NUL = re.compile("\0")


def encode(address: str, *arguments: Any) -> bytes:
    """Return the datagram of one message, or raise `OscError` that says which argument cannot be sent.

    Types follow the Python ones: bool → `T`/`F`, `None` → `N`, int → `i`, or `h` beyond 32 bits,
    float → `f`, str → `s`, bytes → `b`, list → an array. A pair of a type tag and a value chooses:
    `("d", 0.1)`, `("h", 1)`, `("r", 0xFF0000FF)`, `("m", (0, 144, 60, 100))`.
    """
    if not address:
        raise OscError("the address is empty")
    _refuse_nul(address, "the address")
    builder = OscMessageBuilder(address)
    for index, argument in enumerate(arguments):
        builder.add_arg(*_typed(argument, f"argument {index}"))
    try:
        datagram: bytes = builder.build().dgram
    except (BuildError, OverflowError, TypeError, ValueError) as error:
        raise OscError(f"{address} cannot be built: {error}") from None
    if len(datagram) > MAX_DATAGRAM:
        raise OscError(f"{address} has {len(datagram)} bytes, a datagram carries {MAX_DATAGRAM}")
    return datagram


def _typed(argument: Any, where: str) -> tuple[Any, Any]:
    """Return the value and its type as python-osc's builder wants them: a tag, or a list of types."""
    if isinstance(argument, tuple):
        if len(argument) != 2 or not isinstance(argument[0], str) or argument[0] not in _CHOSEN:
            raise OscError(f"{where} is {argument!r:.60}: a tuple is a type tag ({_CHOSEN}) and a value")
        tag, value = argument
        if tag == "s":
            _refuse_nul(value, where)
        return value, tag
    if isinstance(argument, list):
        typed = [_typed(item, f"{where}[{index}]") for index, item in enumerate(argument)]
        return [value for value, _ in typed], [kind for _, kind in typed]
    if argument is None:
        return None, "N"
    if isinstance(argument, bool):
        return argument, "T" if argument else "F"
    if isinstance(argument, int):
        return argument, "i" if -_INT32 <= argument < _INT32 else "h"
    if isinstance(argument, float):
        return argument, "f"
    if isinstance(argument, str):
        _refuse_nul(argument, where)
        return argument, "s"
    if isinstance(argument, bytes):
        return argument, "b"
    raise OscError(f"{where} is {type(argument).__name__}, which OSC cannot carry")


_CHOSEN = "ifhdsbrm"


def _refuse_nul(text: Any, where: str) -> None:
    """Refuse what would end a string early: the rest would be read as other arguments."""
    if not isinstance(text, str):
        raise OscError(f"{where} is {type(text).__name__}, not text")
    if _NUL.search(text):
        raise OscError(f"{where} holds a NUL character, which ends an OSC string")
