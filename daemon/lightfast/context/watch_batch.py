"""Batches: what a watcher gets at a time, and what it asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from lightfast.context.codec import text_size
from lightfast.context.entry import Entry, Event, Transaction
from lightfast.context.stub import Held, Stub
from lightfast.core.errors import InvalidArgument
from lightfast_link.path import Pattern, compile_pattern
from lightfast_link.value import Value

MAX_BATCH_EVENTS = 5_000
"""A batch is closed at the end of the transaction that brings it here."""
MAX_BATCH_SIZE = 1 << 20
"""The same, in roughly the bytes of the serialized form."""
MAX_PATTERNS = 256
"""The most patterns, and the most excluded origins, of one watcher."""


class Batch:
    """Events in order, whole transactions only; everything up to *revision* has been sent with it.

    A batch without events is a bookmark. *revision* is 0 in the parts of a snapshot before the last.
    *parts* are the batches it was merged from, where it was: their serialized forms can be joined.
    *encoded* belongs to the edges, which keep the serialized form there, so that all watchers with
    the same filter share it.
    """

    __slots__ = ("compact_revision", "encoded", "events", "has_signals", "parts", "revision", "size", "synced")

    def __init__(
        self,
        events: tuple[Event, ...],
        revision: int,
        *,
        synced: bool = False,
        compact_revision: int = 0,
        size: int = 0,
        has_signals: bool = False,
        parts: tuple[Batch, ...] = (),
    ) -> None:
        self.events = events
        self.revision = revision
        self.synced = synced
        self.compact_revision = compact_revision
        self.size = size
        self.has_signals = has_signals
        self.parts = parts
        self.encoded: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Batch({len(self.events)} events, revision={self.revision}, synced={self.synced})"


def merged(parts: Sequence[Batch]) -> Batch:
    """Return *parts* as one batch."""
    return Batch(
        tuple([event for part in parts for event in part.events]),
        parts[-1].revision,
        size=sum(part.size for part in parts),
        has_signals=any(part.has_signals for part in parts),
        parts=tuple(parts),
    )


class WatchSpec(msgspec.Struct, frozen=True):
    """What a watcher asks for; see `WatchRequest` in `context.proto`. *max_rate_hz* holds for signals only."""

    patterns: tuple[str, ...]
    start_revision: int | None = None
    store_id: str = ""
    include_snapshot: bool = False
    exclude_origins: tuple[str, ...] = ()
    max_rate_hz: float = 0.0
    include_previous: bool = False


class Filter:
    """Which events a watcher gets: those of its patterns, but for the origins it left out."""

    __slots__ = ("_all", "_excluded", "patterns")

    def __init__(self, patterns: Iterable[str], exclude_origins: Iterable[str] = ()) -> None:
        """Raise `InvalidArgument` that names the malformed pattern."""
        self.patterns = compile_patterns(patterns)
        self._all = any(pattern.text == "//" for pattern in self.patterns)
        self._excluded = frozenset(exclude_origins)
        if len(self._excluded) > MAX_PATTERNS:
            raise InvalidArgument(
                f"exclude_origins has {len(self._excluded)} origins, the most is {MAX_PATTERNS}",
                field="exclude_origins",
            )

    @property
    def key(self) -> tuple[frozenset[str], frozenset[str]]:
        """Return what two equal filters have in common."""
        return frozenset(pattern.text for pattern in self.patterns), self._excluded

    def matches(self, path: str) -> bool:
        """Say whether one of the patterns matches *path*."""
        return self._all or any(pattern.matches(path) for pattern in self.patterns)

    def excludes(self, origin: str) -> bool:
        """Say whether *origin* was left out: by its full name, or by its name without `#session`."""
        excluded = self._excluded
        return bool(excluded) and (origin in excluded or origin.partition("#")[0] in excluded)

    def select(self, transaction: Transaction) -> list[Event]:
        """Return the events of *transaction* that match; a move matches by its old path, too."""
        if self.excludes(transaction.origin):
            return []
        return [
            event
            for event in transaction.events
            if self.matches(event.entry.path) or (event.source and self.matches(event.source))
        ]


def compile_patterns(texts: Iterable[str]) -> tuple[Pattern, ...]:
    """Return the patterns without duplicates; raise `InvalidArgument` naming the one that is malformed."""
    unique = tuple(dict.fromkeys(texts))
    if not unique:
        raise InvalidArgument("a watch needs at least one pattern: '//' is everything", field="patterns")
    if len(unique) > MAX_PATTERNS:
        raise InvalidArgument(f"{len(unique)} patterns are too many, the most is {MAX_PATTERNS}", field="patterns")
    try:
        return tuple([compile_pattern(text) for text in unique])
    except ValueError as error:
        raise InvalidArgument(str(error), field="patterns", reason="PATTERN_MALFORMED") from error


def event_size(event: Event) -> int:
    """Return roughly the bytes that *event* takes on the wire: a bound on memory, not a promise."""
    size = entry_size(event.entry) + len(event.source)
    if event.previous is not None:
        size += entry_size(event.previous)
    return size


def entry_size(entry: Entry) -> int:
    """Return roughly the bytes of *entry*."""
    size = 80 + text_size(entry.path) + len(entry.status_reason)
    for value in (entry.value, entry.reported):
        size += _SIZES.get(type(value), _fixed)(value)
    return size


def _fixed(_: Any) -> int:
    return 10


def _vector(value: tuple[float, ...]) -> int:
    return 9 * len(value)


def _list(value: list[Value]) -> int:
    return sum([4 + _SIZES.get(type(item), _fixed)(item) for item in value])


def _map(value: dict[str, Value]) -> int:
    return sum([8 + len(name) + _SIZES.get(type(item), _fixed)(item) for name, item in value.items()])


_SIZES: dict[type, Callable[[Any], int]] = {str: text_size, bytes: len, tuple: _vector, list: _list, dict: _map}


def chunks(entries: Sequence[Held], limit: int) -> Iterator[Sequence[Held]]:
    """Cut *entries* into runs of at most *limit* entries and about `MAX_BATCH_SIZE`."""
    start = size = 0
    for index, entry in enumerate(entries):
        size += 80 + text_size(entry.path) + entry.size if type(entry) is Stub else entry_size(entry)  # type: ignore[arg-type]
        if index + 1 - start >= limit or size >= MAX_BATCH_SIZE:
            yield entries[start : index + 1]
            start, size = index + 1, 0
    if start < len(entries):
        yield entries[start:]
