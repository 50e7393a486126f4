"""Where a wish goes: the message that sets a path, and the one that asks what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Value
from lightfast_bridges.reaper.layout import Place
from lightfast_bridges.reaper.leaves import BY_NAME, Leaf, check, to_wire

ECHO = 0.3
"""Seconds to wait for what REAPER tells by itself."""
AT_ONCE = 0.06
"""Seconds until a value is asked for that REAPER does not tell by itself."""
Message = tuple[Any, ...]
_PLACES = {("sends",): "send", ("fx",): "fx", ("fx", "parameters"): "parameter"}
_TOGGLED = frozenset({"repeat", "metronome"})
"""What other pattern files than ours have as toggles."""


@dataclass(frozen=True, slots=True)
class Target:
    """What sets a path to *value*. *ask* is the address that is asked; empty where nothing can be asked.

    *scope* says what has REAPER tell what was asked for. One that *toggles* is only sent where the value differs.
    """

    leaf: Leaf
    value: Value
    set: Message
    ask: str = ""
    scope: str = "track"
    toggles: bool = False
    echo: float = ECHO


@dataclass(frozen=True, slots=True)
class Known:
    """What wishes are judged by.

    The tracks by base, what REAPER holds, the places of markers and regions by base, the loudest volume in dB, and
    whether REAPER uses our pattern file.
    """

    by_base: Mapping[str, Place]
    held: Mapping[str, Value]
    marks: Mapping[str, int]
    top: float
    ours: bool


def target_of(path: str, value: Value | None, known: Known) -> Target:
    """Return what sets *path* to *value*; raise `ValueError` that says why it cannot be set."""
    parts = path.split("/")
    match parts:
        case ["transport" | "master" as whole, name]:
            leaf = _leaf(whole, name, path)
            return _whole(whole, leaf, check(leaf, value, path, known.top), known)
        case ["markers" | "regions" as folder, number, name] if number.isascii() and number.isdigit():
            scope = folder[:-1]
            leaf = _leaf(scope, name, path)
            good = check(leaf, value, path, known.top)
            if path not in known.held:
                raise ValueError(f"there is no {path} in REAPER")
            setting = (_filled(leaf.address, int(number)), to_wire(leaf, good))
            return Target(leaf, good, setting, leaf.heard, scope, echo=AT_ONCE)
        case ["tracks", name, *rest] if rest:
            return _track(path, f"tracks/{name}", rest, value, known)
        case ["surface", *_]:
            raise ValueError(f"{path} can only be read: [plugins.reaper] in lightfast.toml says how much is followed")
    raise ValueError(f"REAPER has nothing to set at {path}: there are transport, master, tracks, markers and regions")


def asked(path: str, target: Target, marks: Mapping[str, int]) -> str:
    """Return the address on which *path* is asked for: a marker lies under its number, and is told by its place."""
    if target.scope in {"marker", "region"}:
        place = marks.get(path.rpartition("/")[0])
        return "" if place is None else _filled(target.ask, place)
    return target.ask


def _leaf(scope: str, name: str, path: str) -> Leaf:
    leaf = BY_NAME[scope].get(name)
    if leaf is None or leaf.hidden:
        there = ", ".join(one.name for one in BY_NAME[scope].values() if not one.hidden)
        raise ValueError(f"there is no {path}: a {scope} has {there}")
    return leaf


def _filled(address: str, *numbers: int) -> str:
    parts = address.split("@")
    return "".join(f"{part}{number}" for part, number in zip(parts, numbers, strict=False)) + parts[-1]


def _whole(scope: str, leaf: Leaf, value: Value, known: Known) -> Target:
    if leaf.name == "playing":
        return Target(leaf, value, ("/play" if value else "/stop", 1.0), "", scope)
    toggles = leaf.name in _TOGGLED and not known.ours
    ask = leaf.address if scope == "master" else ""
    if scope == "master" and not known.ours:
        raise ValueError(_OTHERS.format("the master"))
    return Target(leaf, value, (leaf.address, 1.0 if toggles else to_wire(leaf, value)), ask, scope, toggles)


_OTHERS = (
    "REAPER's pattern file has no address for {} that is sure: choose Lightfast as pattern config "
    "(`lightfast pack reaper` writes it)"
)


def _track(path: str, base: str, rest: list[str], value: Value | None, known: Known) -> Target:
    place = known.by_base.get(base)
    if place is None:
        there = ", ".join(list(known.by_base)[:12]) or "none"
        raise ValueError(f"there is no {base} in REAPER: there are {there}")
    scope = "track" if len(rest) == 1 else _PLACES.get(tuple(rest[:-1:2]), "")
    if rest == ["number"]:
        raise ValueError(f"{path} can only be read")
    if not scope or not all(number.isascii() and number.isdigit() for number in rest[1:-1:2]):
        raise ValueError(f"there is no {path} in REAPER")
    leaf = _leaf(scope, rest[-1], path)
    good = check(leaf, value, path, known.top)
    if path not in known.held:
        raise ValueError(f"there is no {path} in REAPER")
    if leaf.name == "name" and not good:
        raise ValueError("a track needs a name")
    if scope == "send" and leaf.name == "volume" and not known.ours:
        raise ValueError(_OTHERS.format("the volume of a send in dB"))
    numbers = (place.index, *(int(number) for number in rest[1:-1:2]))
    soon = leaf.kind == "bool" or (bool(leaf.told) and known.ours)
    setting = (_filled(leaf.address, *numbers), to_wire(leaf, good))
    return Target(leaf, good, setting, _filled(leaf.heard, *numbers), echo=ECHO if soon else AT_ONCE)
