"""What the client hands out: entries, events and batches with plain Python values."""

from __future__ import annotations

from dataclasses import dataclass

from lightfast.api import values
from lightfast.api.v1 import context_pb2, types_pb2
from lightfast_link.value import Value


@dataclass(frozen=True, slots=True)
class Entry:
    """One value at one path; times in nanoseconds since 1970, *status* empty outside mounts."""

    path: str
    value: Value | None
    revision: int
    version: int
    origin: str
    cause_revision: int
    event_time: int
    record_time: int
    signal: bool
    object_id: str
    reported: Value | None
    reported_revision: int
    status: str
    status_reason: str
    tier: str


@dataclass(frozen=True, slots=True)
class Event:
    """One change: *type* is `SET`, `DELETE` or `MOVE`; *source* is the old path of a move."""

    type: str
    entry: Entry
    previous: Entry | None
    source: str


@dataclass(frozen=True, slots=True)
class Batch:
    """One message of a watch; without events it is a bookmark. *synced* ends the snapshot."""

    events: tuple[Event, ...]
    revision: int
    store_id: str
    synced: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """A committed transaction; revision 0 where only signals were written."""

    revision: int
    store_id: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Undone:
    """What an undo or redo did; with conflicts nothing was changed."""

    revision: int
    revisions: tuple[int, ...]
    conflicts: tuple[Entry, ...]


def entry(message: types_pb2.Entry) -> Entry:
    """Return the record of a message."""
    status = types_pb2.EntryStatus.Name(message.status).removeprefix("ENTRY_STATUS_")
    return Entry(
        path=message.path,
        value=values.from_message(message.value) if message.HasField("value") else None,
        revision=message.revision,
        version=message.version,
        origin=message.origin,
        cause_revision=message.cause_revision,
        event_time=values.get_time(message.event_time),
        record_time=values.get_time(message.record_time),
        signal=message.entry_class == types_pb2.ENTRY_CLASS_SIGNAL,
        object_id=message.object_id,
        reported=values.from_message(message.reported) if message.HasField("reported") else None,
        reported_revision=message.reported_revision,
        status="" if status == "UNSPECIFIED" else status,
        status_reason=message.status_reason,
        tier=message.tier,
    )


def event(message: types_pb2.Event) -> Event:
    """Return the record of a message."""
    return Event(
        type=types_pb2.EventType.Name(message.type).removeprefix("EVENT_TYPE_"),
        entry=entry(message.entry),
        previous=entry(message.previous) if message.HasField("previous") else None,
        source=getattr(message, "from"),
    )


def batch(message: context_pb2.WatchResponse) -> Batch:
    """Return the record of a message."""
    return Batch(tuple(event(item) for item in message.events), message.revision, message.store_id, message.synced)
