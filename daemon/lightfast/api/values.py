"""Values and times between Python and protobuf, the one place for both sides of the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightfast.api.v1 import types_pb2 as pb
from lightfast_link.value import Asset, Value, kind_of

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp


def to_message(value: Value, into: pb.Value | None = None) -> pb.Value:
    """Return *value* as a message, written *into* one where it is given; raises `ValueError` for other types."""
    message = pb.Value() if into is None else into
    _fill(message, value)
    return message


def _fill(message: pb.Value, value: Any) -> None:
    kind = type(value)
    if kind is float:
        message.double_value = value
    elif kind is bool:
        message.bool_value = value
    elif kind is int:
        message.int_value = value
    elif kind is str:
        message.string_value = value
    elif kind is tuple:
        # An empty vector or list must be set all the same, hence SetInParent.
        message.vector_value.SetInParent()
        message.vector_value.values.extend(value)
    elif kind is bytes:
        message.bytes_value = value
    elif kind is list:
        message.list_value.SetInParent()
        for item in value:
            to_message(item, message.list_value.values.add())
    elif kind is dict:
        message.map_value.SetInParent()
        for name, item in value.items():
            to_message(item, message.map_value.fields[name])
    elif isinstance(value, Asset):
        message.asset_value.uri = value.uri
        message.asset_value.media_type = value.media_type
        message.asset_value.sha256 = value.sha256
        message.asset_value.size = value.size
    else:
        kind_of(value)


def from_message(message: pb.Value, where: str = "value") -> Value:
    """Return the value of a message; an empty one raises `ValueError` that says *where*."""
    kind = message.WhichOneof("kind")
    if kind == "double_value":
        return message.double_value
    if kind == "vector_value":
        return tuple(message.vector_value.values)
    if kind == "list_value":
        return [from_message(item, f"{where}[{i}]") for i, item in enumerate(message.list_value.values)]
    if kind == "map_value":
        return {name: from_message(item, f"{where}.{name}") for name, item in message.map_value.fields.items()}
    if kind == "asset_value":
        asset = message.asset_value
        return Asset(asset.uri, asset.media_type, asset.sha256, asset.size)
    if kind is None:
        raise ValueError(f"{where} is empty: set one of its kinds")
    return getattr(message, kind)  # type: ignore[no-any-return]


def set_time(stamp: Timestamp, nanoseconds: int) -> None:
    """Write *nanoseconds* since 1970 into *stamp*."""
    stamp.seconds, stamp.nanos = divmod(nanoseconds, 1_000_000_000)


def get_time(stamp: Timestamp) -> int:
    """Return the nanoseconds since 1970 of *stamp*."""
    return stamp.seconds * 1_000_000_000 + stamp.nanos
