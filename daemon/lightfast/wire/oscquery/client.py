"""One WebSocket client: what it asks for, what it is told.

Values that wait are kept by path, the newest of each; news of structure waits in a bounded queue, and a client too
slow for it is cut, since it could not know what it missed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from lightfast.core.clock import Clock
from lightfast.core.osc import OscError, decode
from lightfast.wire.oscquery.hub import Hub
from lightfast_link.path import check_path, unicode_path

log = structlog.get_logger("lightfast.oscquery")

MAX_LISTENS = 4096
"""How many paths one client may listen to; LISTEN for further ones is ignored and counted."""
MAX_NEWS = 1000
"""How many messages on structure may wait."""
MAX_WRITTEN = 1000
"""How many writes of a client are remembered, so that they are not told to it again."""
RATE = 5_000.0
"""Messages a second that a client may send for long."""
BURST = 20_000.0
"""Messages that it may send at once: a browser listens to a whole tree in one go."""
CLOSE_S = 2.0
"""How long a client that is cut has to take the word of it, in seconds."""
TOO_FAST = 1008
TOO_SLOW = 1013
LOWEST_PORT = 1024
"""Ports below are the system's own: nothing is streamed there."""

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Stream = Callable[[bytes, tuple[str, int]], None]
Write = Callable[[bytes, str], None]


class _Command(msgspec.Struct):
    COMMAND: str
    DATA: Any = None


_decode = msgspec.json.Decoder(_Command).decode


class Client:
    """One client from its acceptance to its end."""

    def __init__(
        self, hub: Hub, send: Send, host: str, clock: Clock, *, stream: Stream, write: Write | None, closed: int
    ) -> None:
        """*stream* sends a datagram, *write* takes one that is to be written; *closed* is our own OSC port."""
        self._hub = hub
        self._send = send
        self._host = host
        self._clock = clock
        self._stream = stream
        self._write = write
        self._closed_port = closed
        self._paths: set[str] = set()
        self._values: dict[str, bytes] = {}
        self._news: deque[str] = deque()
        self._written: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._port = 0
        self._cut: tuple[int, str] | None = None
        self._ended = asyncio.Event()
        self.stuck = False
        """It was cut, and does not even take the word of it."""
        self._tokens = BURST
        self._then = clock.monotonic()

    async def run(self, receive: Receive) -> None:
        """Serve until it leaves, or is cut."""
        sending = asyncio.ensure_future(self._deliver())
        reading = asyncio.ensure_future(self._read(receive))
        ending = asyncio.ensure_future(self._ended.wait())
        tasks: tuple[asyncio.Future[Any], ...] = (sending, reading, ending)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(self, self._paths)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=2.0)
            for task in tasks:
                if task.done() and not task.cancelled():
                    task.exception()  # a socket that broke is no news
        if self._cut is not None:
            await self._say_why(*self._cut)

    async def _say_why(self, code: int, reason: str) -> None:
        log.info("an oscquery client was cut", client=self._host, reason=reason)
        self._hub.counts["cut"] += 1
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
        except TimeoutError:
            self.stuck = True
        except (OSError, RuntimeError) as error:
            log.debug("an oscquery client was gone already", reason=str(error))

    def tell(self, messages: list[str]) -> None:
        """Queue news of structure."""
        if len(self._news) + len(messages) > MAX_NEWS:
            self._end(TOO_SLOW, "too slow: read the tree again")
            return
        self._news.extend(messages)
        self._wake.set()

    def push(self, path: str, frame: bytes, *, critical: bool) -> None:
        """Queue a value."""
        if self._written.pop(path, None) == frame:
            return  # its own write: a fader must not jump back to where it was a moment ago
        if self._port and not critical:
            self._stream(frame, (self._host, self._port))
            return
        self._values[path] = frame
        self._wake.set()

    async def _deliver(self) -> None:
        while self._cut is None:
            await self._wake.wait()
            self._wake.clear()
            while (self._news or self._values) and self._cut is None:
                if self._news:
                    await self._send({"type": "websocket.send", "text": self._news.popleft()})
                else:
                    path = next(iter(self._values))
                    await self._send({"type": "websocket.send", "bytes": self._values.pop(path)})

    async def _read(self, receive: Receive) -> None:
        while self._cut is None:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            if not self._allowed():
                self._end(TOO_FAST, "too many messages")
                return
            text = message.get("text")
            if text is not None:
                self._command(text)
            elif message.get("bytes"):
                self._take(message["bytes"])

    def _allowed(self) -> bool:
        now = self._clock.monotonic()
        self._tokens = min(BURST, self._tokens + (now - self._then) * RATE)
        self._then = now
        self._tokens -= 1
        return self._tokens >= 0

    def _end(self, code: int, reason: str) -> None:
        if self._cut is None:
            self._cut = (code, reason)
            self._ended.set()

    def _command(self, text: str) -> None:
        try:
            command = _decode(text)
        except (msgspec.DecodeError, RecursionError):
            self._hub.counts["malformed"] += 1
            return
        if command.COMMAND in ("LISTEN", "IGNORE") and isinstance(command.DATA, str):
            try:
                path = check_path(unicode_path(command.DATA))
            except ValueError:
                self._hub.counts["malformed"] += 1
                return
            if command.COMMAND == "LISTEN":
                self._listen(path)
            elif path in self._paths:
                self._paths.discard(path)
                self._values.pop(path, None)
                self._hub.ignore(self, path)
        elif command.COMMAND == "START_OSC_STREAMING" and isinstance(command.DATA, dict):
            self._start_streaming(command.DATA.get("LOCAL_SERVER_PORT"))
        else:
            self._hub.counts["unknown"] += 1

    def _listen(self, path: str) -> None:
        if path not in self._paths and len(self._paths) >= MAX_LISTENS:
            self._hub.counts["listens_refused"] += 1
        elif self._hub.listen(self, path):
            self._paths.add(path)

    def _start_streaming(self, port: Any) -> None:
        """Send signals over UDP, too: to the host that asks, and nowhere else, whatever it says."""
        if isinstance(port, int) and LOWEST_PORT <= port < 65_536 and port != self._closed_port:
            self._port = port
        else:
            self._hub.counts["malformed"] += 1

    def _take(self, datagram: bytes) -> None:
        """Take a frame that is to be written."""
        if self._write is None:
            self._hub.counts["read_only"] += 1
            return
        try:
            messages = decode(datagram)
        except OscError:
            self._hub.counts["malformed"] += 1
            return
        for message in messages:
            path = unicode_path(message.address)
            if path in self._paths and len(messages) == 1:
                if len(self._written) >= MAX_WRITTEN:
                    self._written.clear()
                self._written[path] = datagram
        self._write(datagram, self._host)
