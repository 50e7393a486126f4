"""The MCP bridge against servers that are odd: their schemas, their output, tools that come later, calls given up."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import stdio
from tests.support.desk import Desk, bounded, open_desk, until

from lightfast.engine.apps import bridges
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.records import AppState, Result
from lightfast_bridges.mcp import errors_file
from lightfast_bridges.mcp import session as sessions
from lightfast_bridges.mcp.bridge import McpBridge
from lightfast_bridges.mcp.settings import Settings

ODD = Path(__file__).parents[1] / "support" / "mcp_odd.py"


class NoPort:
    pass


@asynccontextmanager
async def odd(place: Path, mode: str) -> AsyncIterator[Desk]:
    config = {"name": "test", "command": sys.executable, "arguments": [str(ODD), mode, str(place)]}
    async with open_desk(place) as desk:
        runner = BridgeRunner(desk.registry, NoPort(), first_pause=0.05)  # type: ignore[arg-type]
        runner.add(McpBridge(), {**config, "patience": 60.0, "environment": {"GIVEN": "yes"}})
        try:
            await until(
                lambda: [a for a in desk.registry.list() if a.state in (AppState.LIVE, AppState.DEGRADED)],
                desk.registry.list,
            )
            yield desk
        finally:
            await bounded(runner.close())


async def call(desk: Desk, command: str) -> Any:
    async for step in await desk.registry.invoke("/test", command, {}, 60):
        if isinstance(step, Result):
            return step.value
    raise AssertionError("no result")


async def test_odd_schemas_and_names_become_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "of the daemon")
    monkeypatch.setattr(stdio, "PROCESS_TERMINATION_TIMEOUT", 4.0)  # all that the bridge has to end
    async with odd(tmp_path, "plain") as desk:
        commands = {command.name: command for command in desk.registry.commands("/test")}
        assert len(commands) == 7
        assert {"plain", "a_b", "a_b_2", "a_b_3"} <= set(commands)
        assert [(each.name, each.kind, each.required) for each in commands["a_b_2"].arguments] == [
            ("u", "", True), ("v", "", False),
        ]  # fmt: skip
        assert await call(desk, "plain") == "plain"
    found = json.loads((tmp_path / "environment").read_text())
    assert found["GIVEN"] == "yes"
    assert "A_SECRET" not in found
    assert (tmp_path / "ended").exists()  # its standard input was closed, so it ended by itself


async def test_a_server_that_heeds_neither_the_end_nor_a_signal_is_killed_before_the_bridge_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's loop ends soon after, and with it whoever would have killed it."""
    steps = (stdio._WRITER_FLUSH_TIMEOUT, stdio.PROCESS_TERMINATION_TIMEOUT, stdio.FORCE_KILL_TIMEOUT)
    assert sum(steps) < bridges.STOP_BUDGET
    monkeypatch.setattr(stdio, "PROCESS_TERMINATION_TIMEOUT", 0.1)
    monkeypatch.setattr(stdio, "FORCE_KILL_TIMEOUT", 0.1)
    async with odd(tmp_path, "deaf"):
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_lines_that_are_no_messages_are_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with odd(tmp_path, "garbage") as desk:
            assert await call(desk, "plain") == "plain"
    assert "I am a server" not in caplog.text


async def test_of_too_many_tools_the_first_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PING_S", 0.5)
    async with odd(tmp_path, "many") as desk:
        await until(lambda: desk.registry.list()[0].state is AppState.DEGRADED, desk.registry.list)
        assert len(desk.registry.commands("/test")) == 512
        assert "10000 tools" in desk.registry.list()[0].state_reason


async def test_a_tool_that_comes_later_becomes_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "PING_S", 0.05)
    async with odd(tmp_path, "changes") as desk:
        assert "later" not in {command.name for command in desk.registry.commands("/test")}
        (tmp_path / "more").touch()
        await until(lambda: "later" in {command.name for command in desk.registry.commands("/test")})
        assert await call(desk, "later") == "later"
        assert (tmp_path / "heard").read_text().count('"initialize"') == 1  # the server itself went on


async def test_the_server_is_told_of_a_call_that_was_given_up(tmp_path: Path) -> None:
    async with odd(tmp_path, "slow") as desk:
        asking = asyncio.ensure_future(call(desk, "plain"))
        await until(lambda: "tools/call" in (tmp_path / "heard").read_text())
        asking.cancel()
        await asyncio.wait([asking])
        await until(lambda: "notifications/cancelled" in (tmp_path / "heard").read_text())


def test_what_a_server_complains_of_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(errors_file, "MOST_LOG", 100)
    settings = Settings(name="test", command="x")
    path = errors_file.log_file(settings, str(tmp_path))
    with path.open("a") as server:
        server.write("x" * 101)
        server.flush()
        errors_file.trim(settings, str(tmp_path))
        server.write("more")
    assert path.read_text() == "more"
    errors_file.trim(settings, "")
