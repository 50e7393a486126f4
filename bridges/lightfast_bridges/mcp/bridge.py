"""The bridge: starts or reaches each MCP server of the settings, and again when it is gone."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from lightfast.sdk import Bridge, BridgeError, BridgeHost, Finding
from lightfast.sdk.running import apart
from lightfast.sdk.settings import pause
from lightfast_bridges.mcp.errors_file import log_file, trim
from lightfast_bridges.mcp.session import GoneError, McpSession
from lightfast_bridges.mcp.settings import Settings, settings_of

log = structlog.get_logger("lightfast.bridges.mcp")

BACKOFF = (0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds between two tries; the last one is kept."""


class McpBridge(Bridge):
    """Joins one MCP server for each instance."""

    kind = "mcp"
    title = "MCP servers"

    async def diagnose(self, config: Mapping[str, Any]) -> Sequence[Finding]:
        """Say whether the server can be started, without starting it."""
        try:
            settings = settings_of(config)
        except BridgeError as error:
            return [Finding("error", "[plugins.mcp]", str(error), "correct lightfast.toml")]
        if not settings.command:
            return []
        if shutil.which(settings.command) is None:
            return [Finding("error", settings.name, f"there is no program {settings.command}", "install it")]
        return [Finding("ok", settings.name, f"its program is {shutil.which(settings.command)}")]

    async def run(self, host: BridgeHost) -> None:
        """Join the server until cancelled."""
        try:
            settings = settings_of(host.config)
        except BridgeError as error:  # it will not mend itself: another setting starts the bridge anew
            host.absent(str(error))
            await asyncio.Event().wait()
            return
        if not settings.where:
            await asyncio.Event().wait()  # no server is named, and none is wanted
        attempt = 0
        while True:
            joined = False

            async def once() -> None:
                async with connected(settings, host.folder) as client:
                    session = McpSession(host, settings, client)
                    try:
                        await session.run()
                    finally:
                        nonlocal joined
                        joined = session.joined

            try:
                await apart(once())  # the SDK has groups of tasks, too
            except GoneError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001  (the SDK raises what its transports raise, also in groups)
                reason = f"{settings.where} cannot be reached: {_first(error)}"
            else:
                reason = "it ended"
            if joined:
                attempt = 0
            log.debug("an MCP server is away", server=settings.name, reason=reason)
            host.absent(f"{reason}; it is tried again", settings.name)
            await host.sleep(pause(attempt, BACKOFF))
            attempt += 1


@asynccontextmanager
async def connected(settings: Settings, folder: str) -> AsyncIterator[Any]:
    """Start or reach a server, and yield the client of the SDK; raises `GoneError` where it does not answer."""
    # Under a bound of its own: entering starts a process and waits for its first words.
    import mcp
    from mcp.client.stdio import StdioServerParameters, stdio_client

    # It would log each line that is no message, with its text; the session goes on without it.
    logging.getLogger("mcp.client.stdio").setLevel(logging.CRITICAL)
    if settings.url:
        transport = _http(settings)
    else:
        parameters = StdioServerParameters(
            command=settings.command,
            args=list(settings.arguments),
            env=dict(settings.environment) or None,
            cwd=settings.folder or None,
        )
        transport = _with_log(stdio_client, parameters, settings, folder)
    client = mcp.Client(transport, read_timeout_seconds=settings.timeout)
    bound = asyncio.timeout(settings.patience)
    try:
        async with bound, client:
            bound.reschedule(None)
            yield client
    except TimeoutError:
        if not bound.expired():
            raise
        raise GoneError(f"{settings.where} did not answer within {settings.patience:g} s") from None


@asynccontextmanager
async def _http(settings: Settings) -> AsyncIterator[Any]:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    async with (
        httpx2.AsyncClient(headers=dict(settings.headers), timeout=settings.timeout, follow_redirects=False) as http,
        streamable_http_client(settings.url, http_client=http) as streams,
    ):
        yield streams


@asynccontextmanager
async def _with_log(start: Any, parameters: Any, settings: Settings, folder: str) -> AsyncIterator[Any]:
    """Run a server with its standard error in a file, so that it neither fills nor blocks ours."""
    trim(settings, folder)
    with log_file(settings, folder).open("a", encoding="utf-8") as errors:
        async with start(parameters, errors) as streams:
            yield streams


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)[:300] or type(error).__name__
