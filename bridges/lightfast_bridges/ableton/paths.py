"""Paths under the mount to AbletonOSC's addresses, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Parameter, Value
from lightfast_bridges.ableton.names import (
    BEAT,
    KINDS,
    PARAMETER,
    PARAMETERS,
    SEND,
    SENDS,
    Follow,
    Property,
)

MAX_FLOAT = 3.4e38
"""About the greatest number of 32 bits, which is what `f` carries."""
MAX_TEXT = 4096
"""The longest text sent to Live, in characters."""

_PARAMETER = {one.name: one for one in PARAMETER}


@dataclass(frozen=True, slots=True)
class Target:
    """One property of one object: *stem* is `song`, *verb* is `tempo`, *ids* are the indices."""

    stem: str
    verb: str
    ids: tuple[int, ...]
    prop: Property

    @property
    def get(self) -> str:
        """The address of its getter, which its listener answers on, too."""
        return f"/live/{self.stem}/get/{self.verb}"

    @property
    def set(self) -> str:
        """The address of its setter."""
        return f"/live/{self.stem}/set/{self.verb}"

    @property
    def start_listen(self) -> str:
        """The address that starts its listener."""
        return f"/live/{self.stem}/start_listen/{self.verb}"

    @property
    def stop_listen(self) -> str:
        """The address that stops its listener."""
        return f"/live/{self.stem}/stop_listen/{self.verb}"

    @property
    def path(self) -> str:
        """Its path under the mount."""
        if self.stem == "track" and self.verb == "send":
            return place(SENDS, self.ids)
        if self.stem == "device" and self.verb.startswith("parameter/"):
            return f"{place(PARAMETERS, self.ids)}/{self.verb[10:]}"
        return f"{place(KINDS[self.stem].place, self.ids)}/{self.verb}"


def place(pattern: str, ids: Sequence[int]) -> str:
    """Return *pattern* with its stars replaced by *ids*."""
    for index in ids:
        pattern = pattern.replace("*", str(index), 1)
    return pattern


def target(stem: str, verb: str, *ids: int) -> Target:
    """Return a property by its name in addresses; raise `KeyError` for one that does not exist."""
    if stem == "track" and verb == "send":
        return Target(stem, verb, ids, SEND)
    if stem == "device" and verb.startswith("parameter/"):
        return Target(stem, verb, ids, _PARAMETER[verb[10:]])
    if stem == "song" and verb == "beat":
        return Target(stem, verb, ids, BEAT)
    return Target(stem, verb, ids, KINDS[stem].properties[verb])


_STEMS = {tuple(kind.place.split("/")): kind.name for kind in KINDS.values()}


def target_of(path: str) -> Target | None:
    """Return the property at *path* under the mount, or `None` where there is none."""
    parts = path.split("/")
    ids = tuple(int(part) for part in parts if _is_index(part))
    shape = tuple("*" if _is_index(part) else part for part in parts)
    if shape == tuple(SENDS.split("/")):
        return target("track", "send", *ids)
    if shape[:-1] == tuple(PARAMETERS.split("/")):
        return target("device", f"parameter/{shape[-1]}", *ids) if shape[-1] in _PARAMETER else None
    stem = _STEMS.get(shape[:-1])
    if stem is None or shape[-1] not in KINDS[stem].properties:
        return target("song", "beat") if path == "song/beat" else None
    return target(stem, shape[-1], *ids)


def _is_index(part: str) -> bool:
    """Say whether a segment is an index as Live's are written: `00` would be a second name for `0`."""
    return part.isascii() and part.isdigit() and (part == "0" or part[0] != "0")


def to_value(prop: Property, raw: Any) -> Value | None:
    """Return what Live sent as a value of *prop*; `None` where it is no such value.

    Live sends what its Python holds: a flag may come as a number, a number as an int.
    """
    if prop.kind == "bool" and isinstance(raw, (bool, int, float)):
        return bool(raw)
    if prop.kind == "double" and isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return float(raw)
    if prop.kind == "int" and isinstance(raw, (bool, int)):
        return int(raw)
    if prop.kind == "int" and isinstance(raw, float) and raw.is_integer():
        return int(raw)
    if prop.kind == "string" and isinstance(raw, str):
        return raw
    return None


def to_argument(prop: Property, value: Value) -> Any:
    """Return *value* as AbletonOSC wants it for *prop*; raise `ValueError` where it cannot be."""
    if prop.kind == "bool" and isinstance(value, (bool, int, float)) and value in (0, 1):
        return int(value)  # Live takes 0 and 1 everywhere
    if prop.kind == "double" and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not abs(value) <= MAX_FLOAT:
            raise ValueError(f"{prop.name} wants a number that 32 bits hold, not {value!r:.40}")
        return float(value)
    if prop.kind == "int" and isinstance(value, (int, float)) and not isinstance(value, bool):
        if abs(value) < 1 << 31 and float(value).is_integer():
            return int(value)
    elif prop.kind == "string" and isinstance(value, str):
        if "\0" in value:
            raise ValueError("the text holds a NUL character, which OSC cannot carry")
        if len(value) > MAX_TEXT:
            raise ValueError(f"the text has {len(value)} characters, {prop.name} takes {MAX_TEXT}")
        return value
    raise ValueError(f"{prop.name} wants a {prop.kind}, not {value!r:.60}")


def declarations() -> list[Parameter]:
    """Return what is known of the paths of every Live set."""
    found = [_declare(f"{kind.place}/{one.name}", one) for kind in KINDS.values() for one in kind.properties.values()]
    found += [_declare(f"{PARAMETERS}/{one.name}", one) for one in PARAMETER]
    return [*found, _declare(SENDS, SEND), _declare("song/beat", BEAT)]


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


def followed(stem: str, follow: Follow = Follow.LISTEN) -> list[str]:
    """Return the names of the properties of a kind that are followed so."""
    return [one.name for one in KINDS[stem].properties.values() if one.follow is follow]
