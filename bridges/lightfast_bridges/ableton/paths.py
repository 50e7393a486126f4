"""Paths under the mount to AbletonOSC's addresses, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Parameter
from lightfast_bridges.ableton.names import (
    BEAT,
    KINDS,
    MAIN,
    NESTED,
    NOT_OF_EXTRAS,
    NOT_OF_MAIN,
    PARAMETER,
    PARAMETERS,
    SEND,
    SENDS,
    Follow,
    Property,
)
from lightfast_bridges.ableton.values import to_argument, to_value

__all__ = ["Id", "Target", "declarations", "followed", "place", "target", "target_of", "to_argument", "to_value"]

Id = int | str
"""An index, or how AbletonOSC's forks name a track that has none: `master`, `return_0`."""

_PARAMETER = {one.name: one for one in PARAMETER}
_RETURN = "return_"


@dataclass(frozen=True, slots=True)
class Target:
    """One property of one object: *stem* is `song`, *verb* is `tempo`, *ids* are the indices."""

    stem: str
    verb: str
    ids: tuple[Id, ...]
    prop: Property

    @property
    def get(self) -> str:
        """The address of its getter, which its listener answers on, too."""
        return f"/live/{self.stem}/get/{self.verb}"

    @property
    def start_listen(self) -> str:
        """The address that starts its listener."""
        return f"/live/{self.stem}/start_listen/{self.verb}"

    @property
    def stop_listen(self) -> str:
        """The address that stops its listener."""
        return f"/live/{self.stem}/stop_listen/{self.verb}"

    def setting(self, argument: Any) -> tuple[Any, ...]:
        """Return the message that sets it, address first."""
        if self.prop.methods is not None:
            return (f"/live/{self.stem}/{self.prop.methods[0 if argument else 1]}", *self.ids)
        arguments = argument if isinstance(argument, list) else [argument]
        return (f"/live/{self.stem}/set/{self.verb}", *self.ids, *arguments)

    @property
    def path(self) -> str:
        """Its path under the mount."""
        if self.stem == "track" and self.verb == "send":
            return place(SENDS, self.ids)
        if self.verb.startswith("parameter/"):
            return f"{place(PARAMETERS if self.stem == 'device' else NESTED, self.ids)}/{self.verb[10:]}"
        return f"{place(KINDS[self.stem].place, self.ids)}/{self.verb}"

    def at(self, *ids: Id) -> Target:
        """Return the same property of another object."""
        return Target(self.stem, self.verb, ids, self.prop)


def place(pattern: str, ids: Sequence[Id]) -> str:
    """Return *pattern* with its stars replaced by *ids*; a track that has no index lies at a place of its own."""
    if ids and isinstance(ids[0], str):
        own = MAIN if ids[0] == MAIN else f"returns/{ids[0].removeprefix(_RETURN)}"
        pattern, ids = pattern.replace("tracks/*", own, 1), ids[1:]
    for index in ids:
        pattern = pattern.replace("*", str(index), 1)
    return pattern


def target(stem: str, verb: str, *ids: Id) -> Target:
    """Return a property by its name in addresses; raise `KeyError` for one that does not exist."""
    if stem == "track" and verb == "send":
        return Target(stem, verb, ids, SEND)
    if stem in ("device", "chain/device") and verb.startswith("parameter/"):
        return Target(stem, verb, ids, _PARAMETER[verb[10:]])
    if stem == "song" and verb == "beat":
        return Target(stem, verb, ids, BEAT)
    return Target(stem, verb, ids, KINDS[stem].properties[verb])


_SHAPES = {f"{kind.place}/{name}": (kind.name, name) for kind in KINDS.values() for name in kind.properties}
_SHAPES |= {f"{PARAMETERS}/{name}": ("device", f"parameter/{name}") for name in _PARAMETER}
_SHAPES |= {f"{NESTED}/{name}": ("chain/device", f"parameter/{name}") for name in _PARAMETER}
_SHAPES |= {SENDS: ("track", "send"), "song/beat": ("song", "beat")}


