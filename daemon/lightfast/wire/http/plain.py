"""Events of the context as JSON: the proto JSON of `WatchResponse`, with its snake_case names, made without protobuf.

The form is that of protobuf's ProtoJSON: 64-bit integers are strings, bytes are base64, times are RFC 3339, numbers
JSON lacks are `"NaN"`, `"Infinity"` and `"-Infinity"`, and what has its default is left out.
"""

from __future__ import annotations

import base64
import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from lightfast.context.entry import Entry, Event
from lightfast.context.watch import Batch
from lightfast_link.value import Asset, Value

_encode = msgspec.json.Encoder().encode
_SECOND = 1_000_000_000


def batch_json(batch: Batch, store_id: str, *, previous: bool = False) -> bytes:
    """Return *batch* as the JSON of a `WatchResponse`; its events are encoded once for all who watch the same."""
    head: dict[str, Any] = {}
    if batch.revision:
        head["revision"] = str(batch.revision)
    head["store_id"] = store_id
    if batch.synced:
        head["synced"] = True
    if batch.compact_revision:
        head["compact_revision"] = str(batch.compact_revision)
    events = _events(batch, previous=previous)
    text = _encode(head)
    return text if not events else b'{"events":[' + events + b"]," + text[1:]


def _events(batch: Batch, *, previous: bool) -> bytes:
    key = "json+previous" if previous else "json"
    encoded: bytes | None = batch.encoded.get(key)
    if encoded is None:
        if batch.parts:
            encoded = b",".join([part for each in batch.parts if (part := _events(each, previous=previous))])
        else:
            encoded = b",".join([_encode(_event(event, previous=previous)) for event in batch.events])
        batch.encoded[key] = encoded
    return encoded


def _event(event: Event, *, previous: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"type": f"EVENT_TYPE_{event.type.value}", "entry": _entry(event.entry)}
    if previous and event.previous is not None:
        found["previous"] = _entry(event.previous)
    if event.source:
        found["from"] = event.source
    return found


def _entry(entry: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {"path": entry.path}
    if entry.value is not None:
        found["value"] = value_json(entry.value)
    for name, number in (
        ("revision", entry.revision),
        ("create_revision", entry.create_revision),
        ("version", entry.version),
        ("cause_revision", entry.cause),
        ("reported_revision", entry.reported_revision),
    ):
        if number:
            found[name] = str(number)
    for name, time in (("event_time", entry.event_time), ("record_time", entry.record_time)):
        if time:
            found[name] = time_json(time)
    found["entry_class"] = "ENTRY_CLASS_SIGNAL" if entry.signal else "ENTRY_CLASS_STATE"
    if entry.reported is not None:
        found["reported"] = value_json(entry.reported)
    if entry.status:
        found["status"] = f"ENTRY_STATUS_{entry.status.value}"
    texts = {"origin": entry.origin, "object_id": entry.object_id, "status_reason": entry.status_reason}
    return found | {name: text for name, text in texts.items() if text}


def value_json(value: Value) -> dict[str, Any]:
    """Return one value as ProtoJSON has it."""
    kind = type(value)
    if kind is float:
        return {"double_value": _number(value)}
    if kind is bool:
        return {"bool_value": value}
    if kind is int:
        return {"int_value": str(value)}
    if kind is str:
        return {"string_value": value}
    if isinstance(value, tuple):
        return {"vector_value": {"values": [_number(each) for each in value]} if value else {}}
    if isinstance(value, bytes):
        return {"bytes_value": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list):
        return {"list_value": {"values": [value_json(each) for each in value]} if value else {}}
    if isinstance(value, dict):
        fields = {name: value_json(each) for name, each in value.items()}
        return {"map_value": {"fields": fields} if fields else {}}
    if isinstance(value, Asset):
        asset: dict[str, Any] = {"uri": value.uri, "media_type": value.media_type, "sha256": value.sha256}
        return {"asset_value": {name: text for name, text in asset.items() if text} | _size(value.size)}
    raise TypeError(f"a value cannot be {kind.__name__}")


def _size(size: int) -> dict[str, str]:
    return {"size": str(size)} if size else {}


def _number(number: Any) -> float | str:
    if math.isfinite(number):
        return float(number)
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def time_json(nanoseconds: int) -> str:
    """Return a time in ns since 1970 in RFC 3339, with 0, 3, 6 or 9 digits after the second."""
    seconds, rest = divmod(nanoseconds, _SECOND)
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    if not rest:
        return text + "Z"
    for digits in (3, 6):
        unit = 10 ** (9 - digits)
        if rest % unit == 0:
            return f"{text}.{rest // unit:0{digits}d}Z"
    return f"{text}.{rest:09d}Z"
