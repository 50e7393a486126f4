"""Goes through the parts of the archive, newest frames first, and finds what matches a query."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from lightfast.storage.archive.records import OWN_KINDS, Match, Query
from lightfast.storage.archive.search import layout, words
from lightfast.storage.archive.search.parts import Part, Plan

if TYPE_CHECKING:
    from pyroaring import BitMap

LARGEST = 1024
"""How many places are taken from a bitmap at once, at most."""
MAX_WORDS = 256
"""Words of a query beyond these are not looked for."""
_ANY = Match.ANY
_OWN = tuple(layout.kind_mark(kind) for kind in sorted(OWN_KINDS))

Found = tuple[Part, Sequence[int]]
"""Some frames of a part by their places, newest first."""


def plan_of(query: Query, match: Match | None = None) -> Plan | None:
    """Return what to look for; None where nothing can match, as the text has no words in it."""
    wanted = words.sought(query.text)[:MAX_WORDS]
    if not wanted and query.text.strip():
        return None
    kinds, after, before = query.kinds, query.after_ms, query.before_ms
    only = [layout.kind_mark(kind) for kind in dict.fromkeys(kinds)] if kinds else ()
    return Plan(
        wanted,
        (match or query.match) is _ANY,
        only,
        () if kinds else _OWN,
        after,
        before,
        bool(kinds or after or before),
    )


def words_of(text: str, kind: str) -> list[bytes]:
    """Return the words and marks under which an open frame is found."""
    found = words.filed(text) if text else []
    found.append(layout.kind_mark(kind))
    return found


def newest(parts: Sequence[Part], plan: Plan, first: int) -> Iterator[Found]:
    """Yield what matches, newest first; *first* frames are taken at once to begin with, then more and more.

    Parts are opened only when nothing newer is left. Those whose times overlap are merged frame by frame.
    """
    ordered = [part for part in parts if _is_in(part, plan)] if plan.is_narrow else parts
    if len(ordered) > 1:
        ordered = sorted(ordered, key=_high, reverse=True)
    at = 0
    while at < len(ordered):
        low = ordered[at].low
        end = at + 1
        while end < len(ordered) and ordered[end].high > low:
            low = min(low, ordered[end].low)
            end += 1
        if end - at == 1:
            part = ordered[at]
            found = part.matches(plan)
            if count := len(found):
                places = list(found[count - first :] if count > first else found)
                places.reverse()
                yield part, places
                if count > first:
                    yield from _rest(part, found, count - first, 2 * first)
        else:
            yield from _merged(ordered[at:end], plan, first)
        at = end


_high = attrgetter("high")


def _is_in(part: Part, plan: Plan) -> bool:
    return (not plan.before or part.low[0] < plan.before) and (not plan.after or part.high[0] > plan.after)


def _rest(part: Part, found: BitMap, end: int, size: int) -> Iterator[Found]:
    while end > 0:
        size = min(LARGEST, size)
        begin = max(0, end - size)
        places = list(found[begin:end])
        places.reverse()
        yield part, places
        end, size = begin, size * 2


def _merged(parts: Sequence[Part], plan: Plan, size: int) -> Iterator[Found]:
    heap: list[tuple[int, int, int, int]] = []
    following: list[Iterator[int]] = []
    for index, part in enumerate(parts):
        places = _descending(part, plan, size)
        following.append(places)
        for place in places:
            heap.append(_entry(part, place, index))
            break
    heapq.heapify(heap)
    while heap:
        _, _, index, place = heap[0]
        yield parts[index], (place,)
        for later in following[index]:
            heapq.heapreplace(heap, _entry(parts[index], later, index))
            break
        else:
            heapq.heappop(heap)


def _entry(part: Part, place: int, index: int) -> tuple[int, int, int, int]:
    time_ms, number = part.key(place)
    return -time_ms, -number, index, place


def _descending(part: Part, plan: Plan, size: int) -> Iterator[int]:
    found = part.matches(plan)
    for _, places in _rest(part, found, len(found), size):
        yield from places
