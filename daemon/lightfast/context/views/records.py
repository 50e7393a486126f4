"""What is asked of a view, what it holds, and what it needs from others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightfast.core.tokens import TokenCounter
from lightfast.sdk.dialect import Dialect
from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for: a view for the application at *mount* (`/touchdesigner`), or for a *model* of a window.

    *budget* is in tokens, *recent* a number of changes. No *patterns* mean everything but the daemon's own.
    """

    patterns: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    mount: str = ""
    model: str = ""
    budget: int = 0
    purpose: str = ""
    memory: bool = False
    recent: int = 0
    at_revision: int | None = None
    schema: str = ""


@dataclass(slots=True)
class Item:
    """One value for the consumer; *relevance* from 0 to 1, *changes* say what was done to it."""

    source: str
    name: str
    value: Value
    unit: str = ""
    relevance: float = 0.0
    tokens: int = 0
    changes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Omission:
    """What was left out, why, and what took its place."""

    source: str
    reason: str
    superseded_by: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """The context as one consumer needs it; *omissions* are the first of *omitted*."""

    items: tuple[Item, ...]
    text: str
    tokens: int
    omissions: tuple[Omission, ...]
    omitted: int
    revision: int
    counter: str


@dataclass(frozen=True, slots=True)
class Remembered:
    """One memory that may matter: *source* is its id, *about* what it speaks of (a path, a key), *since* in ns."""

    source: str
    text: str
    about: str = ""
    since: int = 0
    confidence: float = 1.0
    score: float = 0.0


class Dialects(Protocol):
    """Knows how applications speak; the engine does."""

    def dialect(self, mount: str) -> Dialect | None:
        """Return the dialect of the application at *mount*, or `None` where nobody knows it."""
        ...

    def mounts(self) -> Sequence[str]:
        """Return the mounts of all applications, joined or away."""
        ...


Recall = Callable[[str, int], Any]
"""Returns, when awaited, at most so many `Remembered` for a purpose, best first."""

Counters = Callable[[str], TokenCounter]
"""Returns who counts for a model; for one that nobody knows, the estimate."""
