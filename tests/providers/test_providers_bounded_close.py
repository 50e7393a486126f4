"""The HTTP clients of providers close the connections that they let go of, whoever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from types import ModuleType

import httpx
import httpx2
import pytest

from lightfast_providers._common import bounded

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
MANY = 6


class Service:
    """Answers everything; *open* counts the connections."""

    def __init__(self) -> None:
        self.open = self.together = 0
        self.all = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while await reader.readuntil(b"\r\n\r\n"):
                    self.together += 1
                    if self.together == MANY:
                        self.all.set()
                    await self.all.wait()
                    writer.write(ANSWER)
                    await writer.drain()
        finally:
            self.open -= 1
            writer.close()

    async def until_open(self, most: int) -> None:
        async with asyncio.timeout(60):
            while self.open > most:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("module", [httpx, httpx2], ids=lambda module: module.__name__)
@pytest.mark.parametrize("turns", range(1, 8))
async def test_who_is_cancelled_as_old_connections_are_closed_leaves_none_open(module: ModuleType, turns: int) -> None:
    service = Service()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    client = bounded.client(module, "a test", lambda: 1000)
    try:
        await asyncio.gather(*(client.get(url, timeout=60.0) for _ in range(MANY)))
        assert service.open == MANY
        for connection in client._transport._pool.connections:
            connection._connection._expire_at = 0.0  # as if nobody had asked for anything for long
        asking = asyncio.ensure_future(client.get(url, timeout=60.0))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        await service.until_open(1)  # the one that may have been made for this request
    finally:
        await client.aclose()
        server.close()
    await service.until_open(0)
