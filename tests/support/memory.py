"""Both implementations of the memory for tests, and short ways to use them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.knowledge_graph import KnowledgeGraph

from lightfast.context.memory.archived import LongTerm
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.port import TemporalMemory
from lightfast.context.memory.records import (
    Forgotten,
    Hit,
    Kind,
    Memory,
    NewMemory,
    NewRelation,
    Question,
    Related,
    Relation,
    Remembered,
)
from lightfast.context.memory.store import MemoryStore
from lightfast.context.memory.twin import MemoryTwin
from lightfast.core.clock import StillClock
from lightfast.engine.semantic.graph import GraphMemory
from lightfast.storage.archive.archive import Archive
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests

HOUR = 3600
DAY = 24 * HOUR
MONDAY = 1_800_000_000_000_000_000 - (1_800_000_000_000_000_000 % (DAY * 1_000_000_000))
"""The beginning of a day that the tests call Monday, in ns since 1970."""


def day(number: float) -> int:
    """Return Monday plus *number* days, in ns since 1970."""
    return MONDAY + round(number * DAY * 1e9)


class Desk:
    """A memory with a clock that the test moves."""

    def __init__(self, memory: TemporalMemory, clock: StillClock) -> None:
        self.memory = memory
        self.clock = clock

    def at(self, time: int) -> None:
        """Move the clock on to *time*."""
        assert time >= self.clock.now_ns()
        self.clock.advance((time - self.clock.now_ns()) / 1e9)

    async def fact(self, text: str, key: str = "", **fields: Any) -> Remembered:
        """Remember a fact."""
        return await self.memory.remember(NewMemory(text=text, key=key, kind=Kind.FACT, **fields), origin="client:test")

    async def relate(self, subject: str, predicate: str, thing: str, **fields: Any) -> Related:
        """Relate two things."""
        new = NewRelation(subject=subject, predicate=predicate, object=thing, **fields)
        return await self.memory.relate(new, origin="client:test")

    async def forget(self, *names: str, **how: Any) -> Forgotten:
        """Forget memories, and relations by their ids."""
        relations = [name for name in names if name.startswith("relation-")]
        memories = [name for name in names if name not in relations]
        return await self.memory.forget(memories, relations, origin="client:test", **how)

    async def ask(self, query: str = "", **fields: Any) -> list[Hit]:
        """Return the hits of all pages."""
        hits: list[Hit] = []
        token = ""
        while True:
            found = await self.memory.recall(Question(query=query, page_token=token, **fields))
            hits += found.hits
            token = found.next_page_token
            if not token:
                return hits

    async def texts(self, query: str = "", **fields: Any) -> list[str]:
        """Return what was recalled as texts; relations as their three names."""
        return [said(hit.thing) for hit in await self.ask(query, **fields)]


def said(thing: Memory | Relation) -> str:
    """Return a memory's text, or a relation as a line."""
    return thing.text if isinstance(thing, Memory) else f"{thing.subject} {thing.predicate} {thing.object}"


GRAPHS: dict[Path, KnowledgeGraph] = {}
"""The graph of each folder, so that opening again finds what was kept."""


@asynccontextmanager
async def open_memory(
    folder: Path, kind: str = "store", *, clock: StillClock | None = None, book: EmbedderBook | None = None
) -> AsyncIterator[Desk]:
    """Open a memory of *kind* `store` (in *folder*), `twin`, or `server` (one that a graph server keeps)."""
    clock = clock or StillClock(MONDAY)
    if kind == "server":
        graph = GRAPHS.setdefault(folder, KnowledgeGraph())
        yield Desk(await GraphMemory.open(graph, clock, book), clock)
        return
    if kind == "twin":
        yield Desk(MemoryTwin(clock, book), clock)
        return
    async with open_house(folder, clock, book) as house:
        yield Desk(house.memory, clock)


class House:
    """A memory in a database."""

    def __init__(self, db: Database, memory: MemoryStore, book: EmbedderBook, archive: Archive | None) -> None:
        self.db = db
        self.memory = memory
        self.book = book
        self.archive = archive


@asynccontextmanager
async def open_house(
    folder: Path,
    clock: StillClock,
    book: EmbedderBook | None = None,
    *,
    with_archive: bool = False,
    revision: int = 7,
) -> AsyncIterator[House]:
    """Open a database, a memory on it and, if asked, an archive beside it; close them in order."""
    async with AsyncExitStack() as stack:
        db = await Database.open(folder / "store.db", clock=clock)
        stack.push_async_callback(db.close)
        archive = await Archive.open(folder / "archive", clock=clock) if with_archive else None
        if archive is not None:
            stack.push_async_callback(archive.close)
        requests = Requests(db, clock)
        await requests.start()
        stack.push_async_callback(requests.close)
        own = book is None
        book = book or EmbedderBook()
        if own:
            stack.push_async_callback(book.close)
        long_term: LongTerm | None = archive
        memory = await MemoryStore.open(db, requests, book, clock=clock, archive=long_term, revision=lambda: revision)
        stack.push_async_callback(memory.close)
        yield House(db, memory, book, archive)


_WORD = re.compile(r"\w+")


class CountingEmbedder:
    """An embedder of a plugin: counts some words; says how many texts it has seen."""

    def __init__(self, name: str = "counting", dimensions: int = 32) -> None:
        self.name = name
        self.dimensions = dimensions
        self.seen: list[str] = []
        self.fails: set[str] = set()

    def embed(self, texts: Any) -> list[list[float]]:
        """Return vectors in which each word has its place; two words that rhyme share one."""
        found = []
        for text in texts:
            if text in self.fails:
                raise ValueError("this text is too much for it")
            self.seen.append(text)
            vector = [0.0] * self.dimensions
            for word in _WORD.findall(text.casefold()):
                vector[sum(map(ord, word[-2:])) % self.dimensions] += 1.0
            length = sum(number * number for number in vector) ** 0.5
            found.append([number / length for number in vector] if length else vector)
        return found

    def close(self) -> None:
        """Let go of nothing."""