def target_of(path: str) -> Target | None:
    """Return the property at *path* under the mount, or `None` where there is none."""
    parts = path.split("/")
    ids: list[Id] = []
    shape = ""
    if parts[0] == MAIN:
        shape, ids, parts = "tracks/*/", [MAIN], parts[1:]
    elif parts[0] == "returns" and len(parts) > 1 and _is_index(parts[1]):
        shape, ids, parts = "tracks/*/", [_RETURN + parts[1]], parts[2:]
    ids += [int(part) for part in parts if _is_index(part)]
    found = _SHAPES.get(shape + "/".join("*" if _is_index(part) else part for part in parts))
    return target(*found, *ids) if found is not None else None


def _is_index(part: str) -> bool:
    """Say whether a segment is an index as Live's are written: `00` would be a second name for `0`."""
    return part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")


def told(address: str, args: tuple[Any, ...]) -> list[tuple[Target, Any]]:
    """Return the properties that one message tells, and their raw values."""
    stem, got, name = address.removeprefix("/live/").partition("/get/")
    if not got or (stem not in KINDS and stem != "chain/device"):
        return []
    if name.startswith("parameters/"):
        return _told_parameters(stem, name[11:], args)
    count = 4 if stem == "chain/device" else KINDS[stem].ids
    count += name == "send" or name.startswith("parameter/")
    ids = ids_of(args, count)
    if ids is None:
        return []
    try:
        found = target(stem, name, *ids)
    except KeyError:
        return []
    rest = args[count:]
    if found.prop.shape:
        return [(found, rest)]
    return [(found, rest[0])] if rest else []


def _told_parameters(stem: str, name: str, args: tuple[Any, ...]) -> list[tuple[Target, Any]]:
    count = 2 if stem == "device" else 4
    ids = ids_of(args, count)
    if ids is None or name not in _PARAMETER:
        return []
    prop = _PARAMETER[name]
    return [(Target(stem, f"parameter/{name}", (*ids, number), prop), raw) for number, raw in enumerate(args[count:])]


def ids_of(args: Sequence[Any], count: int) -> tuple[Id, ...] | None:
    """Return the first *count* arguments as indices; `None` where they are none."""
    if len(args) < count:
        return None
    found: list[Id] = []
    for position, raw in enumerate(args[:count]):
        if isinstance(raw, str) and position == 0 and (raw == MAIN or raw.startswith(_RETURN)):
            found.append(raw)
        elif isinstance(raw, (int, float)) and not isinstance(raw, bool) and raw >= 0 and float(raw).is_integer():
            found.append(int(raw))
        else:
            return None
    return tuple(found)


def declarations() -> list[Parameter]:
    """Return what is known of the paths of every Live set."""
    found = [_declare(f"{kind.place}/{one.name}", one) for kind in KINDS.values() for one in kind.properties.values()]
    found += [_declare(f"{pattern}/{one.name}", one) for pattern in (PARAMETERS, NESTED) for one in PARAMETER]
    found += [_declare(SENDS, SEND), _declare("song/beat", BEAT)]
    for own, ids in (("returns/*", (f"{_RETURN}*",)), (MAIN, (MAIN,))):
        found += [
            _declare(f"{own}/{name}", KINDS["track"].properties[name])
            for name in (*followed("track", ids[0]), *followed("track", ids[0], Follow.POLL),
                         *followed("track", ids[0], Follow.ASKED))
        ]  # fmt: skip
        for pattern, properties in (
            (KINDS["device"].place, KINDS["device"].properties.values()),
            (KINDS["chain"].place, KINDS["chain"].properties.values()),
            (PARAMETERS, PARAMETER),
            (NESTED, PARAMETER),
        ):
            found += [_declare(f"{pattern.replace('tracks/*', own, 1)}/{one.name}", one) for one in properties]
    return found


def _declare(pattern: str, prop: Property) -> Parameter:
    return Parameter(
        pattern,
        kind=prop.kind,
        minimum=prop.minimum,
        maximum=prop.maximum,
        unit=prop.unit,
        access=prop.access,
        description=prop.description,
        signal=prop.signal,
    )


def followed(stem: str, first: Id = 0, follow: Follow = Follow.LISTEN) -> list[str]:
    """Return the names of the properties of a kind that are followed so; *first* is the track's index or name."""
    found = [one.name for one in KINDS[stem].properties.values() if one.follow is follow]
    if stem == "track" and isinstance(first, str):
        without = NOT_OF_EXTRAS | NOT_OF_MAIN if first == MAIN else NOT_OF_EXTRAS
        found = [name for name in found if name not in without]
    return found
