"""The changes a transaction is made of, and the conditions it may carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightfast.api import values
from lightfast.api.v1 import assets_pb2, types_pb2
from lightfast_link.value import Asset, Value


def set_value(path: str, value: Value | assets_pb2.Asset, event_time_ns: int = 0) -> types_pb2.Mutation:
    """Return the change that sets *path*, also to what `write_asset` returned; an event time of 0 means now."""
    mutation = types_pb2.Mutation()
    mutation.set.path = path
    if isinstance(value, assets_pb2.Asset):
        value = Asset(value.uri, value.media_type, value.sha256, value.size)
    values.to_message(value, mutation.set.value)
    if event_time_ns:
        values.set_time(mutation.set.event_time, event_time_ns)
    return mutation


def delete(path: str, *, recursive: bool = False) -> types_pb2.Mutation:
    """Return the change that deletes *path*."""
    return types_pb2.Mutation(delete=types_pb2.Mutation.Delete(path=path, recursive=recursive))


def merge(path: str, fields: Mapping[str, Value]) -> types_pb2.Mutation:
    """Return the change that merges *fields* into the map at *path*."""
    mutation = types_pb2.Mutation()
    mutation.merge.path = path
    values.to_message(dict(fields), mutation.merge.value)
    return mutation


def move(source: str, target: str) -> types_pb2.Mutation:
    """Return the change that moves a subtree."""
    arguments: dict[str, Any] = {"from": source, "to": target}  # `from` is a word of Python
    return types_pb2.Mutation(move=types_pb2.Mutation.Move(**arguments))


def at_revision(path: str, revision: int) -> types_pb2.Precondition:
    """Return the condition that *path* was last written at *revision*."""
    return types_pb2.Precondition(path=path, revision=revision)


def has_value(path: str, value: Value) -> types_pb2.Precondition:
    """Return the condition that *path* holds *value*."""
    condition = types_pb2.Precondition(path=path)
    values.to_message(value, condition.value)
    return condition


def is_absent(path: str, *, absent: bool = True) -> types_pb2.Precondition:
    """Return the condition that there is no entry at *path* (or that there is one)."""
    return types_pb2.Precondition(path=path, absent=absent)
