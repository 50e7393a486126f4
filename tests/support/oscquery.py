"""OSCQuery in this process: our server over a real store, and a small server of our own making to ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import SOCK_STREAM
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import websockets
from tests.support.ports import free_port
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from lightfast.context.store import Store
from lightfast.context.watch import Bus
from lightfast.core.clock import SYSTEM
from lightfast.core.osc import decode
from lightfast.core.osc_build import encode
from lightfast.core.tasks import TaskGroup
from lightfast.storage.database import Database
from lightfast.wire.http.server import bind
from lightfast.wire.osc.admission import Sources
from lightfast.wire.osc.door import OscDoor
from lightfast.wire.oscquery.server import OscQueryServer


@dataclass
class Served:
    """Our server, with the store it shows."""

    store: Store
    server: OscQueryServer
    door: OscDoor
    address: str
    osc_port: int

    async def get(self, path: str = "/", **headers: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            return await http.get(f"http://{self.address}{path}", headers=headers)

    async def json(self, path: str = "/") -> Any:
        answer = await self.get(path)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return answer.json()

    def websocket(self, **options: Any) -> websockets.connect:
        return websockets.connect(f"ws://{self.address}/", proxy=None, **{"close_timeout": 1, **options})


@asynccontextmanager
async def served(
    folder: Path,
    *,
    grants: Sequence[str] = ("//",),
    write: Sequence[str] = (),
    store: Store | None = None,
    **options: Any,
) -> AsyncIterator[Served]:
    """Serve a store: *store*, or one in *folder*."""
    async with AsyncExitStack() as stack:
        if store is None:
            db = await Database.open(folder / "context.db", clock=SYSTEM)
            stack.push_async_callback(db.close)
            store = await Store.open(db, clock=SYSTEM, bus=Bus(db.store_id))
            stack.push_async_callback(store.close)
        door = OscDoor(store, listen="127.0.0.1:0", grants=write)
        osc_port = int((await door.start()).rpartition(":")[2])
        stack.push_async_callback(door.stop)
        sock = bind("127.0.0.1", 0)
        bus = store.bus
        assert isinstance(bus, Bus)
        settings: dict[str, Any] = {"allows": Sources().allows, **options}
        server = OscQueryServer(
            sock, store, bus.listen, grants=grants, write_grants=write, write=door.take, osc_port=osc_port, **settings
        )
        tasks = await stack.enter_async_context(TaskGroup("oscquery test"))
        tasks.start(server.serve(), "serve")
        stack.push_async_callback(server.stop)
        host, port = sock.getsockname()
        yield Served(store, server, door, f"{host}:{port}", osc_port)


def command(name: str, data: Any) -> str:
    return json.dumps({"COMMAND": name, "DATA": data})


async def frames(socket: Any, count: int, seconds: float = 60.0) -> list[Any]:
    """Return the next *count* messages: OSC decoded, JSON parsed."""
    found: list[Any] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            message = await socket.recv()
            found.append(json.loads(message) if isinstance(message, str) else decode(message)[0])
    return found


@dataclass
class Node:
    """One value of the small server."""

    tags: str
    value: list[Any]
    more: dict[str, Any] = field(default_factory=dict)


class SmallServer(asyncio.DatagramProtocol):
    """An OSCQuery server in the way of the proposal, which knows nothing of ours. It does not echo to who wrote."""

    def __init__(self, nodes: dict[str, Node], *, name: str = "Small", listen: bool = True, **info: Any) -> None:
        self.nodes = nodes
        self.name = name
        self.listens = listen
        self.info = info
        self.sockets: dict[ServerConnection, set[str]] = {}
        self.asked: list[str] = []
        self.heard: list[tuple[str, tuple[Any, ...]]] = []
        self.raw: dict[str, bytes] = {}
        """Answers instead of the right ones, by path."""
        self._sends: set[Any] = set()
        # It may stop and start again: nobody else is given these ports meanwhile.
        self.port, self.osc_port = free_port(SOCK_STREAM), free_port()
        self._http: Any = None
        self._udp: Any = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", self.osc_port))
        self._http = await serve(self._socket, "127.0.0.1", self.port, process_request=self._request)

    async def stop(self) -> None:
        self._udp.close()
        self._http.close(close_connections=True)
        await self._http.wait_closed()

    async def __aenter__(self) -> SmallServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _request(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return None
        parts = urlsplit(request.path)
        self.asked.append(request.path)
        path, query = unquote(parts.path), parts.query
        if query.startswith("HOST_INFO"):
            return self._answer(path + "?HOST_INFO", self.host_info())
        if query.startswith("VALUE"):
            node = self.nodes.get(path)
            return self._answer(path + "?VALUE", {"VALUE": node.value} if node else None)
        return self._answer(path, self.tree(path.rstrip("/")))

    def _answer(self, path: str, body: Any) -> Response:
        content = self.raw.get(path) or json.dumps(body).encode()
        status = 404 if body is None and path not in self.raw else 200
        headers = Headers(
            {"Content-Type": "application/json", "Content-Length": str(len(content)), "Connection": "close"}
        )
        return Response(status, "", headers, content)

    def host_info(self) -> dict[str, Any]:
        extensions = {"ACCESS": True, "VALUE": True, "LISTEN": self.listens, "PATH_CHANGED": True}
        return {
            "NAME": self.name,
            "EXTENSIONS": extensions,
            "OSC_IP": "127.0.0.1",
            "OSC_PORT": self.osc_port,
            "OSC_TRANSPORT": "UDP",
            "WS_PORT": self.port,
            **self.info,
        }

    def tree(self, path: str) -> dict[str, Any]:
        root: dict[str, Any] = {"FULL_PATH": path or "/", "CONTENTS": {}}
        for full, node in self.nodes.items():
            if not full.startswith(path + "/"):
                continue
            place, above = root, path
            for name in full[len(path) + 1 :].split("/"):
                above += "/" + name
                place = place.setdefault("CONTENTS", {}).setdefault(name, {"FULL_PATH": above})
            place |= {"TYPE": node.tags, "VALUE": node.value, "ACCESS": 3, **node.more}
        return root

    async def _socket(self, connection: ServerConnection) -> None:
        paths = self.sockets[connection] = set()
        try:
            async for message in connection:
                if isinstance(message, bytes):
                    self._take(message, connection)
                    continue
                said = json.loads(message)
                if said["COMMAND"] == "LISTEN":
                    paths.add(said["DATA"])
                elif said["COMMAND"] == "IGNORE":
                    paths.discard(said["DATA"])
        except websockets.ConnectionClosed:
            pass
        finally:
            del self.sockets[connection]

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._take(data, None)

    def _take(self, data: bytes, writer: ServerConnection | None) -> None:
        message = decode(data)[0]
        self.heard.append((message.address, message.args))
        node = self.nodes.get(message.address)
        if node is not None and message.args:
            self.turn(message.address, list(message.args), writer)

    def turn(self, path: str, value: list[Any], writer: ServerConnection | None = None) -> None:
        """Change a value, and tell who listens."""
        self.nodes[path].value = value
        for socket, paths in list(self.sockets.items()):
            if path in paths and socket is not writer:
                self._later(socket, encode(path, *value))

    def tell(self, name: str, data: Any) -> None:
        for socket in list(self.sockets):
            self._later(socket, command(name, data))

    def _later(self, socket: ServerConnection, message: str | bytes) -> None:
        task = asyncio.ensure_future(socket.send(message))
        self._sends.add(task)
        task.add_done_callback(self._sends.discard)

    async def drop(self) -> None:
        """Break every WebSocket."""
        for socket in list(self.sockets):
            await socket.close()
