"""Following renames: a scene holds paths by the names of when it was saved, and is read by the names of now.

Every committed move leaves a row (`scene_moves`, written by the transaction itself), so nothing has to be rewritten
when an object is renamed, and nothing is missed by a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

import msgspec

from lightfast.context.scenes.records import SceneEntry
from lightfast_link.path import is_under


class Moved(NamedTuple):
    """One entry that was moved at *revision*; *object_id* is empty where the application gave none."""

    revision: int
    source: str
    target: str
    object_id: str


def follow(entries: Sequence[SceneEntry], moves: Iterable[Moved]) -> list[SceneEntry]:
    """Return *entries* by the names they have after *moves*, which come in their order; ordered by path."""
    found = {entry.path: entry for entry in entries}
    changed = False
    for _, together in groupby(moves, key=lambda move: (move.revision, _root(move.source, move.target))):
        listed = list(together)  # one subtree: a transaction may move several, one after the other
        for move in listed:
            entry = found.get(move.source)
            if entry is not None and _same_object(entry, move.object_id):
                del found[move.source]
                found[move.target] = entry
                changed = True
        changed = _with_the_object(found, listed) or changed
    if not changed:
        return list(entries)
    replace = msgspec.structs.replace
    return [entry if entry.path == path else replace(entry, path=path) for path, entry in sorted(found.items())]


def _same_object(entry: SceneEntry, object_id: str) -> bool:
    return not entry.object_id or not object_id or entry.object_id == object_id


def _with_the_object(found: dict[str, SceneEntry], moves: Sequence[Moved]) -> bool:
    """Move what belongs to an object that was moved, and had been deleted from it by then."""
    roots = {(*_root(move.source, move.target), move.object_id) for move in moves if move.object_id}
    changed = False
    for source, target, object_id in roots:
        for path in [path for path in found if is_under(path, source) and found[path].object_id == object_id]:
            there = target + path[len(source) :]
            if there not in found:
                found[there] = found.pop(path)
                changed = True
    return changed


def _root(source: str, target: str) -> tuple[str, str]:
    """Return the widest move that explains this one: what both paths end in alike is left off."""
    before, after = source.split("/"), target.split("/")
    while len(before) > 2 and len(after) > 2 and before[-1] == after[-1]:
        before.pop()
        after.pop()
    return "/".join(before), "/".join(after)
