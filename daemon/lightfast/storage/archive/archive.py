"""The archive, as the rest of the daemon sees it.

What it is made of is loaded with its first use: a daemon that archives nothing does without.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import FailedPrecondition
from lightfast.storage.archive.records import DEADLINE, Damage, Frame, Hit, NewFrame, Options, Query, Sealer

if TYPE_CHECKING:
    from lightfast.storage.archive.caches import Caches
    from lightfast.storage.archive.frame import RawFrame
    from lightfast.storage.archive.progress import Imported, Piece, Progress, Stats
    from lightfast.storage.archive.reader import Reader
    from lightfast.storage.archive.repeated import Told
    from lightfast.storage.archive.rows import Appended
    from lightfast.storage.archive.search.index import FrameIndex
    from lightfast.storage.archive.search.search import Batch, Searches
    from lightfast.storage.archive.search.source import ReaderSource
    from lightfast.storage.archive.stock import Stock
    from lightfast.storage.archive.writer import Job, Writer

log = structlog.get_logger("lightfast.archive")

T = TypeVar("T")

READERS = 2
_DEFAULTS = Options()


class Archive:
    """Frames that are appended, found again and never changed. Open one with `await Archive.open(folder)`.

    It reads nothing until it is used, and creates nothing until something is appended. All methods are called on
    the loop; files are touched in one writer thread and a few reader threads.
    """

    def __init__(
        self, folder: Path, options: Options, clock: Clock, sealer: Sealer | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        """Use `open`."""
        self.folder = folder
        self.options = options
        self._clock = clock
        self._sealer = sealer
        self.on_appended: list[Callable[[Sequence[Frame]], None]] = []
        """Called on the loop with the frames of each append, when they are durable."""
        self.on_removed: list[Callable[[Sequence[str]], None]] = []
        """Called on the loop with the ids of frames that are gone."""
        self.forgetting: list[Callable[[], Awaitable[None]]] = []
        """Awaited after that, before `remove` returns: each ends when nothing of the frames is left with a layer."""
        self.layers: list[str] = ["sealing"] if sealer is not None else []
        """The layers over it that are in use; each adds its name."""
        self._loop = loop
        self._writer: Writer | None = None
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="lightfast-archive-read")
        self._closed = False
        self._loading: asyncio.Future[None] | None = None
        self._told: Told | None = None
        self._telling = asyncio.Lock()

    @classmethod
    async def open(
        cls, folder: Path, *, options: Options = _DEFAULTS, clock: Clock = SYSTEM, sealer: Sealer | None = None
    ) -> Archive:
        """Open the archive in *folder*, which need not be there yet; if another process holds it, its use fails."""
        archive = cls(folder, options, clock, sealer, asyncio.get_running_loop())
        if folder.is_dir():
            archive._stock.reserve()
        return archive

    # ---- what it is made of

    @cached_property
    def _stock(self) -> Stock:
        from lightfast.storage.archive.stock import Stock

        stock = Stock(self.folder, self.options, self._clock, self._sealer)
        stock.keep_chunks(self.caches.chunks)
        return stock

    @cached_property
    def _repeated(self) -> ModuleType:
        from lightfast.storage.archive import repeated

        return repeated

    @cached_property
    def caches(self) -> Caches:
        """What is kept of what was read."""
        from lightfast.storage.archive.caches import Caches

        return Caches(self.options, self._clock)

    @cached_property
    def index(self) -> FrameIndex:
        """Which words are in which frames."""
        from lightfast.storage.archive.search.index import FrameIndex

        return FrameIndex(self.folder / "words", self.caches, self._frames, self._clock)

    @cached_property
    def searches(self) -> Searches:
        """What searches the index."""
        from lightfast.storage.archive.search.search import Searches

        return Searches(self.index, clock=self._clock, is_unlocked=lambda: self.unlocked)

    async def close(self) -> None:
        """Write what waits, and let go of all files."""
        if self._closed:
            return
        self._closed = True
        if self._writer is not None:
            await self._writer.stop()
        elif "_stock" in self.__dict__:  # what was not used is not there
            self._stock.close()
        await self._loop.run_in_executor(None, self._threads.shutdown)
        if "index" in self.__dict__:
            await self._loop.run_in_executor(None, self.index.close)

    def _writing(self) -> Writer:
        if self._closed:
            raise FailedPrecondition(f"the archive {self.folder} is closed", reason="ARCHIVE_CLOSED")
        if self._writer is None:
            from lightfast.storage.archive.writer import Writer

            self._writer = Writer(self._stock, self._loop)
        return self._writer

    async def load(self) -> None:
        """Read what the next use needs; every use does so by itself."""
        if self._stock.loaded:
            self._writing()
            return

        def nothing() -> Job[None]:
            yield from ()

        await self._writing().run(nothing)

    @property
    def unlocked(self) -> bool:
        """Say whether private frames can be read."""
        return self._sealer is not None and self._sealer.unlocked

    # ---- frames

    async def append(self, frames: Sequence[NewFrame], *, request: str = "") -> list[str]:
        """Append frames, durably, and return their ids; all of them or none.

        *request* is a word that names the call: where it was made before, the ids are those of then, also after a
        crash.
        Raises `InvalidArgument`, `Denied` (ARCHIVE_LOCKED), `Exhausted` (ARCHIVE_BUSY, ARCHIVE_FULL, DISK_FULL) and
        `Unavailable` (ARCHIVE_READ_ONLY, ARCHIVE_IO).
        """
        if not frames:
            return []
        if request:
            if (before := await self._told_before(request)) is not None:
                self._repeated.check(frames, before, await self.get(before))
                return before
            frames = self._repeated.marked(frames, request)
        found = await self._writing().append(frames)
        if request and self._told is not None:
            self._told.add(request, found.ids)
        self.index.appended(len(found.ids))
        if self.on_appended:
            self._tell(frames, found)
        return found.ids

    async def _told_before(self, request: str) -> list[str] | None:
        """Return what the call *request* was told; what was before the start is read with the first of them."""
        async with self._telling:
            if self._told is None:
                told: Told = await self.run(self._repeated.told) if self.folder.is_dir() else self._repeated.Told({})
                self._told = told
            return self._told.get(request)

    def _tell(self, frames: Sequence[NewFrame], found: Appended) -> None:
        told = [
            Frame(frame_id, number, new.content, new.kind, time_ms, new.metadata, new.private)
            for number, (new, frame_id, time_ms) in enumerate(
                zip(frames, found.ids, found.times, strict=True), found.number
            )
        ]
        self._announce(told)

    def _announce(self, told: Sequence[Frame]) -> None:
        for listener in self.on_appended:
            try:
                listener(told)
            except Exception:  # the frames are durable: whoever listens cannot fail the call
                log.exception("a listener of the archive failed")

    async def run(self, function: Callable[[Reader], T]) -> T:
        """Call *function* with a reader in a reader thread."""
        await self.load()
        return await self._loop.run_in_executor(self._threads, lambda: function(self._stock.reader()))

    # ---- search

    async def search(self, query: Query, *, deadline: float = DEADLINE) -> list[Hit]:
        """Return what a query finds, newest or most relevant first; private frames only while they are open.

        Raises `DeadlineExceeded` (SEARCH_DEADLINE) and `Unavailable` (INDEX_REBUILDING).
        """
        return await self.run(lambda reader: self.searches.search(query, self._source(reader), deadline=deadline))

    async def search_ids(self, query: Query, *, deadline: float = DEADLINE) -> list[str]:
        """Return the ids of what a query finds; frames are read only where the words alone do not tell."""
        return await self.run(lambda reader: self.searches.ids(query, self._source(reader), deadline=deadline))

    async def stream(self, query: Query, *, deadline: float = DEADLINE) -> AsyncGenerator[Batch, None]:
        """Yield what a query finds as it is found, in bounded memory; close it to stop the search."""
        await self.load()
        batches = self.searches.stream(query, self._frames(), deadline=deadline)
        while True:
            batch = await self._loop.run_in_executor(self._threads, next, batches, None)
            if batch is None:
                return
            if batch.hits or batch.unreadable:
                yield batch

    async def locked(self) -> None:
        """Forget what private frames say; called when their secret is forgotten."""
        if "caches" in self.__dict__:  # else nothing was read
            await self._loop.run_in_executor(None, self.index.locked)

    def _frames(self) -> ReaderSource:
        return self._source(self._stock.reader())

    def _source(self, reader: Reader) -> ReaderSource:
        from lightfast.storage.archive.search.source import ReaderSource

        return ReaderSource(reader, self.caches)

    # ---- frames by their ids

    async def get(self, frame_ids: Sequence[str]) -> dict[str, Frame]:
        """Return frames by their ids; those that are not there or cannot be read are left out."""

        def read(reader: Reader) -> dict[str, Frame]:
            found = ((frame_id, self.caches.frame(frame_id, reader.get)) for frame_id in frame_ids)
            return {frame_id: frame for frame_id, frame in found if frame is not None}

        return await self.run(read)

    async def why(self, frame_ids: Sequence[str]) -> dict[str, str]:
        """Return why frames cannot be read: purged, locked, damaged, or unknown; readable ones are left out."""

        def ask(reader: Reader) -> dict[str, str]:
            found = {}
            for frame_id in frame_ids:
                reason = reader.why(frame_id) if reader.find(frame_id) else self._stock.why_gone(frame_id)
                if reason:
                    found[frame_id] = reason
            return found

        return await self.run(ask)

    # ---- care

    async def stats(self) -> Stats:
        """Return what the archive holds."""
        from lightfast.storage.archive.stats import stats

        await self.load()
        return await self._loop.run_in_executor(self._threads, stats, self._stock)

    async def verify(self, shards: Sequence[str] = ()) -> AsyncGenerator[Progress, None]:
        """Check every frame, or those of some months (`2026/11`); yields progress and damage, the last one `done`."""
        from lightfast.storage.archive import care

        await self.load()
        async for found in self._stepwise(care.verify(self._stock, shards)):
            yield found

    async def repair(self, *, dry: bool = False) -> AsyncGenerator[Progress, None]:
        """Set aside what is damaged and rebuild what can be; *dry* only says what would be done."""
        from lightfast.storage.archive import care

        await self.load()
        try:
            async for found in self._job(lambda: care.repair(self._stock, dry=dry)):
                yield found
        finally:
            if not dry:
                await self._loop.run_in_executor(None, self.index.changed)

    async def migrate(self, *, dry: bool = False) -> AsyncGenerator[Progress, None]:
        """Bring everything to the newest layout, packed; *dry* only counts."""
        from lightfast.storage.archive import care

        await self.load()
        async for found in self._job(lambda: care.migrate(self._stock, dry=dry)):
            yield found

    async def export(
        self, *, kinds: Sequence[str] = (), after_ms: int = 0, before_ms: int = 0
    ) -> AsyncGenerator[Piece, None]:
        """Yield frames in pieces of about 256 KiB, each frame complete in itself; sealed ones stay sealed."""
        from lightfast.storage.archive import care

        await self.load()
        async for found in self._stepwise(care.export(self._stock, kinds, after_ms, before_ms)):
            yield found

    async def import_frames(self, pieces: AsyncIterable[bytes]) -> Imported:
        """Take the frames of an export in, wherever its pieces are cut; known ids are skipped, purged ones refused."""
        from lightfast.storage.archive import care
        from lightfast.storage.archive.progress import Imported

        importer = care.Importer()
        taken = skipped = 0
        refused: list[Damage] = []

        async def take(frames: Sequence[RawFrame]) -> None:
            nonlocal taken, skipped
            ids, known, bad = await self._writing().run(lambda: care.adopt(self._stock, frames))
            taken, skipped = taken + len(ids), skipped + known
            refused.extend(bad)
            self.index.appended(len(ids))
            if ids and self.on_appended:
                self._announce([*(await self.get(ids)).values()])

        await self.load()
        async for piece in pieces:
            await take(importer.feed(piece))
        await take(importer.finish())
        return Imported(taken, skipped, tuple(importer.damage + refused))

    async def _stepwise(self, steps: Generator[T, None, None]) -> AsyncGenerator[T, None]:
        """Run a generator in a reader thread, step by step."""
        done = object()
        while True:
            found: Any = await self._loop.run_in_executor(self._threads, next, steps, done)
            if found is done:
                return
            yield found

    async def _job(self, make: Callable[[], Job[None]]) -> AsyncGenerator[Any, None]:
        """Run a job in the writer thread, and yield its progress; leaving early stops it between two steps."""
        news: asyncio.Queue[Any] = asyncio.Queue()
        work = self._writing().run(make, news.put_nowait)
        work.add_done_callback(lambda _: news.put_nowait(None))
        try:
            while (found := await news.get()) is not None:
                yield found
            await work
        finally:
            work.cancel()

    async def remove(self, frame_ids: Sequence[str], *, reason: str) -> int:
        """Purge frames and return how many were there: their bytes are gone from all files of the archive.

        What was stored as a difference to one of them is stored anew. A note with *reason* remains; see `why`.
        """
        from lightfast.storage.archive import purge

        await self.load()
        forget = partial(self.index.removed, frame_ids)
        await self._loop.run_in_executor(None, forget)  # first, so that no trace is left whenever this is cut off
        gone = await self._writing().run(lambda: purge.remove(self._stock, frame_ids, reason))
        await self._loop.run_in_executor(None, forget)  # what a search has read meanwhile
        for listener in self.on_removed if gone else ():
            try:
                listener(gone)
            except Exception:  # they are gone: whoever listens cannot fail the call
                log.exception("a listener of the archive failed")
        for forgotten in self.forgetting if gone else ():
            await forgotten()
        return len(gone)
