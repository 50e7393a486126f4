"""A bridge that looks for its application for weeks leaves nothing behind, in memory or in the log."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

from structlog.testing import capture_logs
from tests.engine.test_engine_bridges import Scripted
from tests.support.desk import bounded, open_desk, until

from lightfast.engine.apps.bridges import BridgeRunner, Host
from lightfast.sdk import BridgeError, BridgeHost
from lightfast.wire.osc.port import OscPort


class Port:
    """Opens real sockets, as the edge does."""

    def __init__(self) -> None:
        self.port = OscPort()

    async def open(self, remote: Any, local: Any, receive: Any) -> Any:
        return await self.port.open_osc(remote, local, receive)

    async def serve(self, local: Any, receive: Any) -> Any:
        return await self.port.serve_osc(local, receive)


async def test_sockets_that_a_bridge_has_closed_are_forgotten_and_open_ones_are_not(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        port = Port()
        host = Host(desk.registry, port, "live", {})
        for _ in range(50):
            (await host.open_osc(("127.0.0.1", 9), ("127.0.0.1", 0), lambda _: None)).close()
        for _ in range(3):
            await host.open_osc(("127.0.0.1", 9), ("127.0.0.1", 0), lambda _: None)  # left open, and let go of
        await host.serve_osc(("127.0.0.1", 0), lambda _: None)
        gc.collect()
        assert len(host._senders) == 4
        assert len(port.port.stats()) == 4
        host.leave("enough")
        assert port.port.stats() == []


async def test_a_reason_that_does_not_change_is_told_once(tmp_path: Path) -> None:
    async def refuse(_: BridgeHost) -> None:
        raise BridgeError("no such sequencer")

    async def fail(_: BridgeHost) -> None:
        raise ValueError("a bug")

    async with open_desk(tmp_path) as desk:
        bridge = Scripted(*[refuse] * 4, *[fail] * 3, refuse)
        runner = BridgeRunner(desk.registry, Port(), first_pause=0.001)
        with capture_logs() as logs:
            runner.add(bridge)
            await until(lambda: bridge.runs >= 9)
            await asyncio.sleep(0)
        warned = [line["reason"] for line in logs if line["event"] == "a bridge ended" and line["log_level"] != "debug"]
        assert warned == ["no such sequencer", "the bridge failed: ValueError: a bug", "no such sequencer"]
        assert sum(line["event"] == "a bridge failed" for line in logs) == 1
        await bounded(runner.close())
