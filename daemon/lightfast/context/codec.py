"""The text of an entry in the database: a JSON array, short because there is one for every change.

`[value, create_revision, version, origin, cause, event_time, record_time, {rare fields}?]`, the value
in the JSON form of `lightfast_link.value`. Path and revision are columns of their own.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import msgspec

from lightfast.context.entry import Entry, Status
from lightfast_link.value import Asset, Value, from_json, to_json

_encode = msgspec.json.Encoder().encode
_PLAIN = (str, int, bool)


def encode(entry: Entry) -> str:
    """Return the text of *entry*."""
    value = entry.value
    if type(value) not in _PLAIN and not (type(value) is float and math.isfinite(value)):
        value = None if value is None else to_json(value)
    fields = [
        value,
        entry.create_revision,
        entry.version,
        entry.origin,
        entry.cause,
        entry.event_time,
        entry.record_time,
    ]
    if entry.signal or entry.status or entry.object_id or entry.lease or entry.reported is not None:
        fields.append(_rare(entry))
    return _encode(fields).decode()


def _rare(entry: Entry) -> dict[str, Any]:
    rare: dict[str, Any] = {}
    if entry.signal:
        rare["signal"] = 1
    if entry.object_id:
        rare["object"] = entry.object_id
    if entry.reported is not None:
        rare["reported"] = to_json(entry.reported)
        rare["reported_revision"] = entry.reported_revision
    if entry.status:
        rare["status"] = entry.status.value
    if entry.status_reason:
        rare["reason"] = entry.status_reason
    if entry.lease:
        rare["lease"] = entry.lease
    return rare


def decode(path: str, revision: int, fields: list[Any]) -> Entry:
    """Return the entry of a text that was parsed already."""
    value, created, version, origin, cause, event_time, record_time = fields[:7]
    if type(value) is dict or type(value) is list:
        value = from_json(value)
    # Equal numbers become one object, as they were before: with a million entries it shows.
    if created == revision:
        created = revision
    if event_time == record_time:
        event_time = record_time
    origin = sys.intern(origin)
    if len(fields) == 7:
        return Entry(path, value, revision, created, version, origin, cause, event_time, record_time)
    rare = fields[7]
    reported = rare.get("reported")
    return Entry(
        path,
        value,
        revision,
        created,
        version,
        origin,
        cause,
        event_time,
        record_time,
        "signal" in rare,
        rare.get("object", ""),
        None if reported is None else from_json(reported),
        rare.get("reported_revision", 0),
        Status(rare.get("status", "")),
        rare.get("reason", ""),
        rare.get("lease", ""),
    )


def encode_answer(revision: int, entries: tuple[Entry, ...]) -> str:
    """Return the text of an answer, as it is kept for a repeated request."""
    listed = ",".join([f"[{_encode(entry.path).decode()},{entry.revision},{encode(entry)}]" for entry in entries])
    return f"[{revision},[{listed}]]"


def decode_answer(text: str) -> tuple[int, tuple[Entry, ...]]:
    """Return what `encode_answer` was given."""
    revision, listed = msgspec.json.decode(text)
    return revision, tuple([decode(*fields) for fields in listed])


def text_size(text: str) -> int:
    """Return how many bytes *text* takes in UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def size_of(value: Value | None) -> int:
    """Return about how many bytes *value* takes in a message."""
    if isinstance(value, str):
        return text_size(value) + 4
    if isinstance(value, bytes):
        return len(value) + 4
    if isinstance(value, tuple):
        return 8 * len(value) + 4
    if isinstance(value, list):
        return 4 + sum([size_of(item) for item in value])
    if isinstance(value, dict):
        return 4 + sum([text_size(name) + 4 + size_of(item) for name, item in value.items()])
    return 200 if isinstance(value, Asset) else 12
