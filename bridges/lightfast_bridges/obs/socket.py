"""The connection to obs-websocket 5: identified, questions answered within a deadline, events handed on."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import json
import socket as sockets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import structlog

from lightfast.sdk.patience import Patience
from lightfast_bridges.obs.settings import Settings

log = structlog.get_logger("lightfast.bridges.obs")

RPC_VERSION = 1
HELLO, IDENTIFY, IDENTIFIED, EVENT, REQUEST, RESPONSE = 0, 1, 2, 5, 6, 7
SUBSCRIPTIONS = 0x7FF & ~(1 << 9) | 1 << 19
"""All events but those of vendors, and the moves of scene items."""
MAX_MESSAGE = 64 << 20
"""A screenshot comes as one message."""
AT_ONCE = 32
"""Questions under way at once."""
MAX_WAITING = 2000
"""Questions that may wait for their turn; further ones are refused."""
AUTHENTICATION_FAILED, UNSUPPORTED_VERSION, THROWN_OUT = 4009, 4010, 4011
CAUSES = {
    204: "this OBS does not know the request: update it",
    207: "OBS is not ready yet",
    300: "a field is missing",
    400: "a field is malformed",
    401: "a field has the wrong type",
    402: "a value is out of range",
    403: "a field is empty",
    500: "that output is running already",
    501: "that output is not running",
    502: "that output is paused",
    503: "that output is not paused",
    504: "that output is switched off",
    505: "studio mode is on",
    506: "studio mode is off",
    600: "there is no such thing in OBS",
    601: "OBS has one of that name already",
    602: "it is of the wrong type",
    603: "there are too few of them",
    604: "its state does not allow that",
    605: "the input is of the wrong kind",
    606: "the filter is of the wrong kind",
    700: "OBS could not create it",
    701: "OBS could not do it",
    702: "OBS failed at it",
    703: "OBS cannot act on that",
}
"""What the codes of `requestStatus` mean."""
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)
"""What a message raises that no OBS sends."""


class ClosedError(Exception):
    """The connection is gone, or was never there; *code* is why OBS closed it, 0 where it did not say."""

    def __init__(self, reason: str, code: int = 0) -> None:
        super().__init__(reason)
        self.code = code


class RefusedError(Exception):
    """OBS refused a request; *code* is its `requestStatus`."""

    def __init__(self, request: str, code: int, comment: str) -> None:
        cause = CAUSES.get(code, f"code {code}")
        super().__init__(f"OBS refused {request}: {cause}" + (f" ({comment.rstrip('.')})" if comment else ""))
        self.code = code


class SilentError(Exception):
    """OBS did not answer within the deadline."""


class Connection:
    """One identified connection; *version* is that of obs-websocket."""

    def __init__(self, socket: Any, version: str, patience: float) -> None:
        self.version = version
        self.on_event: Callable[[str, Mapping[str, Any]], None] = lambda _, __: None
        self._socket, self._patience = socket, patience
        self._numbers = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._queued = 0

    async def ask(self, request: str, data: Mapping[str, Any] | None = None, *, timeout: float = 0.0) -> dict[str, Any]:
        """Make one request and return its data.

        Raises `RefusedError` with the cause, `SilentError` past the deadline, `ClosedError` where nobody is there.
        """
        if self._queued >= MAX_WAITING:
            raise SilentError(f"{MAX_WAITING} requests wait for OBS already: {request} was not sent")
        self._queued += 1
        try:
            async with self._turns:
                return await self._ask(request, data or {}, timeout or self._patience)
        finally:
            self._queued -= 1

    async def _ask(self, request: str, data: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        number = str(next(self._numbers))
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        message = {"requestType": request, "requestId": number, "requestData": dict(data)}
        try:
            async with asyncio.timeout(None) as scope:
                patience = Patience(timeout, scope.reschedule, 0.0)
                try:
                    await self._send(REQUEST, message)
                    said = await answer
                finally:
                    patience.cancel()
        except TimeoutError:
            raise SilentError(f"OBS did not answer {request} within {timeout:g} s") from None
        finally:
            self._waiting.pop(number, None)
        status = said.get("requestStatus")
        if not isinstance(status, dict) or not status.get("result"):
            code, comment = (status.get("code"), status.get("comment")) if isinstance(status, dict) else (0, "")
            raise RefusedError(request, code if isinstance(code, int) else 0, str(comment or ""))
        found = said.get("responseData")
        return found if isinstance(found, dict) else {}

    async def _send(self, op: int, data: Mapping[str, Any]) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._socket.send(json.dumps({"op": op, "d": data}))
        except ConnectionClosed as error:
            raise closed(error) from None

    async def read(self) -> None:
        """Take what OBS sends until it closes the connection, which raises `ClosedError`."""
        from websockets.exceptions import ConnectionClosed

        try:
            while True:
                if self._take(await self._socket.recv()):
                    # Whoever asked goes on first: what OBS said after an answer is newer, and counts after it.
                    await asyncio.sleep(0)
        except ConnectionClosed as error:
            gone = closed(error)
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(gone)
                    answer.exception()  # it may have nobody who waits any more
            raise gone from None

    def _take(self, text: str | bytes) -> bool:
        """Take one message, and say whether somebody waits for it; what is malformed is dropped."""
        try:
            message = json.loads(text)
            op, data = message["op"], message["d"]
            if op == RESPONSE:
                answer = self._waiting.get(data["requestId"])
                if answer is not None and not answer.done() and isinstance(data, dict):
                    answer.set_result(data)
                    return True
            elif op == EVENT:
                self.on_event(str(data["eventType"]), data.get("eventData") or {})
        except UNREADABLE as error:
            log.debug("a message of obs was dropped", reason=repr(error)[:200])
        return False


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Connection]:
    """Connect and identify; raises `ClosedError` that says what is in the way."""
    plain = await _reach(settings)
    # Only now: the library takes 12 MB, which a daemon without an OBS does not need.
    client = await asyncio.to_thread(__import__, "websockets.asyncio.client", fromlist=["connect"])
    from websockets.exceptions import ConnectionClosed, WebSocketException
    from websockets.typing import Subprotocol

    opening = client.connect(
        settings.url,
        sock=plain,  # besides, a redirection to another server is not followed then
        subprotocols=[Subprotocol("obswebsocket.json")],
        max_size=MAX_MESSAGE,
        open_timeout=settings.patience,
        close_timeout=1.0,
        ping_interval=None,
        proxy=None,
    )
    try:
        socket = await opening.__aenter__()
    except (OSError, TimeoutError) as error:
        plain.close()
        raise ClosedError(f"nothing answers at {settings.url} ({str(error) or 'no answer'})") from None
    except (WebSocketException, ValueError) as error:
        plain.close()
        raise ClosedError(f"what answers at {settings.url} is not obs-websocket ({error})") from None
    try:
        try:
            version = await _identify(socket, settings)
        except ConnectionClosed as error:
            raise closed(error) from None
        except TimeoutError:
            raise ClosedError(f"what answers at {settings.url} does not greet as obs-websocket does") from None
        except UNREADABLE as error:
            raise ClosedError(f"what answers at {settings.url} is not obs-websocket 5 ({repr(error)[:200]})") from None
        yield Connection(socket, version, settings.patience)
    finally:
        await opening.__aexit__(None, None, None)


async def _reach(settings: Settings) -> sockets.socket:
    """Return a socket that is connected to where OBS listens; raises `ClosedError`."""
    loop = asyncio.get_running_loop()
    trouble: Exception = OSError("no answer")
    try:
        async with asyncio.timeout(settings.patience):
            for family, kind, protocol, _, address in await loop.getaddrinfo(
                *settings.address, type=sockets.SOCK_STREAM
            ):
                plain = sockets.socket(family, kind, protocol)
                plain.setblocking(False)
                try:
                    await loop.sock_connect(plain, address)
                except OSError as error:
                    plain.close()
                    trouble = error
                except BaseException:
                    plain.close()
                    raise
                else:
                    return plain
    except (OSError, TimeoutError, UnicodeError) as error:
        trouble = error
    raise ClosedError(f"nothing answers at {settings.url} ({str(trouble) or 'no answer'})")


async def _identify(socket: Any, settings: Settings) -> str:
    """Answer the greeting, and return the version of obs-websocket."""
    async with asyncio.timeout(settings.patience):
        greeting = json.loads(await socket.recv())
        if greeting["op"] != HELLO:
            raise ValueError(f"the first message has op {greeting['op']}")
        hello = greeting["d"]
        identify: dict[str, Any] = {
            "rpcVersion": min(RPC_VERSION, int(hello["rpcVersion"])),
            "eventSubscriptions": SUBSCRIPTIONS,
        }
        if "authentication" in hello:
            if not settings.password:
                raise ClosedError("OBS asks for a password", AUTHENTICATION_FAILED)
            identify["authentication"] = authentication(settings.password, **hello["authentication"])
        await socket.send(json.dumps({"op": IDENTIFY, "d": identify}))
        while json.loads(await socket.recv())["op"] != IDENTIFIED:
            pass  # an event may come first
    return str(hello.get("obsWebSocketVersion", ""))


def authentication(password: str, salt: str, challenge: str) -> str:
    """Return the answer to a challenge."""
    secret = base64.b64encode(hashlib.sha256((password + salt).encode()).digest()).decode()
    return base64.b64encode(hashlib.sha256((secret + challenge).encode()).digest()).decode()


def closed(error: Any) -> ClosedError:
    """Return why a connection is gone."""
    code = error.rcvd.code if error.rcvd is not None else 0
    said = error.rcvd.reason if error.rcvd is not None else ""
    if code == AUTHENTICATION_FAILED:
        return ClosedError("OBS does not accept the password", code)
    if code == UNSUPPORTED_VERSION:
        return ClosedError("this OBS speaks another version of its protocol: update OBS or Lightfast", code)
    if code == THROWN_OUT:
        return ClosedError("somebody ended the session in OBS (WebSocket Server Settings)", code)
    if code in {1000, 1001}:
        return ClosedError("OBS was closed", code)
    return ClosedError(f"OBS closed the connection ({code} {said})" if code else "the connection to OBS broke", code)


def _each(group: BaseExceptionGroup[Exception]) -> list[Exception]:
    """Return the exceptions of a group, and of the groups in it."""
    found: list[Exception] = []
    for one in group.exceptions:
        found += _each(one) if isinstance(one, BaseExceptionGroup) else [one]
    return found


def first_of(group: BaseExceptionGroup[Exception]) -> Exception:
    """Return the first exception of a group."""
    return _each(group)[0]


def why_closed(group: BaseExceptionGroup[Exception]) -> ClosedError:
    """Return why a session ended: what OBS said itself, before what followed from it."""
    found = _each(group)
    said = [one for one in found if isinstance(one, ClosedError)]
    return max(said, key=lambda one: one.code) if said else ClosedError(str(found[0]))
