"""What a generation works with: the rooms below, and those of the gateway that the composition has set."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightfast.core.clock import Clock
from lightfast.core.tasks import TaskGroup
from lightfast.gateway.cache.flights import Flights
from lightfast.gateway.catalog import Catalog
from lightfast.gateway.operations import Operations
from lightfast.gateway.pool import MediaPool
from lightfast.gateway.ports import (
    Answers,
    AttemptListener,
    Candidates,
    Costs,
    Prompts,
    Sessions,
    Windows,
)

if TYPE_CHECKING:
    from lightfast.context.store import Store
    from lightfast.gateway.batching.batches import Batches
    from lightfast.gateway.batching.embeddings import EmbeddingRoom
    from lightfast.storage.blobs import BlobStore
    from lightfast.storage.database import Database


@dataclass(frozen=True, slots=True)
class Patience:
    """How often what may be tried again is tried *again*, and the first and the longest wait before it, in seconds.

    The wait doubles, is drawn at random from its upper half, and is never shorter than a service asks for.
    """

    again: int = 3
    first: float = 0.25
    longest: float = 8.0

    def wait(self, tries: int, retry_after: float) -> float:
        """Return how long to wait after *tries* tries."""
        bound = min(self.longest, self.first * 2.0 ** (tries - 1))
        return max(retry_after, bound * (0.5 + random.random() / 2))  # noqa: S311 — no secret


class Rooms:
    """The rooms; those that may be `None` are set by the composition, and done without where they are not."""

    def __init__(
        self, store: Store, blobs: BlobStore, db: Database, clock: Clock, tasks: TaskGroup, pool: MediaPool | None
    ) -> None:
        self.store, self.blobs, self.clock, self.tasks = store, blobs, clock, tasks
        self.operations = Operations(db)
        self.pool = pool or MediaPool()
        self.catalog = Catalog()
        self.patience = Patience()
        self.may_write: Callable[[], None] = _always
        """Raises while nothing may be generated or placed."""
        self.candidates: Candidates | None = None
        self.sessions: Sessions | None = None
        self.costs: Costs | None = None
        self.answers: Answers | None = None
        self.flights: Flights | None = None
        self.windows: Windows | None = None
        self.prompts: Prompts | None = None
        self.embedder: EmbeddingRoom | None = None
        self.batches: Batches | None = None
        self.on_attempt: list[AttemptListener] = []
        """Told of every attempt when it is over."""


def _always() -> None:
    """Let everything be generated."""
