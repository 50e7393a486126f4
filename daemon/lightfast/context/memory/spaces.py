"""The embedding spaces of the memory: which embedder's vectors are there, and what lies close in them.

The trigrams of a text are written with it. An embedder that a plugin brings takes longer: its vectors are computed in
the background, in small batches with as long a pause after each, and go on where they were after a restart. Until it
has been through once, the trigrams stand in for it, and the answer says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.packing import pack_dense, pack_sparse
from lightfast.context.memory.rows import page
from lightfast.core import trigrams
from lightfast.core.errors import LightfastError, NotFound
from lightfast.core.tasks import TaskGroup
from lightfast.core.worker import Worker
from lightfast.storage.database import Database, Unit

if TYPE_CHECKING:
    from lightfast.context.memory.vectors import VectorIndex

log = structlog.get_logger("lightfast.memory")

SEEN = 8000
"""So many characters of a text go into its vector."""
FLOOR = 0.1
"""What is less alike than this was not found."""
_LOAD = 2000
_MOST_FRESH = 1024
"""So many vectors wait for a question; then they are taken in without one."""
_MOST_WASTED = 1000
"""So many vectors more than it holds may lie unused in an index; then it is made anew."""
_FIRST_BATCH = 4
_MOST_BATCH = 256
_BATCH_S = 0.05
"""A batch of the background shall take about so long: a question waits for at most one."""
_RETRY_S = 60.0
_MOST_LEFT_OUT = 5
"""So many texts in a row may be too much for an embedder; when there are more, it is the embedder."""
_DEADLINE_S = 60.0
_MOST_WAITING = 256
"""So many questions wait at once; of more, which would wait for seconds, each is refused."""
_QUESTION_S = 5.0
"""So long a question waits for its vector; then the trigrams answer."""


class Space:
    """The vectors of one embedder. *complete*: its background work has been through once."""

    def __init__(self, name: str, dimensions: int) -> None:
        self.name = name
        self.dimensions = dimensions
        self.complete = name == trigrams.NAME
        self.index: VectorIndex | None = None
        self.loaded = False
        self.loading = asyncio.Lock()
        self.wake = asyncio.Event()
        self.idle = False
        """Nothing is left to compute, as far as the background knows."""
        self.removed: set[int] = set()
        """What was removed while vectors were being computed."""
        self.gone: set[int] = set()
        """What was removed while the index was being loaded: what was read before must not come back."""
        self.work: asyncio.Task[None] | None = None


class Nearest:
    """The vector of one question, in the space that answers it."""

    def __init__(self, name: str, index: VectorIndex, vector: Sequence[float], worker: Worker) -> None:
        self.name = name
        self._index = index
        self._vector = vector
        self._worker = worker

    async def top(self, most: int) -> tuple[list[int], list[float]]:
        """Return the numbers and the cosines of the *most* wordings closest to the question, best first."""
        return await self._worker.run(self._index.nearest, self._vector, most, FLOOR, timeout=_DEADLINE_S)

    async def cosines(self, numbers: Sequence[int]) -> dict[int, float]:
        """Return how close the wordings of *numbers* are."""
        return await self._worker.run(self._index.cosines, self._vector, numbers, timeout=_DEADLINE_S)

    def __len__(self) -> int:
        return len(self._index)


class Spaces:
    """All spaces; `start` before use, `close` after."""

    def __init__(self, db: Database, book: EmbedderBook) -> None:
        self._db = db
        self._book = book
        self._spaces: dict[str, Space] = {}
        self._worker = Worker("memory vectors", most=_MOST_WAITING)
        self._tasks = TaskGroup("memory vectors")
        self.computed = 0
        """How many vectors the background has computed."""

    def start(self) -> None:
        """Go on computing what the configured embedder has not seen yet, now and whenever it changes."""
        self._book.on_changed.append(self._changed)
        self._changed()

    async def close(self) -> None:
        """End the background work; it goes on after the next start."""
        if self._changed in self._book.on_changed:
            self._book.on_changed.remove(self._changed)
        await self._tasks.close()
        await self._worker.close()

    async def trigrams(self, text: str) -> bytes:
        """Return the packed trigrams of *text*, to be written with it."""
        if len(text) <= 1000:
            return pack_sparse(trigrams.sparse(text))
        return await self._worker.run(lambda: pack_sparse(trigrams.sparse(text[:SEEN])), timeout=_DEADLINE_S)

    def write(self, unit: Unit, wording: int, vector: bytes) -> None:
        """Write the trigrams of a wording."""
        unit.execute("INSERT INTO memory_vectors VALUES(?, ?, ?)", (wording, trigrams.NAME, vector))

    def added(self, wording: int, vector: bytes) -> bool:
        """Note what was committed: the next question finds it, and the other embedders see it in the background.

        Return whether so much waits that it is time for `take_in`.
        """
        full = False
        for space in self._spaces.values():
            if space.name != trigrams.NAME:
                space.wake.set()
            elif space.index is not None:
                full = not space.index.later(wording, vector) % _MOST_FRESH
        return full

    async def take_in(self) -> None:
        """Take in what waits. It fails nothing: what was written is written, however much waits here."""
        space = self._spaces.get(trigrams.NAME)
        if space is not None and space.index is not None:
            with suppress(LightfastError):  # so many questions are asked that one of them does it
                await self._worker.run(space.index.take_in, timeout=_DEADLINE_S)

    async def removed(self, wordings: Sequence[int], texts: Sequence[str]) -> None:
        """Forget what was deleted."""
        self._book.forget([text[:SEEN] for text in texts])
        for space in self._spaces.values():
            if space.work is not None:
                space.removed.update(wordings)
            if (index := space.index) is None:
                continue
            if not space.loaded:
                space.gone.update(wordings)
            await self._worker.run(index.remove, list(wordings), timeout=_DEADLINE_S)
            # The next question loads it anew. One that is still being loaded must not be called loaded afterwards.
            if space.index is index and space.loaded and index.wasted > _MOST_WASTED + len(index):
                space.index, space.loaded = None, False

    async def ask(self, query: str, name: str = "") -> Nearest:
        """Prepare a question to the space *name* (empty: the configured one), or to the trigrams while it is not ready.

        Raises `NotFound` for an embedder that is not there.
        """
        embedder = self._book.get(name)
        if embedder.name != trigrams.NAME:
            space = self._ensure(embedder.name, embedder.dimensions)
            if space.complete:
                try:
                    async with asyncio.timeout(_QUESTION_S):
                        (vector,) = await self._book.embed(space.name, [query[:SEEN]])
                    return Nearest(space.name, await self._load(space), vector, self._worker)
                except (LightfastError, TimeoutError) as error:
                    log.warning("the trigrams answer for an embedder", embedder=space.name, error=str(error))
        space = self._ensure(trigrams.NAME, trigrams.DIMENSIONS)
        vector = trigrams.dense(query[:SEEN])
        return Nearest(space.name, await self._load(space), vector, self._worker)

    def check(self, name: str) -> None:
        """Raise `NotFound` for an embedder that is not there."""
        self._book.get(name)

    def settled(self, name: str = "") -> bool:
        """Say whether the background has nothing left to compute for the embedder *name*, and begin where it has."""
        embedder = self._book.get(name)
        space = self._ensure(embedder.name, embedder.dimensions)
        return space.name == trigrams.NAME or (space.idle and not space.wake.is_set())

    def _ensure(self, name: str, dimensions: int) -> Space:
        space = self._spaces.get(name)
        if space is None or space.dimensions != dimensions:
            space = self._spaces[name] = Space(name, dimensions)
        if name != trigrams.NAME and space.work is None:
            space.work = self._tasks.start(self._compute(space), name)
        return space

    def _changed(self) -> None:
        embedder = self._book.current
        if embedder.name != trigrams.NAME:
            self._ensure(embedder.name, embedder.dimensions)

    async def _load(self, space: Space) -> VectorIndex:
        """Return the index, filled from the database the first time."""
        from lightfast.context.memory.vectors import DenseIndex, SparseIndex

        async with space.loading:
            if space.index is None:
                kind = SparseIndex if space.name == trigrams.NAME else DenseIndex
                space.index = kind(space.dimensions)  # from now on it hears what is added and removed
            index, after = space.index, -1
            while not space.loaded:
                found = await self._db.read(partial(_stored, name=space.name, after=after))
                if not found:
                    space.loaded = True
                    space.gone.clear()
                    break
                kept = [(number, bytes.fromhex(text)) for number, text in found if number not in space.gone]
                numbers, vectors = [number for number, _ in kept], [vector for _, vector in kept]
                await self._worker.run(index.add, numbers, vectors, timeout=_DEADLINE_S)
                after = found[-1][0]
            return index

    async def _compute(self, space: Space) -> None:
        """Compute what is missing, then whatever comes."""
        after, size = -1, _FIRST_BATCH
        found: list[Any] = []
        left_out: list[int] = []
        try:
            while True:
                space.wake.clear()
                try:
                    found = await self._db.read(partial(_missing, name=space.name, after=after, most=size))
                    if not found:
                        space.complete = space.idle = True
                        await space.wake.wait()
                        space.idle = False
                        continue
                    took = await self._batch(space, found)
                except NotFound:
                    return  # its plugin was unloaded
                except LightfastError as error:
                    if error.reason == "EMBEDDER_FAILED" and len(found) > 1:
                        size = 1  # one of the texts may be to blame
                        continue
                    if error.reason == "EMBEDDER_FAILED" and len(left_out) < _MOST_LEFT_OUT:
                        left_out.append(after)
                        after = found[0][0]
                        continue
                    if left_out:  # it is not the texts
                        after = left_out[0]
                        left_out.clear()
                    log.warning("vectors could not be computed; later again", embedder=space.name, error=str(error))
                    await asyncio.sleep(_RETRY_S)
                    continue
                after = found[-1][0]
                left_out.clear()
                if took < _BATCH_S / 2:
                    size = min(2 * size, _MOST_BATCH)
                elif took > _BATCH_S:
                    size = max(1, size // 2)
                await asyncio.sleep(took)
        finally:
            space.work = None

    async def _batch(self, space: Space, found: list[Any]) -> float:
        """Compute, write and take in the vectors of some wordings; return the seconds it took to compute them."""
        space.removed.clear()
        began = time.perf_counter()
        vectors = await self._book.embed(space.name, [text for _, text in found])
        took = time.perf_counter() - began
        packed = await self._worker.run(lambda: [pack_dense(vector) for vector in vectors], timeout=_DEADLINE_S)
        unit = self._db.unit()
        # What was purged meanwhile must not come back.
        unit.insert(
            "INSERT OR IGNORE INTO memory_vectors SELECT wording, ?2, ?3 FROM memory_wordings WHERE wording = ?1",
            ((number, space.name, vector) for (number, _), vector in zip(found, packed, strict=True)),
        )
        await self._db.commit(unit)
        self.computed += len(found)
        if space.index is not None:
            kept = [(n, v) for (n, _), v in zip(found, packed, strict=True) if n not in space.removed]
            add = space.index.add
            await self._worker.run(add, [n for n, _ in kept], [v for _, v in kept], timeout=_DEADLINE_S)
        return took


def _stored(connection: Any, name: str, after: int) -> list[Any]:
    return page(
        connection,
        "SELECT json_array(wording, hex(vector)) AS line FROM memory_vectors"
        " WHERE wording > ? AND embedder = ? ORDER BY wording LIMIT ?",
        (after, name, _LOAD),
    )


def _missing(connection: Any, name: str, after: int, most: int) -> list[Any]:
    return page(
        connection,
        "SELECT json_array(w.wording, substr(w.text, 1, ?)) AS line FROM memory_wordings w WHERE w.wording > ?"
        " AND NOT EXISTS (SELECT 1 FROM memory_vectors v WHERE v.wording = w.wording AND v.embedder = ?)"
        " ORDER BY w.wording LIMIT ?",
        (SEEN, after, name, most),
    )
