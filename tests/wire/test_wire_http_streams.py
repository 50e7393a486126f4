"""Streams over real sockets: SSE and WebSocket, resumed by identity without a gap, bounded, closed to strangers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lightfast.api.v1 import context_pb2
from lightfast.context.entry import Delete, Entry, Event, EventType, Move, Mutation, Set, Status
from lightfast.context.store import Store
from lightfast.context.watch import Batch
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import Unauthenticated
from lightfast.core.metrics import Metrics
from lightfast.core.tasks import TaskGroup
from lightfast.engine.events.log import EventLog
from lightfast.security.tokens import Principal, Scope
from lightfast.storage.database import Database
from lightfast.wire.grpc.encode import encoded
from lightfast.wire.http import streams as module
from lightfast.wire.http.plain import batch_json
from lightfast.wire.http.server import HttpDoor, bind
from lightfast.wire.http.streams import Streams
from lightfast_link.value import Asset, Value

TOKEN = {"authorization": "Bearer good"}
NAMES = {"good": frozenset({Scope.WATCH}), "blind": frozenset({Scope.OPERATE})}


def authenticate(secret: str) -> Principal:
    if secret not in NAMES:
        raise Unauthenticated("the token is not known")
    return Principal(secret, NAMES[secret])


class House:
    def __init__(self, db: Database, store: Store, events: EventLog, door: HttpDoor, port: int) -> None:
        self.db, self.store, self.events, self.door, self.port = db, store, events, door, port

    async def set(self, path: str, value: Value) -> int:
        return (await self.store.apply([Set(path, value)], origin="client:test")).revision

    async def tell(self, kind: str, entity: str = "r1") -> None:
        unit = self.db.unit()
        self.events.add(unit, kind, "run", entity, {"of": entity})
        await self.db.commit(unit)
        self.events.poke()

    @asynccontextmanager
    async def sse(self, path: str, **headers: str) -> AsyncIterator[Sse]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            lines = [f"GET {path} HTTP/1.1", "host: localhost", *(f"{k}: {v}" for k, v in (TOKEN | headers).items())]
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
            sse = Sse(reader)
            await sse.begin()
            yield sse
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def websocket(self, path: str, **headers: str) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}{path}", additional_headers=TOKEN | headers, proxy=None)


class Sse:
    """Reads an event stream, which comes in HTTP chunks."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader, self.status, self.text = reader, 0, ""
        self.headers: dict[str, str] = {}

    async def begin(self) -> None:
        async with asyncio.timeout(60):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.status = int(head.split()[1])
        self.headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)

    async def body(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            found: dict[str, Any] = json.loads(await self.reader.readexactly(int(self.headers["content-length"])))
        return found

    async def next(self) -> tuple[str, str, Any]:
        """Return name, identity and data of the next message."""
        async with asyncio.timeout(60):
            while "\n\n" not in self.text:
                size = int((await self.reader.readuntil(b"\r\n")).strip(), 16)
                if not size:
                    raise EOFError
                self.text += (await self.reader.readexactly(size + 2))[:-2].decode()
        message, _, self.text = self.text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in message.split("\n") if not line.startswith(":"))
        return fields.get("event", ""), fields.get("id", ""), json.loads(fields.get("data", "{}"))


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[House]:
    db = await Database.open(folder / "store.db", clock=SYSTEM)
    store = await Store.open(db)
    events = await EventLog.open(db, SYSTEM)
    sock = bind("127.0.0.1", 0)
    door = HttpDoor(
        sock, authenticate=authenticate, metrics=Metrics(), serving=lambda: True,
        streams=lambda principal: Streams(store, events, principal),
    )  # fmt: skip
    async with TaskGroup("test") as tasks:
        task = tasks.start(door.serve(), "http")
        try:
            yield House(db, store, events, door, sock.getsockname()[1])
        finally:
            await door.stop()
            async with asyncio.timeout(60):
                await task
            await events.close()
            await store.close()
            await db.close()


