"""The PUB plane: everything that is published, for subscribers on this machine that want it fast.

A message has three parts: the topic `<mount>/<class>` (`blender/state`; outside mounts the first segment of the
path), a JSON header `{store_id, sequence, first_revision, last_revision}`, and a MessagePack list of events, one
message per topic and tick. *sequence* counts per topic: a gap means that the subscriber was too slow and some
were dropped for it; it then resumes from `last_revision` through `ContextService.Watch`.

An event is a map of `path value revision version origin cause event_time type source object_id`, where what is
empty is left out; *type* is `SET` unless it says `DELETE` or `MOVE`. Values are MessagePack's own, but for
vectors (extension 1: big-endian doubles) and assets (extension 2: a map of `uri media_type sha256 size`).
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import structlog
import zmq

from lightfast.context.entry import Event, EventType
from lightfast.context.watch import Batch
from lightfast.wire.zmq.ready import BUDGET, Readiness
from lightfast_link.value import Asset, Value

log = structlog.get_logger("lightfast.wire.zmq")

QUEUE = 1000
"""The most messages that wait for one subscriber; further ones are dropped for it, and the sequence shows it."""
MAX_EVENTS = 1000
"""The most events of one message."""
MAX_TOPICS = 4096
"""How many topics keep their sequence; one that was forgotten starts again at 1, which shows as a gap."""
VECTOR, ASSET = 1, 2


class _Header(msgspec.Struct):
    store_id: str
    sequence: int
    first_revision: int
    last_revision: int


class _Event(msgspec.Struct, omit_defaults=True, gc=False):
    path: str
    value: Any = None
    revision: int = 0
    version: int = 0
    origin: str = ""
    cause: int = 0
    event_time: int = 0
    type: str = "SET"
    source: str = ""
    object_id: str = ""


_pack = msgspec.msgpack.Encoder().encode
_json = msgspec.json.Encoder().encode
_PLAIN = frozenset((bool, int, float, str, bytes, type(None)))


def make_publisher(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """Return the socket, not bound yet: an XPUB, which tells what is subscribed to, so that the rest costs nothing."""
    sock = context.socket(zmq.XPUB)
    sock.setsockopt(zmq.SNDHWM, QUEUE)
    sock.setsockopt(zmq.MAXMSGSIZE, 4096)  # of what subscribers send
    sock.setsockopt(zmq.LINGER, 0)
    return sock


class Publisher:
    """Publishes the batches of the bus; with *per_update* each event goes in a message of its own."""

    def __init__(self, sock: zmq.Socket[bytes], store_id: str, *, per_update: bool = False) -> None:
        self._sock = sock
        self._store_id = store_id
        self._limit = 1 if per_update else MAX_EVENTS
        self._sequences: OrderedDict[str, int] = OrderedDict()
        self._prefixes: set[bytes] = set()
        self._topics: dict[str, bool] = {}
        self.messages = 0
        self._ready = Readiness(sock, self._drain)

    def _drain(self) -> bool:
        for _ in range(BUDGET):
            try:
                message = self._sock.recv(zmq.NOBLOCK)
            except zmq.Again:
                return False
            if message[:1] == b"\x01":
                self._prefixes.add(message[1:])
            elif message[:1] == b"\x00":
                self._prefixes.discard(message[1:])
            self._topics.clear()
        return True

    def _wanted(self, topic: str) -> bool:
        wanted = self._topics.get(topic)
        if wanted is None:
            name = topic.encode()
            wanted = self._topics[topic] = any(name.startswith(prefix) for prefix in self._prefixes)
            if len(self._topics) > MAX_TOPICS:
                self._topics.clear()
        return wanted

    def publish(self, batch: Batch) -> None:
        """Send one batch of the bus, split by mount and class."""
        if not batch.events:
            return
        lanes: dict[str, list[Event]] = {}
        for event in batch.events:
            entry = event.entry
            kind = "/signal" if entry.signal and not entry.revision else "/state"
            lanes.setdefault(_first_segment(entry.path) + kind, []).append(event)
            if event.source and _first_segment(event.source) != _first_segment(entry.path):
                lanes.setdefault(_first_segment(event.source) + kind, []).append(event)
        for topic, events in lanes.items():
            for start in range(0, len(events), self._limit):
                self._send(topic, events[start : start + self._limit], batch.revision)

    def _send(self, topic: str, events: Sequence[Event], revision: int) -> None:
        sequence = self._sequences.get(topic, 0) + 1
        self._sequences[topic] = sequence
        if sequence == 1 and len(self._sequences) > MAX_TOPICS:
            self._sequences.popitem(last=False)
        if not self._prefixes or not self._wanted(topic):
            return
        first, last = events[0].entry.revision or revision, events[-1].entry.revision or revision
        header = _json(_Header(self._store_id, sequence, first, last))
        self._sock.send_multipart((topic.encode(), header, _pack([_event(event) for event in events])), zmq.NOBLOCK)
        self.messages += 1
        self._ready.check()

    def close(self) -> None:
        """Close the socket."""
        self._ready.close()
        self._sock.close()


def _first_segment(path: str) -> str:
    end = path.find("/", 1)
    return path[1:] if end < 0 else path[1:end]


def _event(event: Event) -> _Event:
    entry = event.entry
    return _Event(
        entry.path,
        entry.value if type(entry.value) in _PLAIN else _portable(entry.value),
        entry.revision,
        entry.version,
        entry.origin,
        entry.cause,
        entry.event_time,
        "SET" if event.type is EventType.SET else event.type.value,
        event.source,
        entry.object_id,
    )


def _portable(value: Value | None) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, tuple):
        return msgspec.msgpack.Ext(VECTOR, struct.pack(f">{len(value)}d", *value))
    if isinstance(value, list):
        return [_portable(item) for item in value]
    if isinstance(value, dict):
        return {name: _portable(item) for name, item in value.items()}
    if isinstance(value, Asset):
        body = {"uri": value.uri, "media_type": value.media_type, "sha256": value.sha256, "size": value.size}
        return msgspec.msgpack.Ext(ASSET, _pack(body))
    raise TypeError(f"{kind.__name__} is not a value")


def _revive(code: int, data: memoryview) -> Any:
    if code == VECTOR:
        return struct.unpack(f">{len(data) // 8}d", data)
    if code == ASSET:
        return Asset(**msgspec.msgpack.decode(data))
    return msgspec.msgpack.Ext(code, bytes(data))


_decoder = msgspec.msgpack.Decoder(ext_hook=_revive)


def read_message(parts: Sequence[bytes]) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """Return topic, header and events of a message, as a subscriber sees them."""
    topic, header, body = parts
    events: Iterable[dict[str, Any]] = _decoder.decode(body)
    return topic.decode(), msgspec.json.decode(header), list(events)
