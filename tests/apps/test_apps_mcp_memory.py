"""The semantic port over the reference memory server of MCP, a real process joined by the real bridge."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.desk import bounded, open_desk, until
from tests.support.memory import MONDAY, Desk, day

from lightfast.core.clock import StillClock
from lightfast.engine.apps.bridges import BridgeRunner
from lightfast.engine.apps.records import AppState
from lightfast.engine.semantic.graph import GraphMemory
from lightfast.engine.semantic.server import MountedServer
from lightfast_bridges.mcp.bridge import McpBridge

SCRIPT = (
    Path(__file__).parents[1] / "emulators/mcp_memory/node_modules/@modelcontextprotocol/server-memory/dist/index.js"
)

pytestmark = [pytest.mark.real_app, pytest.mark.slow]


@asynccontextmanager
async def served(folder: Path, clock: StillClock) -> AsyncIterator[Desk]:
    if shutil.which("node") is None or not SCRIPT.exists():
        pytest.skip("the memory server of MCP is missing: npm ci --prefix tests/emulators/mcp_memory")
    config = {
        "name": "graph", "command": "node", "arguments": [str(SCRIPT)], "trust_hints": True, "gather_ms": 1,
        "environment": {"MEMORY_FILE_PATH": str(folder / "graph.json")},
    }  # fmt: skip
    async with open_desk(folder) as desk:
        runner = BridgeRunner(desk.registry, None, first_pause=0.05)  # type: ignore[arg-type]
        runner.add(McpBridge(), config)
        try:
            await until(
                lambda: any(a.mount == "/graph" and a.state is AppState.LIVE for a in desk.registry.list()),
                desk.registry.list, 60,
            )  # fmt: skip
            yield Desk(await GraphMemory.open(MountedServer(desk.registry, "/graph"), clock), clock)
        finally:
            await bounded(runner.close(), 20)


async def test_the_reference_server_keeps_two_times(tmp_path: Path) -> None:
    clock = StillClock(MONDAY)
    async with served(tmp_path, clock) as desk:
        await desk.fact("the tempo is 120", "tempo")
        desk.at(day(2))
        await desk.fact("the tempo is 96", "tempo", valid_from=day(1))
        await desk.relate("lamp", "hangs over", "stage", exclusive=True)
        await desk.relate("lamp", "hangs over", "door", exclusive=True)
        assert await desk.texts("tempo") == ["the tempo is 96"]
    async with served(tmp_path, clock) as desk:  # the server was ended and started anew, and so were we
        assert await desk.texts("tempo") == ["the tempo is 96"]
        assert await desk.texts("tempo", known=day(1), valid=day(1.5)) == ["the tempo is 120"]
        assert await desk.texts(subjects=("lamp",), depth=1) == ["lamp hangs over door"]
        assert (await desk.memory.forget(["tempo"], origin="x")).memories == 1
    async with served(tmp_path, clock) as desk:
        clock.advance(1.0)
        assert await desk.texts("tempo") == []
