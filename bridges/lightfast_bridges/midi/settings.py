"""The settings of one MIDI device."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import BridgeError
from lightfast_bridges.midi.timecode import RATES, Rate

APIS = {"": "", "alsa": "LINUX_ALSA", "jack": "UNIX_JACK", "coremidi": "MACOSX_CORE", "winmm": "WINDOWS_MM"}
"""The drivers, by the names they have in the settings."""
MAX_HOLD = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How one device is joined.

    *input* and *output* are patterns for names of ports (`APC*`), or with *virtual* the names of the ports that are
    made; either may be empty. *hold* is how many seconds after a hand moved a controller nothing is sent to it.
    *pairs* are the controllers, below 32, that come with 14 bits. *clock* says whether a clock is sent when the
    transport is written to, *timecode* at which rate timecode is, or `off`.
    """

    name: str = ""
    input: str = ""
    output: str = ""
    virtual: bool = False
    api: str = ""
    hold: float = 0.5
    pairs: tuple[int, ...] = ()
    clock: bool = True
    timecode: str = "25"

    @property
    def rate(self) -> Rate | None:
        """Return the rate at which timecode is sent."""
        return RATES.get(self.timecode)

    @property
    def ordered(self) -> frozenset[int]:
        """Return the controllers that belong together, so that each value of theirs counts."""
        return frozenset({*self.pairs, *(number + 32 for number in self.pairs)})


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Return the settings in a plugin's table; raise `BridgeError` that names a wrong one."""
    names = list(Settings.__dataclass_fields__)
    known: dict[str, Any] = {}
    for key, value in config.items():
        if key in {"enabled", "instances"}:
            continue
        if key not in names:
            near = difflib.get_close_matches(key, names, 1)
            raise BridgeError(
                f"midi.{key} is no setting of this plugin: "
                + (f"did you mean {near[0]!r}?" if near else f"there is {', '.join(names)}")
            )
        known[key] = _CHECKS[key](key, value)
    return Settings(**known)


def match(pattern: str, names: Sequence[str]) -> str | None:
    """Return the first of *names* that *pattern* matches, upper or lower case; a name itself comes first."""
    if pattern in names:
        return pattern
    return next((name for name in names if fnmatch.fnmatchcase(name.lower(), pattern.lower())), None)


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BridgeError(f"midi.{key} is {value!r}: write a text")
    return value


def _switch(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BridgeError(f"midi.{key} is {value!r}: write true or false")
    return value


def _api(key: str, value: Any) -> str:
    if value not in APIS:
        raise BridgeError(f"midi.{key} is {value!r}: write one of {', '.join(filter(None, APIS))}, or leave it out")
    return str(value)


def _hold(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_HOLD:
        raise BridgeError(f"midi.{key} is {value!r}: write seconds, from 0 to {MAX_HOLD:g}")
    return float(value)


def _pairs(key: str, value: Any) -> tuple[int, ...]:
    good = isinstance(value, list | tuple) and all(
        isinstance(number, int) and not isinstance(number, bool) and 0 <= number < 32 for number in value
    )
    if not good:
        raise BridgeError(f"midi.{key} is {value!r}: write a list of controllers from 0 to 31, such as [1, 7]")
    return tuple(value)


def _timecode(key: str, value: Any) -> str:
    if str(value) not in {*RATES, "off"} or isinstance(value, bool):
        raise BridgeError(f"midi.{key} is {value!r}: write one of {', '.join(RATES)}, or off")
    return str(value)


_CHECKS = {
    **dict.fromkeys(("name", "input", "output"), _text),
    **dict.fromkeys(("virtual", "clock"), _switch),
    "api": _api,
    "hold": _hold,
    "pairs": _pairs,
    "timecode": _timecode,
}
