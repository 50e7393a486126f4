"""The memory in the database: implements `lightfast.context.memory.port.TemporalMemory`.

Writes about one thing come one after the other, all others share the writer's next sync. Each write reads what is
known, decides by `lightfast.context.memory.validity`, and commits its rows, its words for the index, its trigrams, its
news and the answer to its request in one transaction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

import msgspec

from lightfast.context.memory import checks, lookups, rows
from lightfast.context.memory.archived import Archived, LongTerm
from lightfast.context.memory.embedders import EmbedderBook
from lightfast.context.memory.ledger import Batch, Ledger
from lightfast.context.memory.locks import NamedLocks
from lightfast.context.memory.records import (
    FOREVER,
    Forgotten,
    Found,
    Kind,
    Listing,
    NewMemory,
    NewRelation,
    Question,
    Recalled,
    Related,
    Remembered,
)
from lightfast.context.memory.rows import MEMORY, RELATION, Item
from lightfast.context.memory.spaces import Spaces
from lightfast.context.memory.validity import Row, contradict, state
from lightfast.context.records import RequestKey
from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import NotFound
from lightfast.core.ids import new_id
from lightfast.storage.database import Database
from lightfast.storage.requests import Requests

if TYPE_CHECKING:
    from lightfast.context.memory.lister import Lister
    from lightfast.context.memory.recall import Recaller

Pair = tuple[Item, Row]


class Answer(msgspec.Struct, frozen=True):
    """What became of a write, as it is kept for a repeated request."""

    pairs: tuple[Pair, ...] = ()
    """What was stated; then what was similar, or what it contradicts."""
    counts: tuple[int, int] = (0, 0)
    """How many memories and relations were closed."""


class MemoryStore:
    """Open one with `await MemoryStore.open(…)`, close it before the database."""

    def __init__(
        self,
        db: Database,
        requests: Requests,
        embedders: EmbedderBook,
        clock: Clock = SYSTEM,
        archive: LongTerm | None = None,
        revision: Callable[[], int] = lambda: 0,
    ) -> None:
        """*revision* tells the present revision of the store, which is kept with what is written."""
        self.spaces = Spaces(db, embedders)
        self.locks = NamedLocks()
        self.ledger = Ledger(db, clock, self.spaces)
        self.archived = Archived(db, self.ledger, self.spaces, self.locks, archive)
        self._db = db
        self._requests = requests
        self._clock = clock
        self._revision = revision

    @cached_property
    def _recaller(self) -> Recaller:
        from lightfast.context.memory.recall import Recaller  # with the first question

        return Recaller(self._db, self.ledger, self.spaces, self.archived, self._clock)

    @cached_property
    def _lister(self) -> Lister:
        from lightfast.context.memory.lister import Lister

        return Lister(self._db, self.ledger, self.archived, self._clock)

    @classmethod
    async def open(
        cls,
        db: Database,
        requests: Requests,
        embedders: EmbedderBook,
        *,
        clock: Clock = SYSTEM,
        archive: LongTerm | None = None,
        revision: Callable[[], int] = lambda: 0,
    ) -> MemoryStore:
        """Go on where the last run ended; without an *archive* nothing can be demoted."""
        store = cls(db, requests, embedders, clock, archive, revision)
        await store.ledger.open()
        store.spaces.start()
        return store

    async def close(self) -> None:
        """End the background work."""
        await self.spaces.close()

    async def remember(self, new: NewMemory, *, origin: str, request: RequestKey | None = None) -> Remembered:
        """See `TemporalMemory`."""
        now = self._clock.now_ns()
        checks.check_memory(new, now)
        answer = await self._once(request, partial(self._remember, new, origin, now))
        stated, *similar = (rows.memory(*pair) for pair in answer.pairs)
        return Remembered(stated, similar[0] if similar else None)

    async def relate(self, new: NewRelation, *, origin: str, request: RequestKey | None = None) -> Related:
        """See `TemporalMemory`."""
        now = self._clock.now_ns()
        checks.check_relation(new, now)
        answer = await self._once(request, partial(self._relate, new, origin, now))
        stated, *closed = (rows.relation(*pair) for pair in answer.pairs)
        return Related(stated, tuple(closed))

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
        end = self._clock.now_ns() if valid_to is None else valid_to
        act = partial(self._forget, list(memories), list(relations), end, reason, origin)
        answer = await self._once(request, act)
        return Forgotten(*answer.counts)

    async def recall(self, question: Question) -> Recalled:
        """See `TemporalMemory`."""
        return await self._recaller.recall(question)

    async def get(self, memory: str) -> Found:
        """See `TemporalMemory`."""
        return await self._lister.get(memory)

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
        return await self._lister.memories(tuple(tags), kind, include_closed, page_size, page_token)

    async def _remember(self, new: NewMemory, origin: str, now: int, request: RequestKey | None) -> Answer:
        identity = checks.memory_identity(new.key, new.kind, new.text)
        vector = await self.spaces.trigrams(new.text)
        async with self.locks.hold(identity.hex()):
            begin = now if new.valid_from is None else new.valid_from
            look = partial(
                lookups.memory,
                identity=identity,
                key=new.key,
                text=new.text,
                now=now,
                begin=begin,
                end=new.valid_to,
            )
            seen = await self._db.read(look)
            if seen.item is not None and seen.item.frame:
                await self.archived.restore_held(seen.item)
                seen = await self._db.read(look)
            batch = self.ledger.batch()
            item = seen.item or batch.new_item(
                Item(0, new_id("memory"), MEMORY, new.key, "", "", "", "", identity.hex())
            )
            row = self._row(item, new, origin, now, batch.time)
            row = msgspec.structs.replace(row, kind=int(new.kind), text=new.text, tags=new.tags)
            stated = self._state(batch, item, seen, row, new.strength, vector, "remembered")
            others = () if seen.similar is None else (seen.similar,)
            return await self._commit(batch, Answer(((item, stated), *others)), request)

    async def _relate(self, new: NewRelation, origin: str, now: int, request: RequestKey | None) -> Answer:
        identity = checks.relation_identity(new.subject, new.predicate, new.object)
        text = f"{new.subject} {new.predicate} {new.object}"
        vector = await self.spaces.trigrams(text)
        begin = now if new.valid_from is None else new.valid_from
        async with self.locks.hold(rows.lock_of(new.subject, new.predicate)):
            look = partial(
                lookups.relation,
                identity=identity,
                subject=new.subject,
                predicate=new.predicate,
                exclusive=new.exclusive,
                begin=begin,
                end=new.valid_to,
            )
            seen, others, archived = await self._db.read(look)
            if seen.item is not None and seen.item.frame:
                archived.append(seen.item)
            if archived:
                for found in archived:
                    await self.archived.restore_held(found)
                seen, others, _ = await self._db.read(look)
            batch = self.ledger.batch()
            names = (new.subject, new.predicate, new.object)
            item = seen.item or batch.new_item(Item(0, new_id("relation"), RELATION, "", *names, "", identity.hex()))
            row = msgspec.structs.replace(self._row(item, new, origin, now, batch.time), text=text)
            stated = self._state(batch, item, seen, row, new.strength, vector, "related")
            closed: list[Pair] = []
            for other, live in others:
                # What is said again of a longer time contradicts for as long as it is said now.
                closed += self._end(batch, other, live, begin, new.valid_to, item.item_id)
            return await self._commit(batch, Answer(((item, stated), *closed)), request)

    async def _forget(
        self,
        memories: Sequence[str],
        relations: Sequence[str],
        end: int,
        reason: str,
        origin: str,
        request: RequestKey | None,
    ) -> Answer:
        names = [*memories, *relations]
        named = await self._db.read(partial(lookups.named, names=names))
        _check_named(named, memories, relations)
        wanted = {item.item: item for item in (named[name] for name in names)}
        async with self.locks.hold(*(item.lock for item in wanted.values())):
            found, live = await self._db.read(partial(lookups.states, names=names, begin=end))
            if archived := [item for item in {found[name] for name in names if name in found} if item.frame]:
                for item in archived:
                    await self.archived.restore_held(item)
                found, live = await self._db.read(partial(lookups.states, names=names, begin=end))
            _check_named(found, memories, relations)
            batch = self.ledger.batch()
            counts = [0, 0]
            for item in {found[name].item: found[name] for name in names}.values():
                counts[item.form] += bool(self._end(batch, item, live[item.item], end, FOREVER, "", reason, origin))
            return await self._commit(batch, Answer(counts=(counts[MEMORY], counts[RELATION])), request)

    def _row(self, item: Item, new: NewMemory | NewRelation, origin: str, now: int, time: int) -> Row:
        return Row(
            row=0,
            item=item.item,
            version=1,
            wording=0,
            kind=0,
            text="",
            tags=(),
            metadata=checks.metadata_text(new.metadata),
            strength=0.5 if new.strength is None else new.strength,
            confidence=float(new.confidence),
            source=new.source,
            origin=origin,
            valid_from=now if new.valid_from is None else new.valid_from,
            valid_to=new.valid_to,
            record_time=time,
            superseded_time=FOREVER,
            revision=self._revision(),
            closed_by="",
            reason="",
        )

    def _state(
        self,
        batch: Batch,
        item: Item,
        seen: lookups.Seen,
        row: Row,
        strength: float | None,
        vector: bytes,
        event_type: str,
    ) -> Row:
        """Write what the statement *row* does to what was *seen*, and return the row that holds it."""
        # The same text needs no second place in the index.
        row = msgspec.structs.replace(row, wording=seen.wordings.get((row.text, row.tags), 0))
        change = state(seen.live, row, strength, seen.version)
        if change.raised is not None:
            known, higher = change.raised
            batch.unit.execute("UPDATE memory_versions SET strength = ? WHERE row = ?", (higher, known.row))
            batch.event("strengthened", item, version=known.version)
        if not change.added:
            return change.stated
        rows.supersede(batch.unit, change.superseded)
        *_, stated = batch.add(change.added, vector)
        batch.event(event_type, item, version=stated.version, row=stated.row)
        return stated

    def _end(
        self,
        batch: Batch,
        item: Item,
        live: Sequence[Row],
        begin: int,
        end: int,
        closed_by: str,
        reason: str = "",
        origin: str = "",
    ) -> Sequence[Pair]:
        """Write that *item* was not true from *begin* to *end*; return what is known of it then, if that is new."""
        superseded, left = contradict(live, begin, end, batch.time, closed_by, reason)
        if not superseded:
            return []
        rows.supersede(batch.unit, superseded)
        added = batch.add(left)
        batch.event("forgotten" if not closed_by else "contradicted", item, by=closed_by or origin)
        return [(item, min(added or superseded, key=lambda row: row.valid_from))]

    async def _commit(self, batch: Batch, answer: Answer, request: RequestKey | None) -> Answer:
        if request is not None:
            text = msgspec.json.encode(answer).decode()
            key = (request.client, request.method, request.request_id, request.payload_hash)
            batch.unit.log([self._requests.row(*key, text)], len(text))
        await batch.commit()
        return answer

    async def _once(self, request: RequestKey | None, act: Callable[[RequestKey | None], Awaitable[Answer]]) -> Answer:
        """Do it, or return what became of it when the same request was made before."""
        if request is None:
            return await act(None)
        key = (request.client, request.method, request.request_id)
        decode = partial(msgspec.json.decode, type=Answer)
        return await self._requests.run(key, request.payload_hash, lambda: act(request), decode)


def _check_named(found: dict[str, Item], memories: Sequence[str], relations: Sequence[str]) -> None:
    """Raise `NotFound` unless all are there, each of its form."""
    for form, names, word in ((MEMORY, memories, "memory"), (RELATION, relations, "relation")):
        for name in names:
            if name not in found or found[name].form != form:
                raise NotFound(
                    f"there is no {word} {name!r:.100}: 'lightfast memory list' shows what is there",
                    reason=f"{word.upper()}_NOT_FOUND",
                    metadata={word: name},
                )
