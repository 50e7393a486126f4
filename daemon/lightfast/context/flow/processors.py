"""Typed processors: work for the processor, off the loop, each kind in a pool with its own bound and deadline.

So one kind never waits for another: while media are worked on, or stuck, text and numbers go on, and the loop with
them. The interpreter runs one thread at a time, so a pool is one thread: more would only take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Exhausted
from lightfast.core.worker import Worker

T = TypeVar("T")


class Kind(StrEnum):
    """What is worked on: numbers of signals, text, images and sounds, the shape of the tree."""

    NUMERIC = "numeric"
    TEXT = "text"
    MEDIA = "media"
    STRUCTURE = "structure"


@dataclass(frozen=True, slots=True)
class Bound:
    """The most calls that *wait*, and the *deadline* of each in seconds, waiting included."""

    waiting: int
    deadline: float


BOUNDS = {
    Kind.NUMERIC: Bound(256, 5.0),
    Kind.TEXT: Bound(64, 30.0),
    Kind.MEDIA: Bound(32, 60.0),
    Kind.STRUCTURE: Bound(64, 30.0),
}


class Pool:
    """One kind of work. *done*, *failed* and *refused* count calls, *seconds* what they took with their wait."""

    def __init__(self, kind: Kind, bound: Bound) -> None:
        self.kind = kind
        self.bound = bound
        self.done = self.failed = self.refused = 0
        self.seconds = 0.0
        self._worker = Worker(f"{kind} processor", bound.waiting)

    @property
    def waiting(self) -> int:
        """Return how many calls are at work or wait."""
        return self._worker.waiting

    async def run(self, function: Callable[..., T], *arguments: object, deadline: float = 0.0) -> T:
        """Call *function* in the pool's thread and return what it returns; *deadline* in seconds, 0 for the pool's.

        Raises what it raises, `Exhausted` (WORKER_BUSY) where too much waits, and `DeadlineExceeded`: then what had
        not begun is left out, and what had goes on unheard.
        """
        began = SYSTEM.monotonic()
        try:
            result = await self._worker.run(function, *arguments, timeout=deadline or self.bound.deadline)
        except Exhausted:
            self.refused += 1
            raise
        except Exception:
            self.failed += 1
            raise
        self.done += 1
        self.seconds += SYSTEM.monotonic() - began
        return result

    async def close(self) -> None:
        """Let the thread end."""
        await self._worker.close()


class Processors:
    """One pool for each kind; their threads start with the first call."""

    def __init__(self, bounds: Mapping[Kind, Bound] | None = None) -> None:
        chosen = {**BOUNDS, **(bounds or {})}
        self.numeric = Pool(Kind.NUMERIC, chosen[Kind.NUMERIC])
        self.text = Pool(Kind.TEXT, chosen[Kind.TEXT])
        self.media = Pool(Kind.MEDIA, chosen[Kind.MEDIA])
        self.structure = Pool(Kind.STRUCTURE, chosen[Kind.STRUCTURE])

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Return all pools."""
        return (self.numeric, self.text, self.media, self.structure)

    async def close(self) -> None:
        """Let all threads end."""
        for pool in self.pools:
            await pool.close()

    def stats(self) -> dict[str, dict[tuple[str, ...], float]]:
        """Return the numbers of all pools by kind, as metrics want them."""
        return {
            "done": {(pool.kind.value,): pool.done for pool in self.pools},
            "failed": {(pool.kind.value,): pool.failed for pool in self.pools},
            "refused": {(pool.kind.value,): pool.refused for pool in self.pools},
            "waiting": {(pool.kind.value,): pool.waiting for pool in self.pools},
            "seconds": {(pool.kind.value,): pool.seconds for pool in self.pools},
        }
