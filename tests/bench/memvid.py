"""PyPI's memvid-sdk (its free tier, telemetry off) beside the archive, over the same 1,000 documents.

Both put all documents in batches and one at a time, durably, and find the newest or best 20 with two words.
`LIGHTFAST_BENCH_MEMVID=100` takes fewer documents. Peers: `pip install -r requirements/bench.txt`.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench.archive_search import MISSING, NEWEST, pairs_of_words, texts
from tests.bench.measure import Row, compare, single
from tests.bench.world import World

from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import NewFrame, Query
from lightfast.storage.archive.search.source import ReaderSource

DOCUMENTS = int(os.environ.get("LIGHTFAST_BENCH_MEMVID", "1000"))
ALONE, QUERIES, BATCH = 10, 100, 100


def size_of(folder: Path) -> int:
    """Return the bytes of all files below *folder*, as the disk counts them."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(work: Callable[[Any], Any], items: list[Any]) -> list[float]:
    """Return the seconds that each item takes."""
    seconds = []
    for item in items:
        began = time.perf_counter()
        work(item)
        seconds.append(time.perf_counter() - began)
    return seconds


async def ours(folder: Path, documents: list[str], queries: list[str]) -> tuple[float, float, float, int]:
    """Return seconds for all in batches, the median seconds alone, the median seconds to find, and bytes."""
    archive = await Archive.open(folder)
    try:
        began = time.perf_counter()
        for begin in range(0, len(documents), BATCH):
            await archive.append([NewFrame(text) for text in documents[begin : begin + BATCH]])
        together = time.perf_counter() - began
        source = await archive.run(lambda reader: ReaderSource(reader, archive.caches))
        find = timed(lambda query: archive.searches.search(Query(query, limit=NEWEST), source), queries)
        alone = []
        for text in documents[:ALONE]:
            began = time.perf_counter()
            await archive.append([NewFrame(text)])
            alone.append(time.perf_counter() - began)
    finally:
        await archive.close()
    return together, statistics.median(alone), statistics.median(find), size_of(folder)


def memvid(folder: Path, documents: list[str], queries: list[str]) -> tuple[tuple[float, float, float, int], int]:
    """Return the same of memvid, and how many queries it refused; raises `ImportError` where it is not installed."""
    os.environ["MEMVID_TELEMETRY"] = "0"
    os.environ["MEMVID_OFFLINE"] = "1"
    import memvid_sdk

    folder.mkdir()
    memory = memvid_sdk.create(str(folder / "memory.mv2"))
    try:
        began = time.perf_counter()
        for begin in range(0, len(documents), BATCH):
            batch = documents[begin : begin + BATCH]
            memory.put_many(
                [{"title": f"n{begin + at}", "label": "note", "text": text} for at, text in enumerate(batch)],
                opts={"auto_tag": False, "extract_dates": False},
            )
            memory.commit()
        together = time.perf_counter() - began
        refused = []

        def search(query: str) -> None:
            try:
                memory.find(query, k=NEWEST, mode="lex")
            except memvid_sdk.LexIndexDisabledError:  # it says so of some queries, and answers the next
                refused.append(query)

        find = timed(search, queries)
        alone = timed(
            lambda text: memory.put(
                title="alone", text=text, enable_embedding=False, auto_tag=False, extract_dates=False
            ),
            documents[:ALONE],
        )
    finally:
        memory.close()
    return (together, statistics.median(alone), statistics.median(find), size_of(folder)), len(refused)


async def run(world: World, pairs: int) -> list[Row]:
    """Measure both, one after the other: each is far from the other, and memvid takes minutes."""
    documents = texts(DOCUMENTS)
    queries = [" ".join(pair) for pair in pairs_of_words(documents)[:QUERIES]]
    with tempfile.TemporaryDirectory() as place:
        mine = await ours(Path(place) / "archive", documents, queries)
        try:
            theirs, refused = memvid(Path(place) / "memvid", documents, queries)
        except ImportError:
            return [single("memvid-sdk", 0.0, "—", note=f"skipped: {MISSING}")]
    put, alone, find, size = zip(mine, theirs, strict=True)
    count = f"{DOCUMENTS:,} documents"
    return [
        compare(
            f"put {count}, {BATCH} at a time, against memvid", [(DOCUMENTS / put[0], DOCUMENTS / put[1])], "documents/s"
        ),
        compare("put one document durably, p50, against memvid", [(alone[0] * 1e3, alone[1] * 1e3)], "ms"),
        compare(
            f"find two words in {count}, p50, against memvid",
            [(find[0] * 1e3, find[1] * 1e3)],
            "ms",
            note=f"of {len(queries)} it refused {refused}",
        ),
        compare(f"bytes of {count}, against memvid", [(size[0], size[1])], "bytes"),
    ]
