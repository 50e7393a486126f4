"""Between messages and the frames of the archive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightfast.api.v1 import memory_pb2 as pb
from lightfast.api.values import to_message
from lightfast.core.errors import InvalidArgument
from lightfast.storage.archive.records import OWN_KINDS, Frame, Match, NewFrame, Order, Query
from lightfast.wire.grpc import convert
from lightfast_link.value import from_json, to_json

MAX_FRAMES = 1000
MAX_BYTES = 2 << 20
MAX_HITS = 10_000
_MS = 1_000_000
_MATCHES = {
    pb.FRAME_MATCH_UNSPECIFIED: Match.ALL,
    pb.FRAME_MATCH_ALL: Match.ALL,
    pb.FRAME_MATCH_ANY: Match.ANY,
    pb.FRAME_MATCH_PHRASE: Match.PHRASE,
}
_ORDERS = {
    pb.RANKING_UNSPECIFIED: Order.NEWEST,
    pb.RANKING_NEWEST: Order.NEWEST,
    pb.RANKING_RELEVANCE: Order.RELEVANCE,
}


def get_frames(messages: Iterable[pb.NewFrame]) -> list[NewFrame]:
    """Return the frames to append; what only the daemon may write is refused."""
    return [_new_frame(message, f"frames[{at}]") for at, message in enumerate(messages)]


def _new_frame(message: pb.NewFrame, where: str) -> NewFrame:
    if message.text and message.data:
        raise InvalidArgument(f"{where} has text and data: a frame has one content", field=f"{where}.data")
    if message.kind in OWN_KINDS:
        raise InvalidArgument(
            f"{where}: only the daemon writes frames of the kind {message.kind}: choose another word",
            reason="KIND_RESERVED",
            field=f"{where}.kind",
        )
    stamp = convert.get_time(message.time, f"{where}.time") if message.HasField("time") else 0
    values = convert.get_values(message.metadata, f"{where}.metadata")
    return NewFrame(
        content=message.data or message.text,
        kind=message.kind or "note",
        time_ms=stamp // _MS,
        metadata={name: to_json(value) for name, value in values.items()},
        private=message.private,
    )


def put_frame(message: pb.Frame, frame: Frame) -> None:
    """Write *frame* into an empty *message*; what cannot be in UTF-8 becomes U+FFFD."""
    message.frame_id = frame.frame_id
    convert.put_time(message.time, frame.time_ms * _MS)
    if isinstance(frame.content, bytes):
        message.data = frame.content
    else:
        message.text = _utf8(frame.content)
    message.kind = _utf8(frame.kind)
    put_metadata(message.metadata, frame.metadata)
    message.private = frame.private


def put_metadata(into: Any, metadata: Mapping[str, Any]) -> None:
    """Write *metadata* into a map of values; null, which is no value, is left out."""
    for name, data in metadata.items():
        if data is not None:
            to_message(_value(data), into[_utf8(name)])


def _value(data: Any) -> Any:
    """Return the value of what JSON holds: values as we write them, and what others wrote as it is."""
    try:
        if isinstance(data, dict):
            return from_json(data)
    except ValueError:
        return {_utf8(name): _value(item) for name, item in data.items() if item is not None}
    if isinstance(data, list):
        return [_value(item) for item in data if item is not None]
    if isinstance(data, str):
        return _utf8(data)
    return float(data) if type(data) is int and not -(1 << 63) <= data < 1 << 63 else data


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def get_query(request: pb.SearchFramesRequest) -> Query:
    """Return the query of a request."""
    if request.ranking not in _ORDERS or request.match not in _MATCHES:
        raise InvalidArgument(
            "frames are ranked NEWEST or RELEVANCE, and match ALL, ANY or PHRASE: use one of these", field="ranking"
        )
    if not 0 <= request.limit <= MAX_HITS:
        raise InvalidArgument(f"limit is {request.limit}: use 1 to {MAX_HITS:,}, or 0 for 20", field="limit")
    after = convert.get_time(request.after, "after") // _MS if request.HasField("after") else 0
    before = -(-convert.get_time(request.before, "before") // _MS) if request.HasField("before") else 0
    return Query(
        text=request.query,
        match=_MATCHES[request.match],
        order=_ORDERS[request.ranking],
        kinds=tuple(request.kinds),
        after_ms=after,
        before_ms=before,
        limit=request.limit or 20,
    )
