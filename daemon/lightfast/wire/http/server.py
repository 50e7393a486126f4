"""The HTTP door: health for everybody, metrics and streams for whoever has a token.

The socket is bound early, so that a taken port stops the start; the libraries are loaded once
the daemon is ready, and connections that come before wait in the socket's queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import structlog

from lightfast.core.errors import LightfastError, Unauthenticated
from lightfast.core.metrics import CONTENT_TYPE, Metrics
from lightfast.security.tokens import Principal, Scope

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request
    from starlette.responses import Response

    from lightfast.wire.http.streams import Streams

log = structlog.get_logger("lightfast.http")

_LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
_STATUS = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "OUT_OF_RANGE": 410,
    "RESOURCE_EXHAUSTED": 429,
    "UNAVAILABLE": 503,
}


def bind(host: str, port: int) -> socket.socket:
    """Return a bound listening socket; raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(128)
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found


class HttpDoor:
    """Serves one bound socket until `stop`."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        authenticate: Callable[[str], Principal],
        metrics: Metrics,
        serving: Callable[[], bool],
        streams: Callable[[Callable[[HTTPConnection], Principal]], Streams] | None = None,
    ) -> None:
        """*streams* makes what serves the streams, when the libraries are loaded."""
        self._make_streams = streams
        self.streams: Streams | None = None
        self._socket = sock
        self._authenticate = authenticate
        self._metrics = metrics
        self._serving = serving
        self._server: Any = None
        self._stopping = False
        self._ended = asyncio.Event()

    @property
    def streams_open(self) -> int:
        """Return how many streams are open."""
        return 0 if self.streams is None else self.streams.open

    async def serve(self) -> None:
        """Load the libraries, off the loop, and serve until `stop`."""
        if self._make_streams is not None:
            self.streams = self._make_streams(self.principal)
        server = await asyncio.to_thread(_server, self)
        if self._stopping:
            return
        self._server = server
        try:
            await server.serve(sockets=[self._socket])
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Take no more requests; returns when the open ones are answered or cut."""
        self._stopping = True
        if self.streams is not None:
            self.streams.stop()
        if self._server is None:
            self._socket.close()
        else:
            self._server.should_exit = True
            await self._ended.wait()

    def principal(self, request: HTTPConnection) -> Principal:
        """Return who asks; raises `Unauthenticated`."""
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise Unauthenticated("send the header `authorization: Bearer TOKEN`; `lightfast token` issues one")
        return self._authenticate(secret.strip())

    async def health(self, request: Request) -> Response:
        """Say whether the daemon serves, and no more."""
        from starlette.responses import JSONResponse

        if self._serving():
            return JSONResponse({"status": "SERVING"})
        return JSONResponse({"status": "NOT_SERVING"}, status_code=503)

    async def metrics(self, request: Request) -> Response:
        """Return the metrics to whoever may watch."""
        from starlette.responses import Response

        self.principal(request).require(Scope.WATCH)
        return Response(self._metrics.render(), headers={"content-type": CONTENT_TYPE})


def _server(door: HttpDoor) -> Any:
    import uvicorn

    from lightfast.wire.http.protocol import MAX_CONNECTIONS, BoundedProtocol

    class Server(uvicorn.Server):
        """Leaves the signals of the process to the daemon."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(
        uvicorn.Config(
            _application(door),
            loop="none",
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",  # what strangers send is no news, and they could fill the log with it
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            backlog=128,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=32 * 1024,
        )
    )


def _application(door: HttpDoor) -> Any:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.responses import JSONResponse
    from starlette.routing import Route, WebSocketRoute

    from lightfast.wire.http.protocol import STREAMS

    async def refuse(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, LightfastError):
            body = {"error": error.message, "reason": error.reason} | dict(error.metadata)
            code = _STATUS.get(error.status, 400)
            return JSONResponse(body, status_code=code, headers={"www-authenticate": "Bearer"} if code == 401 else None)
        code = error.status_code if isinstance(error, HTTPException) else 500
        what = {404: "there is nothing here", 405: "not this way"}.get(code, "it failed")
        return JSONResponse({"error": what, "reason": f"HTTP_{code}"}, status_code=code)

    routes: list[Any] = [
        Route("/health", door.health, methods=["GET"]),
        Route("/metrics", door.metrics, methods=["GET"]),
    ]
    if (streams := door.streams) is not None:
        for path in sorted(STREAMS):
            routes += [Route(path, streams.sse, methods=["GET"]), WebSocketRoute(path, streams.websocket)]
    application = Starlette(
        routes=routes,
        exception_handlers={LightfastError: refuse, HTTPException: refuse, Exception: refuse},
    )

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        """Answer only when asked by a name of this machine, and never a page from elsewhere."""
        wrong = scope["type"] in {"http", "websocket"} and _stranger(scope["headers"])
        if wrong:
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008, "reason": wrong[0]})
                return
            await JSONResponse({"error": wrong[1], "reason": wrong[0]}, status_code=421)(scope, receive, send)
            return
        await application(scope, receive, send)

    return checked


def _stranger(headers: list[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """Return why a request is not answered: a web page that rebinds a name, or one of another origin, sent it."""
    if not _local_host(headers):
        return "WRONG_HOST", "ask for localhost or 127.0.0.1"
    origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
    for origin in origins:
        host = origin.partition("://")[2]
        if not _local_host([(b"host", host.encode("latin-1"))]):
            return "WRONG_ORIGIN", f"pages of {origin:.80} are not answered"
    return None


def _local_host(headers: list[tuple[bytes, bytes]]) -> bool:
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        return False
    name, _, port = hosts[0].rpartition(":")
    if not name or not port.isdigit():
        name = hosts[0]
    return name.strip("[]").lower() in _LOCAL_NAMES
