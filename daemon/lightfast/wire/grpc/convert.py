"""Between messages and the records of the context. What comes in is checked, and refused by the field's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from lightfast.api.v1 import context_pb2, types_pb2
from lightfast.api.values import from_message, to_message
from lightfast.context.entry import (
    Declaration,
    Delete,
    Entry,
    Event,
    EventType,
    Merge,
    Move,
    Mutation,
    Precondition,
    Set,
    Status,
    Transaction,
)
from lightfast.context.policies import COMPARE_AND_SET, LAST_WRITER, OWNER, OWNER_HOLD
from lightfast.core.errors import InvalidArgument
from lightfast_link.value import Value, check_value

if TYPE_CHECKING:
    from google.protobuf.duration_pb2 import Duration
    from google.protobuf.timestamp_pb2 import Timestamp

_SECOND = 1_000_000_000
_MAX_SECONDS = 9_000_000_000
"""Times are int64 nanoseconds inside: from 1684 to 2255 they fit."""
_STATUSES = {
    Status.NONE: types_pb2.ENTRY_STATUS_UNSPECIFIED,
    Status.SETTLED: types_pb2.ENTRY_STATUS_SETTLED,
    Status.PENDING: types_pb2.ENTRY_STATUS_PENDING,
    Status.REJECTED: types_pb2.ENTRY_STATUS_REJECTED,
    Status.STALE: types_pb2.ENTRY_STATUS_STALE,
}
_EVENT_TYPES = {
    EventType.SET: types_pb2.EVENT_TYPE_SET,
    EventType.DELETE: types_pb2.EVENT_TYPE_DELETE,
    EventType.MOVE: types_pb2.EVENT_TYPE_MOVE,
}
_ACCESS = {
    context_pb2.ACCESS_UNSPECIFIED: "rw",
    context_pb2.ACCESS_READ: "r",
    context_pb2.ACCESS_WRITE: "w",
    context_pb2.ACCESS_READ_WRITE: "rw",
}
_POLICIES = {
    context_pb2.CONFLICT_POLICY_UNSPECIFIED: "",
    context_pb2.CONFLICT_POLICY_LAST_WRITER: LAST_WRITER,
    context_pb2.CONFLICT_POLICY_OWNER: OWNER,
    context_pb2.CONFLICT_POLICY_COMPARE_AND_SET: COMPARE_AND_SET,
}
_POLICIES_OUT = {name: number for number, name in _POLICIES.items()}
_ACCESS_OUT = {
    "rw": context_pb2.ACCESS_READ_WRITE,
    "r": context_pb2.ACCESS_READ,
    "w": context_pb2.ACCESS_WRITE,
}


def put_time(stamp: Timestamp, nanoseconds: int) -> None:
    """Write *nanoseconds* since 1970 into *stamp*; 0, which is no time, leaves it as it is."""
    if nanoseconds:
        stamp.seconds, stamp.nanos = divmod(nanoseconds, _SECOND)


def put_duration(duration: Duration, seconds: float) -> None:
    """Write *seconds* into *duration*."""
    duration.seconds, duration.nanos = divmod(round(seconds * _SECOND), _SECOND)


def get_time(stamp: Timestamp, field: str) -> int:
    """Return nanoseconds since 1970; refuse what lies outside the years that can be kept."""
    if not (-_MAX_SECONDS <= stamp.seconds <= _MAX_SECONDS and 0 <= stamp.nanos < _SECOND):
        raise InvalidArgument(f"{field} lies outside the years 1684 to 2255, or has malformed nanos", field=field)
    return stamp.seconds * _SECOND + stamp.nanos


def get_duration(duration: Duration, field: str) -> float:
    """Return seconds; refuse a negative or malformed duration."""
    if not (0 <= duration.seconds <= _MAX_SECONDS and 0 <= duration.nanos < _SECOND):
        raise InvalidArgument(f"{field} is negative or malformed", field=field)
    return duration.seconds + duration.nanos / _SECOND


def get_value(message: types_pb2.Value, field: str) -> Value:
    """Return the value; refuse an empty one, and one beyond the bounds, by the name of the *field*."""
    kind = message.WhichOneof("kind")
    if kind == "double_value":
        return message.double_value
    if kind == "int_value":
        return message.int_value
    if kind == "bool_value":
        return message.bool_value
    try:
        return check_value(from_message(message, field), field)
    except ValueError as error:
        raise InvalidArgument(str(error), field=field, reason="VALUE_INVALID") from None
    except RecursionError:
        raise InvalidArgument(f"{field} is nested too deep", field=field, reason="VALUE_INVALID") from None


def get_values(messages: Mapping[str, types_pb2.Value], field: str) -> dict[str, Value]:
    """Return the values by name."""
    return {name: get_value(message, f"{field}.{name}") for name, message in messages.items()}


def put_entry(message: types_pb2.Entry, entry: Entry) -> None:
    """Write *entry* into an empty *message*."""
    message.path = entry.path
    if entry.value is not None:
        to_message(entry.value, message.value)
    if entry.revision:
        message.revision = entry.revision
    if entry.create_revision:
        message.create_revision = entry.create_revision
    message.version = entry.version
    message.origin = entry.origin
    if entry.cause:
        message.cause_revision = entry.cause
    if entry.event_time:
        put_time(message.event_time, entry.event_time)
    if entry.record_time:
        put_time(message.record_time, entry.record_time)
    message.entry_class = types_pb2.ENTRY_CLASS_SIGNAL if entry.signal else types_pb2.ENTRY_CLASS_STATE
    if entry.object_id:
        message.object_id = entry.object_id
    if entry.status:
        message.status = _STATUSES[entry.status]
    if entry.reported is not None:
        to_message(entry.reported, message.reported)
    if entry.reported_revision:
        message.reported_revision = entry.reported_revision
    if entry.status_reason:
        message.status_reason = entry.status_reason


def put_event(message: types_pb2.Event, event: Event, *, previous: bool) -> None:
    """Write *event* into an empty *message*, with the entry before it where *previous* is asked for."""
    message.type = _EVENT_TYPES[event.type]
    put_entry(message.entry, event.entry)
    if previous and event.previous is not None:
        put_entry(message.previous, event.previous)
    if event.source:
        setattr(message, "from", event.source)


def put_transaction(message: context_pb2.Transaction, transaction: Transaction) -> None:
    """Write *transaction* into an empty *message*."""
    message.revision = transaction.revision
    put_time(message.record_time, transaction.record_time)
    message.origin = transaction.origin
    message.cause_revision = transaction.cause
    message.group_id = transaction.group
    message.label = transaction.label
    for event in transaction.events:
        put_event(message.events.add(), event, previous=True)
    message.undone_revisions.extend(transaction.undone)


def get_mutations(messages: Iterable[types_pb2.Mutation], start: int = 0) -> list[Mutation]:
    """Return the mutations; refuse an empty or malformed one by its index, the first of which is *start*."""
    return [_mutation(message, index) for index, message in enumerate(messages, start)]


def get_updates(messages: Iterable[types_pb2.Mutation]) -> tuple[list[Mutation], int, str]:
    """Return the mutations that are in order, how many are not, and what is wrong with the first of those."""
    found: list[Mutation] = []
    malformed, reason = 0, ""
    for index, message in enumerate(messages):
        try:
            found.append(_mutation(message, index))
        except InvalidArgument as error:
            malformed += 1
            reason = reason or error.message
    return found, malformed, reason


def _mutation(message: types_pb2.Mutation, index: int) -> Mutation:
    kind = message.WhichOneof("operation")
    if kind == "set":
        change = message.set
        value = get_value(change.value, f"mutations[{index}].set.value")
        if change.HasField("event_time"):
            return Set(change.path, value, get_time(change.event_time, f"mutations[{index}].set.event_time"))
        return Set(change.path, value)
    if kind == "delete":
        return Delete(message.delete.path, message.delete.recursive)
    if kind == "merge":
        field = f"mutations[{index}].merge.value"
        merged = get_value(message.merge.value, field)
        if not isinstance(merged, dict):
            raise InvalidArgument(f"{field} is not a map: use set for other values", field=field)
        return Merge(message.merge.path, merged)
    if kind == "move":
        return Move(getattr(message.move, "from"), message.move.to)
    raise InvalidArgument(
        f"mutations[{index}] is empty: set one of set, delete, merge, move", field=f"mutations[{index}]"
    )


def get_preconditions(messages: Iterable[types_pb2.Precondition]) -> list[Precondition]:
    """Return the preconditions; refuse one without a condition by its index."""
    found = []
    for index, message in enumerate(messages):
        kind = message.WhichOneof("condition")
        if kind == "revision":
            found.append(Precondition(message.path, revision=message.revision))
        elif kind == "value":
            value = get_value(message.value, f"preconditions[{index}].value")
            found.append(Precondition(message.path, value=value))
        elif kind == "absent":
            found.append(Precondition(message.path, absent=message.absent))
        else:
            raise InvalidArgument(
                f"preconditions[{index}] is empty: set one of revision, value, absent",
                field=f"preconditions[{index}]",
            )
    return found


def get_declaration(message: context_pb2.Declaration, index: int) -> Declaration:
    """Return a declaration; the store checks and stamps it."""
    access = _ACCESS.get(message.access)
    if access is None:
        raise InvalidArgument(
            f"declarations[{index}].access is {message.access}: use one of Access",
            field=f"declarations[{index}].access",
        )
    policy = _POLICIES.get(message.policy)
    if policy is None:
        raise InvalidArgument(
            f"declarations[{index}].policy is {message.policy}: use one of ConflictPolicy",
            field=f"declarations[{index}].policy",
        )
    return Declaration(
        pattern=message.pattern,
        signal=message.entry_class == types_pb2.ENTRY_CLASS_SIGNAL,
        kind=message.type,
        minimum=message.minimum if message.HasField("minimum") else None,
        maximum=message.maximum if message.HasField("maximum") else None,
        unit=message.unit,
        access=access,
        description=message.description,
        choices=tuple(message.choices),
        tolerance=message.tolerance,
        policy=policy,
        owner_hold=get_duration(message.owner_hold, f"declarations[{index}].owner_hold")
        if message.HasField("owner_hold")
        else OWNER_HOLD,
    )


def put_declaration(message: context_pb2.Declaration, declaration: Declaration) -> None:
    """Write *declaration* into an empty *message*."""
    message.pattern = declaration.pattern
    message.entry_class = types_pb2.ENTRY_CLASS_SIGNAL if declaration.signal else types_pb2.ENTRY_CLASS_STATE
    message.type = declaration.kind
    if declaration.minimum is not None:
        message.minimum = declaration.minimum
    if declaration.maximum is not None:
        message.maximum = declaration.maximum
    message.unit = declaration.unit
    message.access = _ACCESS_OUT[declaration.access]
    message.description = declaration.description
    message.choices.extend(declaration.choices)
    message.tolerance = declaration.tolerance
    message.owner = declaration.owner
    if declaration.policy:
        message.policy = _POLICIES_OUT[declaration.policy]
        put_duration(message.owner_hold, declaration.owner_hold)
