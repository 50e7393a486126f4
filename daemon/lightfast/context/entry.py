"""The records of the context: entries, mutations, events, transactions. All are immutable.

Times are nanoseconds since 1970, UTC. They are msgspec structs for speed, and leave the
garbage collector alone: a value never refers back to what holds it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from lightfast_link.value import Value


class Status(StrEnum):
    """How far a wish under a mount has come; the empty one is for paths outside mounts."""

    NONE = ""
    SETTLED = "SETTLED"
    PENDING = "PENDING"
    REJECTED = "REJECTED"
    STALE = "STALE"


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One value at one path; see `types.proto` for the meaning of each field.

    *reported* is `None` while the application has not reported anything.
    """

    path: str
    value: Value | None
    revision: int
    create_revision: int
    version: int
    origin: str
    cause: int
    event_time: int
    record_time: int
    signal: bool = False
    object_id: str = ""
    reported: Value | None = None
    reported_revision: int = 0
    status: Status = Status.NONE
    status_reason: str = ""
    lease: str = ""


class Set(msgspec.Struct, frozen=True, gc=False):
    """Sets one value; an event time of 0 means now."""

    path: str
    value: Value
    event_time: int = 0
    object_id: str | None = None


class Delete(msgspec.Struct, frozen=True, gc=False):
    """Deletes an entry, and with *recursive* all below it; an absent one is left alone."""

    path: str
    recursive: bool = False


class Merge(msgspec.Struct, frozen=True, gc=False):
    """Merges a map into a map, name by name."""

    path: str
    value: dict[str, Any]


class Move(msgspec.Struct, frozen=True, gc=False):
    """Moves an entry and all below it; the target must be free."""

    source: str
    target: str


class Report(msgspec.Struct, frozen=True, gc=False):
    """What an application said of a path under its mount; only the engine writes it.

    *reported* and *value* are left as they are where they are `UNSET`. Range and type are recorded
    as they come: an application's word is a fact, an unlikely one gets a status reason.
    """

    path: str
    status: Status
    reported: Value | msgspec.UnsetType = msgspec.UNSET
    value: Value | msgspec.UnsetType = msgspec.UNSET
    reason: str = ""
    event_time: int = 0
    object_id: str | None = None


Mutation = Set | Delete | Merge | Move | Report


class Precondition(msgspec.Struct, frozen=True, gc=False):
    """What must hold at *path*: exactly one of the three is not `UNSET`."""

    path: str
    revision: int | msgspec.UnsetType = msgspec.UNSET
    value: Value | msgspec.UnsetType = msgspec.UNSET
    absent: bool | msgspec.UnsetType = msgspec.UNSET


class EventType(StrEnum):
    """What happened to an entry."""

    SET = "SET"
    DELETE = "DELETE"
    MOVE = "MOVE"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One change. For a DELETE *entry* keeps the last value, with the revision and origin of the delete.

    *source* is the old path of a MOVE.
    """

    type: EventType
    entry: Entry
    previous: Entry | None = None
    source: str = ""


class Transaction(msgspec.Struct, frozen=True, gc=False):
    """One committed transaction. *undone* are the revisions it took back, for an undo or redo."""

    revision: int
    record_time: int
    origin: str
    cause: int = 0
    group: str = ""
    label: str = ""
    events: tuple[Event, ...] = ()
    undone: tuple[int, ...] = ()


class Declaration(msgspec.Struct, frozen=True):
    """What is known of the values under a pattern; see `context.proto`. *access* is `rw`, `r` or `w`.

    *policy* is empty (last writer), or one of `policies.POLICIES`; *owner_hold* is in seconds.
    """

    pattern: str
    signal: bool = False
    kind: str = ""
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    access: str = "rw"
    description: str = ""
    choices: tuple[str, ...] = ()
    tolerance: float = 0.0
    owner: str = ""
    policy: str = ""
    owner_hold: float = 1.0
