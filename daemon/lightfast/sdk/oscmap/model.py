"""A map as it is used: everything expanded, checked and typed. How values cross is in `convert`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lightfast.sdk.bridge import Argument, Command, Parameter

MAX_JSON = 65_536
"""The longest JSON text of a reply that is read, in characters."""


class _Value:
    """Stands where the value goes in a layout."""

    def __repr__(self) -> str:
        return "$value"


VALUE: Final = _Value()


@dataclass(frozen=True, slots=True)
class Named:
    """Stands in a command's layout where its argument *name* goes."""

    name: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reply that says no; *reason* is what it said."""

    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """One message that is always the same; arguments as `lightfast.sdk.osc.encode` takes them."""

    address: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """An address and its arguments: constants, and `VALUE` where the value goes (all elements of a vector there).

    For what comes in, *address* may be a pattern, *json* names the place of the value in a JSON text (empty: the
    argument itself), and *when* what else must hold in that text for it to be an answer and not a refusal.
    """

    address: str
    arguments: tuple[Any, ...] = (VALUE,)
    json: tuple[str, ...] | None = None
    when: tuple[tuple[str, Any], ...] = ()

    def fill(self, values: Sequence[Any]) -> list[Any]:
        """Return the arguments with *values* in their place."""
        filled: list[Any] = []
        for argument in self.arguments:
            if argument is VALUE:
                filled += values
            else:
                filled.append(argument)
        return filled

    def extract(self, arguments: Sequence[Any], width: int) -> list[Any] | Refusal | None:
        """Return the *width* raw values in *arguments*; a `Refusal`; None where the message is not of this layout."""
        taken: list[Any] = []
        position = 0
        for wanted in self.arguments:
            if wanted is VALUE:
                step = 1 if self.json is not None else width
                taken = list(arguments[position : position + step])
                if len(taken) < step:
                    return None
                position += step
            elif position >= len(arguments) or not _equal(arguments[position], _plain(wanted)):
                return None
            else:
                position += 1
        return taken if self.json is None else self._from_json(taken, width)

    def _from_json(self, taken: list[Any], width: int) -> list[Any] | Refusal | None:
        if len(taken) != 1 or not isinstance(taken[0], str) or len(taken[0]) > MAX_JSON:
            return None
        try:
            document = json.loads(taken[0])
        except (ValueError, RecursionError):
            return None
        for name, wanted in self.when:
            found = _at(document, tuple(name.split(".")))
            if found != wanted:
                return Refusal(f"it answered {name} = {found!r:.60}, not {wanted!r:.60}")
        value = _at(document, self.json or ())
        if value is None:
            return None
        return value if width > 1 and isinstance(value, list) else [value]


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdecimal() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document


def _plain(wanted: Any) -> Any:
    return wanted[1] if isinstance(wanted, tuple) else wanted


def _equal(found: Any, wanted: Any) -> bool:
    if isinstance(found, bool) != isinstance(wanted, bool):
        return False
    return bool(found == wanted)


@dataclass(frozen=True, slots=True)
class MapParameter:
    """One parameter. *tags* are the OSC types of its value, *scale* the device's range for *parameter*'s range.

    *choices* translates texts to what the device calls them; *refresh* are addresses after which it is asked again.
    """

    parameter: Parameter
    tags: str
    send: Layout | None = None
    feedback: tuple[Layout, ...] = ()
    query: Message | None = None
    confirm: str = "none"
    scale: tuple[float, float] | None = None
    choices: tuple[tuple[str, Any], ...] = ()
    refresh: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The path, relative to the mount."""
        return self.parameter.pattern


@dataclass(frozen=True, slots=True)
class MapCommand:
    """One command: its layout, the OSC type of each argument, and how the device answers, if it does."""

    command: Command
    address: str
    arguments: tuple[Any, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    answer: Layout | None = None
    timeout: float = 2.0

    def argument(self, name: str) -> Argument | None:
        """Return the argument called *name*."""
        return next((one for one in self.command.arguments if one.name == name), None)


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """What is sent every so many seconds so that the device goes on talking."""

    every: float
    send: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Alive:
    """How the device is known to be there: it answers *ping*, or is *assumed* to be.

    *answer* are the addresses (patterns) that prove it (none: any message), *silence* the seconds after which it is
    gone (0: never). Times in seconds.
    """

    ping: Message | None = None
    every: float = 2.0
    silence: float = 0.0
    answer: tuple[str, ...] = ()
    assumed: bool = False


@dataclass(frozen=True, slots=True)
class OscMap:
    """One map, ready for use; *reply* is the local port, *rate* the most messages a second that are sent."""

    name: str
    kind: str
    title: str
    remote: tuple[str, int]
    description: str = ""
    reply: int = 0
    allow_remote: bool = False
    rate: float = 500.0
    timeout: float = 1.0
    start: tuple[Message, ...] = ()
    keep_alive: KeepAlive | None = None
    alive: Alive = field(default_factory=Alive)
    parameters: tuple[MapParameter, ...] = ()
    commands: tuple[MapCommand, ...] = ()
