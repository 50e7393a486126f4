"""The embedders that are there: the trigrams of the core, and those that plugins bring.

Vectors are computed off the loop, one call at a time for each embedder, and the last ones are kept.
"""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import structlog

from lightfast.core import trigrams
from lightfast.core.errors import AlreadyExists, FailedPrecondition, LightfastError, NotFound, Unavailable
from lightfast.core.tasks import TaskGroup
from lightfast.core.worker import Worker
from lightfast.sdk import Embedder

if TYPE_CHECKING:
    from cachetools import LRUCache

log = structlog.get_logger("lightfast.memory")

Vector: TypeAlias = "array[float]"
"""32-bit floats, of length 1 or all zeros; numpy reads it without a copy."""

BATCH = 32
"""So many texts go to an embedder at once: whoever asks for one text waits for at most so many of another's."""
INLINE = 4096
"""So many characters are cut into trigrams at once, on the loop: well under a millisecond."""
WAITING = 64
"""So many calls may wait for one embedder; more are refused."""
DEADLINE_S = 60.0
"""The longest that one batch may take, in seconds: the first one loads the weights."""


class EmbedderBook:
    """Finds embedders by name, runs them, and keeps the last *cache_size* vectors of those that take long.

    Trigrams are never kept: to compute them takes as long as to look them up.
    """

    def __init__(self, wanted: str = trigrams.NAME, cache_size: int = 10_000, deadline_s: float = DEADLINE_S) -> None:
        """*wanted* is the name in the configuration; until somebody brings it the trigrams do its work."""
        self.wanted = wanted
        self.on_changed: list[Callable[[], None]] = []
        """Called when `current` may be another one."""
        self.hits = 0
        self.misses = 0
        self._deadline_s = deadline_s
        self._embedders: dict[str, Embedder] = {trigrams.NAME: trigrams.TrigramEmbedder()}
        self._owners: dict[str, str] = {}
        self._workers: dict[str, Worker] = {trigrams.NAME: Worker(f"embedder {trigrams.NAME}", WAITING)}
        self._cache_size = cache_size
        self._tasks = TaskGroup("embedders")
        self._leaving: set[asyncio.Task[None]] = set()

    @cached_property
    def _kept(self) -> LRUCache[tuple[str, str], Vector]:
        from cachetools import LRUCache  # with the first embedder that takes long

        return LRUCache(maxsize=max(1, self._cache_size))

    @property
    def names(self) -> list[str]:
        """The names of all that are there, in order."""
        return sorted(self._embedders)

    @property
    def kept(self) -> int:
        """How many vectors are kept."""
        return len(self._kept)

    @property
    def current(self) -> Embedder:
        """The one of the configuration, or the trigrams as long as it is not there."""
        return self._embedders.get(self.wanted) or self._embedders[trigrams.NAME]

    @property
    def note(self) -> str:
        """Why `current` is not the one of the configuration, and what to do; empty when it is."""
        if self.wanted in self._embedders:
            return ""
        if "/" in self.wanted:
            return (
                f"the model {self.wanted!r} of [memory] embedder has not answered yet, so trigrams find what is spelt"
                " alike, not what means the same: 'lightfast providers check' says what its service needs"
            )
        return (
            f"the embedder {self.wanted!r} of [memory] embedder is not there, so trigrams find what is spelt alike, not"
            f" what means the same: 'lightfast plugins' says what its plugin needs; there is {', '.join(self.names)}"
        )

    def check(self) -> None:
        """Log the note, if there is one; called once the plugins are loaded."""
        if self.note:
            log.warning("an embedder is missing", note=self.note)

    def register(self, embedder: Embedder, plugin: str = "") -> None:
        """Offer an embedder; raise `AlreadyExists` for a name that is taken."""
        name = embedder.name
        if name in self._embedders:
            owner = self._owners.get(name)
            held = f"by the plugin {owner}" if owner else "by Lightfast itself"
            raise AlreadyExists(f"the embedder name {name!r} is taken {held}: choose another", reason="EMBEDDER_TAKEN")
        self._embedders[name] = embedder
        self._owners[name] = plugin
        self._workers[name] = Worker(f"embedder {name}", WAITING)
        self._changed(name)

    def unregister(self, embedder: Embedder) -> None:
        """Use the embedder for nothing new; it is closed when its present work is done."""
        name = embedder.name
        if self._embedders.get(name) is not embedder or name == trigrams.NAME:
            return
        del self._embedders[name]
        self._owners.pop(name, None)
        if "_kept" in self.__dict__:
            for key in [key for key in self._kept if key[0] == name]:  # the next of that name may compute otherwise
                del self._kept[key]
        task = self._tasks.start(self._retire(name, embedder, self._workers.pop(name)), f"retire {name}")
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        self._changed(name)

    def get(self, name: str = "") -> Embedder:
        """Return the embedder called *name*, without one the `current`; raise `NotFound`."""
        if not name:
            return self.current
        embedder = self._embedders.get(name)
        if embedder is None:
            raise NotFound(
                f"there is no embedder {name!r}: there is {', '.join(self.names)}",
                reason="EMBEDDER_NOT_FOUND",
                field="embedder",
            )
        return embedder

    async def embed(self, name: str, texts: Sequence[str]) -> list[Vector]:
        """Return a vector for each text, made by the embedder called *name* (empty: the `current`).

        Raises `NotFound`, `Exhausted` when too many wait, `DeadlineExceeded`, and `Unavailable` with the reason
        EMBEDDER_FAILED for one that raises or breaks its contract.
        """
        embedder = self.get(name)
        if embedder.name == trigrams.NAME:
            return await self._trigrams(embedder, texts)
        found: dict[str, Vector] = {}
        for text in texts:
            vector = self._kept.get((embedder.name, text))
            if vector is not None:
                found[text] = vector
        wanted = [text for text in dict.fromkeys(texts) if text not in found]
        self.hits += len(found)
        self.misses += len(wanted)
        for at in range(0, len(wanted), BATCH):
            batch = wanted[at : at + BATCH]
            vectors = await self._run(embedder, batch)
            found.update(zip(batch, vectors, strict=True))
            if self._embedders.get(embedder.name) is embedder:
                self._kept.update(((embedder.name, text), found[text]) for text in batch)
        return [found[text] for text in texts]

    def forget(self, texts: Sequence[str]) -> None:
        """Keep the vectors of *texts* no longer: they were purged."""
        gone = set(texts)
        for key in [key for key in self._kept if key[1] in gone]:
            del self._kept[key]

    async def close(self) -> None:
        """Stop all, and close what plugins brought."""
        self.on_changed.clear()
        for embedder in list(self._embedders.values()):
            self.unregister(embedder)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=2.0)
        await self._tasks.close(2.0)
        await self._workers[trigrams.NAME].close()

    async def _trigrams(self, embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
        if sum(map(len, texts)) <= INLINE:
            return [trigrams.dense(text) for text in texts]
        found: list[Vector] = []
        for at in range(0, len(texts), 8 * BATCH):
            found += await self._run(embedder, texts[at : at + 8 * BATCH])
        return found

    async def _run(self, embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
        worker = self._workers[embedder.name]
        try:
            return await worker.run(_embed, embedder, texts, timeout=self._deadline_s)
        except LightfastError:
            raise
        except Exception as error:
            log.warning("an embedder failed", embedder=embedder.name, error=type(error).__name__)
            raise Unavailable(
                f"the embedder {embedder.name} failed with {type(error).__name__}: {error!s:.300}; 'lightfast plugins"
                f" reload {self._owners.get(embedder.name) or embedder.name}' loads it anew",
                reason="EMBEDDER_FAILED",
                metadata={"embedder": embedder.name},
            ) from error

    async def _retire(self, name: str, embedder: Embedder, worker: Worker) -> None:
        try:
            await worker.run(embedder.close, timeout=5.0)
        except Exception as error:  # noqa: BLE001 — a plugin may raise anything; it is gone either way
            log.warning("an embedder did not close well", embedder=name, error=repr(error))
        finally:
            await worker.close()

    def _changed(self, name: str) -> None:
        if name == self.wanted:
            for listener in self.on_changed:
                listener()


def _embed(embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
    """Call the embedder and check what it returns; runs in its thread."""
    vectors = embedder.embed(texts)
    if len(vectors) != len(texts):
        raise FailedPrecondition(
            f"the embedder {embedder.name} made {len(vectors)} vectors of {len(texts)} texts: its plugin must be"
            " repaired",
            reason="EMBEDDER_BROKEN",
        )
    return [_checked(embedder, vector) for vector in vectors]


def _checked(embedder: Embedder, numbers: Sequence[float]) -> Vector:
    vector = array("f", numbers)
    length = math.sqrt(math.fsum(number * number for number in vector))
    if len(vector) != embedder.dimensions or not math.isfinite(length):
        raise FailedPrecondition(
            f"the embedder {embedder.name} made a vector of {len(vector)} numbers and length {length:g}, and promised"
            f" {embedder.dimensions} and 1: its plugin must be repaired",
            reason="EMBEDDER_BROKEN",
        )
    if length > 0.0 and abs(length - 1.0) > 1e-3:
        return array("f", (number / length for number in vector))
    return vector
