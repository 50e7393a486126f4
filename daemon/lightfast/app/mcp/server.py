"""The MCP server: the tools with their descriptions, over standard input and output or Streamable HTTP."""

from __future__ import annotations

import contextvars
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from lightfast import __version__
from lightfast.app.mcp.tools import Tools
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError, Unauthenticated

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

TOKEN_SCOPES = ("watch", "operate")
"""What the token of an MCP client may do. It has no scope to approve."""
TOKEN_TTL_S = 7 * 24 * 3600
MOST_CLIENTS = 32
"""How many tokens may be at work over HTTP."""

INSTRUCTIONS = (
    "Lightfast holds one shared context for the creative applications on this desk: paths such as"
    " /blender/objects/Cube/location or /ableton/song/tempo. Look with context_get and apps, change values with"
    " context_set, and for anything with several steps use plan, show the user what it would change, then run it with"
    " its digest. What cannot be taken back, costs money or leaves this machine waits until a person approves it at"
    " the command line."
)

READS = ("context_get", "apps", "plan", "dry_run", "run_status", "recall")
CHANGES = ("context_set", "context_delete", "run", "generate", "remember")


def make_server(tools: Tools) -> MCPServer:
    """Return the server with its tools."""
    from mcp.server.mcpserver import MCPServer
    from mcp_types import ToolAnnotations

    server = MCPServer("lightfast", version=__version__, instructions=INSTRUCTIONS, log_level="WARNING")
    for name in READS:
        hints = ToolAnnotations(read_only_hint=True)
        server.add_tool(getattr(tools, name), name, annotations=hints, structured_output=False)
    for name in CHANGES:
        hints = ToolAnnotations(read_only_hint=False, destructive_hint=name in {"context_delete", "run"})
        server.add_tool(getattr(tools, name), name, annotations=hints, structured_output=False)
    return server


@asynccontextmanager
async def limited_client(open_client: Callable[[], AsyncClient], address: str) -> AsyncIterator[AsyncClient]:
    """Yield a client with a token of its own, which approves nothing, and revoke the token at the end."""
    async with open_client() as owner:
        # A name of its own: several clients may be at work, and one that was killed leaves its token until it ends.
        name, ttl = f"mcp-{secrets.token_hex(4)}", f"{TOKEN_TTL_S}s"
        issued = await owner.call_json("AdminService.IssueToken", {"name": name, "scopes": TOKEN_SCOPES, "ttl": ttl})
        token_id = issued["token"]["token_id"]
        try:
            async with AsyncClient(address, token=issued["secret"], session=new_session()) as client:
                yield client
        finally:
            with suppress(LightfastError):  # where the daemon is gone, the token ends by itself
                await owner.call_json("AdminService.RevokeToken", {"token_id": token_id})


def new_session() -> str:
    """Return the name of a session by which the daemon knows that an MCP client asks: such a one approves nothing."""
    return f"mcp{secrets.token_hex(4)}"


async def serve_stdio(client: AsyncClient) -> None:
    """Serve one MCP client over standard input and output, until it closes them."""
    await make_server(Tools(lambda: client)).run_stdio_async()


class HttpClients:
    """The clients of those who come over HTTP, by the token each brings: the daemon says what it may."""

    def __init__(self, open_client: Callable[[str], AsyncClient]) -> None:
        self._open = open_client
        self._clients: dict[str, AsyncClient] = {}
        self._token: contextvars.ContextVar[str] = contextvars.ContextVar("token")

    def current(self) -> AsyncClient:
        """Return the client of the request under way."""
        token = self._token.get("")
        client = self._clients.get(token)
        if client is None:
            raise Unauthenticated("send the header `authorization: Bearer TOKEN`; `lightfast token` issues one")
        return client

    async def enter(self, header: str) -> None:
        """Take the token of a request; raises `Unauthenticated` where the daemon does not know it."""
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Unauthenticated("send the header `authorization: Bearer TOKEN`; `lightfast token` issues one")
        token = token.strip()
        if token not in self._clients:
            client = self._open(token)
            try:
                await client.call_json("AdminService.GetInfo", {}, 5.0)
            except BaseException:
                await client.close()
                raise
            if token in self._clients:  # another request has brought it meanwhile
                await client.close()
                client = self._clients.pop(token)
            while len(self._clients) >= MOST_CLIENTS:
                await self._clients.pop(next(iter(self._clients))).close()
            self._clients[token] = client
        self._token.set(token)

    async def close(self) -> None:
        """Close all."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()


def http_application(clients: HttpClients, host: str) -> Any:
    """Return the ASGI application: Streamable HTTP at `/mcp`, for those whose token the daemon knows."""
    from starlette.responses import JSONResponse

    application = make_server(Tools(clients.current)).streamable_http_app(
        stateless_http=True, json_response=True, host=host
    )

    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
            try:
                await clients.enter(header.decode("latin-1"))
            except LightfastError as error:
                status = 401 if error.status in {"UNAUTHENTICATED", "PERMISSION_DENIED"} else 503
                body = {"error": error.message, "reason": error.reason}
                headers = {"www-authenticate": "Bearer"} if status == 401 else None
                await JSONResponse(body, status_code=status, headers=headers)(scope, receive, send)
                return
        await application(scope, receive, send)

    return guarded
