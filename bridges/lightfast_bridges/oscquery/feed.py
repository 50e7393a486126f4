"""The WebSocket of a server: listens to paths, takes frames in, sends frames out, the newest of each path."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any

from lightfast.sdk.osc import OscError, OscMessage, decode
from lightfast_bridges.oscquery.errors import DroppedError

MAX_MESSAGE = 1 << 20
"""The longest message that is taken, in bytes."""
OPEN_S = 5.0
SLICE = 200
"""How many LISTEN go out before the loop gets its turn."""

Told = Callable[[OscMessage], None]
News = Callable[[str, Any], None]


class Feed:
    """One connection. *told* takes values, *news* takes commands (PATH_ADDED and so on)."""

    def __init__(self, host: str, port: int, told: Told, news: News) -> None:
        self._host, self._port = host, port
        self._told, self._news = told, news
        self._socket: Any = None
        self._outgoing: dict[str, bytes | str] = {}
        self._wake = asyncio.Event()
        self.malformed = 0

    async def open(self) -> None:
        """Connect; raises `DroppedError`."""
        client = await asyncio.to_thread(__import__, "websockets.asyncio.client", fromlist=["connect"])
        from websockets.exceptions import WebSocketException

        where = f"[{self._host}]" if ":" in self._host else self._host
        try:
            async with asyncio.timeout(OPEN_S):
                # Host and port are given besides: a redirection to another server is not followed then.
                self._socket = await client.connect(
                    f"ws://{where}:{self._port}/",
                    host=self._host,
                    port=self._port,
                    max_size=MAX_MESSAGE,
                    max_queue=64,
                    open_timeout=OPEN_S,
                    close_timeout=1.0,
                    ping_interval=10.0,
                    ping_timeout=10.0,
                    compression=None,
                    proxy=None,
                )
        except (OSError, TimeoutError, ValueError, WebSocketException) as error:
            raise DroppedError(f"its WebSocket at port {self._port} cannot be opened: {_said(error)}") from None

    async def listen(self, addresses: Iterable[str], *, command: str = "LISTEN") -> None:
        """Ask to be told of *addresses*, and wait until the server has read that; raises `DroppedError`."""
        from websockets.exceptions import WebSocketException

        try:
            async with asyncio.timeout(30.0):
                for number, address in enumerate(addresses):
                    await self._socket.send(json.dumps({"COMMAND": command, "DATA": address}))
                    if number % SLICE == SLICE - 1:
                        await asyncio.sleep(0)
                await (await self._socket.ping())
        except (OSError, TimeoutError, WebSocketException) as error:
            raise DroppedError(f"its WebSocket broke: {_said(error)}") from None

    def send(self, path: str, frame: bytes) -> None:
        """Queue a frame; a newer one of the same path takes its place."""
        self._outgoing.pop(path, None)
        self._outgoing[path] = frame
        self._wake.set()

    async def run(self) -> None:
        """Take and send until it breaks; raises `DroppedError`."""
        from websockets.exceptions import WebSocketException

        sending = asyncio.ensure_future(self._send())
        reading = asyncio.ensure_future(self._read())
        try:
            done, _ = await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except (OSError, WebSocketException) as error:
            raise DroppedError(f"its WebSocket broke: {error}") from None
        finally:
            for task in (sending, reading):
                task.cancel()
            await asyncio.wait((sending, reading), timeout=2.0)
        raise DroppedError("its WebSocket was closed")

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._outgoing:
                path = next(iter(self._outgoing))
                await self._socket.send(self._outgoing.pop(path))

    async def _read(self) -> None:
        count = 0
        async for message in self._socket:
            self._take(message)
            count += 1
            if count % SLICE == 0:
                await asyncio.sleep(0)

    def _take(self, message: bytes | str) -> None:
        if isinstance(message, bytes):
            try:
                found = decode(message)
            except OscError:
                self.malformed += 1
                return
            for one in found:
                self._told(one)
            return
        try:
            said = json.loads(message)
        except (ValueError, RecursionError):
            said = None
        if isinstance(said, dict) and isinstance(said.get("COMMAND"), str):
            self._news(said["COMMAND"], said.get("DATA"))
        else:
            self.malformed += 1

    async def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            await self._socket.close()


def _said(error: BaseException) -> str:
    return str(error) or "no answer"
