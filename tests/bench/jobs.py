"""The queue of jobs beside huey and dbos, both over SQLite, in one run: jobs that do nothing, from queued to done.

All three queue one job after the other while four workers do them, and none is counted before it is durable as far as
its queue makes it so; how each syncs is in its row. Ours writes its events in the same commits. The peers run in an
environment of their own: `python -m venv queues && queues/bin/pip install huey dbos`, and
`LIGHTFAST_QUEUES_PYTHON=queues/bin/python make bench ARGS=jobs`; without it, in this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from tests.bench.measure import Row, compare, single
from tests.bench.world import World

from lightfast.core.clock import SYSTEM
from lightfast.engine.events.log import EventLog
from lightfast.engine.jobs.jobs import Jobs
from lightfast.engine.jobs.records import NewJob
from lightfast.engine.ports import Asker
from lightfast.sdk import JobBench, JobType
from lightfast.storage.database import Database
from lightfast_link.value import Value

COUNT = int(os.environ.get("LIGHTFAST_BENCH_JOBS", "1000"))
CROWD, CROWD_COUNT = 100, 5_000
PEERS = {"huey": COUNT, "dbos": COUNT // 5}
"""How many jobs each peer is given."""
INSTALL = "python -m venv queues && queues/bin/pip install huey dbos, then LIGHTFAST_QUEUES_PYTHON=queues/bin/python"
ME = Asker("bench", "client:bench", frozenset(("operate",)))


class Nothing(JobType):
    """Does nothing."""

    name: ClassVar[str] = "nothing"
    summary: ClassVar[str] = "Does nothing."
    payload: ClassVar[Mapping[str, Any]] = {"type": "object", "properties": {"n": {"type": "integer"}}}

    async def run(self, payload: Mapping[str, Value], bench: JobBench) -> Value | None:
        return payload["n"]


async def ours(folder: Path, count: int, crowd: int) -> float:
    """Return the seconds from the first job queued by *crowd* callers at once to the last one done."""
    db = await Database.open(folder / "jobs.db")
    events = await EventLog.open(db, SYSTEM)
    jobs = await Jobs.open(db, SYSTEM, events, workers=4)
    jobs.add_type(Nothing())
    jobs.start()
    try:
        began = time.perf_counter()

        async def caller(first: int) -> None:
            for number in range(first, count, crowd):
                await jobs.submit(NewJob("nothing", {"n": number}), ME)

        await asyncio.gather(*[caller(first) for first in range(crowd)])
        while jobs.queue.index.entries:
            await asyncio.sleep(0.001)
        seconds = time.perf_counter() - began
        ((done,),) = await db.query("SELECT count(*) FROM jobs WHERE state = 'SUCCEEDED' AND attempts = 1")
        if done != count:
            raise RuntimeError(f"{done} of {count} jobs are done")
    finally:
        await jobs.close()
        await events.close()
        await db.close()
    return seconds


def peer(name: str, folder: Path, count: int) -> dict[str, Any]:
    """Return what a peer took; `done` is -1 where it is not installed."""
    python = os.environ.get("LIGHTFAST_QUEUES_PYTHON") or sys.executable
    script = Path(__file__).with_name("queue_peers.py")
    done = subprocess.run(
        (python, str(script), name, str(folder), str(count)),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd=folder,
    )
    if f"No module named '{name}'" in done.stderr:
        return {"done": -1}
    if done.returncode:
        raise RuntimeError(f"{name} ended with code {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if found["done"] != count:
        raise RuntimeError(f"{name} has done {found['done']} of {count} jobs")
    return found


async def run(world: World, pairs: int) -> list[Row]:
    """Run all in turn; who is first changes."""
    rows: list[Row] = []
    for name, count in PEERS.items():
        found: list[tuple[float, float]] = []
        sync = ""
        for number in range(max(3, pairs // 3)):
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch)
                (folder / "peer").mkdir()
                mine = 0.0 if number % 2 else await ours(folder, COUNT, 1)
                theirs = await asyncio.to_thread(peer, name, folder / "peer", count)
                mine = mine or await ours(folder, COUNT, 1)
            if theirs["done"] < 0:
                break
            sync = theirs["sync"]
            found.append((COUNT / mine, count / theirs["seconds"]))
        label = f"jobs queued one by one and done, beside {name}"
        if found:
            note = f"how commits are synced: ours synchronous full, journal wal; {name} {sync}"
            rows.append(compare(label, found, "jobs/s", least=1.0, note=note))
        else:
            rows.append(single(label, 0.0, "jobs/s", note=f"{name} is not installed: {INSTALL}"))
    with tempfile.TemporaryDirectory() as scratch:
        seconds = await ours(Path(scratch), CROWD_COUNT, CROWD)
    note = f"{CROWD_COUNT} jobs of {CROWD} callers at once, from queued to done, each commit synced"
    rows.append(single("jobs of a crowd", CROWD_COUNT / seconds, "jobs/s", note=note))
    return rows
