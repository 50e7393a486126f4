"""What stands before every method: who calls, what they may, in which lane, and how errors leave.

It is no gRPC interceptor: those cost every call a chain of closures. Each method is wrapped once,
when the server is made, in one coroutine that takes and returns bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, NoReturn

import structlog
from google.protobuf.message import DecodeError, Message
from grpc import aio

from lightfast.context.flow.flow import Flow, Turn
from lightfast.context.flow.gate import Gate
from lightfast.context.flow.records import Lane, lane_named
from lightfast.core.clock import SYSTEM
from lightfast.core.errors import DeadlineExceeded, Exhausted, InvalidArgument, LightfastError, Unavailable
from lightfast.core.ids import new_id
from lightfast.security.tokens import LOCAL, Principal, Scope, TokenBook
from lightfast.storage.requests import Requests
from lightfast.wire.grpc.errors import status_of
from lightfast.wire.grpc.lanes import Pick
from lightfast.wire.grpc.services import Caller

log = structlog.get_logger("lightfast.grpc")
monotonic = SYSTEM.monotonic

MAX_UNARY = 2_000
"""How many unary calls may be under way."""
MAX_STREAMS = 4_000
"""How many streams may be open: they last, so they are counted apart."""
ONE_CLIENT = 7 / 8
"""The part of the streams that one client may open, so that others always find some."""
MAX_BACKGROUND_STREAMS = 8
"""How many streams of background work may be open: each takes its turn for every step."""
ENDLESS = frozenset(("Converse", "KeepLease", "Publish", "ServerReflectionInfo", "WatchJobs", "WatchTransport"))
"""The streams that only their clients end, and that nobody else ends when the daemon stops: see `send_away`."""
UNARY_DEADLINE = 60.0
"""How long, in seconds, a unary call without a deadline of its own may take."""
NOBODY = Caller(Principal("", frozenset()), "")
_SESSION = re.compile(r"[a-z0-9]{1,32}")
_COST_SIZE = 64 << 10
"""So many bytes of a request cost as much as a call."""

Unary = Callable[[Any, Caller], Awaitable[Message]]
Stream = Callable[[Any, Caller], AsyncIterator[Message | bytes]]
Handler = Callable[[Any, Any], Awaitable[bytes | None]]


class Door:
    """Wraps methods. One for all of a server, because the bounds are the server's."""

    def __init__(
        self,
        tokens: TokenBook,
        requests: Requests,
        *,
        max_unary: int = MAX_UNARY,
        max_streams: int = MAX_STREAMS,
        unary_deadline: float = UNARY_DEADLINE,
        flow: Flow | None = None,
    ) -> None:
        self.flow = Flow() if flow is None else flow
        self._open: dict[str, int] = {}
        self._background_streams = 0
        self._authenticate = tokens.authenticate
        self._requests = requests
        self._max_unary = max_unary
        self._max_streams = max_streams
        self._deadline = unary_deadline
        self._running: dict[asyncio.Task[Any], tuple[float, aio.ServicerContext[Any, Any]]] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._streams: dict[asyncio.Task[Any], tuple[Scope | None, aio.ServicerContext[Any, Any], str]] = {}
        self._turned_out: dict[asyncio.Task[Any], LightfastError] = {}

    @property
    def open_calls(self) -> tuple[int, int]:
        """Return how many unary calls and how many streams are under way."""
        return len(self._running), len(self._streams)

    def enter(self, context: aio.ServicerContext[Any, Any], scope: Scope | None) -> Caller:
        """Return who calls; raise `Unauthenticated`, or `Denied` where the scope is missing.

        Without a *scope* the method is open, and nobody in particular calls.
        """
        if scope is None:
            return NOBODY
        secret = session = ""
        lane = Lane.INTERACTIVE
        for key, value in context.invocation_metadata() or ():
            if key == "authorization":
                if value[:7].lower() == "bearer ":
                    secret = str(value[7:])
            elif key == "lightfast-session":
                session = str(value)
            elif key == "lightfast-lane":
                lane = lane_named(str(value))
        local = not secret and context.peer().startswith("unix:")
        principal = LOCAL if local else self._authenticate(secret)
        if scope not in principal.scopes:
            principal.require(scope)
        if session and not _SESSION.fullmatch(session):
            raise InvalidArgument(
                f"lightfast-session is {session!r:.50}: use 1 to 32 characters of a-z and 0-9",
                field="lightfast-session",
            )
        return Caller(principal, session, lane)

    def unary(
        self,
        method: Unary,
        request_type: type[Message],
        scope: Scope | None,
        name: str,
        *,
        once: bool,
        lane: Lane | Pick = Lane.INTERACTIVE,
    ) -> Handler:
        """Wrap a method with one request and one response; *once* honors `request_id`.

        It goes in *lane*, or in a less urgent one where the caller asks for that.
        """
        pick, fixed = (None, lane) if isinstance(lane, Lane) else (lane, Lane.INTERACTIVE)
        running, flow, gates = self._running, self.flow, self.flow.gates
        parse: Callable[[bytes], Any] = request_type.FromString
        enter = self.enter

        async def handle(data: bytes, context: aio.ServicerContext[Any, Any]) -> bytes:
            task = asyncio.current_task()
            if task is None or len(running) >= self._max_unary:
                await _refuse(context, _too_many(f"{self._max_unary} calls are under way"))
            began = monotonic()
            running[task] = (began, context)
            gate: Gate | None = None
            turn: Turn | None = None
            client = ""
            try:
                caller = enter(context, scope)
                request = parse(data)
                if scope is not None:
                    client = caller.principal.origin
                    usual = fixed if pick is None else pick(request)
                    wanted = gates[max(usual, caller.lane)]
                    if wanted.lane is not Lane.BACKGROUND and wanted.enter(client):
                        gate = wanted
                    else:
                        turn = await flow.enter(wanted.lane, client, 1 + len(data) / _COST_SIZE)
                if once and request.request_id and not getattr(request, "validate_only", False):
                    return await self._once(method, request, caller, name)
                return (await method(request, caller)).SerializeToString()
            except LightfastError as error:
                await _refuse(context, error)
            except aio.AbortError:
                raise
            except DecodeError:
                await _refuse(context, _undecodable(request_type))
            except asyncio.CancelledError:
                if task not in self._expired:
                    raise
                task.uncancel()
                await _refuse(context, _overdue(name, self._deadline))
            except Exception:
                error_id = new_id("error")
                log.exception("a method failed", method=name, error_id=error_id)
                await _refuse(context, _failed(name, error_id))
            finally:
                if gate is not None:
                    flow.leave(gate, client, began)
                elif turn is not None:
                    turn.leave()
                del running[task]
                self._expired.discard(task)

        return handle

    async def _once(self, method: Unary, request: Any, caller: Caller, name: str) -> bytes:
        async def act() -> bytes:
            return (await method(request, caller)).SerializeToString()

        return await self._requests.once(
            caller.principal.origin, name, request.request_id, request.SerializeToString(deterministic=True), act
        )

    def client_stream(
        self,
        method: Unary,
        request_type: type[Message],
        scope: Scope | None,
        name: str,
        *,
        lane: Lane = Lane.INTERACTIVE,
    ) -> Handler:
        """Wrap a method with many requests and one response."""

        async def call(requests: AsyncIterator[Message], caller: Caller, _: aio.ServicerContext[Any, Any]) -> bytes:
            return (await method(requests, caller)).SerializeToString()

        return self._stream(call, request_type, scope, name, many_requests=True, lane=lane)

    def server_stream(
        self,
        method: Stream,
        request_type: type[Message],
        scope: Scope | None,
        name: str,
        *,
        many_requests: bool,
        lane: Lane = Lane.INTERACTIVE,
    ) -> Handler:
        """Wrap a method with many responses; it yields messages, or bytes that are messages already.

        In the background lane each response is worked out in a turn of its own.
        """

        async def call(request: Any, caller: Caller, context: aio.ServicerContext[Any, Any]) -> None:
            write = context.write
            async with aclosing(method(request, caller)) as responses:  # type: ignore[type-var]  # it is a generator
                if lane is Lane.BACKGROUND:
                    responses = self._in_turns(responses, caller)  # noqa: PLW2901
                async for response in responses:
                    await write(response if type(response) is bytes else response.SerializeToString())  # type: ignore[union-attr]

        return self._stream(call, request_type, scope, name, many_requests=many_requests, lane=lane)

    async def _in_turns(self, responses: AsyncIterator[Message | bytes], caller: Caller) -> AsyncIterator[Any]:
        name = caller.principal.origin
        while True:
            async with self.flow.background(name=name):
                response = await anext(responses, None)
            if response is None:
                return
            yield response

    def _stream(
        self,
        call: Callable[[Any, Caller, aio.ServicerContext[Any, Any]], Awaitable[bytes | None]],
        request_type: type[Message],
        scope: Scope | None,
        name: str,
        *,
        many_requests: bool,
        lane: Lane,
    ) -> Handler:
        async def handle(incoming: Any, context: aio.ServicerContext[Any, Any]) -> bytes | None:
            task = asyncio.current_task()
            if task is None or len(self._streams) >= self._max_streams:
                await _refuse(context, _too_many(f"{self._max_streams} streams are open"))
            self._streams[task] = (scope, context, name)
            client: str | None = None
            try:
                caller = self.enter(context, scope)
                self._admit(caller.principal.origin, lane)
                client = caller.principal.origin
                request = _parsed(incoming, request_type) if many_requests else request_type.FromString(incoming)
                return await call(request, caller, context)
            except LightfastError as error:
                await _refuse(context, error)
            except aio.AbortError:
                raise
            except DecodeError:
                await _refuse(context, _undecodable(request_type))
            except asyncio.CancelledError:
                if task not in self._turned_out:
                    raise
                task.uncancel()
                await _refuse(context, self._turned_out[task])
            except Exception:
                error_id = new_id("error")
                log.exception("a method failed", method=name, error_id=error_id)
                await _refuse(context, _failed(name, error_id))
            finally:
                del self._streams[task]
                self._turned_out.pop(task, None)
                if client is not None:
                    self._dismiss(client, lane)

        return handle

    def _admit(self, client: str, lane: Lane) -> None:
        """Count one more stream of *client*; raise `Exhausted` where it has too many."""
        count = self._open.get(client, 0)
        most = max(1, int(self._max_streams * ONE_CLIENT)) if self._max_streams >= MAX_BACKGROUND_STREAMS else count + 1
        if count >= most:
            raise _too_many(f"{count} streams of {client or 'nobody in particular'} are open")
        if lane is Lane.BACKGROUND:
            if self._background_streams >= MAX_BACKGROUND_STREAMS:
                self.flow.gates[lane].refuse(f"{self._background_streams} streams of it are open", 5.0)
            self._background_streams += 1
        self._open[client] = count + 1
        self.flow.gates[lane].admitted += 1

    def _dismiss(self, client: str, lane: Lane) -> None:
        self._background_streams -= lane is Lane.BACKGROUND
        self._open[client] -= 1
        if not self._open[client]:
            del self._open[client]

    def sweep(self) -> None:
        """Cancel unary calls that are overdue, and streams whose token was revoked or has expired.

        Calls with a deadline of their own are left to it.
        """
        for task, (scope, context, _) in tuple(self._streams.items()):
            try:
                self.enter(context, scope)
            except LightfastError as error:
                self._turn_out(task, error)
        limit = monotonic() - self._deadline
        for task, (began, context) in tuple(self._running.items()):
            if began < limit and context.time_remaining() is None and task not in self._expired:
                self._expired.add(task)
                task.cancel()

    def send_away(self) -> None:
        """End the `ENDLESS` streams: the daemon stops, and they come back later; all else may come to its own end."""
        for task, (_, _, name) in tuple(self._streams.items()):
            if name in ENDLESS:
                self._turn_out(task, _stopping())

    def _turn_out(self, task: asyncio.Task[Any], error: LightfastError) -> None:
        if task not in self._turned_out:
            self._turned_out[task] = error
            task.cancel()


