"""The journal of one daemon: its recordings, what is being recorded, and what is being replayed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path

import structlog

from lightfast.context.store import Store
from lightfast.core.clock import Clock
from lightfast.core.errors import InvalidArgument, LightfastError
from lightfast.engine.journal.export import lines
from lightfast.engine.journal.reader import Summary, broken, summary
from lightfast.engine.journal.recorder import MAX_SIZE, Recorder
from lightfast.engine.journal.replay import Replays
from lightfast.engine.journal.shelf import Shelf
from lightfast.engine.links.links import Links
from lightfast.engine.show.guard import Guard

log = structlog.get_logger("lightfast.journal")

EXPORT_LINES = 500
PACK_INTERVAL_S = 3600.0


class Journal:
    """`recorder` records, `replays` replays; recordings are files in *folder*."""

    def __init__(
        self,
        store: Store,
        links: Links,
        clock: Clock,
        folder: Path,
        *,
        max_size: int = MAX_SIZE,
        version: str = "",
        guard: Guard | None = None,
    ) -> None:
        """*max_size* of one recording, in bytes; *guard* is asked before a replay makes links and declarations."""
        self._shelf = Shelf(folder)
        self.recorder = Recorder(store, self._shelf, clock, max_size=max_size, links=links.list, version=version)
        self.replays = Replays(store, self._shelf, links, clock, self.recorder.check_closed, guard or Guard())
        self._known: dict[Path, tuple[int, int, Summary]] = {}
        self._clock = clock
        self._packing = asyncio.Lock()

    async def close(self) -> None:
        """End what is being recorded."""
        await self.recorder.close()

    def files(self) -> list[Path]:
        """Return the files of all recordings, the one under way included; from any thread."""
        return [self._shelf.place(name) for name in self._shelf.names()]

    async def list(self) -> list[Summary]:
        """Return the recordings that are closed, ordered by name; one that cannot be read says why."""
        active = self.recorder.active
        names = [name for name in self._shelf.names() if active is None or name != active.name]
        return [await asyncio.to_thread(self._summary, self._shelf.place(name)) for name in names]

    async def get(self, name: str) -> Summary:
        """Return one recording; raise `NotFound`, and `FailedPrecondition` where it is under way or unreadable."""
        return await asyncio.to_thread(summary, self._closed(name))

    async def delete(self, name: str) -> None:
        """Delete a recording."""
        async with self._packing:  # else it would come back, packed
            path = self._closed(name)
            await asyncio.to_thread(path.unlink)
        self._known.pop(path, None)

    async def pack(self, name: str, hz: float = 0.0) -> Summary:
        """Pack a recording that is over into a fraction of its bytes, and return it; it is replayed as before.

        *hz* above 0 keeps at most so many samples a second of each signal. Raises `NotFound`, `InvalidArgument`,
        `FailedPrecondition` (RECORDING_ACTIVE, RECORDING_PACKED, RECORDING_INCOMPLETE, RECORDING_DIFFERS).
        """
        from lightfast.engine.journal.pack import pack_file  # seldom used

        if not 0 <= hz < 1e6:
            raise InvalidArgument(f"hz is {hz:g}: use 0 for every sample, or a rate per second", field="hz")
        async with self._packing:
            path = self._closed(name)
            before, after = await asyncio.to_thread(pack_file, path, hz)
        log.info("recording packed", name=name, before=before, after=after, hz=hz)
        return await self.get(name)

    async def pack_old(self, days: float, hz: float) -> int:
        """Pack every recording that was last written more than *days* ago; return how many that were."""
        packed = 0
        for path in self.files():
            written = (await asyncio.to_thread(path.stat)).st_mtime_ns
            if self._clock.now_ns() - written < days * 86_400e9:
                continue
            try:
                await self.pack(path.stem, hz)
                packed += 1
            except LightfastError as error:
                if error.reason not in {"RECORDING_PACKED", "RECORDING_ACTIVE", "RECORDING_INCOMPLETE"}:
                    log.warning("a recording could not be packed", name=path.stem, error=str(error))
        return packed

    async def keep_packed(self, days: float, hz: float) -> None:
        """Do that once an hour, for ever."""
        while True:
            await self.pack_old(days, hz)
            await asyncio.sleep(PACK_INTERVAL_S)

    async def export(self, name: str) -> AsyncIterator[str]:
        """Yield a recording as lines of JSON, some hundred at a time."""
        source = lines(self._closed(name))
        loop = asyncio.get_running_loop()
        coming = loop.run_in_executor(None, _part, source)
        try:
            while part := await asyncio.shield(coming):
                yield part
                coming = loop.run_in_executor(None, _part, source)
        finally:
            await asyncio.wait([coming])  # a generator that runs in its thread cannot be closed
            await asyncio.to_thread(source.close)

    def _closed(self, name: str) -> Path:
        path = self._shelf.file(name)
        self.recorder.check_closed(name)
        return path

    def _summary(self, path: Path) -> Summary:
        try:
            found = path.stat()
            known = self._known.get(path)
            if known is None or known[:2] != (found.st_size, found.st_mtime_ns):
                known = self._known[path] = (found.st_size, found.st_mtime_ns, summary(path))
            return known[2]
        except LightfastError as error:
            return broken(path, error)


def _part(source: Iterator[str]) -> str:
    return "".join(islice(source, EXPORT_LINES))
