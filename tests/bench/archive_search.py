"""Search over many frames: the newest 20 with two words, against bare roaring bitmaps, FTS5 and tantivy.

`LIGHTFAST_BENCH_FRAMES=1000000` sets how many frames there are (100,000 by default), `LIGHTFAST_BENCH_LADDER=10000,…`
which sizes the cost curve has (none by default). Peers: `pip install -r requirements/bench.txt`.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import tempfile
import time
from array import array
from bisect import bisect
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import apsw
from tests.bench.measure import Row, compare, single
from tests.bench.world import World

from lightfast.storage.archive.archive import Archive
from lightfast.storage.archive.records import Hit, NewFrame, Options, Query
from lightfast.storage.archive.search.source import ReaderSource

FRAMES = int(os.environ.get("LIGHTFAST_BENCH_FRAMES", "100000"))
LADDER = [int(size) for size in os.environ.get("LIGHTFAST_BENCH_LADDER", "").split(",") if size]
VOCABULARY, LENGTH, QUERIES, NEWEST = 50_000, 12, 1000, 20
START_MS = 1_767_225_600_000
MISSING = "pip install -r requirements/bench.txt"
_HARMONIC = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))


def draw(chance: random.Random) -> str:
    """Return a word, as often as words of its rank are in natural language (Zipf)."""
    return f"w{bisect(_HARMONIC, chance.random() * _HARMONIC[-1])}"


def texts(count: int) -> list[str]:
    """Return texts of twelve words."""
    chance = random.Random(7)
    return [" ".join(draw(chance) for _ in range(LENGTH)) for _ in range(count)]


def pairs_of_words(documents: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of words that stand together somewhere, so that every query finds something."""
    chance = random.Random(11)
    found: list[tuple[str, str]] = []
    while len(found) < QUERIES:
        one, other = chance.sample(chance.choice(documents).split(), 2)
        if one != other:
            found.append((one, other))
    return found


def timed(work: Callable[[tuple[str, str]], Any], queries: Sequence[tuple[str, str]]) -> list[float]:
    """Return the seconds that each query takes, after one round that warms everything."""
    for query in queries:
        work(query)
    seconds = []
    for query in queries:
        began = time.perf_counter()
        work(query)
        seconds.append(time.perf_counter() - began)
    return seconds