async def _parsed(incoming: AsyncIterator[bytes], request_type: type[Message]) -> AsyncIterator[Message]:
    async for data in incoming:
        yield request_type.FromString(data)


async def _refuse(context: aio.ServicerContext[Any, Any], error: LightfastError) -> NoReturn:
    code, message, trailers = status_of(error)
    await context.abort(code, message, trailers)
    raise AssertionError("abort returns by raising")


def _failed(name: str, error_id: str) -> LightfastError:
    return LightfastError(
        f"{name} failed inside the daemon; its log has the details under {error_id}",
        metadata={"error_id": error_id},
    )


def _too_many(what: str) -> Exhausted:
    return Exhausted(f"{what}, which is the most: try again in a moment", reason="TOO_MANY_CALLS", retry_after=1.0)


def _stopping() -> Unavailable:
    return Unavailable("the daemon stops: come back in a moment", reason="STOPPING", retry_after=1.0)


def _overdue(name: str, seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(f"{name} took longer than {seconds:g} s: send a longer deadline if it should")


def _undecodable(request_type: type[Message]) -> InvalidArgument:
    return InvalidArgument(
        f"the request is not a {request_type.DESCRIPTOR.full_name}: the client was built from another contract",
        reason="REQUEST_MALFORMED",
    )


def digest(request: Message) -> str:
    """Return the SHA-256, in hex, by which two requests are known as the same."""
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
