"""kill -9 the daemon under load: nothing acknowledged is lost, and watchers resume exactly."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from lightfast.app.cli.stage import Stage
from lightfast.client import AsyncClient
from lightfast.core.errors import LightfastError

CRASHES = int(os.environ.get("LIGHTFAST_DAEMON_CRASHES") or os.environ.get("LIGHTFAST_CRASHES", "8"))
WRITERS = 8
PATIENCE_S = 60 + 6 * CRASHES  # a watcher that waits its turn to look again may sleep through several short lives
END = "/load/end"


class Writer:
    """Counts up at one path and remembers what was acknowledged."""

    def __init__(self, number: int) -> None:
        self.path = f"/load/writer{number}"
        self.next = 1
        self.acknowledged = 0
        self.revisions: list[int] = []

    async def run(self, home: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with AsyncClient(home=home, timeout=5) as client:
                    while not stop.is_set():
                        value = self.next
                        self.next += 1  # a value of unknown fate is never written again
                        done = await client.set(self.path, value)
                        self.acknowledged = value
                        self.revisions.append(done.revision)
            except LightfastError:
                await asyncio.sleep(0.02)


async def watcher(home: str, seen: list[tuple[int, str, object]]) -> None:
    async with AsyncClient(home=home) as client:
        async for batch in client.watch("/load//", start_revision=0, give_up_after=PATIENCE_S):
            seen += [(e.entry.revision, e.entry.path, e.entry.value) for e in batch.events]
            if seen and seen[-1][1] == END:
                return


@pytest.mark.slow
@pytest.mark.limit(120 + 6 * CRASHES)
async def test_kill_9_under_load_loses_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stop = asyncio.Event()
    chance = random.Random(7)
    writers = [Writer(number) for number in range(WRITERS)]
    seen: list[list[tuple[int, str, object]]] = [[], []]
    home = str(tmp_path)
    try:
        process = await asyncio.to_thread(stage.daemon)
        tasks = [asyncio.create_task(writer.run(home, stop)) for writer in writers]
        watchers = [asyncio.create_task(watcher(home, events)) for events in seen]
        for _ in range(CRASHES):
            before = sum(len(writer.revisions) for writer in writers)
            while sum(len(writer.revisions) for writer in writers) < before + 50:
                await asyncio.sleep(0.01)  # crash only under load
            await asyncio.sleep(chance.uniform(0.0, 0.2))
            stage.kill(process)
            acknowledged = {writer.path: writer.acknowledged for writer in writers}
            process = await asyncio.to_thread(stage.daemon)
            async with AsyncClient(home=home) as client:
                for path, value in acknowledged.items():
                    found = (await client.get(path)).value
                    assert isinstance(found, int)
                    assert found >= value, f"{path} was acknowledged as {value} and is {found}"
        stop.set()
        await asyncio.gather(*tasks)
        async with AsyncClient(home=home) as client:
            history = await client.history("//", limit=10_000_000)
            revisions = sorted(transaction.revision for transaction in history)
            assert revisions == list(range(revisions[0], revisions[-1] + 1)), "a gap in the revisions"
            written = {revision for writer in writers for revision in writer.revisions}
            assert written <= set(revisions)
            assert len(written) == sum(len(writer.revisions) for writer in writers), "a revision was used twice"
            await client.set(END, True)
        await asyncio.wait_for(asyncio.gather(*watchers), 60)
        expected = sorted(
            (event.entry.revision, event.entry.path)
            for transaction in history
            for event in transaction.events
            if event.entry.path.startswith("/load/writer")
        )
        for events in seen:
            got = [(revision, path) for revision, path, _ in events if path != END]
            assert got == expected, "a watcher lost, doubled or reordered events"
    finally:
        stop.set()
        stage.close()
