"""What the memory takes and gives. All records are immutable; times are nanoseconds since 1970, UTC."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum

import msgspec

from lightfast_link.value import Value

FOREVER = (1 << 63) - 1
"""The end of what has no end."""


class Kind(IntEnum):
    """What a memory is; the numbers are those of the database and of the wire."""

    NONE = 0
    NOTE = 1
    FACT = 2


class Ranking(StrEnum):
    """How hits are ranked; see `lightfast.context.memory.ranking`."""

    FUSED = "fused"
    RELEVANCE = "relevance"
    NEWEST = "newest"


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """One memory, in one version, in one state of what was known of it; see `memory.proto` for each field.

    The same *version* may come twice: once as it was said, and once as what was known after its end was learned.
    *valid_to* and *superseded_time* are `FOREVER` while there is none.
    """

    memory_id: str
    key: str
    kind: Kind
    text: str
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = msgspec.field(default_factory=dict)
    strength: float = 0.5
    confidence: float = 1.0
    source: str = ""
    origin: str = ""
    valid_from: int = 0
    valid_to: int = FOREVER
    record_time: int = 0
    superseded_time: int = FOREVER
    version: int = 1
    revision: int = 0
    reason: str = ""
    tier: str = "history"


class Relation(msgspec.Struct, frozen=True, kw_only=True):
    """One relation between two things, in one version, in one state of what was known of it."""

    relation_id: str
    subject: str
    predicate: str
    object: str
    metadata: Mapping[str, Value] = msgspec.field(default_factory=dict)
    strength: float = 0.5
    confidence: float = 1.0
    source: str = ""
    origin: str = ""
    valid_from: int = 0
    valid_to: int = FOREVER
    record_time: int = 0
    superseded_time: int = FOREVER
    version: int = 1
    revision: int = 0
    closed_by: str = ""
    reason: str = ""
    tier: str = "history"


class NewMemory(msgspec.Struct, frozen=True, kw_only=True):
    """What to remember; *valid_from* `None` means now, *strength* `None` means 0.5 and raises nothing."""

    text: str
    kind: Kind = Kind.NOTE
    key: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Value] = msgspec.field(default_factory=dict)
    strength: float | None = None
    confidence: float = 1.0
    source: str = ""
    valid_from: int | None = None
    valid_to: int = FOREVER


class NewRelation(msgspec.Struct, frozen=True, kw_only=True):
    """What to relate. *exclusive*: the subject has one such object at a time, so that others end where this holds."""

    subject: str
    predicate: str
    object: str
    exclusive: bool = False
    metadata: Mapping[str, Value] = msgspec.field(default_factory=dict)
    strength: float | None = None
    confidence: float = 1.0
    source: str = ""
    valid_from: int | None = None
    valid_to: int = FOREVER


class Remembered(msgspec.Struct, frozen=True):
    """The memory as it is known now, and a near-duplicate under another key or text, where there is one."""

    memory: Memory
    similar: Memory | None = None


class Related(msgspec.Struct, frozen=True):
    """The relation as it is known now, and the ones it contradicts, as they are known now."""

    relation: Relation
    closed: tuple[Relation, ...] = ()


class Forgotten(msgspec.Struct, frozen=True):
    """How many memories and relations were closed."""

    memories: int
    relations: int


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What to recall; `None` for a time means now. Empty *embedder*: the configured one. *depth* 0: no walk."""

    query: str = ""
    valid: int | None = None
    known: int | None = None
    tags: tuple[str, ...] = ()
    kind: Kind = Kind.NONE
    subjects: tuple[str, ...] = ()
    depth: int = 2
    ranking: Ranking = Ranking.FUSED
    embedder: str = ""
    include_archive: bool = False
    page_size: int = 0
    page_token: str = ""


class Hit(msgspec.Struct, frozen=True):
    """One thing recalled; ranks count from 1, 0: it was not found that way."""

    thing: Memory | Relation
    score: float
    keyword_rank: int = 0
    vector_rank: int = 0
    graph_rank: int = 0


class Recalled(msgspec.Struct, frozen=True):
    """Some hits, best first; *embedder* is the one that was used, empty for none."""

    hits: tuple[Hit, ...]
    next_page_token: str = ""
    embedder: str = ""


class Found(msgspec.Struct, frozen=True):
    """One memory with all states of all versions, newest first, and the relations it takes part in now."""

    versions: tuple[Memory, ...]
    relations: tuple[Relation, ...]


class Listing(msgspec.Struct, frozen=True):
    """Memories, newest first."""

    memories: tuple[Memory, ...]
    next_page_token: str = ""
