"""Recall: keyword, vector and graph, fused; each filtered by the two times that were asked for."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

from lightfast.context.memory import graph, keywords, rows
from lightfast.context.memory.archived import Archived
from lightfast.context.memory.asked import Asked
from lightfast.context.memory.checks import check_question
from lightfast.context.memory.ledger import Ledger
from lightfast.context.memory.ranking import fuse, ranks
from lightfast.context.memory.records import Hit, Question, Ranking, Recalled
from lightfast.context.memory.rows import Item
from lightfast.context.memory.spaces import Nearest, Spaces
from lightfast.context.memory.validity import Row
from lightfast.context.memory.words import terms
from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.core.clock import Clock
from lightfast.core.relevance import Relevance, is_breakthrough
from lightfast.storage.database import Database

DEFAULT_PAGE, MOST_PAGE = 20, 200
VECTORS = 256
"""So many of the closest vectors that were true and known then."""
MOST = 1000
"""The most hits of one question, over all its pages."""
WEIGHED = 200
"""So many of the best of all ways are weighed by the relevance formula."""
SEEDS = 10
"""So many of the best hits of keyword and vector each, the walk over relations begins with."""


class Ways(NamedTuple):
    """The wordings that each way has found, best first; *newest* where nothing was asked for."""

    keyword: list[int]
    weak: list[int]
    vector: list[int]
    graph: list[int]
    newest: list[int]


class Recaller:
    """Answers questions."""

    def __init__(self, db: Database, ledger: Ledger, spaces: Spaces, archived: Archived, clock: Clock) -> None:
        self._db = db
        self._ledger = ledger
        self._spaces = spaces
        self._archived = archived
        self._clock = clock

    async def recall(self, question: Question) -> Recalled:
        """See `TemporalMemory.recall`."""
        check_question(question)
        size = page_size(question.page_size, DEFAULT_PAGE, MOST_PAGE)
        mark = fingerprint(
            question.query,
            question.valid,
            question.known,
            sorted(question.tags),
            question.kind,
            question.subjects,
            question.depth,
            question.ranking,
            question.embedder,
            question.include_archive,
        )
        embedder, start = question.embedder, 0
        if question.page_token:
            token = read_token(question.page_token, mark)
            place, _, embedder = token.after.partition(" ")
            known, valid, start = token.revision, token.number or 0, int(place)
        else:
            known = self._ledger.known if question.known is None else min(question.known, self._ledger.known)
            valid = self._clock.now_ns() if question.valid is None else question.valid
        asked = Asked(valid, known, question.kind, question.tags)
        near = await self._near(question, embedder)
        ways = await self._ways(question, asked, near)
        archived = await self._archived.search(question.query, asked) if question.include_archive else []
        found = {-number: pair for number, pair in enumerate(archived, 1)}  # no wordings: they have no place here
        order, scores = await self._ranked(question, asked, near, ways, found)
        end, used = start + size, near.name if near is not None else ""
        wanted = [number for number in order[start:end] if number not in found]
        found |= await self._db.read(partial(_load, asked=asked, wordings=wanted))
        places = [ranks([*ways.keyword, *ways.weak]) | ranks([-n for n in range(1, len(archived) + 1)])]
        places += [ranks(ways.vector), ranks(ways.graph)]
        hits = [
            Hit(
                rows.thing(*found[number], "archive" if number < 0 else "history"),
                scores.get(number, 0.0),
                *(place.get(number, 0) for place in places),
            )
            for number in order[start:end]
            if number in found  # it may have been purged a moment ago
        ]
        more = write_token(Token(mark, known, f"{end} {used}", valid)) if end < len(order) else ""
        return Recalled(tuple(hits), more, used)

    async def _near(self, question: Question, embedder: str) -> Nearest | None:
        """Prepare the question for the vectors; the name of an embedder that is not there is refused in any case."""
        if question.query.strip() and question.ranking is not Ranking.NEWEST:
            return await self._spaces.ask(question.query, embedder)
        self._spaces.check(embedder)
        return None

    async def _ranked(
        self, question: Question, asked: Asked, near: Nearest | None, ways: Ways, found: dict[int, tuple[Item, Row]]
    ) -> tuple[list[int], dict[int, float]]:
        """Return the numbers of all hits, best first, and their scores; *found* gets the rows that had to be read."""
        archived = list(found)
        if question.ranking is Ranking.FUSED and not ways.newest:
            scores = fuse((ways.keyword, ways.vector, ways.graph, archived), ways.weak)
            return sorted(scores, key=lambda n: (-scores[n], -n))[:MOST], scores
        if question.ranking is Ranking.RELEVANCE and not ways.newest:
            fused = fuse((ways.keyword, ways.vector, ways.graph), ways.weak)
            wanted = sorted(fused, key=lambda n: (-fused[n], -n))[:WEIGHED]
            found |= await self._db.read(partial(_load, asked=asked, wordings=wanted))
            scores = await self._relevance(question, asked, near, found)
            return sorted(scores, key=lambda n: (-scores[n], -n))[:MOST], scores
        wanted = list({*ways.keyword, *ways.vector, *ways.graph, *ways.newest})
        times = await self._db.read(partial(keywords.recorded, asked=asked, wordings=wanted))
        times |= {number: row.record_time for number, (_, row) in found.items()}
        return sorted(times, key=lambda n: (-times[n], -n))[:MOST], {}

    async def _ways(self, question: Question, asked: Asked, near: Nearest | None) -> Ways:
        """Ask all ways; where the closest vectors were not true or known then, look at more of them."""
        most = 2 * VECTORS
        while True:
            closest = (await near.top(most))[0] if near is not None else []
            look = partial(_look, question=question, asked=asked, closest=closest)
            ways = await self._db.read(look)
            if near is None or len(ways.vector) >= VECTORS or len(closest) < most:
                return ways
            most *= 8

    async def _relevance(
        self, question: Question, asked: Asked, near: Nearest | None, found: dict[int, tuple[Item, Row]]
    ) -> dict[int, float]:
        """Score by the formula of `lightfast.core.relevance`; a memory is as old as the time since it was recorded."""
        close = await near.cosines(list(found)) if near is not None else {}
        formula = Relevance(question.query)
        return {
            number: formula.score(
                row.text,
                age_ms=(asked.known - row.record_time) / 1e6,
                similarity=max(0.0, close.get(number, 0.0)),
                is_breakthrough=is_breakthrough("", rows.metadata(row.metadata)),
            )
            for number, (_, row) in found.items()
        }


def _look(connection: Any, question: Question, asked: Asked, closest: list[int]) -> Ways:
    """Ask the database, all of it in one state."""
    words = terms(question.query)
    if not question.query.strip() and not question.subjects:
        return Ways([], [], [], [], keywords.newest(connection, asked, MOST))
    weak: list[int] = []
    if question.ranking is Ranking.NEWEST:
        by_word = keywords.with_all(connection, asked, words, MOST) if words else []
    else:
        by_word, weak = keywords.by_words(connection, asked, words)
    by_vector = keywords.holding(connection, asked, closest)[:VECTORS] if closest else []
    seeds = list(dict.fromkeys([*[*by_word, *weak][:SEEDS], *by_vector[:SEEDS]]))
    starts = [*question.subjects, *graph.things(connection, seeds)] if question.depth else []
    # That the walk comes back to where it began says nothing.
    by_graph = [number for number in graph.walk(connection, asked, starts, question.depth) if number not in seeds]
    return Ways(by_word, weak, by_vector, by_graph, [])


def _load(connection: Any, asked: Asked, wordings: Iterable[int]) -> dict[int, tuple[Item, Row]]:
    """Return the rows of *wordings* that were true and known then, with their items."""
    query = (
        f"SELECT json_array(json_array({rows.ITEM}), json_array({rows.ROW})) AS line FROM memory_versions v"  # noqa: S608
        " JOIN memory_wordings w ON w.wording = v.wording JOIN memory_items i ON i.item = v.item"
        f" WHERE v.wording IN (SELECT value FROM json_each(:wordings)) AND {asked.condition('v.wording')}"
    )
    found = rows.page(connection, query, {**asked.bindings, "wordings": rows.listed(wordings)})
    pairs = [(Item(*item), rows.row(row)) for item, row in found]
    return {row.wording: (item, row) for item, row in pairs}
