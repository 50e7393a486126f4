"""Searches: the newest frames that match, in batches as they are found, or the most relevant ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lightfast.core.clock import SYSTEM, Clock
from lightfast.core.errors import DeadlineExceeded, Unavailable
from lightfast.storage.archive.records import DEADLINE, Frame, Hit, Match, Order, Query
from lightfast.storage.archive.search import words
from lightfast.storage.archive.search.group import GroupDamaged
from lightfast.storage.archive.search.index import FrameIndex
from lightfast.storage.archive.search.layout import Key
from lightfast.storage.archive.search.parts import Part, Plan
from lightfast.storage.archive.search.ranking import CANDIDATES, Ranking, Weigh
from lightfast.storage.archive.search.source import Source
from lightfast.storage.archive.search.walk import newest, plan_of

_RELEVANCE, _PHRASE = Order.RELEVANCE, Match.PHRASE
BATCH = 32
"""How many hits are handed over at once: the first are there at once, however many follow."""

BREATH = 0.02
"""At least so often, in seconds, a search that finds nothing says so."""


class Batch(NamedTuple):
    """Some hits; *unreadable* counts frames of this batch that match and cannot be read."""

    hits: list[Hit]
    unreadable: int = 0


class Searches:
    """Searches of one archive, in any thread; *weigh* may be set by a layer that knows how much frames matter."""

    def __init__(
        self, index: FrameIndex, *, clock: Clock = SYSTEM, is_unlocked: Callable[[], bool] | None = None
    ) -> None:
        self.index = index
        self.weigh: Weigh | None = None
        self._clock = clock
        self._is_unlocked = is_unlocked or (lambda: False)

    def ids(self, query: Query, source: Source, *, deadline: float = DEADLINE) -> list[str]:
        """Return the ids of what `search` finds; frames are read only where the words alone do not tell."""
        if query.order is _RELEVANCE or query.match is _PHRASE:
            return [hit.frame.frame_id for hit in self.search(query, source, deadline=deadline)]
        plan, limit = plan_of(query), query.limit
        if plan is None or limit <= 0:
            return []
        for _ in range(_MAX_DAMAGED):
            found: list[str] = []
            try:
                for part, places in newest(self.index.parts(plan, source, self._is_unlocked()), plan, limit):
                    found += part.ids(places)
                    if len(found) >= limit:
                        break
            except GroupDamaged as error:
                self.index.damaged(error)
            else:
                return found[:limit]
        raise _damaged()

    def search(self, query: Query, source: Source, *, deadline: float = DEADLINE) -> list[Hit]:
        """Return at most `limit` hits; an answer is kept as long as nothing in the archive changes."""
        stamp = (self.index.generation(source), self._is_unlocked())
        kept = self.index.caches.searches.get(query)
        if kept is not None and kept[0] == stamp:
            hits = [Hit(frame, score) for frame_id, score in kept[1] if (frame := source.get(frame_id)) is not None]
            if len(hits) == len(kept[1]):
                return hits
        epoch = self.index.caches.searches.epoch
        hits = [hit for batch in self.stream(query, source, deadline=deadline) for hit in batch.hits]
        answer = tuple((hit.frame.frame_id, hit.score) for hit in hits)
        self.index.caches.searches.put(query, (stamp, answer), 256 + 2 * len(query.text) + 128 * len(answer), epoch)
        return hits

    def stream(self, query: Query, source: Source, *, deadline: float = DEADLINE) -> Iterator[Batch]:
        """Yield the same hits in batches as they are found, the first as soon as there is one.

        Memory does not grow with their number. Where little is found, empty batches come from time to time, so that
        whoever asks can stop. Raises `DeadlineExceeded` (SEARCH_DEADLINE) after *deadline* seconds, when what was found
        by then has been handed over.
        """
        until = self._clock.monotonic() + deadline
        if query.limit <= 0:
            return
        if query.order is Order.RELEVANCE:
            yield from self._ranked(query, source, until)
            return
        plan = plan_of(query)
        if plan is None:
            return
        left = query.limit
        breath = self._clock.monotonic() + BREATH
        for ids in self._batches(query, plan, source, min(left, BATCH)):
            for begin in range(0, len(ids), BATCH):
                batch = self._read(query, ids[begin : begin + BATCH], source, until)
                if len(batch.hits) > left:
                    batch = Batch(batch.hits[:left], batch.unreadable)
                left -= len(batch.hits)
                now = self._clock.monotonic()
                if batch.hits or batch.unreadable or now > breath:
                    yield batch
                    breath = now + BREATH
                if left <= 0:
                    return
                if now > until:
                    raise _too_long(deadline)

    def _ranked(self, query: Query, source: Source, until: float) -> Iterator[Batch]:
        ranking = Ranking(query.text, self._clock.now_ns() // 1_000_000, self.index.caches.embeddings, self.weigh)
        unreadable = 0

        def candidates() -> Iterator[Frame]:
            nonlocal unreadable
            seen: set[str] = set()
            rounds = [Match.ALL, Match.ANY] if query.match is Match.ANY else [query.match]
            for match in rounds:
                plan = plan_of(query, match)
                if plan is None:
                    return
                for ids in self._batches(query, plan, source, CANDIDATES):
                    fresh = [one for one in ids if one not in seen]
                    seen.update(fresh)
                    batch = self._read(query, fresh, source, until)
                    unreadable += batch.unreadable
                    yield from (hit.frame for hit in batch.hits)
                    if len(seen) >= CANDIDATES or self._clock.monotonic() > until:
                        return

        hits = ranking.best(candidates(), query.limit)
        if hits or unreadable:
            yield Batch(hits, unreadable)

    def _batches(self, query: Query, plan: Plan, source: Source, first: int) -> Iterator[Sequence[str]]:
        """Yield the ids of what has the words, newest first; starts again behind the last where words were damaged."""
        last: tuple[Part, int] | None = None
        behind: Key | None = None
        for _ in range(_MAX_DAMAGED):
            try:
                parts = self.index.parts(plan, source, self._is_unlocked())
                for part, places in newest(parts, plan, max(1, first)):
                    left = places if behind is None else [place for place in places if part.key(place) < behind]
                    if left:
                        yield part.ids(left)
                        last = part, left[-1]
                return
            except GroupDamaged as error:
                self.index.damaged(error)
                behind = None if last is None else _key_of(*last)
        raise _damaged()

    def _read(self, query: Query, ids: Sequence[str], source: Source, until: float) -> Batch:
        phrase = words.units(query.text) if query.match is Match.PHRASE else []
        hits: list[Hit] = []
        unreadable = 0
        for frame_id in ids:
            frame = source.get(frame_id)
            if frame is None:
                unreadable += 1
            elif not phrase or (isinstance(frame.content, str) and words.holds_phrase(phrase, frame.content)):
                hits.append(Hit(frame))
        return Batch(hits, unreadable)


def _key_of(part: Part, place: int) -> Key:
    try:
        return part.key(place)
    except GroupDamaged as error:
        raise _damaged() from error


def _damaged() -> Unavailable:
    return Unavailable(
        "the words of the archive were damaged and are made anew: search again", reason="INDEX_DAMAGED", retry_after=1.0
    )


_MAX_DAMAGED = 1000
"""So many damaged groups are made anew in the course of one search, at most."""


def _too_long(deadline: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"the search took longer than {deadline:g} s: name more or rarer words, a kind or a time, or allow it longer",
        reason="SEARCH_DEADLINE",
    )
