"""The strips of a session: which number Ardour gives them now, and where they lie under the mount.

Ardour counts strips from 1 in its own order and has no lasting identity for them over OSC: one that comes, goes or
is moved renumbers those after it. A strip is therefore known by its name, which Ardour keeps unique among tracks
and busses; a rename is seen by comparing two lists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightfast_bridges.ardour.leaves import TYPES
from lightfast_link.path import encode_segment


@dataclass(frozen=True, slots=True)
class Strip:
    """One strip as the list tells it; *base* is where it lies under the mount."""

    ssid: int
    code: str
    name: str
    inputs: int
    outputs: int
    base: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """What happened between two lists: bases that are gone, and pairs of bases of what was renamed."""

    gone: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    new: tuple[str, ...] = ()


def read_strip(args: Sequence[Any]) -> Strip | None:
    """Return the strip that one answer to `/strip` tells: ssid, type, name, inputs, outputs, mute, solo, recenable."""
    match args:
        case (int(ssid), str(code), str(name), int(inputs), int(outputs), *_) if ssid > 0:
            return Strip(ssid, code, name, max(0, inputs), max(0, outputs))
        case _:
            return None


def placed(strips: Iterable[Strip], before: Iterable[Strip] = ()) -> list[Strip]:
    """Return the strips by number, each with its base: the one that it had *before*, where it was there.

    Of two of one name (a VCA may be called what a track is called) the later one has its kind added.
    """
    kept: dict[tuple[str, str], list[str]] = {}
    for strip in before:
        kept.setdefault((strip.code, strip.name), []).append(strip.base)
    known = {}
    ordered = sorted(strips, key=lambda one: one.ssid)
    for strip in ordered:
        if bases := kept.get((strip.code, strip.name)):
            known[strip.ssid] = bases.pop(0)
    taken = set(known.values())
    found = []
    for strip in ordered:
        base = known.get(strip.ssid) or _base(strip, taken)
        taken.add(base)
        found.append(replace(strip, base=base))
    return found


def _base(strip: Strip, taken: set[str]) -> str:
    if strip.code in {"MA", "MO"} and TYPES[strip.code] not in taken:
        return TYPES[strip.code]
    kind = TYPES.get(strip.code, strip.code)
    names = [strip.name, f"{strip.name} ({kind})", *(f"{strip.name} ({kind} {count})" for count in range(2, 1000))]
    bases = (f"strips/{encode_segment(name)}" for name in names)
    return next((base for base in bases if base not in taken), f"strips/{strip.ssid}")


def compare(before: Sequence[Strip], after: Sequence[Strip]) -> Difference:
    """Return what happened between two lists.

    A strip that vanished and one that appeared are the same renamed where there is only one of either of its kind,
    or where both have the same number; anything else cannot be told from a removal and an addition.
    """
    old = {strip.base: strip for strip in before}
    new = {strip.base: strip for strip in after}
    lost = [strip for base, strip in old.items() if base not in new]
    came = [strip for base, strip in new.items() if base not in old]
    renamed = []
    for strip in list(lost):
        likely = [other for other in came if other.code == strip.code]
        rivals = [other for other in lost if other.code == strip.code]
        same_place = [other for other in likely if other.ssid == strip.ssid]
        found = likely[0] if len(likely) == len(rivals) == 1 else next(iter(same_place), None)
        if found is not None:
            renamed.append((strip.base, found.base))
            lost.remove(strip)
            came.remove(found)
    return Difference(tuple(one.base for one in lost), tuple(renamed), tuple(one.base for one in came))
