"""What the archive takes and gives: frames, queries, damage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

DEADLINE = 10.0
"""How many seconds a search may take that was not given a deadline of its own."""


class NewFrame(msgspec.Struct, frozen=True):
    """A frame to append: *content* is text, or bytes that are not searched.

    *kind* is what it is (`note`, `memory`, `history`, `recording`, …); *time_ms* is in ms since 1970, 0 for now.
    *metadata* holds what JSON can hold. Names that begin with an underscore are the archive's own and refused.
    A *private* frame is sealed. *delta* allows it to be stored as the difference to an earlier one of its kind.
    *request* is the archive's own: see `repeated.py`.
    """

    content: str | bytes
    kind: str = "note"
    time_ms: int = 0
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict)
    private: bool = False
    delta: bool = True
    request: str = ""


class Frame(msgspec.Struct, frozen=True):
    """One frame of the archive, decoded. *number* is its ordinal: 0, 1, 2… in the order of appending."""

    frame_id: str
    number: int
    content: str | bytes
    kind: str
    time_ms: int
    metadata: Mapping[str, Any]
    private: bool = False


class Location(msgspec.Struct, frozen=True):
    """Where the bytes of a frame lie: *shard* is `2026/11`, *file* its name in there; *offset*, *length* in bytes."""

    shard: str
    file: str
    offset: int
    length: int


class Match(StrEnum):
    """Which frames match the words of a query."""

    ALL = "all"
    ANY = "any"
    PHRASE = "phrase"


class Order(StrEnum):
    """How hits are ranked."""

    NEWEST = "newest"
    RELEVANCE = "relevance"


class Query(msgspec.Struct, frozen=True):
    """What to search for; times in ms since 1970, 0 for no bound. No *kinds*: all but the daemon's own."""

    text: str = ""
    match: Match = Match.ALL
    order: Order = Order.NEWEST
    kinds: tuple[str, ...] = ()
    after_ms: int = 0
    before_ms: int = 0
    limit: int = 20


class Hit(msgspec.Struct, frozen=True):
    """One frame found; *score* is 0 where the newest come first."""

    frame: Frame
    score: float = 0.0


class Damage(msgspec.Struct, frozen=True):
    """A place that cannot be read: *file* relative to the archive, *offset* and *length* in bytes."""

    file: str
    offset: int
    length: int
    reason: str
    frame_id: str = ""
    remedy: str = ""


class Options(msgspec.Struct, frozen=True):
    """The settings of the archive; see `[archive]` of the configuration, which has the same names."""

    frame_cache_size: int = 1000
    chunk_cache_size: int = 100
    search_cache_size: int = 100
    search_cache_ttl: int = 300
    embedding_cache_size: int = 10_000
    pattern_cache_size: int = 50
    pattern_cache_ttl: int = 600
    batch_threshold: int = 5
    max_queue_size: int = 20
    frames_per_chunk: int = 50
    worker_threads: int = 1
    quota: int = 100 << 30


OWN_KINDS = frozenset({"history", "memory", "recording"})
"""Kinds that the daemon writes; clients may not append them, and searches leave them out unless they are named."""


class Sealer(Protocol):
    """Seals private content; joined by the composition, so that the archive works without. Called in the writer thread.

    Bytes in, bytes out; *fields* are what opening needs besides the secret, and go into the frame's metadata in
    plain. Raises `Denied` (ARCHIVE_LOCKED) while there is no secret, `FailedPrecondition` (SEAL_BROKEN) for what was
    tampered with.
    """

    @property
    def unlocked(self) -> bool:
        """Say whether there is a secret."""
        ...

    def seal(
        self, content: bytes, context: bytes, metadata: Mapping[str, Any] | None = None
    ) -> tuple[bytes, Mapping[str, Any]]:
        """Return the sealed *content*, bound to *context* (the frame's id), and the fields.

        *metadata* is that of the frame: its `thought_patterns`, numbers by name, weigh how hard the keys are to find.
        """
        ...

    def open(self, sealed: bytes, context: bytes, fields: Mapping[str, Any]) -> bytes:
        """Return the content."""
        ...


Embed = Callable[[Sequence[str]], Sequence[Sequence[float]]]
"""Turns texts into vectors of length 1."""
