"""Joins what is kept, sent together and handed over in batches to the gateway, and provider models to the memory."""

from __future__ import annotations

import asyncio
import math
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from lightfast.context.memory.embedders import EmbedderBook
from lightfast.core.clock import Clock
from lightfast.core.errors import LightfastError, Unavailable
from lightfast.core.metrics import Metrics
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.batching.batches import Batches
from lightfast.gateway.batching.embeddings import EmbedCall, EmbeddingRoom
from lightfast.gateway.batching.vectors import VectorCache
from lightfast.gateway.cache.answers import KeptAnswers
from lightfast.gateway.cache.flights import Flights
from lightfast.gateway.router import Gateway
from lightfast.sdk import Provider

if TYPE_CHECKING:
    from lightfast.app.gateway_settings import GatewaySettings
    from lightfast.storage.blobs import BlobStore
    from lightfast.storage.database import Database

log = structlog.get_logger("lightfast.gateway")

ORIGIN = "memory"
"""Who asks, and pays, for the vectors of the memory."""
TIMEOUT = 55.0
"""How long an embedding for the memory may take, in seconds; the book gives an embedder a minute."""
FIRST_WAIT, LONGEST_WAIT = 5.0, 600.0
"""Before a model that cannot be asked is asked again, in seconds."""


def join_answers(
    gateway: Gateway, settings: GatewaySettings, db: Database, blobs: BlobStore, clock: Clock
) -> tuple[KeptAnswers, VectorCache]:
    """Give *gateway* the rooms that keep answers, share requests, embed, and hand batches over."""
    answers = KeptAnswers(db, blobs, clock, mode=settings.cache, size=settings.cache_size, days=settings.cache_days)
    vectors = VectorCache()
    gateway.answers = answers
    gateway.flights = Flights()
    gateway.embedder = EmbeddingRoom(gateway, vectors)
    gateway.batches = Batches(gateway, db, gateway.generate)

    async def settled() -> None:
        if gateway.settled is not None:
            await gateway.settled()

    gateway.embedder.settled = gateway.batches.settled = settled
    return answers, vectors


class RemoteEmbedder:
    """A provider's embedding model as an embedder of the memory: what it embeds is sent to the service."""

    def __init__(self, name: str, dimensions: int, room: EmbeddingRoom, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.dimensions = dimensions
        self._room = room
        self._loop = loop
        self._closed = False

    def embed(self, texts: Sequence[str]) -> list[array[float]]:
        """Return a vector for each text, all zeros for one without content; blocks while the service works."""
        if self._closed:
            raise Unavailable(f"the embedder {self.name} is closed", reason="EMBEDDER_CLOSED")
        wanted = tuple(text for text in texts if text.strip())
        none = array("f", bytes(4 * self.dimensions))
        if not wanted:
            return [none for _ in texts]
        call = EmbedCall(self.name, wanted, timeout=TIMEOUT)
        found = asyncio.run_coroutine_threadsafe(self._room.embed(call, ORIGIN), self._loop).result(TIMEOUT + 2.0)
        made = map(_unit, found.vectors)
        return [next(made) if text.strip() else none for text in texts]

    def close(self) -> None:
        """Send nothing more."""
        self._closed = True


def _unit(vector: array[float]) -> array[float]:
    length = math.sqrt(math.fsum(number * number for number in vector))
    return array("f", (number / length for number in vector)) if length else vector


class ProviderEmbedders:
    """Offers a provider's model to the memory, where `[memory] embedder` names one: only that one, and only then.

    The size of its vectors is asked from the model itself, with one short text, again and again until it answers.
    """

    def __init__(self, gateway: Gateway, book: EmbedderBook, tasks: TaskGroup) -> None:
        self._gateway, self._book, self._tasks = gateway, book, tasks
        self._asking: asyncio.Task[None] | None = None
        self._embedder: RemoteEmbedder | None = None

    def arrived(self, provider: Provider) -> None:
        """Ask, where it is the one."""
        if self._mine(provider) and self._asking is None and self._embedder is None:
            self._asking = self._tasks.start(self._ask(), f"embedder {self._book.wanted}")

    def left(self, provider: Provider) -> None:
        """Offer it no more."""
        if not self._mine(provider):
            return
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None
        if self._embedder is not None:
            self._book.unregister(self._embedder)
            self._embedder = None

    def _mine(self, provider: Provider) -> bool:
        return self._book.wanted.startswith(f"{provider.name}/")

    async def _ask(self) -> None:
        room, wait = self._gateway.embedder, FIRST_WAIT
        name = self._book.wanted
        while room is not None:
            try:
                found = await room.embed(EmbedCall(name, ("size",), timeout=TIMEOUT), ORIGIN)
            except LightfastError as error:
                log.warning("the embedder of the memory cannot be asked", embedder=name, reason=error.message)
                await asyncio.sleep(wait)
                wait = min(LONGEST_WAIT, 2 * wait)
                continue
            self._embedder = RemoteEmbedder(name, len(found.vectors[0]), room, asyncio.get_running_loop())
            self._asking = None
            self._book.register(self._embedder, name.partition("/")[0])
            log.info("the memory uses a model of a service", embedder=name, dimensions=self._embedder.dimensions)
            return


def measure_answers(metrics: Metrics, gateway: Gateway, answers: KeptAnswers) -> None:
    """Register every number; each is read when somebody scrapes."""
    counts = answers.counts
    metrics.counter(
        "answers_found",
        "Answers that were kept and given again, by how they were found.",
        lambda: {("exact",): counts.exact, ("semantic",): counts.semantic},
        labels=("how",),
    )
    metrics.counter("answers_missed", "Requests for which no answer was kept.", lambda: counts.misses)
    metrics.counter("answers_kept", "Answers that were kept.", lambda: counts.kept)
    metrics.counter(
        "answers_gone",
        "Kept answers that went, by why.",
        lambda: {
            ("evicted",): counts.evicted,
            ("expired",): counts.expired,
            ("damaged",): counts.damaged,
            ("unwritten",): counts.failures,
        },
        labels=("why",),
    )
    metrics.gauge("answers_bytes", "Bytes of kept answers, since the first was looked for.", lambda: answers.bytes)
    metrics.gauge("answers_memory_bytes", "Bytes of kept answers in memory, about.", lambda: answers.front_bytes)
    flights, room, batches = gateway.flights, gateway.embedder, gateway.batches
    if flights is not None:
        metrics.counter("requests_shared", "Requests that shared one under way.", lambda: flights.shared)
    if room is not None:
        metrics.counter("embed_requests", "Requests for vectors that were sent.", lambda: room.sums.requests)
        metrics.counter("embed_texts", "Texts in them.", lambda: room.sums.texts)
        metrics.counter("embed_callers", "Callers whose texts went with them.", lambda: room.sums.parts)
        metrics.counter("embed_vectors_found", "Vectors that were kept.", lambda: room.cache.hits)
        metrics.gauge("embed_vectors_bytes", "Bytes of kept vectors, about.", lambda: room.cache.bytes)
    if batches is not None:
        metrics.gauge("batches", "Batches under way.", lambda: len(batches))
