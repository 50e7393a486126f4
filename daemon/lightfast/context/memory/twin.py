"""The memory in a dictionary: the second implementation of `TemporalMemory`, without a database and without an archive.

It is exact where the one in the database looks at bounded sets, and slow: it looks at everything. For tests of what
uses a memory, for small private ones, and as the measure of the other: both pass the same tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec

from lightfast.context.memory import checks, rows
from lightfast.context.memory.asked import Asked
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.keywords import STRONG
from lightfast.context.memory.lister import DEFAULT_PAGE as LISTED
from lightfast.context.memory.lister import MOST_PAGE as MOST_LISTED
from lightfast.context.memory.lookups import ALIKE
from lightfast.context.memory.ranking import fuse, ranks
from lightfast.context.memory.recall import DEFAULT_PAGE, MOST, MOST_PAGE, SEEDS
from lightfast.context.memory.records import (
    FOREVER,
    Forgotten,
    Found,
    Hit,
    Kind,
    Listing,
    NewMemory,
    NewRelation,
    Question,
    Ranking,
    Recalled,
    Related,
    Remembered,
)
from lightfast.context.memory.rows import MEMORY, RELATION, Item
from lightfast.context.memory.spaces import FLOOR
from lightfast.context.memory.validity import Row, contradict, state
from lightfast.context.memory.words import indexed, terms
from lightfast.context.paging import Token, fingerprint, page_size, read_token, write_token
from lightfast.context.records import RequestKey
from lightfast.core import trigrams
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import AlreadyExists, NotFound
from lightfast.core.ids import new_id
from lightfast.core.relevance import Relevance, is_breakthrough

T = TypeVar("T")

Pair = tuple[Item, Row]


class MemoryTwin:
    """Keeps everything in memory, and forgets it when it goes. Words match whole, without stems."""

    def __init__(self, clock: Clock = SYSTEM, embedders: EmbedderBook | None = None) -> None:
        self._clock = clock
        self._book = embedders or EmbedderBook()
        self._items: dict[str, Item] = {}
        self._rows: dict[int, Row] = {}
        self._answers: dict[tuple[str, str, str], tuple[str, Any]] = {}
        self._time = 0

    def state(self) -> tuple[dict[str, Item], dict[int, Row]]:
        """Return what is kept, items by identity and rows by number, for whoever keeps it elsewhere."""
        return dict(self._items), dict(self._rows)

    def restore(self, items: Iterable[Item], kept: Iterable[Row]) -> None:
        """Take what was kept elsewhere, in place of what is here; answers to repeated requests are forgotten."""
        self._answers.clear()
        self._items = {item.identity: item for item in items}
        self._rows = {row.row: row for row in sorted(kept, key=lambda row: row.row)}
        self._time = max(
            (time for row in self._rows.values() for time in (row.record_time, row.superseded_time) if time < FOREVER),
            default=0,
        )

    async def remember(self, new: NewMemory, *, origin: str, request: RequestKey | None = None) -> Remembered:
        """See `TemporalMemory`."""
        now = self._clock.now_ns()
        checks.check_memory(new, now)

        def act() -> Remembered:
            identity = checks.memory_identity(new.key, new.kind, new.text).hex()
            known = self._items.get(identity)
            similar = None if known else self._similar(new, now)
            item = known or self._new(Item(0, new_id("memory"), MEMORY, new.key, "", "", "", "", identity))
            row = self._row(item, new, origin, now, int(new.kind), new.text, new.tags)
            return Remembered(rows.memory(item, self._state(item, row, new.strength)), similar)

        return self._once(request, act)

    async def relate(self, new: NewRelation, *, origin: str, request: RequestKey | None = None) -> Related:
        """See `TemporalMemory`."""
        now = self._clock.now_ns()
        checks.check_relation(new, now)

        def act() -> Related:
            names = (new.subject, new.predicate, new.object)
            identity = checks.relation_identity(*names).hex()
            known = self._items.get(identity)
            item = known or self._new(Item(0, new_id("relation"), RELATION, "", *names, "", identity))
            row = self._row(item, new, origin, now, 0, " ".join(names), ())
            stated = self._state(item, row, new.strength)
            closed: list[Pair] = []
            for other in list(self._items.values()) if new.exclusive else ():
                if other.form == RELATION and other.lock == item.lock and other.item != item.item:
                    closed += self._end(other, row.valid_from, new.valid_to, item.item_id, "")
            return Related(rows.relation(item, stated), tuple(rows.relation(*pair) for pair in closed))

        return self._once(request, act)

    async def forget(
        self,
        memories: Sequence[str],
        relations: Sequence[str] = (),
        *,
        valid_to: int | None = None,
        reason: str = "",
        origin: str,
        request: RequestKey | None = None,
    ) -> Forgotten:
        """See `TemporalMemory`."""
        checks.check_forget(memories, relations, valid_to, reason)

        def act() -> Forgotten:
            end = self._clock.now_ns() if valid_to is None else valid_to
            wanted = {
                self._named(name, form): form for form, names in ((0, memories), (1, relations)) for name in names
            }
            self._tick()
            counts = [0, 0]
            for item, form in wanted.items():
                counts[form] += bool(self._end(item, end, FOREVER, "", reason))
            return Forgotten(*counts)

        return self._once(request, act)

    async def recall(self, question: Question) -> Recalled:
        """See `TemporalMemory`."""
        checks.check_question(question)
        size = page_size(question.page_size, DEFAULT_PAGE, MOST_PAGE)
        mark = fingerprint(*(getattr(question, name) for name in question.__struct_fields__ if name[:5] != "page_"))
        start, known = 0, self._time if question.known is None else min(question.known, self._time)
        valid = self._clock.now_ns() if question.valid is None else question.valid
        if question.page_token:
            token = read_token(question.page_token, mark)
            start, known, valid = int(token.after), token.revision, token.number or 0
        embedder = self._book.get(question.embedder).name
        near = question.query.strip() != "" and question.ranking is not Ranking.NEWEST
        vectors = await self._vectors(question.query, embedder) if near else {}
        hits = self._hits(question, Asked(valid, known, question.kind, question.tags), vectors)
        more = write_token(Token(mark, known, str(start + size), valid)) if start + size < len(hits) else ""
        return Recalled(tuple(hits[start : start + size]), more, embedder if near else "")

    async def get(self, memory: str) -> Found:
        """See `TemporalMemory`."""
        item, now = self._named(memory, MEMORY), self._clock.now_ns()
        states = [row for row in self._rows.values() if row.item == item.item]
        states.sort(key=lambda row: (row.record_time, row.version, row.valid_from), reverse=True)
        names = {item.item_id, item.key or item.item_id}
        relations = [
            rows.relation(other, row)
            for other, row in self._holding(Asked(now, self._time))
            if other.form == RELATION and names & {other.subject, other.object}
        ]
        return Found(tuple(rows.memory(item, row) for row in states), tuple(reversed(relations)))

    async def memories(
        self,
        *,
        tags: Sequence[str] = (),
        kind: Kind = Kind.NONE,
        include_closed: bool = False,
        page_size: int = 0,
        page_token: str = "",
    ) -> Listing:
        """See `TemporalMemory`."""
        checks.check_tags(tags)
        count = _size(page_size)
        mark = fingerprint("memories", sorted(tags), kind, include_closed)
        token = read_token(page_token, mark) if page_token else Token(mark, self._time, "0", self._clock.now_ns())
        start, asked = int(token.after), Asked(token.number or 0, token.revision)
        found = []
        for item in sorted(self._items.values(), key=lambda item: -item.item):
            states = [r for r in self._rows.values() if r.item == item.item and r.record_time <= asked.known]
            states = [row for row in states if asked.known < row.superseded_time]
            states.sort(key=lambda row: (row.holds(*asked[:2]), row.version, row.valid_from))
            if item.form or not states or not (include_closed or states[-1].holds(*asked[:2])):
                continue
            if kind in (Kind.NONE, states[-1].kind) and set(tags) <= set(states[-1].tags):
                found.append(rows.memory(item, states[-1]))
        end = start + count
        more = write_token(token.__class__(mark, token.revision, str(end), token.number)) if end < len(found) else ""
        return Listing(tuple(found[start:end]), more)

    def _once(self, request: RequestKey | None, act: Callable[[], T]) -> T:
        if request is None:
            return act()
        key = (request.client, request.method, request.request_id)
        if key not in self._answers:
            self._answers[key] = (request.payload_hash, act())
        payload, answer = self._answers[key]
        if payload != request.payload_hash:
            raise AlreadyExists(f"request_id {request.request_id!r} was used for another", reason="REQUEST_ID_REUSED")
        return answer  # type: ignore[no-any-return]

    def _tick(self) -> int:
        self._time = max(self._clock.now_ns(), self._time + 1)
        return self._time

    def _new(self, item: Item) -> Item:
        item = item._replace(item=max((known.item for known in self._items.values()), default=0) + 1)
        self._items[item.identity] = item
        return item

    def _named(self, name: str, form: int) -> Item:
        for item in self._items.values():
            if item.form == form and name in (item.item_id, item.key or item.item_id):
                return item
        word = ("memory", "relation")[form]
        raise NotFound(f"there is no {word} {name!r:.100}", reason=f"{word.upper()}_NOT_FOUND")

    def _live(self, item: Item) -> list[Row]:
        return [row for row in self._rows.values() if row.item == item.item and row.live]

    def _row(
        self, item: Item, new: NewMemory | NewRelation, origin: str, now: int, kind: int, text: str, tags: Iterable[str]
    ) -> Row:
        begin = now if new.valid_from is None else new.valid_from
        weight = 0.5 if new.strength is None else new.strength
        said = (checks.metadata_text(new.metadata), weight, float(new.confidence), new.source, origin)
        times = (begin, new.valid_to, self._tick(), FOREVER)
        return Row(0, item.item, 1, 0, kind, text, tuple(tags), *said, *times, 0, "", "")

    def _state(self, item: Item, row: Row, strength: float | None) -> Row:
        last = max((known.version for known in self._rows.values() if known.item == item.item), default=0)
        change = state(self._live(item), row, strength, last)
        if change.raised is not None:
            self._rows[change.stated.row] = change.stated
        return self._write(change.superseded, change.added)[-1] if change.added else change.stated

    def _end(self, item: Item, begin: int, end: int, closed_by: str, reason: str) -> list[Pair]:
        superseded, left = contradict(self._live(item), begin, end, self._time, closed_by, reason)
        added = self._write(superseded, left)
        return [(item, min(added or superseded, key=lambda row: row.valid_from))] if superseded else []

    def _write(self, superseded: Iterable[Row], added: Iterable[Row]) -> list[Row]:
        self._rows.update({row.row: row for row in superseded})
        written = []
        for row in added:
            number = max(self._rows, default=0) + 1
            written.append(msgspec.structs.replace(row, row=number, wording=number))
            self._rows[number] = written[-1]
        return written

    def _similar(self, new: NewMemory, now: int) -> Any:
        for item, row in self._holding(Asked(now, self._time)):
            alike = item.key and new.key and checks.key_form(item.key) == checks.key_form(new.key)
            if row.kind and (alike or trigrams.similarity(new.text[:4000], row.text[:4000]) >= ALIKE):
                return rows.memory(item, row)
        return None

    def _holding(self, asked: Asked) -> list[Pair]:
        by_number = {item.item: item for item in self._items.values()}
        return [
            (by_number[row.item], row)
            for row in self._rows.values()
            if row.holds(asked.valid, asked.known)
            and asked.kind in (Kind.NONE, row.kind)
            and set(asked.tags) <= set(row.tags)
        ]

    async def _vectors(self, query: str, embedder: str) -> dict[int, float]:
        (asked,) = await self._book.embed(embedder, [query])
        made = await self._book.embed(embedder, [row.text for row in self._rows.values()])
        close = {n: sum(map(float.__mul__, asked, vector)) for n, vector in zip(self._rows, made, strict=True)}
        return {number: score for number, score in close.items() if score > FLOOR}

    def _hits(self, question: Question, asked: Asked, vectors: dict[int, float]) -> list[Hit]:
        found = {row.row: (item, row) for item, row in self._holding(asked)}
        words = [term.strip('"').casefold() for term in terms(question.query)]
        matched = {n: sum(f" {word} " in _words(row) for word in words) for n, (_, row) in found.items()}
        by_word = sorted((n for n in found if matched[n]), key=lambda n: (-matched[n], -n))
        if question.ranking is Ranking.NEWEST:
            by_word = [number for number in by_word if matched[number] == len(words)]
        by_vector = sorted((n for n in found if n in vectors), key=lambda n: (-vectors[n], -n))
        seeds = list(dict.fromkeys([*by_word[:SEEDS], *by_vector[:SEEDS]]))
        starts = [*question.subjects, *(name for number in seeds for name in _names(found[number][0]))]
        by_graph = [n for n in self._walk(asked, starts, question.depth) if n not in seeds]
        anything = not question.query.strip() and not question.subjects
        wanted = set(found) if anything else {*by_word, *by_vector, *by_graph}
        if question.ranking is Ranking.NEWEST or anything:
            scores = dict.fromkeys(wanted, 0.0)
            order = sorted(wanted, key=lambda n: (found[n][1].record_time, n), reverse=True)
        else:
            strong = [n for n in by_word if matched[n] >= STRONG * len(words)]
            scores = fuse((strong, by_vector, by_graph), [n for n in by_word if n not in strong])
            if question.ranking is Ranking.RELEVANCE:
                scores = {n: _relevance(question.query, asked, found[n][1], vectors.get(n, 0.0)) for n in wanted}
            order = sorted(wanted, key=lambda n: (-scores[n], -n))
        places = [ranks(ranked) for ranked in (by_word, by_vector, by_graph)]
        return [Hit(rows.thing(*found[n]), scores[n], *(place.get(n, 0) for place in places)) for n in order[:MOST]]

    def _walk(self, asked: Asked, starts: list[str], depth: int) -> list[int]:
        everything = self._holding(Asked(asked.valid, asked.known))
        allowed = {row.row for _, row in self._holding(asked)}
        visited, frontier = set(starts), set(starts)
        found: dict[int, None] = {}
        for _ in range(depth):
            reached: set[str] = set()
            for item, row in everything:
                ends = {item.subject, item.object} if item.form == RELATION else set()
                if ends & frontier:
                    found.setdefault(row.row)
                    reached |= ends - visited
            for item, row in everything:
                if item.form == MEMORY and reached & set(_names(item)):
                    found.setdefault(row.row)
                    reached |= set(_names(item))
            frontier = reached - visited
            visited |= reached
        return [number for number in found if number in allowed]


def _size(asked: int) -> int:
    return page_size(asked, LISTED, MOST_LISTED)


def _words(row: Row) -> str:
    """Return the words of a row with a blank around each."""
    return " ".join(["", *re.findall(r"[^\W_]+", indexed(" ".join([row.text, *row.tags]).casefold())), ""])


def _names(item: Item) -> list[str]:
    names = [item.item_id, item.key] if item.form == MEMORY else [item.subject, item.object]
    return [name for name in names if name]


def _relevance(query: str, asked: Asked, row: Row, close: float) -> float:
    special = is_breakthrough("", rows.metadata(row.metadata))
    age = (asked.known - row.record_time) / 1e6
    return Relevance(query).score(row.text, age_ms=age, similarity=close, is_breakthrough=special)
