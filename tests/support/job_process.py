"""A process that works on jobs until it is killed: `python -m tests.support.job_process FOLDER`.

Each attempt of each job leaves a line in FOLDER/done when it is through; a job of the type `long` takes some time.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from lightfast.core.clock import SYSTEM
from lightfast.engine.events.log import EventLog
from lightfast.engine.jobs.jobs import Jobs
from lightfast.sdk import JobBench, JobType
from lightfast.storage.database import Database
from lightfast_link.value import Value


class Long(JobType):
    """Keeps a note half-way, and writes a line at the end."""

    name: ClassVar[str] = "long"
    summary: ClassVar[str] = "Takes some time."
    max_attempts: ClassVar[int] = 1000

    def __init__(self, folder: Path) -> None:
        self._done = folder / "done"

    async def run(self, payload: Mapping[str, Value], bench: JobBench) -> Value | None:
        first, n = bench.note, int(str(payload["n"]))
        await bench.keep(f"half of {n}")
        await asyncio.sleep(0.003)
        with self._done.open("a", encoding="ascii") as file:
            file.write(f"{n} {bench.attempt} {first or '-'}\n")
        return n


async def work(folder: Path) -> None:
    db = await Database.open(folder / "jobs.db")
    events = await EventLog.open(db, SYSTEM)
    jobs = await Jobs.open(db, SYSTEM, events, workers=4, chance=lambda: 1.0)
    jobs.add_type(Long(folder))
    jobs.start()
    (folder / f"ready-{os.getpid()}").touch()
    while jobs.queue.index.entries:
        await asyncio.sleep(0.005)
    await jobs.close()
    await events.close()
    await db.close()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])))
