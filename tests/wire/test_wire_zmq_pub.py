"""The PUB plane: real sockets, a bus, and subscribers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import zmq
from tests.support.link import eventually, link_server, zmq_door

from lightfast.context.entry import Entry, Event, EventType, Transaction
from lightfast.context.watch import Bus
from lightfast.wire.zmq.publisher import read_message
from lightfast_link.value import Asset

Message = tuple[str, dict[str, Any], list[dict[str, Any]]]


def entry(path: str, value: Any, revision: int = 0, **fields: Any) -> Entry:
    return Entry(path, value, revision, revision, fields.pop("version", 1), "client:test", 0, 5, 6, **fields)


def transaction(revision: int, *events: Event) -> Transaction:
    return Transaction(revision, 6, "client:test", events=events)


def set_(path: str, value: Any, revision: int) -> Event:
    return Event(EventType.SET, entry(path, value, revision))


class Subscriber:
    def __init__(self, sock: zmq.Socket[bytes]) -> None:
        self._sock = sock
        self.messages: list[Message] = []

    async def until(self, count: int) -> list[Message]:
        def enough() -> bool:
            while self._sock.poll(0):
                self.messages.append(read_message(self._sock.recv_multipart()))
            return len(self.messages) >= count

        await eventually(enough, say=lambda: f"{count} messages: {self.messages!r:.300}")
        return self.messages


@asynccontextmanager
async def plane(tmp_path: Path, *topics: str, **options: Any) -> AsyncIterator[tuple[Bus, Subscriber, Any]]:
    """Yield a bus with a door, and one subscriber whose subscription has arrived."""
    async with link_server() as server, zmq_door(server, tmp_path, **options) as (door, found, bus):
        with zmq.Context() as context, context.socket(zmq.SUB) as sock:
            sock.setsockopt(zmq.LINGER, 0)
            for topic in topics:
                sock.setsockopt_string(zmq.SUBSCRIBE, topic)
            sock.connect(found["zmq_pub"])
            await eventually(lambda: len(door.publisher._prefixes) == len(topics))
            yield bus, Subscriber(sock), door


async def test_one_message_per_mount_and_class_and_tick(tmp_path: Path) -> None:
    async with plane(tmp_path, "") as (bus, subscriber, _):
        bus.publish(transaction(1, set_("/blender/a", 1, 1), set_("/ableton/song/tempo", 120.0, 1)))
        bus.publish(transaction(2, set_("/blender/b", True, 2)))
        bus.signals([Event(EventType.SET, entry("/blender/x", 0.5, signal=True, version=9))])
        messages = await subscriber.until(3)
        assert {topic: [event["path"] for event in events] for topic, _, events in messages} == {
            "blender/state": ["/blender/a", "/blender/b"],
            "ableton/state": ["/ableton/song/tempo"],
            "blender/signal": ["/blender/x"],
        }
        headers = {topic: header for topic, header, _ in messages}
        assert headers["blender/state"] == {
            "store_id": "store-1",
            "sequence": 1,
            "first_revision": 1,
            "last_revision": 2,
        }
        assert headers["ableton/state"] == {
            "store_id": "store-1",
            "sequence": 1,
            "first_revision": 1,
            "last_revision": 1,
        }
        await asyncio.sleep(0)
        bus.publish(transaction(3, set_("/blender/a", 2, 3)))
        topic, header, events = (await subscriber.until(4))[3]
        assert (topic, header["sequence"], header["first_revision"]) == ("blender/state", 2, 3)
        assert events == [
            {"path": "/blender/a", "value": 2, "revision": 3, "version": 1, "origin": "client:test", "event_time": 5}
        ]


async def test_every_kind_of_value_and_event_arrives(tmp_path: Path) -> None:
    asset = Asset("asset:1", "image/png", "a" * 64, 9)
    values: list[Any] = [
        True,
        -(1 << 63),
        1.5,
        math.inf,
        "ä",
        b"\x00\xff",
        (1.0, -2.5),
        [1, "a", (0.5,)],
        {"a": {"b": [asset]}},
        asset,
    ]
    async with plane(tmp_path, "") as (bus, subscriber, _):
        events = [set_(f"/m/v{n}", value, 1) for n, value in enumerate(values)]
        gone = Event(EventType.DELETE, entry("/m/gone", 1, 1))
        moved = Event(EventType.MOVE, entry("/m/new", 1, 1, object_id="7"), source="/other/old")
        bus.publish(transaction(1, *events, gone, moved))
        messages = await subscriber.until(2)
        found = next(events for topic, _, events in messages if topic == "m/state")
        assert [event["value"] for event in found[: len(values)]] == values
        assert [type(event["value"]) for event in found[: len(values)]] == [type(value) for value in values]
        assert (found[-2]["type"], found[-2]["path"]) == ("DELETE", "/m/gone")
        assert (found[-1]["type"], found[-1]["source"], found[-1]["object_id"]) == ("MOVE", "/other/old", "7")
        assert next(events for topic, _, events in messages if topic == "other/state") == [found[-1]]


async def test_only_what_is_subscribed_to_is_sent_and_the_sequence_goes_on(tmp_path: Path) -> None:
    async with plane(tmp_path, "blender/") as (bus, subscriber, door):
        for revision in range(1, 4):
            bus.publish(
                transaction(revision, set_("/ableton/a", revision, revision), set_("/blender-2/a", 1, revision))
            )
            await asyncio.sleep(0.001)
        bus.publish(transaction(4, set_("/blender/a", 4, 4)))
        assert [topic for topic, _, _ in await subscriber.until(1)] == ["blender/state"]
        assert door.publisher.messages == 1
        subscriber._sock.setsockopt_string(zmq.SUBSCRIBE, "ableton/")
        await eventually(lambda: len(door.publisher._prefixes) == 2)
        bus.publish(transaction(5, set_("/ableton/a", 5, 5)))
        topic, header, _ = (await subscriber.until(2))[1]
        assert (topic, header["sequence"], header["first_revision"]) == ("ableton/state", 4, 5)


async def test_a_slow_subscriber_sees_the_gap(tmp_path: Path) -> None:
    async with plane(tmp_path, "") as (bus, subscriber, door):
        count = 6000
        for revision in range(1, count + 1):
            bus.publish(transaction(revision, set_("/m/blob", bytes(2000), revision)))
            await asyncio.sleep(0)
        await eventually(lambda: door.publisher.messages == count)
        await subscriber.until(1)
        bus.publish(transaction(count + 1, set_("/m/end", 1, count + 1)))
        await eventually(lambda: subscriber._sock.poll(0))
        messages = subscriber.messages
        while messages[-1][1]["last_revision"] != count + 1:
            await subscriber.until(len(messages) + 1)
        sequences = [header["sequence"] for _, header, _ in messages]
        assert sequences == sorted(set(sequences))
        assert sequences[-1] == count + 1
        assert len(sequences) < count, "what waited for the slow one was bounded, and the rest dropped"


async def test_one_message_per_update_if_wanted(tmp_path: Path) -> None:
    async with plane(tmp_path, "", per_update=True) as (bus, subscriber, _):
        bus.publish(transaction(1, *[set_(f"/m/v{n}", n, 1) for n in range(5)]))
        messages = await subscriber.until(5)
        assert [header["sequence"] for _, header, _ in messages] == [1, 2, 3, 4, 5]
        assert [len(events) for _, _, events in messages] == [1] * 5


async def test_large_ticks_are_split(tmp_path: Path) -> None:
    async with plane(tmp_path, "") as (bus, subscriber, _):
        bus.publish(transaction(1, *[set_(f"/m/v{n}", n, 1) for n in range(2500)]))
        messages = await subscriber.until(3)
        assert [len(events) for _, _, events in messages] == [1000, 1000, 500]
