"""Where the tracks lie under the mount: by their names, and by their GUIDs where the script tells them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lightfast_link.path import encode_segment


@dataclass(frozen=True, slots=True)
class Place:
    """One track: its number, where it lies, its name as REAPER tells it, and its GUID, if known."""

    index: int
    base: str
    name: str
    guid: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    """The tracks, by number from 1, and what became of those before: *moves* in an order that never collides."""

    places: tuple[Place, ...]
    gone: tuple[str, ...] = ()
    moves: tuple[tuple[str, str], ...] = ()


def lay_out(
    names: Sequence[str],
    guids: Sequence[str] | None,
    before: Sequence[Place],
    renamed: Mapping[int, str] | None = None,
) -> Layout:
    """Return where tracks of these *names* lie.

    A track is the one that had its GUID *before*; where GUIDs are not known, the one that had its name, in order; or,
    of those *renamed* by us, the one at its number, which had that base.
    """
    same = _matched(names, guids, before, renamed or {})
    taken = {one.base for at, one in same.items() if one.name == names[at - 1]}
    places: list[Place] = []
    for index, name in enumerate(names, 1):
        old = same.get(index)
        if old is not None and old.name == name:
            base = old.base
        else:
            base = next(one for one in _bases(name, index) if one not in taken)
            taken.add(base)
        places.append(Place(index, base, name, guids[index - 1] if guids else old.guid if old else ""))
    kept = {one.base for one in same.values()}
    gone = tuple(one.base for one in before if one.base not in kept)
    moves = {old.base: places[index - 1].base for index, old in same.items() if old.base != places[index - 1].base}
    return Layout(tuple(places), gone, tuple(_ordered(moves)))


def _matched(
    names: Sequence[str], guids: Sequence[str] | None, before: Sequence[Place], renamed: Mapping[int, str]
) -> dict[int, Place]:
    same: dict[int, Place] = {}
    left = {one.base: one for one in before}
    if guids is not None:
        by_guid = {one.guid: one for one in before if one.guid}
        for index, guid in enumerate(guids, 1):
            if (old := by_guid.get(guid)) is not None and old.base in left:
                same[index] = left.pop(old.base)
        left = {base: one for base, one in left.items() if not one.guid}
    for index, base in renamed.items():
        if index not in same and index <= len(names) and base in left:
            same[index] = left.pop(base)
    by_name: dict[str, list[Place]] = {}
    for one in left.values():
        by_name.setdefault(one.name, []).append(one)
    for index, name in enumerate(names, 1):
        if index not in same and by_name.get(name):
            same[index] = by_name[name].pop(0)
    return same


def _bases(name: str, index: int) -> Iterator[str]:
    yield f"tracks/{encode_segment(name)}"
    for count in range(2, 10_000):
        yield f"tracks/{encode_segment(f'{name} ({count})')}"
    yield f"tracks/{encode_segment(f'{name} (track {index})')}"


def _ordered(moves: dict[str, str]) -> Iterable[tuple[str, str]]:
    """Yield the moves so that none goes where another track still lies; a circle is broken by a detour."""
    left = dict(moves)
    while left:
        free = [source for source, target in left.items() if target not in left]
        if not free:
            source = next(iter(left))
            aside = f"{source}~"
            while aside in left or aside in left.values():
                aside += "~"
            yield source, aside
            left[aside] = left.pop(source)
            continue
        for source in free:
            yield source, left.pop(source)
