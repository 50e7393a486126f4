"""The OSCQuery server: a listener of its own, for programs that cannot send tokens.

So it shows granted patterns only, to this machine and to sources that are allowed, and takes nothing unless writing
was granted, too; then what comes passes the OSC door, with its types, ranges and budget. A web page reaches
loopback as well as any program: names in `Host` that are not ours, and pages that open a WebSocket, are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec
import structlog

from lightfast.core.clock import SYSTEM, Clock
from lightfast.wire.oscquery.advertise import Advertiser
from lightfast.wire.oscquery.client import Client, Write
from lightfast.wire.oscquery.host_info import host_info
from lightfast.wire.oscquery.hub import Hub
from lightfast.wire.oscquery.nodes import ATTRIBUTES, UNUSED, Nodes, NodeStore, TooLarge

log = structlog.get_logger("lightfast.oscquery")

MAX_TREES = 2
"""How many large answers are made at once; who comes then waits his turn."""
MAX_WS = 65_536
"""The longest WebSocket message that is taken, in bytes."""
EDITS = ("ADD_NODE", "REMOVE_NODE", "RENAME_NODE")
_JSON = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]

Send = Callable[[dict[str, Any]], Any]


class OscQueryServer:
    """Serves one bound socket until `stop`."""

    def __init__(
        self,
        sock: socket.socket,
        store: NodeStore,
        bus_listen: Callable[..., Callable[[], None]],
        *,
        grants: Sequence[str],
        write_grants: Sequence[str] = (),
        write: Write | None = None,
        osc_port: int = 0,
        allows: Callable[[str], bool],
        name: str = "",
        mdns: bool = False,
        clock: Clock = SYSTEM,
        most: int = 100_000,
    ) -> None:
        """*write* takes datagrams that are to be written, from *osc_port* or a WebSocket; *allows* judges a source."""
        self._socket = sock
        # What may be written is shown: a client that writes has to see what became of it.
        self._nodes = Nodes(store, (*grants, *write_grants), write_grants, most=most)
        self._hub = Hub(self._nodes, bus_listen)
        self._write = write if write_grants else None
        self._allows = allows
        self._clock = clock
        self._osc_port = osc_port
        self._host, self._port = sock.getsockname()[:2]
        self._name = name or f"lightfast-{socket.gethostname().partition('.')[0]}"
        self._names = {"localhost", socket.gethostname().lower(), f"{socket.gethostname().lower()}.local"}
        self._advertiser = Advertiser(self._name, self._host, self._port, osc_port) if mdns else None
        self._stream = _udp(self._host)
        self._trees = asyncio.Semaphore(MAX_TREES)
        self._server: Any = None
        self._stopping = False
        self._ended = asyncio.Event()

    @property
    def counts(self) -> dict[str, int]:
        """Say what was refused, and how many clients there are."""
        return {**self._hub.counts, "clients": len(self._hub.clients)}

    async def serve(self) -> None:
        """Load the libraries, off the loop, and serve until `stop`."""
        server = await asyncio.to_thread(_server, self.application)
        if self._stopping:
            return
        self._server = server
        try:
            if self._advertiser is not None:
                await self._advertiser.start()
            await server.serve(sockets=[self._socket])
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Take no more requests; returns when the open ones are answered or cut."""
        self._stopping = True
        self._hub.close()
        if self._advertiser is not None:
            await self._advertiser.stop()
        if self._server is None:
            self._socket.close()
        else:
            self._server.should_exit = True
            await self._ended.wait()
        self._stream.close()

    async def application(self, scope: Any, receive: Any, send: Send) -> None:
        """Answer one request, or serve one WebSocket."""
        refusal = self._refusal(scope)
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, refusal)
        elif scope["type"] == "http":
            if refusal is not None:
                await _error(send, *refusal)
            elif scope["method"] not in ("GET", "HEAD"):
                await _error(send, 405, "only GET is answered: the tree is written by OSC, where that is granted")
            else:
                await self._contained(scope, _headless(send) if scope["method"] == "HEAD" else send)

    async def _contained(self, scope: Any, send: Send) -> None:
        """Answer, and say in the log what should not have happened."""
        begun = False

        async def noted(message: dict[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._get(scope, noted)
        except Exception:
            log.exception("an oscquery request failed", path=scope["path"][:200])
            if begun:
                raise  # the connection is cut: half an answer is none
            await _error(send, 500, "it failed; the daemon's log says why")

    def _refusal(self, scope: Any) -> tuple[int, str] | None:
        """Return the status and the reason why somebody is not answered."""
        source = (scope.get("client") or ("", 0))[0]
        if not self._allows(source):
            self._hub.counts["source"] += 1
            return 403, f"{source} is not allowed here: list it in oscquery.allow"
        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(_bare(hosts[0])):
            self._hub.counts["host"] += 1
            return 421, "ask for localhost, for an address, or for this machine by its name"
        origins = [value.decode("latin-1") for name, value in headers if name == b"origin"]
        if origins and _bare(origins[0].partition("://")[2]) != _bare(hosts[0]):
            self._hub.counts["origin"] += 1
            return 403, "web pages of other servers are not answered"
        return None

    def _is_ours(self, name: str) -> bool:
        """Say whether *name* is ours: an address in numbers is, since nobody can rebind it."""
        if name.lower() in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    async def _get(self, scope: Any, send: Send) -> None:
        attribute = unquote(scope["query_string"].decode("latin-1")).partition("&")[0].partition("=")[0]
        if attribute == "HOST_INFO":
            host = (scope.get("server") or (self._host, 0))[0]
            info = host_info(self._name, host, self._port, self._osc_port, writable=self._write is not None)
            await _answer(send, msgspec.json.encode(info))
            return
        if attribute in EDITS:
            await _error(send, 403, "the tree is not edited from here")
            return
        if attribute in UNUSED:
            await _empty(send)
            return
        if attribute and attribute not in ATTRIBUTES:
            await _error(send, 400, f"there is no attribute {attribute:.40}: there is {', '.join(ATTRIBUTES)}")
            return
        raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1").partition("?")[0]
        try:
            path = await self._nodes.find(raw)
            if path is None:
                await _error(send, 404, f"there is nothing at {raw:.200}, or it is not granted")
            elif attribute and attribute != "CONTENTS":
                await self._attribute(path, attribute, send)
            else:
                async with self._trees:
                    await self._tree(path, attribute == "CONTENTS", send)
        except TooLarge as error:
            await _error(send, 413, str(error))

    async def _attribute(self, path: str, attribute: str, send: Send) -> None:
        entry = self._nodes.entry(path) if path != "/" else None
        if entry is not None:
            found = self._nodes.attributes(entry)
        else:
            from lightfast_link.path import ascii_path

            found = {"FULL_PATH": ascii_path(path), "ACCESS": 0}
        if attribute in found:
            await _answer(send, msgspec.json.encode({attribute: found[attribute]}))
        else:
            await _empty(send)

    async def _tree(self, path: str, contents_only: bool, send: Send) -> None:
        begun = False
        async for chunk in self._nodes.tree(path, contents_only=contents_only):
            if not begun:
                begun = True
                await send({"type": "http.response.start", "status": 200, "headers": _JSON})
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _websocket(self, scope: Any, receive: Any, send: Send, refusal: tuple[int, str] | None) -> None:
        await receive()  # websocket.connect
        host = (scope.get("client") or ("", 0))[0]
        client = Client(
            self._hub,
            send,
            host,
            self._clock,
            stream=self._streamed,
            write=self._write,
            closed=self._osc_port,
        )
        if refusal is not None or not self._hub.join(client):
            self._hub.counts["refused"] += 1
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            await send({"type": "websocket.accept"})
        except BaseException:
            self._hub.leave(client, ())
            raise
        await client.run(receive)
        if client.stuck:
            from lightfast.wire.oscquery.protocol import ABORT

            scope["extensions"][ABORT]()

    def _streamed(self, frame: bytes, target: tuple[str, int]) -> None:
        try:
            self._stream.sendto(frame, target)
        except OSError:  # a full buffer, or nobody there: the next value tells it
            self._hub.counts["stream_dropped"] += 1


def _udp(host: str) -> socket.socket:
    """Return a socket to send from, on the interface that is served."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_DGRAM)
    found.setblocking(False)
    with contextlib.suppress(OSError):
        found.bind((host, 0))
    return found


def _bare(host: str) -> str:
    """Return a host without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() and ":" not in name else host


async def _answer(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*_JSON, _length(body)]})
    await send({"type": "http.response.body", "body": body})


