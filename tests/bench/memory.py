"""The memory: recall over many facts, and each write.

`LIGHTFAST_BENCH_FACTS=5000` for less than 100,000. It runs in this process, on a database of its own: what a call over
gRPC adds is measured elsewhere.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
from tests.bench.measure import Row, single
from tests.bench.world import World
from tests.support.recall import Rank, facts, queries

from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.records import Kind, Memory, NewMemory, NewRelation, Question, Ranking
from lightfast.context.memory.store import MemoryStore
from lightfast.core.trigrams import NAME as TRIGRAM
from lightfast.sdk import Embedder
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests

FACTS = int(os.environ.get("LIGHTFAST_BENCH_FACTS", "100000"))
CALLS = 300
WORDS = 20_000
ORIGIN = "client:bench"


@asynccontextmanager
async def opened(folder: Path, book: EmbedderBook) -> AsyncIterator[MemoryStore]:
    """Open a memory in *folder*."""
    db = await Database.open(folder / "store.db")
    try:
        requests = Requests(db)
        await requests.start()
        memory = await MemoryStore.open(db, requests, book)
        try:
            yield memory
        finally:
            await memory.close()
            await requests.close()
    finally:
        await db.close()


class Language:
    """Sentences of made-up words, as frequent as the words of a language: the n-th comes 1/n times as often."""

    def __init__(self, seed: int = 5) -> None:
        self.random = random.Random(seed)
        syllables = [a + b for a in "bcdfghklmnprstvz" for b in "aeiou"]
        self._words = ["".join(self.random.choices(syllables, k=self.random.randint(2, 4))) for _ in range(WORDS)]
        self._weights = [1 / number for number in range(1, WORDS + 1)]

    def sentence(self, words: int = 12) -> str:
        """Return a sentence."""
        return " ".join(self.random.choices(self._words, self._weights, k=words))


async def timed(call: Callable[[], Awaitable[object]], calls: int = CALLS) -> tuple[float, float, float]:
    """Return the median and the 99th percentile of a call, in seconds, and that of its processor time."""
    found, worked = [], []
    for _ in range(calls):
        began, busy = time.perf_counter(), time.process_time()
        await call()
        found.append(time.perf_counter() - began)
        worked.append(time.process_time() - busy)
    return statistics.median(found), statistics.quantiles(found, n=100)[98], statistics.quantiles(worked, n=100)[98]


async def fill(memory: MemoryStore, language: Language) -> float:
    """Remember facts, 64 at once, every fifth a relation; return how many a second."""
    gate = asyncio.Semaphore(64)

    async def one(number: int) -> None:
        async with gate:
            if number % 5 == 4:
                ends = (f"thing{number % 997}", f"thing{number * 7 % 1009}")
                await memory.relate(NewRelation(subject=ends[0], predicate="uses", object=ends[1]), origin=ORIGIN)
            else:
                new = NewMemory(text=language.sentence(), kind=Kind.FACT, key=f"k{number}")
                await memory.remember(new, origin=ORIGIN)

    began = time.perf_counter()
    for at in range(0, FACTS, 1000):
        await asyncio.gather(*(one(number) for number in range(at, min(at + 1000, FACTS))))
    return FACTS / (time.perf_counter() - began)


async def run(world: World, pairs: int) -> list[Row]:
    """Fill a memory, then measure recall in its rankings, and each write."""
    language, book = Language(), EmbedderBook()
    rows = []
    with tempfile.TemporaryDirectory(dir=world.home) as folder:
        async with opened(Path(folder), book) as memory:
            rate = await fill(memory, language)
            rows.append(single(f"facts remembered a second, 64 at once, up to {FACTS:,}", rate, "/s"))
            began = time.perf_counter()
            await memory.recall(Question(query=language.sentence()))
            first = time.perf_counter() - began

            def fresh(number: int = 0) -> NewMemory:
                return NewMemory(text=language.sentence(), key=f"k{language.random.randrange(FACTS)}" if number else "")

            def tie() -> NewRelation:
                ends = (f"thing{language.random.randrange(997)}", language.sentence(2))
                return NewRelation(subject=ends[0], predicate="at", object=ends[1], exclusive=True)

            recalls = {
                "hybrid recall, 3 words": lambda: memory.recall(Question(query=language.sentence(3))),
                "hybrid recall, 8 words": lambda: memory.recall(Question(query=language.sentence(8))),
                "hybrid recall, 20 words": lambda: memory.recall(Question(query=language.sentence(20))),
                "recall by the relevance formula, 8 words": lambda: memory.recall(
                    Question(query=language.sentence(8), ranking=Ranking.RELEVANCE)
                ),
                "recall of the newest, 2 words": lambda: memory.recall(
                    Question(query=language.sentence(2), ranking=Ranking.NEWEST)
                ),
                "what is related to a thing": lambda: memory.recall(
                    Question(subjects=(f"thing{language.random.randrange(997)}",))
                ),
            }
            others: dict[str, Callable[[], Awaitable[object]]] = {
                "remember": lambda: memory.remember(fresh(), origin=ORIGIN),
                "remember the next version": lambda: memory.remember(fresh(1), origin=ORIGIN),
                "relate, exclusively": lambda: memory.relate(tie(), origin=ORIGIN),
                "get": lambda: memory.get(f"k{language.random.randrange(FACTS // 5) * 5}"),
                "list 100": memory.memories,
            }
            goals = {**dict.fromkeys(recalls, 50.0), **dict.fromkeys(others, 10.0)}
            for name, call in {**recalls, **others}.items():
                median, slow, worked = await timed(call)
                note = f"median {median * 1e3:.2f} ms; p99 of its processor time {worked * 1e3:.1f} ms"
                rows.append(single(f"{name}, over {FACTS:,}: p99", slow * 1e3, "ms", most=goals[name], note=note))
            rows[1].note += f"; the first of all, which loads the vectors, {first * 1e3:.0f} ms"
            memory_used = psutil.Process().memory_info().rss / 1e6
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    await book.close()
    rows.append(single(f"bytes on the disk for each of {FACTS:,}", size / FACTS, "B", note=f"RSS {memory_used:.0f} MB"))
    return rows


async def contenders(embedders: Mapping[str, Embedder]) -> dict[str, Rank]:
    """Return the memory's own recall over the labelled set, for the trigrams and for each of *embedders*."""
    book = EmbedderBook()
    for embedder in embedders.values():
        book.register(embedder)
    known = facts()
    found: dict[str, Rank] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with opened(Path(folder), book) as memory:
            for name, text in known.items():
                await memory.remember(NewMemory(text=text, key=name, kind=Kind.FACT), origin=ORIGIN)
            for name in (TRIGRAM, *embedders):
                async with asyncio.timeout(600):
                    while not memory.spaces.settled(name):
                        await asyncio.sleep(0.05)
                answers = {query.text: await ranked(memory, query.text, name) for query in queries()}
                found[f"the memory's recall, {name}"] = lambda text, k, answers=answers: answers[text][:k]  # type: ignore[misc]
    await book.close()
    return found


async def ranked(memory: MemoryStore, text: str, embedder: str) -> list[str]:
    """Return the keys of what is recalled, best first."""
    found = await memory.recall(Question(query=text, embedder=embedder, page_size=50))
    if found.embedder != embedder:
        raise RuntimeError(f"{found.embedder} answered for {embedder}")
    return [hit.thing.key for hit in found.hits if isinstance(hit.thing, Memory)]
