"""Asks one question on one fresh connection, within a budget, and closes it whatever comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

BUDGET = 2.0
"""Seconds for one question and its answer."""
MAX_ANSWER = 1 << 20
"""The most bytes of an answer that are read."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What answers at a place: *what* it is, *advice* how to live with it; *known* is false for a stranger."""

    what: str
    advice: str = ""
    known: bool = True


Recognizer = Callable[[Place], Awaitable[Seen | None]]
"""Looks at a place; `None` where nothing that it knows answers there. May raise `OSError`."""


async def ask(place: Place, question: bytes, enough: Callable[[bytes], bool], budget: float = BUDGET) -> bytes:
    """Send *question* by TCP and return what comes until *enough* of it is there, the other side ends, or time is up.

    An empty answer is silence. Raises `OSError` where nobody accepts the connection.
    """
    received = b""
    try:
        async with asyncio.timeout(budget):
            reader, writer = await asyncio.open_connection(place.host, place.port)
            try:
                if question:
                    writer.write(question)
                while len(received) < MAX_ANSWER and not (received and enough(received)):
                    part = await reader.read(65536)
                    if not part:
                        break
                    received += part
            finally:
                # Not a polite end: what may still come is nobody's business, and the other side must see it at once.
                writer.transport.abort()
                with suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return received
    except ConnectionError:
        if not received:
            raise
    return received


class _Listener(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Take the first answer."""
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        """Take note that nobody is there."""
        if not self.answer.done():
            self.answer.set_exception(exc)


async def ask_udp(place: Place, question: bytes, *, reply_port: int = 0, budget: float = BUDGET) -> bytes:
    """Send one datagram and return the first that comes back, empty for silence.

    With a *reply_port* the answer is waited for there. Raises `OSError` where that port is taken, or nobody listens.
    """
    loop = asyncio.get_running_loop()
    here = None if reply_port == 0 else (place.host, reply_port)
    there = (place.host, place.port)
    transport, listener = await loop.create_datagram_endpoint(
        _Listener, local_addr=here, remote_addr=there if here is None else None
    )
    try:
        transport.sendto(question, None if here is None else there)
        async with asyncio.timeout(budget):
            return await listener.answer
    except TimeoutError:
        return b""
    finally:
        listener.answer.cancel()
        transport.close()
        await asyncio.sleep(0)  # only then the port is free again


def parsed(data: bytes) -> Any:
    """Return the JSON value that *data* is, `None` where it is none, or not all there yet."""
    try:
        return json.loads(data.rstrip(b"\0\r\n \t"))
    except ValueError:
        return None
