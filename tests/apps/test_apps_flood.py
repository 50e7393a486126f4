"""One application reports without a pause: it is bounded, loses nothing, and holds nobody else up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support import flood
from tests.support.blender_house import house
from tests.support.desk import until

from lightfast.context.entry import Set, Status
from lightfast_link import discover
from lightfast_link.client import LinkClient

CHANGES = 50_000
WAVES = 3


@pytest.mark.limit(500)
async def test_fifty_thousand_changes_at_once(tmp_path: Path) -> None:
    async with house(tmp_path, zeromq=False) as rooms:
        process = subprocess.Popen([sys.executable, flood.__file__, str(rooms.home), str(CHANGES), str(WAVES)])
        other = LinkClient(
            discover.transport(str(rooms.home)),
            {"app": "other", "instance_id": "o", "parameters": [{"pattern": "level", "kind": "double"}]},
        ).start()
        try:
            waits: list[float] = []
            answering = asyncio.ensure_future(_answer(other))
            await rooms.live("/other")
            await rooms.live("/flood")
            await rooms.store.apply([Set("/flood/v/ready", 2)], origin="client:test")  # the starting gun
            begin = time.perf_counter()
            last = f"/flood/v/{CHANGES - 1}"
            while rooms.value(last) != WAVES:
                assert time.perf_counter() - begin < 400
                start = time.perf_counter()
                applied = await rooms.store.apply([Set("/other/level", len(waits) + 0.5)], origin="client:test")
                await until(lambda: _settled(rooms, applied.revision), seconds=60.0)  # noqa: B023
                waits.append(time.perf_counter() - start)
                await asyncio.sleep(0.01)
            took = time.perf_counter() - begin
            values = {entry.path: entry.value for entry in rooms.store.select("/flood/v//")}
            assert all(values[f"/flood/v/{number}"] == WAVES for number in range(CHANGES))

            def well() -> bool:  # nothing was left out; a process that stood still has only to be heard of again
                app = rooms.app("/flood")
                return app is not None and app.state_reason == ""

            await until(well, seconds=60.0)
            worst = max(waits)
            print(f"{CHANGES * WAVES} changes in {took:.2f} s; another wish took at most {1000 * worst:.0f} ms")
            assert len(waits) >= 5, "the other application waited for the flood to end"
        finally:
            answering.cancel()
            other.close()
            process.kill()
            process.wait(10)


def _settled(rooms: Any, revision: int) -> bool:
    entry = rooms.store.get("/other/level")
    return entry is not None and entry.status is Status.SETTLED and entry.revision >= revision


async def _answer(client: LinkClient) -> None:
    while True:
        for event in client.poll():
            if event[0] in ("welcome", "resync"):
                client.report([{"path": "level", "value": 0.0}])
                client.synced()
            elif event[0] == "apply":
                for wish in event[1]:
                    client.settled(wish.id, wish.value)
        await asyncio.sleep(0.001)