def p99(seconds: Sequence[float]) -> float:
    """Return the 99th percentile."""
    return sorted(seconds)[len(seconds) * 99 // 100]


async def build(folder: Path, documents: Sequence[str]) -> tuple[Archive, float, float]:
    """Append *documents*, a second apart; return the archive, frames/s appended, and seconds until all are indexed."""
    archive = await Archive.open(folder, options=Options())
    began = time.perf_counter()
    for begin in range(0, len(documents), 1000):
        batch = documents[begin : begin + 1000]
        await archive.append([NewFrame(text, time_ms=START_MS + 1000 * (begin + at)) for at, text in enumerate(batch)])
    appended = len(documents) / (time.perf_counter() - began)
    began = time.perf_counter()
    await asyncio.get_running_loop().run_in_executor(None, archive.index.catch_up)
    return archive, appended, time.perf_counter() - began


def bare(documents: Sequence[str]) -> Callable[[tuple[str, str]], list[int]]:
    """Return the search over bare roaring bitmaps in memory: the numbers of the newest 20."""
    from pyroaring import BitMap

    numbers: dict[str, array[int]] = {}
    for number, text in enumerate(documents):
        for word in set(text.split()):
            numbers.setdefault(word, array("I")).append(number)
    postings = {word: BitMap(found) for word, found in numbers.items()}

    def search(query: tuple[str, str]) -> list[int]:
        return list((postings[query[0]] & postings[query[1]])[-NEWEST:])[::-1]

    return search


def fts5(folder: Path, documents: Sequence[str]) -> Callable[[tuple[str, str]], list[int]]:
    """Return the same over SQLite's FTS5, without positions."""
    database = apsw.Connection(str(folder / "fts5.db"))
    database.execute("pragma journal_mode = wal; pragma synchronous = off")
    database.execute("create virtual table notes using fts5(text, content='', detail=none)")
    with database:
        database.executemany(
            "insert into notes (rowid, text) values (?, ?)", ((at + 1, text) for at, text in enumerate(documents))
        )
    cursor = database.cursor()

    def search(query: tuple[str, str]) -> list[int]:
        asked = f'"{query[0]}" AND "{query[1]}"'
        rows = cursor.execute(
            "select rowid from notes where notes match ? order by rowid desc limit ?", (asked, NEWEST)
        )
        return [row[0] - 1 for row in rows]

    return search


def tantivy_search(folder: Path, documents: Sequence[str]) -> Callable[[tuple[str, str]], list[int]] | None:
    """Return the same over tantivy, by a sort field; None where it is not installed."""
    try:
        import tantivy
    except ImportError:
        return None
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", stored=False, tokenizer_name="whitespace", index_option="basic")
    builder.add_unsigned_field("number", stored=True, indexed=False, fast=True)
    schema = builder.build()
    (folder / "tantivy").mkdir()
    index = tantivy.Index(schema, path=str(folder / "tantivy"))
    writer = index.writer(128 << 20, 1)
    for number, text in enumerate(documents):
        document = tantivy.Document(text=text)
        document.add_unsigned("number", number)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def search(query: tuple[str, str]) -> list[int]:
        terms = [(tantivy.Occur.Must, tantivy.Query.term_query(schema, "text", word, "basic")) for word in query]
        found = searcher.search(
            tantivy.Query.boolean_query(terms), NEWEST, count=False, order_by_field="number", order=tantivy.Order.Desc
        )
        return [number for number, _ in found.hits]

    return search


async def sides(folder: Path) -> list[Row]:
    """Measure ours and the peers over the same frames, with the same queries."""
    documents = texts(FRAMES)
    archive, appended, first = await build(folder / "archive", documents)
    try:
        await archive.close()
        archive = await Archive.open(folder / "archive", options=Options())
        began = time.perf_counter()
        await archive.search(Query("w0 w1"))
        again = time.perf_counter() - began
        queries = pairs_of_words(documents)
        source = await archive.run(lambda reader: ReaderSource(reader, archive.caches))

        asked = {pair: Query(f"{pair[0]} {pair[1]}", limit=NEWEST) for pair in queries}

        def ids(query: tuple[str, str]) -> list[str]:
            return archive.searches.ids(asked[query], source)

        def whole(query: tuple[str, str]) -> list[Hit]:
            archive.caches.searches.clear()  # what was answered before would be measured else
            return archive.searches.search(asked[query], source)

        peers = {
            "bare roaring bitmaps": (bare(documents), 2.0),
            "SQLite FTS5 (detail=none)": (fts5(folder, documents), 0.1),
            "tantivy": (tantivy_search(folder, documents), 0.6),
        }
        ours = timed(ids, queries)
        rows = []
        for name, (peer, most) in peers.items():
            title = f"newest {NEWEST} with two words among {FRAMES:,} (ids), against {name}, p50"
            if peer is None:
                rows.append(single(title, 0.0, "µs", note=f"skipped: {MISSING}"))
                continue
            for query in queries[:50]:
                numbers = [hit.frame.number for hit in whole(query)]
                if numbers != peer(query):
                    raise RuntimeError(f"{name} finds something else for {query}: {peer(query)}, not {numbers}")
            found = []
            for _ in range(5):
                mine, theirs = timed(ids, queries), timed(peer, queries)
                found.append((statistics.median(mine) * 1e6, statistics.median(theirs) * 1e6))
                ours = mine
            rows.append(compare(title, found, "µs", most=most, note=f"p99 {p99(ours) * 1e6:.0f} µs"))
        frames = timed(whole, queries)
        figures = archive.index.figures()
        rows += [
            single(
                f"newest {NEWEST} whole frames among {FRAMES:,}, p99",
                p99(frames) * 1e3,
                "ms",
                most=20.0,
                note=f"p50 {statistics.median(frames) * 1e3:.2f} ms",
            ),
            single(
                "after appending, until the rest is in the index", first * 1e3, "ms", note=f"{appended:,.0f} frames/s"
            ),
            single("first search after a start", again * 1e3, "ms"),
            single("index on the disk", figures["index.bytes"] / FRAMES, "bytes/frame"),
        ]
    finally:
        await archive.close()
    return rows


async def ladder(folder: Path) -> list[Row]:
    """Measure how the cost grows with the number of frames, without peers."""
    rows = []
    for size in LADDER:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            documents = texts(size)
            archive, appended, first = await build(Path(place) / "archive", documents)
            try:
                queries = pairs_of_words(documents)
                source = await archive.run(lambda reader: ReaderSource(reader, archive.caches))  # noqa: B023
                search = archive.searches
                ids = timed(lambda query: search.ids(Query(" ".join(query), limit=NEWEST), source), queries)  # noqa: B023
                rows.append(
                    single(
                        f"newest {NEWEST} with two words among {size:,} (ids), p50",
                        statistics.median(ids) * 1e6,
                        "µs",
                        note=f"p99 {p99(ids) * 1e6:.0f} µs; indexed {first:.1f} s after, appended {appended:,.0f} frames/s",
                    )
                )
            finally:
                await archive.close()
    return rows


async def run(world: World, pairs: int) -> list[Row]:
    """Measure both."""
    with tempfile.TemporaryDirectory() as folder:
        return [*(await sides(Path(folder))), *(await ladder(Path(folder)))]
