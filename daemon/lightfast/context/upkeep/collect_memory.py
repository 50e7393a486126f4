"""Memories that are old and matter little: they move to the archive. Frames there that nothing needs: they go."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any, NamedTuple, Protocol, TypeVar

from lightfast.context.upkeep.collect_records import DAY_NS, Action, Budget, Candidate, Limits, Reached
from lightfast.core.clock import Clock
from lightfast.storage.archive.records import OWN_KINDS, Frame
from lightfast.storage.database import Database

T = TypeVar("T")

_END = (1 << 63) - 1
_BATCH = 200
_FRAMES = 500
_YOUNG_MS = 86_400_000
"""A frame this young may belong to a memory that is on its way into the archive."""
_RELATION = 1

Demote = Callable[[Sequence[str]], Awaitable[list[str]]]
"""Moves memories and relations by id, verified, and returns the ids of those that went."""
Score = Callable[[str], Awaitable[float | None]]
"""Returns how much a frame matters, 0 to 1; None where nobody has judged it."""


class _Old(NamedTuple):
    ident: str
    key: str
    form: int
    time: int
    weight: float
    end: int
    size: int


class MemoryRoom:
    """Memories and relations that were not touched for long, and matter little or hold no longer."""

    kind = "memories"

    def __init__(self, db: Database, clock: Clock, limits: Callable[[], Limits], demote: Demote) -> None:
        self._db = db
        self._clock = clock
        self._limits = limits
        self._demote = demote

    async def candidates(self, reached: Reached, kept: Counter[str]) -> AsyncIterator[Candidate]:
        """Yield them, the oldest first; a memory that a living relation speaks of stays."""
        limits = self._limits()
        if not limits.memory_days:
            return
        now = self._clock.now_ns()
        after = -1
        while rows := await self._db.read(
            partial(_old, before=now - int(limits.memory_days * DAY_NS), now=now, after=after)
        ):
            after = rows[-1][0]
            for _, old, related in rows:
                ended = old.end <= now
                if not ended and (old.form == _RELATION or old.weight >= limits.memory_strength):
                    continue
                by = reached.names.get(old.ident) or (reached.names.get(old.key) if old.key else "")
                if by or related:
                    kept[by or "relation"] += 1
                    continue
                days = (now - old.time) // DAY_NS
                why = "it holds no longer" if ended else f"it matters little ({old.weight:.2g})"
                reason = f"untouched for {days} days, and {why}"
                yield Candidate(self.kind, old.ident, Action.DEMOTE, old.size, reason)

    async def collect(self, candidate: Candidate, budget: Budget) -> int:
        """Move it to the archive."""
        return candidate.size if await self._demote([candidate.ident]) else -1


def _old(connection: Any, *, before: int, now: int, after: int) -> list[tuple[int, _Old, bool]]:
    """Return the next items that were not written since *before*, and whether a living relation speaks of them."""
    query = (
        "SELECT i.item, i.item_id, i.key, i.form, max(v.record_time), max(v.strength * v.confidence)"
        " FILTER (WHERE v.superseded_time = ?2), max(v.valid_to) FILTER (WHERE v.superseded_time = ?2),"
        " sum(octet_length(v.metadata) + 100 + coalesce((SELECT octet_length(text) FROM memory_wordings w"
        " WHERE w.wording = v.wording), 0)), EXISTS (SELECT 1 FROM memory_items r JOIN memory_versions s"
        " ON s.item = r.item AND s.superseded_time = ?2 AND s.valid_to > ?3 WHERE r.form = 1 AND r.frame = ''"
        " AND (r.subject IN (i.item_id, i.key) OR r.object IN (i.item_id, i.key)))"
        " FROM memory_items i JOIN memory_versions v ON v.item = i.item WHERE i.item > ?4 AND i.frame = ''"
        " GROUP BY i.item HAVING max(v.record_time) < ?1 ORDER BY i.item LIMIT ?5"
    )
    return [
        (item, _Old(ident, key, form, time, weight or 0.0, end or 0, size or 0), bool(related))
        for item, ident, key, form, time, weight, end, size, related in connection.execute(
            query, (before, _END, now, after, _BATCH)
        )
    ]


class Frames(Protocol):
    """What is asked of the archive."""

    async def run(self, function: Callable[[Any], T]) -> T:
        """Run *function* with a reader in a thread."""

    async def remove(self, frame_ids: Sequence[str], *, reason: str) -> int:
        """Remove frames for ever."""


class FrameRoom:
    """Frames of memories that came back, or never left; and, where a time is set, old frames that matter little."""

    kind = "frames"

    def __init__(self, db: Database, archive: Frames, clock: Clock, limits: Callable[[], Limits], score: Score) -> None:
        self._db = db
        self._archive = archive
        self._clock = clock
        self._limits = limits
        self._score = score

    async def candidates(self, reached: Reached, kept: Counter[str]) -> AsyncIterator[Candidate]:
        """Yield them in the order of the archive."""
        now_ms = self._clock.now_ns() // 1_000_000
        last = -1
        limits = self._limits()
        while frames := await self._archive.run(partial(_next, after=last)):
            last = frames[-1].number
            owned = await self._owned([frame.frame_id for frame in frames if frame.kind == "memory"])
            for frame in frames:
                if by := reached.names.get(frame.frame_id):
                    kept[by] += 1
                    continue
                if frame.kind == "memory":
                    if frame.frame_id not in owned and frame.time_ms < now_ms - _YOUNG_MS:
                        yield Candidate(self.kind, frame.frame_id, Action.DELETE, _size(frame), "no memory lies in it")
                elif reason := await self._old(frame, now_ms, limits):
                    yield Candidate(self.kind, frame.frame_id, Action.DELETE, _size(frame), reason)

    async def _owned(self, frame_ids: list[str]) -> set[str]:
        if not frame_ids:
            return set()
        marks = ", ".join("?" * len(frame_ids))
        rows = await self._db.query(f"SELECT frame FROM memory_items WHERE frame IN ({marks})", frame_ids)  # noqa: S608
        return {frame for (frame,) in rows}

    async def _old(self, frame: Frame, now_ms: int, limits: Limits) -> str:
        if not limits.frame_days or frame.kind in OWN_KINDS or frame.private:
            return ""
        days = (now_ms - frame.time_ms) / 86_400_000
        if days < limits.frame_days:
            return ""
        score = await self._score(frame.frame_id)
        if score is None or score >= limits.frame_significance:
            return ""
        return f"{int(days)} days old, and it matters little ({score:.2g})"

    async def collect(self, candidate: Candidate, budget: Budget) -> int:
        """Remove it, unless a memory has come to lie in it since."""
        if await self._owned([candidate.ident]):
            return -1
        async with asyncio.timeout(300):
            gone = await self._archive.remove([candidate.ident], reason="collected")
        return candidate.size if gone else -1


def _next(reader: Any, *, after: int) -> list[Frame]:
    return list(islice(reader.scan(after_number=after), _FRAMES))


def _size(frame: Frame) -> int:
    return len(frame.content)
