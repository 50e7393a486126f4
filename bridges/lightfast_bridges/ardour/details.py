"""What Ardour says of sends and plugins, which it only says when it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_HIDDEN = 0x100
_INPUT = 0x80


@dataclass(frozen=True, slots=True)
class Send:
    """One send of a strip, by Ardour's number; *fader* from 0 to 1."""

    number: int
    name: str
    fader: float
    enabled: bool


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin of a strip, by Ardour's number."""

    number: int
    name: str
    active: bool


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a plugin, by Ardour's number; *hidden* where it is no control for people."""

    plugin: int
    number: int
    name: str
    low: float
    high: float
    value: float
    hidden: bool


def read_sends(args: Sequence[Any]) -> list[Send]:
    """Return the sends in an answer to `/strip/sends`, without its first argument: five arguments each."""
    found = []
    for at in range(0, len(args) - 4, 5):
        match args[at : at + 5]:
            case (int(), str(name), int(number), float(fader), int(enabled)):
                found.append(Send(number, name, fader, enabled != 0))
    return found


def read_plugins(args: Sequence[Any]) -> list[Plugin]:
    """Return the plugins in an answer to `/strip/plugin/list`, without its first argument: three arguments each."""
    found = []
    for at in range(0, len(args) - 2, 3):
        match args[at : at + 3]:
            case (int(number), str(name), int(active)):
                found.append(Plugin(number, name, active != 0))
    return found


def read_parameter(args: Sequence[Any]) -> Parameter | None:
    """Return the parameter in one answer to `/strip/plugin/descriptor`.

    It holds ssid, plugin, number, label, flags, type, lowest, highest, format, then a count and so many pairs of
    value and label, then the value.
    """
    match args:
        case (int(), int(plugin), int(number), str(name), int(flags), str(), low, high, str(), int(), *_, value):
            if not all(isinstance(one, (int, float)) for one in (low, high, value)):
                return None
            hidden = bool(flags & _HIDDEN) or not flags & _INPUT
            return Parameter(plugin, number, name, float(low), float(high), float(value), hidden)
        case _:
            return None
