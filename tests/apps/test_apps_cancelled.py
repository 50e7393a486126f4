"""A bridge ends when it is cancelled, also in the moment in which its application goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.ending import ended
from tests.support.midi import FakeBackend
from tests.support.osc_live import simulated
from tests.support.ports import free_port
from tests.support.reaper import QUICK, running

from lightfast.sdk import Bridge
from lightfast.sdk.testing import FakeBridgeHost
from lightfast_bridges.ableton.bridge import AbletonBridge
from lightfast_bridges.midi.bridge import MidiBridge
from lightfast_bridges.reaper.bridge import ReaperBridge

Rig = Callable[[Path], AbstractAsyncContextManager[tuple[Bridge, Mapping[str, Any]]]]


@asynccontextmanager
async def ableton(_: Path) -> AsyncIterator[tuple[Bridge, Mapping[str, Any]]]:
    reply_port = free_port()
    async with simulated(reply_port=reply_port) as live:
        yield AbletonBridge(), {"remote": f"127.0.0.1:{live.port}", "reply_port": reply_port, "poll": 0.1}


@asynccontextmanager
async def reaper(folder: Path) -> AsyncIterator[tuple[Bridge, Mapping[str, Any]]]:
    async with running() as there:
        table = {"remote": f"127.0.0.1:{there.port}", "reply_port": there.device_port, "resource_path": str(folder)}
        yield ReaperBridge(), {**QUICK, **table}


@asynccontextmanager
async def midi(_: Path) -> AsyncIterator[tuple[Bridge, Mapping[str, Any]]]:
    yield MidiBridge({}, FakeBackend().ports), {"input": "APC*", "output": "APC*"}


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("rig", [ableton, reaper, midi], ids=lambda rig: rig.__name__)
async def test_it_ends_when_it_is_cancelled_while_its_session_ends(rig: Rig, turns: int, tmp_path: Path) -> None:
    """One of its tasks ends with the session, and a group whose task fails drops a cancellation that comes then."""
    async with rig(tmp_path) as (bridge, table):
        host = FakeBridgeHost(table)
        task = asyncio.ensure_future(bridge.run(host))
        try:
            await host.until(lambda: host.sessions, "a hello")
            session = host.sessions[0]
            await session.until(lambda: session.syncs, "the full report")
            session.channel.close("the engine is done with it")
            for _ in range(turns):
                await asyncio.sleep(0)
            await ended(task, f"{bridge.kind}, cancelled {turns} turns after its session was closed,")
            assert task.cancelled(), f"it ended, but not by its cancellation: {task}"
        finally:
            await ended(task, bridge.kind)
            host.close()
