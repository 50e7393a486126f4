"""The words of the collector: what it looks at, what it does, what holds it off."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from enum import StrEnum
from typing import NamedTuple, Protocol

import msgspec

from lightfast_link.path import Pattern

DAY_NS = 86_400 * 10**9


class Action(StrEnum):
    """What is done with a thing."""

    EVICT = "evict"
    DEMOTE = "demote"
    DELETE = "delete"


class Candidate(NamedTuple):
    """One thing that is to go, or has gone: *size* in bytes, *reason* in words."""

    kind: str
    ident: str
    action: Action
    size: int
    reason: str


class Limits(msgspec.Struct, frozen=True):
    """When things are old, in days since they were last of use; 0 for never. See `[collector]`."""

    asset_days: float = 30.0
    memory_days: float = 180.0
    memory_strength: float = 0.3
    operation_days: float = 90.0
    frame_days: float = 0.0
    frame_significance: float = 0.3


class Reached:
    """What something reaches, by what does: whatever is named here is kept.

    *assets* are named by SHA-256, *names* are ids and keys of memories and ids of frames; *patterns* are of paths.
    *closed* says why nobody can know which assets are reached; then all of them are kept.
    """

    def __init__(self) -> None:
        self.assets: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.patterns: list[tuple[Pattern, str]] = []
        self.closed = ""

    def path(self, path: str) -> str:
        """Return what reaches *path*, or the empty text."""
        return next((by for pattern, by in self.patterns if pattern.matches(path)), "")


class Budget:
    """What is left of a run: the *deadline* on the clock *now* (in seconds), and *size* in bytes (0: no bound)."""

    def __init__(self, now: Callable[[], float], deadline: float, size: int) -> None:
        self._now = now
        self._deadline = deadline
        self._size = size
        self.spent = 0

    @property
    def seconds(self) -> float:
        """Return how many seconds are left; less than 0 when it is over."""
        return self._deadline - self._now()

    @property
    def size(self) -> int:
        """Return how many bytes may still move; 0 without a bound."""
        return max(self._size - self.spent, 1) if self._size else 0

    @property
    def is_over(self) -> bool:
        """Say whether it is used up."""
        return self.seconds <= 0 or (self._size > 0 and self.spent >= self._size)


class Roots(Protocol):
    """Something that keeps other things alive; the composition joins them."""

    name: str
    """A word for people: `pin`, `scene`, `link`, `job`, `live`."""

    async def reach(self, reached: Reached) -> None:
        """Add what it reaches."""
        ...


class Room(Protocol):
    """One kind of thing that grows old."""

    kind: str
    """As in the request: `history`, `memories`, `frames`, `assets`, `entries`, `operations`, `recordings`."""

    def candidates(self, reached: Reached, kept: Counter[str]) -> AsyncIterator[Candidate]:
        """Yield what may go, the oldest first; count in *kept* what would, but is reached."""
        ...

    async def collect(self, candidate: Candidate, budget: Budget) -> int:
        """Do it, if it still may; return the bytes it moved or freed, -1 where it stays after all."""
        ...