async def _error(send: Send, status: int, reason: str) -> None:
    body = msgspec.json.encode({"error": reason})
    await send({"type": "http.response.start", "status": status, "headers": [*_JSON, _length(body)]})
    await send({"type": "http.response.body", "body": body})


async def _empty(send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


def _headless(send: Send) -> Send:
    """Return a *send* that leaves bodies out, as HEAD asks."""

    async def without_body(message: dict[str, Any]) -> None:
        await send(message | {"body": b""} if "body" in message else message)

    return without_body


def _server(application: Any) -> Any:
    import uvicorn

    from lightfast.wire.oscquery.protocol import MAX_CONNECTIONS, BriefProtocol, CutProtocol

    class Server(uvicorn.Server):
        """Leaves the signals of the process to the daemon."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(
        uvicorn.Config(
            application,
            interface="asgi3",
            loop="none",
            http=BriefProtocol,
            ws=CutProtocol,
            ws_max_size=MAX_WS,
            ws_ping_interval=20.0,
            ws_ping_timeout=20.0,
            ws_per_message_deflate=False,
            lifespan="off",
            log_config=None,
            log_level="critical",  # what strangers send is no news, and they could fill the log with it
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            backlog=128,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=2,
            h11_max_incomplete_event_size=16 * 1024,
        )
    )
