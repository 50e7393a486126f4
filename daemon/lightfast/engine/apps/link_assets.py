"""Assets on their way over one link, seen from the daemon.

Both ways a chunk is at most `CHUNK` bytes, and at most `WINDOW` bytes are on the way without an `asset_ack`.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import structlog

from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast_link.frame import CHUNK, Frame
from lightfast_link.value import Asset, to_json

if TYPE_CHECKING:
    from lightfast.engine.apps.link_server import LinkServer

log = structlog.get_logger("lightfast.link")

WINDOW = 4 * CHUNK
MAX_TRANSFERS = 32
STALLED = 60.0
"""Seconds without a chunk, or an acknowledgement, after which a transfer is given up."""


class AssetPort(Protocol):
    """Where assets that travel over a link are kept; joined in `app`."""

    async def put(self, name: str, media_type: str, chunks: AsyncIterator[bytes], origin: str) -> Asset:
        """Store the chunks; raises `LightfastError` (quota); nothing is kept when *chunks* raises."""

    async def get(self, sha256: str) -> tuple[Asset, AsyncIterator[bytes]]:
        """Return an asset and its bytes in chunks; raises `NotFound`."""


class _Transfer:
    """One asset under way; *chunks* come from the application, *room* is told of what it acknowledges."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes | LightfastError | None] = asyncio.Queue()
        self.complete = False
        self.received = 0
        self.hash = hashlib.sha256()
        self.consumed = 0
        self.acknowledged = 0
        self.room = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class PeerAssets:
    """The transfers of one peer; the application numbers them."""

    def __init__(self, server: LinkServer, send: Callable[[Frame], None], origin: Callable[[], str]) -> None:
        self._server = server
        self._send = send
        self._origin = origin
        self._open: dict[int, _Transfer] = {}

    def receive(self, frame: Frame) -> None:
        """Take in a frame about a transfer; raises `ValueError` for a malformed one."""
        number = frame.header["id"]
        if type(number) is not int:
            raise ValueError("id must be a whole number")
        transfer = self._open.get(number)
        if frame.type in ("asset_begin", "asset_get"):
            self._start(number, frame)
        elif transfer is None:
            pass  # it failed here, and the application does not know yet
        elif frame.type == "asset_chunk":
            self._take(transfer, frame)
        elif frame.type == "asset_end":
            self._finish(transfer, frame)
        elif frame.type == "asset_ack":
            transfer.acknowledged = max(transfer.acknowledged, int(frame.header["offset"]))
            transfer.room.set()
        else:
            self._cancel(self._open.pop(number))

    def _start(self, number: int, frame: Frame) -> None:
        if self._server.assets is None:
            self._fail(number, "this daemon keeps no assets")
        elif number in self._open:
            self._fail(number, f"the transfer {number} is under way already")
        elif len(self._open) >= MAX_TRANSFERS:
            self._fail(number, f"{MAX_TRANSFERS} assets are on their way already")
        else:
            transfer = self._open[number] = _Transfer()
            work = self._store if frame.type == "asset_begin" else self._fetch
            task = self._server.tasks.start(self._guard(number, work(number, transfer, frame)), f"asset-{number}")
            transfer.task = task

    async def _guard(self, number: int, work: AsyncGenerator[Frame, None]) -> None:
        """Send what *work* yields; an error ends the transfer with its message."""
        try:
            async with aclosing(work):
                async for frame in work:
                    self._send(frame)
        except LightfastError as error:
            self._fail(number, error.message)
        except (OSError, TimeoutError, ValueError) as error:
            self._fail(number, str(error) or f"nothing moved for {STALLED:g} s")
        finally:
            self._open.pop(number, None)

    async def _store(self, number: int, transfer: _Transfer, frame: Frame) -> AsyncGenerator[Frame, None]:
        name, media_type = str(frame.header["name"])[:256], str(frame.header["media_type"])[:128]
        if self._server.assets is not None:
            chunks = self._incoming(number, transfer)
            asset = await self._server.assets.put(name, media_type, chunks, self._origin())
            yield Frame("asset_done", {"id": number, "asset": to_json(asset)["$a"]})

    async def _incoming(self, number: int, transfer: _Transfer) -> AsyncIterator[bytes]:
        while True:
            async with asyncio.timeout(STALLED):
                chunk = await transfer.chunks.get()
            if chunk is None:
                return
            if isinstance(chunk, LightfastError):
                raise chunk
            yield chunk
            transfer.consumed += len(chunk)
            self._send(Frame("asset_ack", {"id": number, "offset": transfer.consumed}))

    async def _fetch(self, number: int, transfer: _Transfer, frame: Frame) -> AsyncGenerator[Frame, None]:
        if self._server.assets is None:
            return
        asset, chunks = await self._server.assets.get(str(frame.header["sha256"])[:64])
        yield Frame("asset_begin", {"id": number, "asset": to_json(asset)["$a"]})
        sent = 0
        async for data in chunks:
            for start in range(0, len(data), CHUNK):
                chunk = data[start : start + CHUNK]
                await self._wait_room(transfer, sent)
                yield Frame("asset_chunk", {"id": number, "offset": sent}, [chunk])
                sent += len(chunk)
        yield Frame("asset_end", {"id": number})

    async def _wait_room(self, transfer: _Transfer, sent: int) -> None:
        while sent - transfer.acknowledged > WINDOW - CHUNK:
            transfer.room.clear()
            async with asyncio.timeout(STALLED):
                await transfer.room.wait()

    def _take(self, transfer: _Transfer, frame: Frame) -> None:
        if len(frame.blobs) != 1 or not 0 < len(frame.blobs[0]) <= CHUNK:
            raise ValueError(f"a chunk has one blob of 1 to {CHUNK} bytes")
        chunk = frame.blobs[0]
        if transfer.complete:
            return
        if frame.header["offset"] != transfer.received:
            self._break(transfer, f"the chunk at {frame.header['offset']} is out of place")
        elif transfer.received + len(chunk) - transfer.consumed > WINDOW:
            self._break(transfer, f"more than {WINDOW} bytes were sent without an asset_ack")
        else:
            transfer.received += len(chunk)
            transfer.hash.update(chunk)
            transfer.chunks.put_nowait(chunk)

    def _finish(self, transfer: _Transfer, frame: Frame) -> None:
        wanted = frame.header.get("sha256", "")
        if wanted and wanted != transfer.hash.hexdigest():
            self._break(transfer, f"the bytes that came are not the asset {wanted:.64}")
        elif not transfer.complete:
            transfer.complete = True
            transfer.chunks.put_nowait(None)

    def _break(self, transfer: _Transfer, reason: str) -> None:
        if not transfer.complete:
            transfer.complete = True
            transfer.chunks.put_nowait(InvalidArgument(reason))

    def _fail(self, number: int, reason: str) -> None:
        log.warning("asset transfer failed", origin=self._origin(), transfer=number, reason=reason)
        self._send(Frame("asset_failed", {"id": number, "reason": reason[:1000]}))

    def _cancel(self, transfer: _Transfer) -> None:
        if transfer.task is not None:
            transfer.task.cancel()

    def close(self) -> None:
        """Give up every transfer."""
        for transfer in self._open.values():
            self._cancel(transfer)
        self._open.clear()
