"""One joined MCP server: its tools as commands, until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from lightfast.sdk import AppSession, BridgeError, BridgeHost, Call, Hello, Wish
from lightfast.sdk.figures import show
from lightfast.sdk.running import Running
from lightfast_bridges.mcp.errors_file import trim
from lightfast_bridges.mcp.gathering import Gatherer
from lightfast_bridges.mcp.settings import Settings
from lightfast_bridges.mcp.tools import MOST_TOOLS, commands_of, value_of
from lightfast_link.value import to_plain

log = structlog.get_logger("lightfast.bridges.mcp")

PING_S = 15.0
"""Seconds between two looks whether a server is still there, and has the same tools."""


class GoneError(Exception):
    """The server ended, or does not answer."""


class McpSession:
    """Keeps one server; the engine's `AppChannel` to it. It ends with `GoneError`."""

    def __init__(self, host: BridgeHost, settings: Settings, client: Any) -> None:
        self._host, self._settings, self._client = host, settings, client
        self._running = Running()
        self._gatherer = Gatherer(
            self._send,
            self._running.begin,
            most=settings.gather,
            window=settings.gather_s,
            lifetimes=settings.cache,
        )
        self._session: AppSession | None = None
        self._tools: dict[str, str] = {}
        self._effects: dict[str, str] = {}
        self._listed: list[Any] = []
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.joined = False
        self.closed = False
        """The engine has ended it."""

    async def run(self) -> None:
        """Join and stay; raises `GoneError`."""
        reason, gone = "the bridge stops", False
        hide = show("mcp", self._settings.name, self._gatherer.figures)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._running.group = tasks
                await self._join()
                tasks.create_task(self._keep())
        except* GoneError as group:
            reason, gone = str(group.exceptions[0]), True
        finally:
            hide()
            self._running.group = None
            if self._session is not None and not self.closed:
                self._session.lost(reason)
        if gone:
            raise GoneError(reason)

    async def _join(self) -> None:
        self._announce(await self._tools_of())

    def _announce(self, tools: list[Any]) -> None:
        """Say hello with *tools* as commands; a second time in place of the first."""
        self._listed = tools
        commands, self._tools = commands_of(tools, self._settings)
        self._effects = {command.name: command.effect for command in commands}
        info = self._client.server_info
        self._session = self._host.hello(
            Hello(
                "mcp",
                f"mcp:{self._settings.name}",
                self._settings.name,
                app_version=f"{info.name} {info.version}" if info is not None else "",
                generation=-1,
                transport="mcp",
                commands=commands,
                capabilities=frozenset(("remote",)) if self._settings.remote else frozenset(),
            ),
            self,
        )
        self._session.synced()
        self.joined = True

    def _warn(self) -> None:
        """Say that tools are left out; again at each look, since it counts only where the session has come to live."""
        if self._session is not None and len(self._listed) > MOST_TOOLS:
            self._session.degraded(f"it has {len(self._listed)} tools: only the first {MOST_TOOLS} are commands")

    async def _tools_of(self) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        try:
            async with asyncio.timeout(self._settings.patience):
                while True:
                    page = await self._client.list_tools(cursor=cursor, cache_mode="bypass")
                    found += page.tools
                    cursor = page.next_cursor
                    if not cursor or len(found) > MOST_TOOLS:
                        return found
        except TimeoutError:
            raise GoneError(f"it did not tell its tools within {self._settings.patience:g} s") from None
        except Exception as error:
            raise GoneError(f"it did not tell its tools: {error}") from error

    async def _keep(self) -> None:
        """See that the server is still there; end when it is not, or when the engine is done with it."""
        wait = PING_S / 10
        while True:
            done, _ = await asyncio.wait((self._ended,), timeout=wait)
            if done:
                raise GoneError(self._ended.result())
            if wait == PING_S:
                await self._look()
            wait = PING_S
            self._warn()
            await asyncio.to_thread(trim, self._settings, self._host.folder)

    async def _look(self) -> None:
        """See that it answers, and take up what it can do now, where that has changed and no call is under way."""
        try:
            tools = await self._tools_of()
        except GoneError as error:
            self._end(str(error))
            return
        if tools != self._listed and not self._running.busy:
            self._announce(tools)

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    def apply(self, wishes: Sequence[Wish]) -> None:
        """Refuse wishes: a server of tools holds no values."""
        for wish in wishes:
            if self._session is not None:
                self._session.reject(wish.wish_id, "an MCP server has commands, but no values")

    def invoke(self, call: Call) -> None:
        """Run a tool."""
        self._running.invoke(self._session, call, self._call, "the server is gone")

    def cancel(self, call_id: int) -> None:
        """Give a call up; the SDK tells the server."""
        self._running.cancel(call_id)

    def resync(self) -> None:
        """Say that there is nothing to report."""
        if self._session is not None:
            self._session.synced()

    def close(self, reason: str) -> None:
        """Leave the server."""
        self.closed = True
        self._end(reason)

    async def _call(self, session: AppSession, call: Call) -> None:
        tool = self._tools[call.command]
        timeout = min(call.timeout, self._settings.timeout)
        read = self._effects[call.command] == "read"
        arguments = {name: to_plain(value) for name, value in call.arguments.items()}
        try:
            async with asyncio.timeout(timeout):
                result = await self._gatherer.ask(tool, arguments, timeout, read=read)
            session.result(call.call_id, await value_of(result, self._host, tool))
        except TimeoutError:
            session.fail(call.call_id, f"{tool} did not answer within {timeout:g} s")
            self._running.begin(self._look())  # a tool may be slow; a server that answers nothing at all is given up
        except BridgeError as error:
            session.fail(call.call_id, str(error))
        except Exception as error:  # noqa: BLE001  (the SDK raises what its transports raise)
            session.fail(call.call_id, f"{tool} failed: {str(error) or type(error).__name__}")
            self._running.begin(self._look())

    async def _send(self, tool: str, arguments: Mapping[str, Any], timeout: float) -> Any:
        return await self._client.call_tool(tool, dict(arguments), read_timeout_seconds=timeout)
