"""The walk over relations: what is related to what was found, and to what that is related."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from lightfast.context.memory.asked import Asked
from lightfast.context.memory.rows import HOLDS, MEMORY, listed, page

LOOKED_AT = (1000, 64)
"""Of each thing so many relations are looked at, those that changed last: at the first step, and at later ones."""
FAN_OUT = 32
"""Of these so many are followed, the strongest."""
FRONTIER = 32
"""So many things are gone on from after each step."""
MOST = 300
"""So many relations and memories are found in all."""


class Step(NamedTuple):
    """A wording that the walk has come to."""

    wording: int
    item: int


def walk(connection: Any, asked: Asked, starts: Iterable[str], depth: int) -> list[int]:
    """Return the wordings of relations and memories that lie within *depth* relations, nearest and strongest first.

    A thing is a memory's id or key, a path, or a name; nothing is walked through twice.
    """
    frontier = list(dict.fromkeys(start for start in starts if start))[: 8 * FRONTIER]
    visited = set(frontier)
    found: dict[int, None] = {}
    for step in range(depth):
        if not frontier or len(found) >= MOST:
            break
        reached: dict[str, None] = {}
        taken: dict[str, int] = dict.fromkeys(frontier, 0)
        for start, other, wording in _edges(connection, asked, frontier, LOOKED_AT[min(step, 1)]):
            if taken[start] >= FAN_OUT or len(found) >= MOST:
                continue
            taken[start] += 1
            if asked.relations:
                found.setdefault(wording)
            if other not in visited:
                reached.setdefault(other)
        frontier = list(reached)[:FRONTIER]
        visited.update(frontier)
        names = _memories(connection, asked, frontier)
        for wording, aliases in names.items():
            found.setdefault(wording)
            # A memory is the same thing by its id and by its key.
            frontier += [alias for alias in aliases if alias and alias not in visited]
            visited.update(aliases)
    return list(found)[:MOST]


def things(connection: Any, wordings: list[int]) -> list[str]:
    """Return the names of what *wordings* are about: ids and keys of memories, both ends of relations."""
    query = (
        "SELECT json_array(w.wording, i.form, i.item_id, i.key, i.subject, i.object) AS line FROM memory_wordings w"
        " JOIN memory_items i ON i.item = w.item WHERE w.wording IN (SELECT value FROM json_each(?))"
    )
    by_wording = {wording: rest for wording, *rest in page(connection, query, (listed(wordings),))}
    names = []
    for wording in wordings:
        form, item_id, key, subject, thing = by_wording[wording]
        names += [item_id, key] if form == MEMORY else [subject, thing]
    return names


_EDGES = " UNION ALL ".join(
    f"SELECT f.value AS start, i.{other} AS other, v.wording, v.strength * v.confidence AS weight, i.changed, f.key"  # noqa: S608
    " FROM json_each(:frontier) f, memory_items i, memory_versions v WHERE i.item IN (SELECT x.item FROM memory_items"
    f" x WHERE x.{end} = f.value AND x.form = 1 ORDER BY x.changed DESC LIMIT :looked)"
    f" AND v.item = i.item AND {HOLDS}"
    for end, other in (("subject", "object"), ("object", "subject"))
)


def _edges(connection: Any, asked: Asked, frontier: list[str], looked: int) -> list[Any]:
    query = (
        "SELECT json_array(start, other, wording) AS line FROM (SELECT start, other, wording, weight, changed, key"  # noqa: S608
        f" FROM ({_EDGES}) ORDER BY key, weight DESC, changed DESC)"
    )
    return page(connection, query, {**asked.bindings, "frontier": listed(frontier), "looked": looked})


def _memories(connection: Any, asked: Asked, names: list[str]) -> dict[int, tuple[str, str]]:
    """Return the wordings of the memories called so, each with its id and its key, in the order of *names*."""
    if not names:
        return {}
    query = (
        "SELECT json_array(v.wording, i.item_id, i.key) AS line FROM json_each(:names) f JOIN memory_items i"  # noqa: S608
        " ON i.item_id = f.value OR (i.key = f.value AND i.key <> '')"
        " JOIN memory_versions v ON v.item = i.item AND i.form = 0"
        f" AND {asked.condition('v.wording')} ORDER BY f.key"
    )
    found = page(connection, query, {**asked.bindings, "names": listed(names)})
    return {wording: (item_id, key) for wording, item_id, key in found}
