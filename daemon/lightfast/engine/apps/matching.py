"""What was renamed while nobody looked: objects that the context and a full report call by different names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lightfast.context.entry import Entry, Status
from lightfast.engine.apps.resync import Mode
from lightfast.engine.apps.wishes import same
from lightfast.sdk import Change
from lightfast_link.path import is_under


@dataclass(frozen=True, slots=True)
class Renamed:
    """One object: *here* is its root in the tree, *there* its root in the report, both absolute.

    *wished* says that it was renamed from outside and that the application has not answered that yet;
    *origin* and *revision* are then those of the rename.
    """

    here: str
    there: str
    wished: bool
    origin: str
    revision: int


def match(entries: Sequence[Entry], reports: Mapping[str, Change]) -> list[Renamed]:
    """Return the objects that have another path in *reports* (by absolute path) than in *entries*.

    They are in an order in which each can be moved to a path that is free by then; where names were
    swapped, the values must say it.
    """
    held = _by_id((entry.object_id, entry.path) for entry in entries if entry.object_id)
    told = _by_id((change.object_id, path) for path, change in reports.items() if change.object_id)
    by_path = {entry.path: entry for entry in entries}
    found: list[tuple[Renamed, list[str]]] = []
    for object_id in held.keys() & told.keys():
        roots = _roots(held[object_id], told[object_id])
        if roots is not None:
            mine = [by_path[path] for path in held[object_id]]
            newest = max(mine, key=lambda entry: entry.revision)
            renamed = Renamed(*roots, _unanswered(mine), newest.origin, newest.revision)
            found.append((renamed, held[object_id]))
    return _in_order(found, by_path)


def keeps_name(renamed: Renamed, mode: Mode) -> bool:
    """Say whether the name in the tree holds, and not that of the application."""
    return mode is Mode.DAEMON or (mode in {Mode.NEWEST, Mode.ASK} and renamed.wished)


def _by_id(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for object_id, path in pairs:
        found.setdefault(object_id, []).append(path)
    return found


def _roots(held: list[str], told: list[str]) -> tuple[str, str] | None:
    """Return where the object lies and where it is said to lie; `None` where that is the same, or unclear."""
    if set(held) & set(told):
        return None
    here, there = _nearest(held[0], told)
    if all(is_under(path, here) for path in held) and all(is_under(path, there) for path in told):
        return here, there
    return None


def _nearest(path: str, others: list[str]) -> tuple[str, str]:
    """Return *path* and the one of *others* that ends most like it, both without that common end."""
    best, shared = others[0], -1
    mine = path.split("/")
    for other in others:
        theirs = other.split("/")
        same_end = 0
        while same_end < min(len(mine), len(theirs)) - 3 and mine[-1 - same_end] == theirs[-1 - same_end]:
            same_end += 1
        if same_end > shared:
            best, shared = other, same_end
    return "/".join(mine[: len(mine) - shared]), "/".join(best.split("/")[: len(best.split("/")) - shared])


def _unanswered(entries: list[Entry]) -> bool:
    """Say whether the last that happened to an object was a rename from outside."""
    moved = any(
        entry.status in {Status.SETTLED, Status.STALE}
        and not entry.signal
        and not entry.origin.startswith(("app:", "daemon"))
        for entry in entries
    )
    waiting = all(entry.status is Status.PENDING for entry in entries)
    return moved or (waiting and any(same(entry.value, entry.reported) for entry in entries))


def _in_order(found: list[tuple[Renamed, list[str]]], held: Iterable[str]) -> list[Renamed]:
    """Return those that can go where they are said to lie, each after what is in its way."""
    taken = Counter(above for path in held for above in _ancestry(path)) if found else Counter[str]()
    ordered: list[Renamed] = []
    waiting = sorted(found, key=lambda pair: pair[0].here)
    progress = True
    while waiting and progress:
        progress = False
        for renamed, paths in list(waiting):
            if taken[renamed.there] <= 0:
                for path in paths:
                    taken.subtract(_ancestry(path))
                    taken.update(_ancestry(renamed.there + path[len(renamed.here) :]))
                ordered.append(renamed)
                waiting.remove((renamed, paths))
                progress = True
    return ordered


def _ancestry(path: str) -> Iterator[str]:
    """Yield *path* and all that it lies in."""
    end = len(path)
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)
