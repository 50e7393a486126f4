"""A process that remembers and says so, line by line, until somebody kills it."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import structlog

from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.records import Kind, NewMemory
from lightfast.context.memory.store import MemoryStore
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests


async def write(folder: Path) -> None:
    """Write the next version of ten memories, side by side; a line `key version` for each that is durable."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    db = await Database.open(folder / "store.db")
    requests = Requests(db)
    await requests.start()
    memory = await MemoryStore.open(db, requests, EmbedderBook())

    async def one(key: str) -> None:
        for version in range(1, 100_000):
            new = NewMemory(text=f"{key} is at {version}", key=key, kind=Kind.FACT)
            done = await memory.remember(new, origin="client:writer")
            sys.stdout.write(f"{key} {done.memory.version}\n")
            sys.stdout.flush()

    await asyncio.gather(*(one(f"k{number}") for number in range(10)))


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1])))
