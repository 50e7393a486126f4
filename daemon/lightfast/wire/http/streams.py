"""Streams over HTTP: changes of the context and events of the engine, as Server-Sent Events and over WebSocket.

`/v1/watch?pattern=/blender//` sends batches of the context, `/v1/events?kind=run.*` events of the engine. Each message
has an identity, `STORE:NUMBER`: the revision, or the number of the event. A client that comes back with it, in the
header `Last-Event-ID` (as browsers do by themselves) or the parameter `after`, has missed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from lightfast.context.watch import Watchable, WatchSpec, watch
from lightfast.core.errors import Exhausted, InvalidArgument, LightfastError, Unavailable
from lightfast.engine.events.log import EventLog
from lightfast.engine.events.records import wanted
from lightfast.security.tokens import Principal, Scope
from lightfast.wire.http.plain import batch_json, time_json

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response
    from starlette.websockets import WebSocket

MOST_STREAMS = 64
"""How many streams may be open; the rest of the connections are left to short requests."""
SEND_S = 20.0
"""How long a reader may take for one message before it is cut off, in seconds; it goes on from where it was."""
COMMENT_S = 15.0
"""After so many seconds without news a comment is sent, so that proxies and dead connections are noticed."""
_CLOSED_FOR = {"UNAUTHENTICATED": 4401, "PERMISSION_DENIED": 4403, "INVALID_ARGUMENT": 4400, "OUT_OF_RANGE": 4410}
_TRY_LATER = 4429
_NAMES = {
    "/v1/watch": frozenset(("pattern", "exclude_origin", "after", "snapshot", "previous", "max_rate_hz")),
    "/v1/events": frozenset(("kind", "entity", "after")),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """One message: *name* of the SSE event, its *identity*, empty where one cannot go on from it, and JSON."""

    name: str
    identity: str
    data: bytes


class Streams:
    """Serves both streams; *events* are there once the engine is."""

    def __init__(self, store: Watchable, events: EventLog, authenticate: Callable[[HTTPConnection], Principal]) -> None:
        self._store = store
        self._events = events
        self._authenticate = authenticate
        self._open = 0
        self._stopping = asyncio.Event()

    @property
    def open(self) -> int:
        """How many streams are open."""
        return self._open

    def stop(self) -> None:
        """End all streams."""
        self._stopping.set()

    async def sse(self, request: Request) -> Response:
        """Answer with an endless stream of Server-Sent Events."""
        from starlette.responses import StreamingResponse

        pieces = await self._begin(request)
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        return StreamingResponse(self._lines(pieces), media_type="text/event-stream", headers=headers)

    async def websocket(self, socket: WebSocket) -> None:
        """Send the same messages over a WebSocket, as `{"id": …, "event": …, "data": …}`; what comes in is refused."""
        from starlette.websockets import WebSocketDisconnect

        with suppress(WebSocketDisconnect):  # who leaves in the midst of a message is no error of ours
            await self._talk(socket)

    async def _talk(self, socket: WebSocket) -> None:
        try:
            pieces = await self._begin(socket)
        except LightfastError as error:
            await socket.accept()
            await _close(socket, error)
            return
        async with aclosing(pieces):
            await socket.accept()
            reading = asyncio.ensure_future(socket.receive())
            try:
                while True:
                    coming = asyncio.ensure_future(anext(pieces, None))
                    await asyncio.wait((coming, reading), return_when=asyncio.FIRST_COMPLETED)
                    if reading.done():
                        coming.cancel()
                        await asyncio.wait((coming,))
                        if reading.result()["type"] != "websocket.disconnect":
                            await _close(socket, InvalidArgument("nothing is taken here: this only sends"))
                        return
                    piece = coming.result()
                    if piece is None:
                        await socket.close(1001, "the daemon stops")
                        return
                    if piece.name:
                        head = msgspec.json.encode({"id": piece.identity, "event": piece.name})
                        text = head[:-1] + b',"data":' + piece.data + b"}"
                        async with asyncio.timeout(SEND_S):
                            await socket.send_text(text.decode())
            except LightfastError as error:
                await _close(socket, error)
            except TimeoutError:
                await _close(socket, _slow())
            finally:
                reading.cancel()

    async def _begin(self, request: HTTPConnection) -> AsyncGenerator[Piece, None]:
        """Check what is asked for, and return its pieces, the first of them already there."""
        self._authenticate(request).require(Scope.WATCH)
        if self._stopping.is_set():
            raise Unavailable("the daemon stops", reason="STOPPING")
        if self._open >= MOST_STREAMS:
            raise Exhausted(f"{MOST_STREAMS} streams are open already", reason="TOO_MANY_STREAMS", retry_after=5.0)
        path = request.url.path
        for name in request.query_params:
            if name not in _NAMES[path]:
                raise InvalidArgument(f"there is no parameter {name!r:.40}: use {', '.join(sorted(_NAMES[path]))}")
        asked = request.query_params
        position = asked.get("after") or request.headers.get("last-event-id", "")
        source = self._changes(asked, position) if path == "/v1/watch" else self._news(asked, position)
        first = await anext(source)  # what is wrong with the request is said before anything is sent
        return self._counted(source, first)

    async def _counted(self, source: AsyncGenerator[Piece, None], first: Piece) -> AsyncGenerator[Piece, None]:
        self._open += 1
        stopping = asyncio.ensure_future(self._stopping.wait())
        coming: asyncio.Future[Piece | None] | None = None
        try:
            yield first
            while True:
                coming = coming or asyncio.ensure_future(anext(source, None))
                await asyncio.wait((coming, stopping), timeout=COMMENT_S, return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    return
                if not coming.done():
                    yield Piece("", "", b"")
                    continue
                piece, coming = coming.result(), None
                if piece is None:
                    return
                yield piece
        finally:
            self._open -= 1
            stopping.cancel()
            if coming is not None:
                coming.cancel()
                await asyncio.wait((coming,))
            await source.aclose()

    async def _lines(self, pieces: AsyncGenerator[Piece, None]) -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            try:
                async for piece in pieces:
                    yield _sse(piece)
            except LightfastError as error:  # the status is long gone: it is said in the stream, and that ends
                yield _sse(Piece("error", "", _error(error)))

    async def _changes(self, asked: QueryParams, position: str) -> AsyncGenerator[Piece, None]:
        store_id, revision = _position(position)
        snapshot = revision is None and asked.get("snapshot", "") in {"1", "true"}
        previous = asked.get("previous", "") in {"1", "true"}
        spec = WatchSpec(
            patterns=tuple(asked.getlist("pattern")) or ("//",),
            start_revision=revision,
            store_id=store_id,
            include_snapshot=snapshot,
            exclude_origins=tuple(asked.getlist("exclude_origin")),
            max_rate_hz=_rate(asked.get("max_rate_hz", "0")),
            include_previous=previous,
        )
        whole = not snapshot
        async with aclosing(watch(self._store, spec)) as batches:
            async for batch in batches:
                whole = whole or batch.synced  # a torn snapshot cannot be gone on from: it is sent again
                identity = f"{self._store.store_id}:{batch.revision}" if whole and batch.revision else ""
                yield Piece("batch", identity, batch_json(batch, self._store.store_id, previous=previous))

    async def _news(self, asked: QueryParams, position: str) -> AsyncGenerator[Piece, None]:
        store_id, number = _position(position)
        filtered = wanted(asked.getlist("kind"), asked.get("entity", ""))
        async with aclosing(self._events.watch(filtered, number, store_id)) as batches:
            async for events, reached in batches:
                for event in events:
                    body: dict[str, Any] = {
                        "sequence": str(event.sequence),
                        "kind": event.kind,
                        "entity_kind": event.entity_kind,
                        "entity_id": event.entity_id,
                        "time": time_json(event.time),
                        "payload": event.payload,
                    }
                    yield Piece("event", f"{self._events.store_id}:{event.sequence}", msgspec.json.encode(body))
                if not events:
                    yield Piece("bookmark", f"{self._events.store_id}:{reached}", b"{}")


def _position(text: str) -> tuple[str, int | None]:
    """Return the store and the number of `STORE:NUMBER`, or of a bare number."""
    if not text:
        return "", None
    store_id, _, number = text.rpartition(":")
    if not number.isdecimal() or len(number) > 18:
        raise InvalidArgument(f"{text!r:.80} is no position: send the id of the last message", field="after")
    return store_id, int(number)


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidArgument(f"max_rate_hz is {text!r:.40}: use a number", field="max_rate_hz") from None


def _slow() -> Exhausted:
    return Exhausted(f"nothing was read for {SEND_S:g} s: go on from the last message", reason="TOO_SLOW")


def _sse(piece: Piece) -> bytes:
    """Return one message of an event stream (WHATWG HTML, 9.2.6)."""
    if not piece.name:
        return b": still here\n\n"
    identity = b"id: " + piece.identity.encode() + b"\n" if piece.identity else b""
    return identity + b"event: " + piece.name.encode() + b"\ndata: " + piece.data + b"\n\n"


def _error(error: LightfastError) -> bytes:
    return msgspec.json.encode({"error": error.message, "reason": error.reason} | dict(error.metadata))


async def _close(socket: WebSocket, error: LightfastError) -> None:
    code = _CLOSED_FOR.get(error.status, _TRY_LATER if error.status in {"RESOURCE_EXHAUSTED", "UNAVAILABLE"} else 1011)
    text = '{"event":"error","data":' + _error(error).decode() + "}"
    try:
        async with asyncio.timeout(SEND_S):
            await socket.send_text(text)
            await socket.close(code, error.reason[:120])
    except (TimeoutError, RuntimeError, OSError):
        return  # who is gone cannot be told
