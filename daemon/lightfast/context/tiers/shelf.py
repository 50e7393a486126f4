"""Fetches blocks from the archive, and keeps the decoded ones that were used last."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from lightfast.core.errors import Unavailable
from lightfast.storage.archive.records import Frame, NewFrame

if TYPE_CHECKING:
    from lightfast.context.tiers.block import Block

CACHE_SIZE = 32 << 20
"""About how many bytes of decoded blocks are kept."""
AT_ONCE = 8
"""How many blocks are fetched at a time."""
DEADLINE = 30.0
"""Seconds that the archive may take for an answer."""


class Frames(Protocol):
    """What the tiers need of the archive."""

    async def append(self, frames: Sequence[NewFrame]) -> list[str]:
        """Append durably; return the ids."""

    async def get(self, frame_ids: Sequence[str]) -> dict[str, Frame]:
        """Return the frames that can be read."""

    async def why(self, frame_ids: Sequence[str]) -> dict[str, str]:
        """Return why others cannot."""

    async def run(self, function: Callable[[Any], Any]) -> Any:
        """Run *function* with a reader in a thread."""

    async def remove(self, frame_ids: Sequence[str], *, reason: str) -> int:
        """Remove frames for ever."""

    async def stats(self) -> Any:
        """Return figures; `bytes` is what it takes on the disk."""


class Gone(Exception):
    """The archive does not have the frame (any more); *why* is its word for it."""

    def __init__(self, frame: str, why: str) -> None:
        super().__init__(f"{frame}: {why}")
        self.frame = frame
        self.why = why


class Counts(msgspec.Struct):
    """What became of reads of blocks."""

    hits: int = 0
    misses: int = 0
    prefetched: int = 0
    prefetch_hits: int = 0

    @property
    def ratio(self) -> float:
        """Return the part of the reads that the cache could answer; 0 without any."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 0.0


class Shelf:
    """Blocks by frame. They never change, so the cache needs no invalidation; `forget` is for what was removed."""

    def __init__(self, frames: Frames | None, *, size: int = CACHE_SIZE) -> None:
        self.frames = frames
        self.counts = Counts()
        self.size = 0
        self._most = size
        self._kept: OrderedDict[str, Block] = OrderedDict()
        self._ahead: set[str] = set()
        self._coming: dict[str, asyncio.Future[Block]] = {}

    def forget(self, frames: Sequence[str] | None = None) -> None:
        """Drop *frames* from the cache, or everything."""
        for frame in list(self._kept) if frames is None else frames:
            block = self._kept.pop(frame, None)
            if block is not None:
                self.size -= block.size
            self._ahead.discard(frame)

    def has(self, frame: str) -> bool:
        """Say whether *frame* is in the cache or on its way."""
        return frame in self._kept or frame in self._coming

    async def prefetch(self, frame: str) -> None:
        """Put the block into the cache before anybody asks; one that cannot be read is left to who asks."""
        if self.has(frame):
            return
        self.counts.prefetched += 1
        self._ahead.add(frame)
        try:
            await self._load(frame)
        except (Gone, Unavailable):
            self._ahead.discard(frame)

    async def get(self, frame: str) -> Block:
        """Return one block; raise `Gone`, or `Unavailable` (ARCHIVE_SLOW, ARCHIVE_MISSING)."""
        block = self._kept.get(frame)
        if block is not None:
            self._kept.move_to_end(frame)
            self.counts.hits += 1
            if frame in self._ahead:
                self._ahead.discard(frame)
                self.counts.prefetch_hits += 1
            return block
        self.counts.misses += 1
        return await self._load(frame)

    async def each(self, frames: Sequence[str]) -> AsyncIterator[tuple[str, Block]]:
        """Yield *frames* in their order, some of them fetched at a time."""
        for start in range(0, len(frames), AT_ONCE):
            part = frames[start : start + AT_ONCE]
            blocks = await asyncio.gather(*[self.get(frame) for frame in part], return_exceptions=True)
            for frame, block in zip(part, blocks, strict=True):
                if isinstance(block, BaseException):
                    raise block
                yield frame, block

    async def _load(self, frame: str) -> Block:
        coming = self._coming.get(frame)
        if coming is None:
            coming = self._coming[frame] = asyncio.ensure_future(self._fetch(frame))
            coming.add_done_callback(lambda done: self._arrived(frame, done))
        return await asyncio.shield(coming)

    def _arrived(self, frame: str, done: asyncio.Future[Block]) -> None:
        self._coming.pop(frame, None)
        if done.cancelled() or done.exception() is not None:
            return
        block = done.result()
        if block.size > self._most:
            return
        self._kept[frame] = block
        self.size += block.size
        while self.size > self._most:
            name, oldest = self._kept.popitem(last=False)
            self._ahead.discard(name)
            self.size -= oldest.size

    async def _fetch(self, frame: str) -> Block:
        if self.frames is None:
            raise Unavailable(
                f"this part of the history lies in the archive (frame {frame}), and the archive is not open",
                reason="ARCHIVE_MISSING",
                metadata={"frame": frame},
            )
        try:
            async with asyncio.timeout(DEADLINE):
                found = await self.frames.get([frame])
                if frame not in found:
                    why = await self.frames.why([frame])
                    raise Gone(frame, why.get(frame, "it is not there"))
        except TimeoutError:
            raise Unavailable(
                f"the archive has not answered for {DEADLINE:.0f} s, asked for the frame {frame}: its disk may hang",
                reason="ARCHIVE_SLOW",
                metadata={"frame": frame},
                retry_after=5.0,
            ) from None
        from lightfast.context.tiers.block import Block  # the format of blocks is loaded with the first of them

        content = found[frame].content
        if not isinstance(content, bytes):
            raise Gone(frame, "it holds a text, where a block of history was written")
        try:
            return await asyncio.to_thread(Block, content)
        except ValueError as error:
            raise Gone(frame, str(error)) from error
