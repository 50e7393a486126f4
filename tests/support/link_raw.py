"""A bare TCP connection that speaks frames, for saying what the client would not."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support.link import KEY, hello

from lightfast_link.auth import Responder
from lightfast_link.frame import Frame, Splitter, decode, encode, pack


class Raw:
    """A bare connection that speaks frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.splitter = Splitter()
        self.frames: list[Frame] = []

    @classmethod
    async def open(cls, host: str, port: int) -> Raw:
        return cls(*await asyncio.open_connection(host, port))

    def send(self, kind: str, header: dict[str, Any] | None = None, blobs: tuple[bytes, ...] = ()) -> None:
        self.writer.write(pack(encode(Frame(kind, header, blobs))))

    async def frame(self, *kinds: str) -> Frame:
        while True:
            while not self.frames:
                data = await asyncio.wait_for(self.reader.read(65536), 60)
                assert data, f"closed before {kinds}"
                self.frames += [decode(parts) for parts in self.splitter.feed(data)]
            frame = self.frames.pop(0)
            if frame.type in kinds:
                return frame

    async def ended(self) -> bool:
        while await asyncio.wait_for(self.reader.read(65536), 60):
            pass
        return True

    async def prove(self, key: bytes = KEY) -> None:
        responder = Responder(key)
        self.send("auth_start", responder.start())
        challenge = (await self.frame("auth_challenge")).header
        self.send("auth_proof", responder.respond(challenge["nonce"], challenge["proof"]))
        await self.frame("auth_ok")

    async def join(self, **changes: Any) -> dict[str, Any]:
        await self.prove()
        self.send("hello", {**hello(**changes), "versions": [1], "stream": "stream-1"})
        return (await self.frame("welcome")).header

    def deafen(self) -> None:
        """Read nothing any more."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def close(self) -> None:
        self.writer.close()
