"""What the emulators share: a small server with a journal, scripted faults, and answers that come when the test says.

    class Chimes(Emulator):
        service = "chimes"
        offers = frozenset(("401", "429", "500"))   # what `refusal` answers in the service's own words

        def routes(self):
            return [web.post("/v1/chime", self.chime)]

        def refusal(self, fault, call):
            return self.failure(int(fault[:3]), {"error": fault})

        async def chime(self, request):
            return self.content(request, b"ding", "audio/wav")

    async with Chimes() as emulator:                # on 127.0.0.1, a free port, in the loop of the test
        emulator.next("429")                        # the next request is refused; the one after is answered
        ...
        assert emulator.journal[0].headers["x-api-key"] == emulator.key

A fault is one of `GENERIC`, or of those that the emulator itself *offers*. See `Emulator.next`.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from multidict import CIMultiDict

GENERIC = frozenset(
    (
        "malformed",  # 200 and a body that breaks off in the middle of its JSON
        "content-type",  # 200 and a web page
        "disconnect",  # the connection ends before an answer
        "disconnect-mid",  # it ends in the middle of a stream, or of a body
        "stall",  # no answer at all
        "stall-mid",  # the stream stands still
        "oversize",  # an answer without an end
        "malformed-mid",  # nonsense in the middle of a stream
    )
)
DIALECT = ("401", "403", "404", "429", "429-terminal", "500", "503", "overloaded", "context", "filtered", "invalid")
"""What emulators offer where their service knows it: `refusal` answers it in the words of the service. `filtered` may
also be an answer, which the handler gives: `call.fault` is then `filtered`."""
ENDLESS = 64 * 1024 * 1024
"""Bytes after which even an endless answer ends, so that a client without a bound fails its test instead of hanging."""
KEY = "sk-emulated-9d41c7e85fab20636e1f"


@dataclass(slots=True)
class Fault:
    """What happens to one request; *on* is a part of its path."""

    kind: str
    on: str = ""


@dataclass(slots=True)
class Call:
    """One request as it came in, and how it ended: *closed* is true when the client went away before the end."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    fault: str = ""
    closed: bool = False
    done: bool = False
    sent: int = 0
    form: dict[str, list[Any]] = field(default_factory=dict)
    """The fields of a multipart form: text, or (file name, media type, bytes)."""
    at: float = field(default_factory=time.monotonic)
    """When it came in, and when it ended (0: not yet), in seconds of `time.monotonic`."""
    ended: float = 0.0

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)


_CALL = web.RequestKey("call", Call)


