"""`lightfast mcp`: serves MCP clients."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Annotated, Any

import typer

from lightfast.app.cli.session import CURRENT
from lightfast.core.config import is_loopback, split_address
from lightfast.core.errors import FailedPrecondition, InvalidArgument

app = typer.Typer()


@app.command()
def mcp(
    http: Annotated[
        str, typer.Option(help="Serve Streamable HTTP at HOST:PORT/mcp in place of standard input and output.")
    ] = "",
) -> None:
    """Serve an MCP client (Claude, an editor …) a small set of tools; none runs code, none approves.

    Over HTTP each request brings a token of the daemon: `lightfast token issue NAME --scope watch --scope operate`.
    """
    if importlib.util.find_spec("mcp") is None:
        raise FailedPrecondition("the MCP SDK is missing: pip install 'lightfast[mcp]'", reason="MCP_MISSING")
    ended = asyncio.run(_http(http) if http else _stdio())
    if ended:
        raise typer.Exit(128 + ended)


async def _stdio() -> int:
    told = _signals()
    from lightfast.app.mcp.server import limited_client, new_session, serve_stdio
    from lightfast.client import AsyncClient
    from lightfast.client.connect import find_target

    address = CURRENT.address or find_target(CURRENT.home).address
    if CURRENT.token:  # whoever brings a token has chosen what it may
        async with AsyncClient(address, token=CURRENT.token, session=new_session()) as client:
            ended = await _until_told(told, serve_stdio(client))
    else:
        async with limited_client(partial(AsyncClient, home=CURRENT.home), address) as client:
            ended = await _until_told(told, serve_stdio(client))
    if ended:
        os._exit(128 + ended)  # a thread waits for standard input, which nothing but its end would wake
    return 0


def _signals() -> asyncio.Queue[int]:
    """Return where the signals come that are to end this; they may come at once, while much is still to be loaded."""
    told: asyncio.Queue[int] = asyncio.Queue()
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if (number := getattr(signal, name, None)) is not None:
            with suppress(NotImplementedError):  # Windows has no such handlers, and ends by itself
                asyncio.get_running_loop().add_signal_handler(number, told.put_nowait, int(number))
    return told


async def _until_told(
    told: asyncio.Queue[int], serving: Coroutine[Any, Any, None], stop: Callable[[], None] | None = None
) -> int:
    """Serve to the end of the input, or until a signal, which is returned; 0: none. The rest can be undone then.

    *stop* asks what serves to come to its end, which is then waited for; a second signal cuts that short.
    """
    serve = asyncio.ensure_future(serving)
    ended = 0
    while not serve.done():
        hearing = asyncio.ensure_future(told.get())
        await asyncio.wait((serve, hearing), return_when=asyncio.FIRST_COMPLETED)
        if not hearing.done():
            hearing.cancel()
            break
        again, ended = bool(ended), hearing.result()
        if again or stop is None:
            return ended
        stop()
    await serve
    return ended


async def _http(listen: str) -> int:
    told = _signals()
    import uvicorn

    from lightfast.app.mcp.server import HttpClients, http_application, new_session
    from lightfast.client import AsyncClient
    from lightfast.client.connect import find_target
    from lightfast.wire.http.server import bind

    host, port = split_address(listen)
    if not is_loopback(host):
        raise InvalidArgument(
            f"{listen} can be reached from other machines, without TLS: listen on 127.0.0.1 and forward the port"
            " through SSH",
            field="http",
        )
    address = CURRENT.address or find_target(CURRENT.home).address
    clients = HttpClients(lambda token: AsyncClient(address, token=token, session=new_session()))
    sock = bind(host, port)
    bound = sock.getsockname()
    typer.echo(f"MCP over HTTP at http://{bound[0]}:{bound[1]}/mcp")
    config = uvicorn.Config(http_application(clients, host), log_level="warning", timeout_graceful_shutdown=3)

    class Server(uvicorn.Server):
        """Leaves the signals of the process to us: they may come before it listens to them."""

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    server = Server(config)

    def stop() -> None:
        server.should_exit = True

    try:
        return await _until_told(told, server.serve(sockets=[sock]), stop)
    finally:
        await clients.close()