async def test_changes_come_as_server_sent_events_and_go_on_where_they_ended(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        await house.set("/a/x", 1)
        async with house.sse("/v1/watch?pattern=/a//&snapshot=1") as sse:
            assert (sse.status, sse.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            name, identity, data = await sse.next()
            assert (name, identity) == ("batch", f"{house.store.store_id}:1")
            assert data["synced"] is True
            assert [event["entry"]["value"] for event in data["events"]] == [{"int_value": "1"}]
        await house.set("/a/x", 2)
        await house.set("/b/y", 3)
        await house.set("/a/z", [True, "é", (1.5, 2.0)])
        async with house.sse("/v1/watch?pattern=/a//", **{"last-event-id": identity}) as sse:
            seen: list[tuple[str, str]] = []
            while len(seen) < 2:
                _, identity, data = await sse.next()
                seen += [(e["entry"]["path"], e["entry"]["revision"]) for e in data.get("events", ())]
            assert seen == [("/a/x", "2"), ("/a/z", "4")]
            await house.set("/a/live", 1)
            while True:
                _, identity, data = await sse.next()
                if data.get("events"):
                    break
            assert identity == f"{house.store.store_id}:5"


async def test_events_of_the_engine_over_both(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        await house.tell("run.started")
        async with (
            house.sse("/v1/events?kind=run.*&after=0") as sse,
            house.websocket("/v1/events?kind=job.*") as socket,
        ):
            assert (await sse.next())[0] == "bookmark"
            name, identity, data = await sse.next()
            assert (name, identity) == ("event", f"{house.store.store_id}:1")
            assert (data["kind"], data["entity_id"], data["payload"]) == ("run.started", "r1", {"of": "r1"})
            assert json.loads(await socket.recv())["event"] == "bookmark"
            await house.tell("step.done")
            await house.tell("job.done")
            while (message := json.loads(await socket.recv()))["event"] == "bookmark":
                pass  # what does not match moves the position on
            assert (message["id"], message["data"]["kind"]) == (f"{house.store.store_id}:3", "job.done")


@pytest.mark.parametrize("way", ["sse", "websocket"])
async def test_nothing_is_missed_by_who_comes_and_goes(tmp_path: Path, way: str) -> None:
    async with served(tmp_path) as house:
        total = 120

        async def write() -> None:
            for number in range(total):
                await house.set(f"/n/{number % 7}", number)

        async def read() -> list[int]:
            seen: list[int] = []
            identity = f"{house.store.store_id}:0"
            while len(seen) < total:
                visit = 0
                if way == "sse":
                    async with house.sse("/v1/watch?pattern=/n//", **{"last-event-id": identity}) as sse:
                        while visit < 9 and len(seen) < total:
                            _, reached, data = await sse.next()
                            identity, visit = reached or identity, visit + 1
                            seen += [int(event["entry"]["revision"]) for event in data.get("events", ())]
                else:
                    async with house.websocket(f"/v1/watch?pattern=/n//&after={identity}") as socket:
                        while visit < 9 and len(seen) < total:
                            message = json.loads(await asyncio.wait_for(socket.recv(), 60))
                            identity, visit = message["id"] or identity, visit + 1
                            seen += [int(event["entry"]["revision"]) for event in message["data"].get("events", ())]
            return seen

        async with asyncio.timeout(150):
            seen, _ = await asyncio.gather(read(), write())
        assert seen == list(range(1, total + 1))


@pytest.mark.parametrize(
    ("path", "headers", "status", "reason"),
    [
        ("/v1/watch", {"authorization": "Bearer bad"}, 401, "TOKEN_REQUIRED"),
        ("/v1/watch", {"authorization": "Bearer blind"}, 403, "SCOPE_MISSING"),
        ("/v1/watch", {"origin": "https://example.com"}, 421, "WRONG_ORIGIN"),
        ("/v1/watch?patern=/a", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/watch?pattern=[", {}, 400, "PATTERN_MALFORMED"),
        ("/v1/watch?max_rate_hz=fast", {}, 400, "INVALID_ARGUMENT"),
        ("/v1/watch", {"last-event-id": "x:y"}, 400, "INVALID_ARGUMENT"),
        ("/v1/watch", {"last-event-id": "other:1"}, 410, "STORE_CHANGED"),
        ("/v1/events", {"last-event-id": "999"}, 410, "STORE_CHANGED"),
        ("/v1/events?kind=Nope", {}, 400, "INVALID_ARGUMENT"),
    ],
)
async def test_what_is_wrong_is_said_before_anything_is_sent(
    tmp_path: Path, path: str, headers: dict[str, str], status: int, reason: str
) -> None:
    async with served(tmp_path) as house:
        async with house.sse(path, **headers) as sse:
            assert sse.status == status
            body = await sse.body()
            if reason != "DENIED":
                assert body["reason"] == reason
        separator = "&" if "?" in path else "?"
        asked = path + (f"{separator}after={headers['last-event-id']}" if "last-event-id" in headers else "")
        if reason == "WRONG_ORIGIN":
            with pytest.raises(InvalidStatus):
                async with house.websocket(asked, **headers):
                    pass
            return
        async with house.websocket(asked, **headers) as socket:
            first = json.loads(await socket.recv())
            assert first["event"] == "error"
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert 4400 <= (socket.close_code or 0) < 4500


async def test_there_is_a_bound_and_short_requests_are_answered_beyond_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_STREAMS", 2)
    async with served(tmp_path) as house, house.sse("/v1/watch") as one:
        await one.next()
        async with house.websocket("/v1/events") as two:
            await two.recv()
            async with house.sse("/v1/watch") as three:
                assert three.status == 429
            async with house.sse("/health") as health:
                assert health.status == 200
        async with asyncio.timeout(60):
            while house.door.streams is None or house.door.streams.open > 1:
                await asyncio.sleep(0.01)
        async with house.sse("/v1/watch") as four:
            assert four.status == 200


async def test_a_websocket_that_talks_is_closed(tmp_path: Path) -> None:
    async with served(tmp_path) as house, house.websocket("/v1/watch") as socket:
        await socket.recv()
        await socket.send("hello")
        assert json.loads(await socket.recv())["data"]["error"].startswith("nothing is taken here")
        with pytest.raises(ConnectionClosed):
            await socket.recv()


async def test_one_who_leaves_in_the_midst_of_a_message_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def left(*_: object) -> None:
        raise WebSocketDisconnect(1006)  # so says the server where the other side is closing already

    monkeypatch.setattr(WebSocket, "send_text", left)
    async with served(tmp_path) as house:
        for path in ("/v1/watch", "/v1/watch?pattern=["):
            async with house.websocket(path) as socket:
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(socket.recv(), 60)
        async with asyncio.timeout(60):
            while house.door.streams is None or house.door.streams.open:
                await asyncio.sleep(0.01)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_the_stop_of_the_daemon_ends_streams(tmp_path: Path) -> None:
    async with served(tmp_path) as house, house.sse("/v1/watch") as sse, house.websocket("/v1/events") as socket:
        await sse.next()
        await socket.recv()
        stopping = asyncio.ensure_future(house.door.stop())
        with pytest.raises((EOFError, asyncio.IncompleteReadError)):
            await sse.next()
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 60)
        await asyncio.wait_for(stopping, 60)


VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()
    | st.lists(st.floats(allow_nan=False)).map(tuple)
    | st.builds(Asset, st.text(), st.text(), st.text(), st.integers(0, 2**62)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
TIMES = st.integers(0, 4 * 10**18) | st.integers(0, 4 * 10**9).map(lambda second: second * 10**9)
ENTRIES = st.builds(
    Entry, path=st.just("/a"), value=st.none() | VALUES, revision=st.integers(0, 9), create_revision=st.integers(0, 9),
    version=st.integers(1, 9), origin=st.text(), cause=st.integers(0, 9), event_time=TIMES, record_time=TIMES,
    signal=st.booleans(), object_id=st.text(), reported=st.none() | VALUES, reported_revision=st.integers(0, 9),
    status=st.sampled_from(Status), status_reason=st.text(),
)  # fmt: skip
EVENTS = st.builds(
    Event, st.sampled_from(EventType), ENTRIES, previous=st.none() | ENTRIES, source=st.sampled_from(["", "/b"])
)


@given(st.lists(EVENTS, max_size=3), st.integers(0, 9), st.booleans(), st.booleans())
def test_the_json_is_that_of_the_protocol(events: list[Event], revision: int, synced: bool, previous: bool) -> None:
    batch = Batch(tuple(events), revision, synced=synced)
    message = context_pb2.WatchResponse.FromString(asyncio.run(encoded(batch, "store", previous=previous)))
    wanted = MessageToDict(message, preserving_proto_field_name=True)
    assert json.loads(batch_json(batch, "store", previous=previous)) == wanted


async def test_moves_and_deletions_come_too(tmp_path: Path) -> None:
    async with served(tmp_path) as house:
        await house.set("/a/x", 1)
        async with house.sse("/v1/watch?previous=1&after=1") as sse:
            await sse.next()
            mutations: list[Mutation] = [Move("/a/x", "/a/y")]
            await house.store.apply(mutations, origin="client:test")
            await house.store.apply([Delete("/a/y")], origin="client:test")
            kinds: list[tuple[str, str]] = []
            while len(kinds) < 2:
                kinds += [(e["type"], e.get("from", "")) for e in (await sse.next())[2].get("events", ())]
            assert kinds == [("EVENT_TYPE_MOVE", "/a/x"), ("EVENT_TYPE_DELETE", "")]