class Emulator:
    """A service on 127.0.0.1. Not every attribute is for every service.

    *retry_after* is what its 429 tells (seconds; -1: it tells nothing). *held* stops every answer that is under way:
    streams after *break_after* pieces, other answers before they begin. *pace* is a pause between pieces, in seconds.
    """

    service = ""
    prefix = ""
    """What follows the address in the base URL, such as `/v1`."""
    offers: frozenset[str] = frozenset()
    needs_key = True
    garbage = b"data: {broken\n\n"
    """A piece of a stream that cannot be read."""

    def __init__(self) -> None:
        self.key = KEY
        self.journal: list[Call] = []
        self.faults: list[Fault] = []
        self.retry_after = 7.0
        self.break_after = 2
        self.held = False
        self.pace = 0.0
        self.port = 0
        self._runner: web.AppRunner | None = None

    # --- what a service fills in ---

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes, with bound methods as handlers."""
        raise NotImplementedError

    def refusal(self, fault: str, call: Call) -> web.Response | None:
        """Return the answer to one of the faults on *offers*; `None`: the handler gives it (see `Call.fault`)."""
        raise NotImplementedError

    def authorized(self, call: Call) -> bool:
        """Say whether the key of a request is right; the usual way is a bearer."""
        return not self.needs_key or call.headers.get("Authorization") == f"Bearer {self.key}"

    def holds(self, call: Call) -> bool:
        """Say whether `hold` stops the answer to this request.

        Services with jobs return False for the requests that make jobs and ask about them: there, `held` means that
        jobs do not come to their end.
        """
        del call
        return True

    def cancelled(self, job: str) -> bool:
        """Say whether a job was cancelled by the client, for services with jobs."""
        del job
        return False

    # --- for tests ---

    @property
    def url(self) -> str:
        """The address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What `Session.base_url` is to be."""
        return self.url + self.prefix

    def next(self, kind: str, *, on: str = "", times: int = 1) -> None:
        """Let the next request, whose path contains *on*, fail in this way; *times* requests one after another."""
        known = GENERIC | self.offers
        assert kind in known, f"{self.service} knows no fault {kind!r}: use one of {', '.join(sorted(known))}"
        self.faults += [Fault(kind, on) for _ in range(times)]

    def calls(self, on: str = "", method: str = "") -> list[Call]:
        """Return what was asked, where the path contains *on*."""
        return [call for call in self.journal if on in call.path and method in {"", call.method}]

    @property
    def connections(self) -> int:
        """The connections that are open."""
        server = self._runner.server if self._runner else None
        return len(server.connections) if server else 0

    def hold(self) -> None:
        """Stop answers on their way until `release`."""
        self.held = True

    def release(self) -> None:
        """Let them go on."""
        self.held = False

    async def until(self, condition: Callable[[], Any], what: str, timeout: float = 60.0) -> None:
        """Wait for *condition*; `AssertionError` naming *what* did not come."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"{what} did not come within {timeout:g} s") from None

    # --- running ---

    async def start(self) -> Self:
        """Listen on a free port of 127.0.0.1."""
        app = web.Application(middlewares=[self._middleware], client_max_size=64 * 1024 * 1024)
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        """Close every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @contextmanager
    def threaded(self) -> Iterator[Self]:
        """Serve from a thread with a loop of its own, for clients that block."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name=f"emulator-{self.service}", daemon=True)
        thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self.start(), loop).result(60)
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self.stop(), loop).result(60)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(60)
            loop.close()

    # --- answers ---

    def answer(
        self, request: web.Request, payload: Any, *, headers: Mapping[str, str] | None = None, status: int = 200
    ) -> web.Response | _Bytes:
        """Return a JSON answer; it is endless or breaks off where the fault of the request says so."""
        call = call_of(request)
        body = json.dumps(payload).encode()
        if call.fault in {"oversize", "disconnect-mid", "stall-mid"}:
            start = b'{"padding": "' if call.fault == "oversize" else body[: len(body) // 2]
            return _Bytes(self, [start], "application/json", headers, endless=b"x" * 65536)
        return web.Response(status=status, body=body, content_type="application/json", headers=headers)

    def content(
        self, request: web.Request, body: bytes, media_type: str, *, headers: Mapping[str, str] | None = None
    ) -> _Bytes:
        """Return bytes, in pieces; endless or broken off where the fault of the request says so."""
        del request
        size = max(1, len(body) // 4)
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        return _Bytes(self, pieces, media_type, headers, endless=b"\0" * 65536)

    def stream(
        self,
        request: web.Request,
        pieces: Iterable[bytes],
        *,
        media_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
        endless: bytes = b"",
    ) -> _Bytes:
        """Return a stream of *pieces*; *endless* is what is repeated when its fault is `oversize`."""
        del request
        return _Bytes(self, pieces, media_type, headers, endless=endless)

    def failure(self, status: int, payload: Any, headers: Mapping[str, str] | None = None) -> web.Response:
        """Return a refusal with a JSON body."""
        return web.json_response(payload, status=status, headers=headers)

    async def wait_if_held(self, call: Call) -> None:
        """Wait until `release`, where this answer is one to be held."""
        while self.held and self.holds(call):
            await asyncio.sleep(0.005)

    # --- inside ---

    def _take(self, call: Call) -> str:
        for index, fault in enumerate(self.faults):
            if fault.on in call.path:
                return self.faults.pop(index).kind
        return ""

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        call = Call(
            request.method, request.path, dict(request.query), CIMultiDict(request.headers), await request.read()
        )
        request[_CALL] = call
        if request.content_type == "multipart/form-data":
            call.form = _form(request.headers["Content-Type"], call.body)
        self.journal.append(call)
        try:
            made: web.Response | _Bytes = await self._made(request, handler, call)
            if isinstance(made, _Bytes):
                return await made.send(request, call)
            call.sent = len(made.body) if isinstance(made.body, bytes) else 0
            return made
        except (asyncio.CancelledError, ConnectionResetError):
            call.closed = True
            raise
        finally:
            call.done, call.ended = True, time.monotonic()

    async def _made(self, request: web.Request, handler: Any, call: Call) -> Any:
        if not self.authorized(call):
            return self.refusal("401", call)
        call.fault = self._take(call)
        if call.fault in self.offers and (refusal := self.refusal(call.fault, call)) is not None:
            return refusal
        if call.fault == "malformed":
            return web.Response(body=b'{"id": "broken", "da', content_type="application/json")
        if call.fault == "content-type":
            return web.Response(body=b"<html><body>It works!</body></html>", content_type="text/html")
        if call.fault == "disconnect":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if call.fault == "stall":
            await asyncio.Event().wait()
        made = await handler(request)
        if not isinstance(made, _Bytes):
            await self.wait_if_held(call)
        return made


class _Bytes:
    """An answer in pieces, whose faults happen between them."""

    def __init__(
        self,
        emulator: Emulator,
        pieces: Iterable[bytes],
        media_type: str,
        headers: Mapping[str, str] | None,
        *,
        endless: bytes,
    ) -> None:
        self.emulator, self.pieces, self.media_type = emulator, pieces, media_type
        self.headers, self.endless = headers, endless

    async def send(self, request: web.Request, call: Call) -> web.StreamResponse:
        """Send it, as far as its fault allows."""
        response = web.StreamResponse(headers=self.headers)
        response.content_type = self.media_type
        response.enable_chunked_encoding()
        await response.prepare(request)
        emulator = self.emulator
        for count, piece in enumerate(self.pieces, 1):
            await response.write(piece)
            call.sent += len(piece)
            if count == emulator.break_after:
                await emulator.wait_if_held(call)
                if call.fault == "malformed-mid":
                    await response.write(emulator.garbage)
            if call.fault in {"disconnect-mid", "stall-mid", "oversize"} and count >= emulator.break_after:
                break
            if emulator.pace:
                await asyncio.sleep(emulator.pace)
        if call.fault == "stall-mid":
            await asyncio.Event().wait()
        if call.fault == "disconnect-mid":
            assert request.transport is not None
            request.transport.close()
            return response
        while call.fault == "oversize" and self.endless and call.sent < ENDLESS:
            await response.write(self.endless)
            call.sent += len(self.endless)
        await response.write_eof()
        return response


def call_of(request: web.Request) -> Call:
    """Return the journal's entry for a request."""
    return request[_CALL]


def _form(content_type: str, body: bytes) -> dict[str, list[Any]]:
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    assert boundary is not None, f"a form without a boundary: {content_type}"
    found: dict[str, list[Any]] = {}
    for part in body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").removesuffix(b"\r\n").partition(b"\r\n\r\n")
        said = head.decode()
        name, file = re.search(r'\bname="([^"]*)"', said), re.search(r'\bfilename="([^"]*)"', said)
        assert name is not None, f"a part of a form without a name: {said}"
        kind = re.search(r"(?i)content-type: *(\S+)", said)
        value = (file[1], kind[1] if kind else "", content) if file else content.decode()
        found.setdefault(name[1], []).append(value)
    return found


def events(payloads: Iterable[Any], *, named: bool = False, done: bool = False) -> Iterator[bytes]:
    """Return server-sent events: *named* adds the line `event:` from `type`, *done* the closing `[DONE]`."""
    for payload in payloads:
        name = f"event: {payload['type']}\n" if named else ""
        yield f"{name}data: {json.dumps(payload)}\n\n".encode()
    if done:
        yield b"data: [DONE]\n\n"


async def drained(iterator: AsyncIterator[Any]) -> list[Any]:
    """Return everything an iterator yields."""
    return [item async for item in iterator]
