"""What a watch begins with: all entries that match, at one revision, gathered without holding up anybody.

A huge tree is walked, cut into runs and sorted in slices of a few milliseconds, between which the loop does
other work. What changes meanwhile is noted, and looked at once more at the end, all in one go: so the snapshot
is true of the revision at which it ends. A small one takes a single slice.

The entries are kept in small dictionaries alone. The garbage collector does not look into those that hold
nothing but texts and entries; through a list of a million it would go in one go, which takes 50 ms.

What is on the disk alone stays there until its turn comes to be sent, and goes out of memory with that.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol

from lightfast.context.entry import Entry
from lightfast.context.stub import Held
from lightfast.context.watch_batch import Batch, Filter, chunks
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import OutOfRange
from lightfast_link.path import Pattern

ENTRIES = 500
"""The most entries of one batch of a snapshot."""
SLICE = 0.004
"""Seconds of work after which the loop gets its turn."""
RUN = 4096
"""About how many entries are sorted at a time."""
STEP = 1000
"""How many changed paths are looked at between two looks at the clock."""
SAMPLES = 8
"""How many paths of each run are looked at to find where to cut."""
ROUNDS = 20
"""How often what changed meanwhile is looked at again before it is done in one go, however much it is."""


class Visited(Protocol):
    """What a snapshot needs of a store."""

    @property
    def bus(self) -> Any:
        """Return the bus, a `Bus`."""

    @property
    def peek(self) -> Callable[[str], Held | None]:
        """Return what returns the live entry at a path, or its stub."""

    @property
    def cache(self) -> Any:
        """Return the cache, a `Cache`."""

    def visit(self, pattern: Pattern) -> Iterator[list[str]]:
        """Yield the paths that match, a few at a time; the tree may change between two steps."""


class Snapshot:
    """The entries that *wanted* matches; `await take()`, subscribe before anything else happens, then `parts()`."""

    def __init__(self, store: Visited, wanted: Filter) -> None:
        """Begin the first slice."""
        self._store = store
        self._wanted = wanted
        self._found: list[dict[str, Held]] = [{}]
        self._runs: list[dict[str, Held]] = []
        self._ends: list[str] = []
        self._changed: set[str] = set()
        self._leave: Callable[[], None] | None = None
        self._until = SYSTEM.monotonic() + SLICE

    async def take(self) -> None:
        """Gather; when this returns, the snapshot is that of the store as it is at this moment."""
        try:
            for pattern in self._wanted.patterns:
                if pattern.exact:
                    self._add([pattern.text])
                    continue
                for paths in self._store.visit(pattern):
                    self._add(paths)
                    await self._listen_and_rest()
            await self._cut()
            await self._catch_up()
        finally:
            if self._leave is not None:
                self._leave()

    async def whole(self, part: Sequence[Held]) -> list[Entry]:
        """Return the entries of a *part*, read from the disk where need be.

        Raises `OutOfRange` where one was overwritten since, and its past dropped: a slow watcher begins again.
        """
        entries: list[Entry] = []
        for held, entry in zip(part, await self._store.cache.load(part, keep=False), strict=True):
            if entry is None:
                raise OutOfRange(
                    f"{held.path} as it was when the snapshot was taken is no longer kept: take a new one",
                    metadata={"path": held.path, "compact_revision": str(held.revision)},
                )
            entries.append(entry)
        return entries

    def parts(self) -> Iterator[tuple[Sequence[Held], bool]]:
        """Yield runs ordered by path, and with each whether it is the last; `whole` of each, and `rest` after it."""
        over: list[Held] = []
        for number, run in enumerate(self._runs):
            entries = over + [run[path] for path in sorted(run)]
            self._runs[number] = {}
            cut = list(chunks(entries, ENTRIES))
            over = list(cut.pop()) if cut else []
            for part in cut:
                yield part, False
        yield over, True

    async def rest(self) -> None:
        """Let the loop do other work where the slice is over."""
        if SYSTEM.monotonic() >= self._until:
            await asyncio.sleep(0)
            self._until = SYSTEM.monotonic() + SLICE

    async def _listen_and_rest(self) -> None:
        """Do as `rest` does; from the first time on, changes are noted."""
        if SYSTEM.monotonic() >= self._until:
            if self._leave is None:
                self._leave = self._store.bus.listen([pattern.text for pattern in self._wanted.patterns], self._note)
            await self.rest()

    def _note(self, batch: Batch) -> None:
        for event in batch.events:
            self._changed.add(event.entry.path)
            if event.source:
                self._changed.add(event.source)

    def _add(self, paths: Sequence[str]) -> None:
        get, found = self._store.peek, self._found[-1]
        for path in paths:
            if (entry := get(path)) is not None:
                found[path] = entry
        if len(found) >= RUN:
            self._found.append({})

    async def _cut(self) -> None:
        """Put what was found into runs of about the same length, each before the next one in order."""
        found, self._found = self._found, []
        if len(found) == 1:
            self._runs = found
            return
        sample: list[str] = []
        for some in found:
            sample += islice(some, 0, None, RUN // SAMPLES)
            await self._listen_and_rest()
        sample.sort()
        self._ends = ends = sample[SAMPLES::SAMPLES]
        self._runs = runs = [dict[str, Held]() for _ in range(len(ends) + 1)]
        while found:  # let go of one by one: of a million entries at once, that takes its time, too
            for path, entry in found.pop().items():
                runs[bisect_right(ends, path)][path] = entry
            await self._listen_and_rest()

    async def _catch_up(self) -> None:
        """Look at what changed meanwhile, in slices, and at the rest of it in one go."""
        if self._leave is None:
            return
        for _ in range(ROUNDS):
            if len(self._changed) < STEP:
                break
            changed, self._changed = list(self._changed), set()
            for start in range(0, len(changed), STEP):
                self._look(changed[start : start + STEP])
                await self.rest()
        self._store.bus.flush()  # what is in the tree already, and was not handed out yet
        self._look(self._changed)

    def _look(self, paths: Iterable[str]) -> None:
        for path in paths:
            run = self._runs[bisect_right(self._ends, path)]
            entry = self._store.peek(path) if self._wanted.matches(path) else None
            if entry is None:
                run.pop(path, None)
            else:
                run[path] = entry
