"""What REAPER's OSC surface lets one see and set, as tables, and what is declared of it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lightfast.sdk import Parameter, Value

SILENCE = -150.0
"""What REAPER says for no volume at all, in dB."""
MAX_TEXT = 500
"""The longest text that is sent: REAPER's messages hold about a thousand bytes."""
DECIBELS = "gain.db"

Read = Callable[[Any], Value | None]


def _number(raw: Any) -> Value | None:
    return float(raw) if isinstance(raw, (int, float)) and math.isfinite(raw) else None


def _centered(raw: Any) -> Value | None:
    """Return -1 to 1 for what goes over the wire as 0 to 1."""
    found = _number(raw)
    return None if not isinstance(found, float) else found * 2 - 1


def _flag(raw: Any) -> Value | None:
    return raw != 0 if isinstance(raw, (int, float)) else None


def _whole(raw: Any) -> Value | None:
    return int(raw) if isinstance(raw, (int, float)) and math.isfinite(raw) else None


def _text(raw: Any) -> Value | None:
    return raw if isinstance(raw, str) else None


def _digits(raw: Any) -> Value | None:
    return int(raw) if isinstance(raw, str) and raw.isascii() and raw.isdigit() and len(raw) < 10 else None


def _spoken(raw: Any) -> Value | None:
    """Return a number that REAPER writes as text."""
    try:
        return _number(float(raw)) if isinstance(raw, str) else None
    except ValueError:
        return None


def _present(raw: Any) -> Value | None:
    return bool(raw) if isinstance(raw, str) else None


def decibels(raw: Any) -> Value | None:
    """Return the dB in a text such as `-6.00dB` or `-inf dB`."""
    if not isinstance(raw, str):
        return None
    found = re.match(r"\s*([-+]?(?:inf|\d+(?:\.\d*)?))\s*dB", raw, re.IGNORECASE)
    return max(SILENCE, float(found.group(1))) if found and found.group(1).lower() not in {"inf", "+inf"} else None


@dataclass(frozen=True, slots=True)
class Leaf:
    """One property. *address* is where it is set, *heard* where it is told, `@` standing for numbers.

    *told* is a second address on which REAPER tells what was set on the first. What is asked for is *heard*.
    """

    name: str
    kind: str
    address: str = ""
    heard: str = ""
    told: str = ""
    access: str = "rw"
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    description: str = ""
    tolerance: float = 0.0
    signal: bool = False
    read: Read = _number
    hidden: bool = False

    def declared(self, base: str, top: float) -> Parameter:
        """Return what is declared of it below *base*; *top* is the loudest volume in dB."""
        writable = self.access == "rw" and self.unit == DECIBELS
        return Parameter(
            f"{base}/{self.name}",
            kind=self.kind,
            minimum=self.minimum,
            maximum=top if writable else self.maximum,
            unit=self.unit,
            access=self.access,
            description=self.description,
            signal=self.signal,
            tolerance=self.tolerance,
        )


def _volume(base: str, what: str) -> Leaf:
    return Leaf("volume", "double", f"{base}/volume/db", f"{base}/volume/db", f"{base}/volume/db/told",
                minimum=SILENCE, unit=DECIBELS, tolerance=2e-3, description=f"{what} in dB, -150: none.")  # fmt: skip


def _pan(base: str, name: str = "pan", leaf: str = "pan") -> Leaf:
    what = "Pan, from left (-1) to right (1)" if name == "pan" else "Width of the pan, or the right side of a dual pan"
    return Leaf(name, "double", f"{base}/{leaf}", f"{base}/{leaf}", f"{base}/{leaf}/told", minimum=-1, maximum=1,
                tolerance=1e-5, read=_centered, description=f"{what}; 0 to 1 on the wire.")  # fmt: skip


def _shown(name: str, heard: str, description: str) -> Leaf:
    return Leaf(name, "string", "", heard, access="r", read=_text, description=description)


def _switch(name: str, place: str, description: str, address: str = "") -> Leaf:
    return Leaf(name, "bool", address or place, place, read=_flag, description=description)


def _meter(heard: str) -> Leaf:
    return Leaf("vu", "double", "", heard, access="r", minimum=0, maximum=1, signal=True,
                description="Level, as the meter stands; only where the pattern file has it.")  # fmt: skip


_T, _S, _F = "/track/@", "/track/@/send/@", "/track/@/fx/@"
_P = f"{_F}/fxparam/@"
TRACK = (
    Leaf("name", "string", f"{_T}/name", f"{_T}/name", read=_text,
         description="Its name. Writing it renames the track, and its path with it."),
    _volume(_T, "Volume"),
    _shown("volume_text", f"{_T}/volume/str", "The volume as REAPER shows it."),
    _pan(_T),
    _shown("pan_text", f"{_T}/pan/str", "The pan as REAPER shows it."),
    _pan(_T, "width", "pan2"),
    _shown("pan_mode", f"{_T}/panmode", "How it is panned."),
    _switch("mute", f"{_T}/mute", "The track is muted."),
    _switch("solo", f"{_T}/solo", "The track is soloed."),
    _switch("recarm", f"{_T}/recarm", "The track is armed for recording."),
    Leaf("monitor", "int", f"{_T}/monitor", f"{_T}/monitor", minimum=0, maximum=2, read=_whole,
         description="Input monitoring: 0 off, 1 on, 2 not while playing."),
    _switch("select", f"{_T}/select", "It is selected. What is set on one of several selected tracks is set on all."),
    _meter(f"{_T}/vu"),
)  # fmt: skip
SEND = (
    _shown("name", f"{_S}/name", "Where it goes."),
    Leaf("volume", "double", f"{_S}/volume/db", f"{_S}/volume/str", minimum=SILENCE, unit=DECIBELS, tolerance=6e-3,
         read=decibels, description="Its volume in dB, known to 0.01 dB; -150 is silence."),
    _pan(_S),
)  # fmt: skip
FX = (
    Leaf("present", "bool", "", f"{_F}/number/str", access="r", read=_present, hidden=True),
    _shown("name", f"{_F}/name", "What it is."),
    _switch("enabled", f"{_F}/bypass", "It is on: not bypassed."),
    Leaf("preset", "string", f"{_F}/preset", f"{_F}/preset", read=_text,
         description="Its preset. Writing a name loads that preset; REAPER ignores one that is not there."),
)  # fmt: skip
PARAMETER = (
    _shown("name", f"{_P}/name", "What it is."),
    Leaf("value", "double", f"{_P}/value", f"{_P}/value", minimum=0, maximum=1, tolerance=1e-5,
         description="Its value, 0 to 1 from lowest to highest."),
    _shown("text", f"{_P}/value/str", "The value as the FX shows it."),
)  # fmt: skip
MASTER = (
    _volume("/master", "Volume of the master"),
    _shown("volume_text", "/master/volume/str", "The volume as REAPER shows it."),
    _pan("/master"),
    _meter("/master/vu"),
)
TRANSPORT = (
    _switch("playing", "/play", "The transport plays; writing it plays or stops."),
    Leaf("paused", "bool", "", "/pause", access="r", read=_flag, description="It pauses; see the command pause."),
    Leaf("recording", "bool", "", "/record", access="r", read=_flag, description="It records; see the command record."),
    Leaf("position", "double", "/time", "/time", minimum=0, unit="time.second", tolerance=1e-3, signal=True,
         description="Where it plays, else the edit cursor; writing it goes there."),
    Leaf("tempo", "double", "/tempo/raw", "/tempo/raw", "/tempo/raw/told", minimum=2, maximum=960, unit="time.bpm",
         tolerance=1e-3, description="Tempo at the cursor."),
    Leaf("play_rate", "double", "/playrate/raw", "/playrate/raw", "/playrate/raw/told", minimum=0.25, maximum=4,
         tolerance=1e-5, description="1 is the speed of the project."),
    _switch("repeat", "/repeat", "Repeat is on."),
    _switch("metronome", "/click", "The metronome is on."),
    Leaf("loop_start", "double", "/loop/start/time", "/loop/start/time", minimum=0, unit="time.second",
         tolerance=1e-3, description="Where the loop begins."),
    Leaf("loop_end", "double", "/loop/end/time", "/loop/end/time", minimum=0, unit="time.second", tolerance=1e-3,
         description="Where the loop ends."),
)  # fmt: skip


def _mark(which: str) -> tuple[Leaf, ...]:
    def timed(name: str, description: str) -> Leaf:
        return Leaf(name, "double", f"/{which}_id/@/{name}", f"/{which}/@/{name}", minimum=0, unit="time.second",
                    tolerance=1e-3, description=description)  # fmt: skip

    found = (
        Leaf("number", "int", "", f"/{which}/@/number/str", access="r", read=_digits, description="Its number."),
        Leaf("name", "string", f"/{which}_id/@/name", f"/{which}/@/name", read=_text, description="Its name."),
        timed("time", "Where it is."),
    )
    return (*found, timed("length", "How long it is.")) if which == "region" else found


SURFACE = (
    Leaf("tracks", "int", access="r", description="Tracks that are followed."),
    Leaf("sends", "int", access="r", description="Sends of each track that are followed."),
    Leaf("fx", "int", access="r", description="FX of each track that are followed."),
    Leaf("parameters", "int", access="r", description="Parameters of each FX that are followed."),
    Leaf("patterns", "string", access="r", description="The pattern file: `Lightfast`, or `other`."),
)
SCOPES: Mapping[str, tuple[str, tuple[Leaf, ...]]] = {
    "track": ("tracks/*", TRACK),
    "send": ("tracks/*/sends/*", SEND),
    "fx": ("tracks/*/fx/*", FX),
    "parameter": ("tracks/*/fx/*/parameters/*", PARAMETER),
    "master": ("master", MASTER),
    "transport": ("transport", TRANSPORT),
    "marker": ("markers/*", _mark("marker")),
    "region": ("regions/*", _mark("region")),
}
BY_NAME = {scope: {leaf.name: leaf for leaf in leaves} for scope, (_, leaves) in SCOPES.items()}
HEARD: dict[str, tuple[str, Leaf, Read]] = {}
"""What each address tells: scope, leaf, and how it is read."""
for _scope, (_, _leaves) in SCOPES.items():
    for _leaf in _leaves:
        for _address in filter(None, (_leaf.heard, _leaf.told)):
            HEARD[_address] = (_scope, _leaf, _leaf.read)
HEARD["/tempo/str"] = ("transport", BY_NAME["transport"]["tempo"], _spoken)
HEARD["/playrate/str"] = ("transport", BY_NAME["transport"]["play_rate"], _spoken)
"""Pattern files without a second address for them tell tempo and play rate as text."""


def declarations(top: float) -> list[Parameter]:
    """Return what is known of every project's paths."""
    found = [leaf.declared(base, top) for base, leaves in SCOPES.values() for leaf in leaves if not leaf.hidden]
    found.append(Parameter("tracks/*/number", "int", access="r", description="Its number, from 1."))
    return [*found, *(leaf.declared("surface", top) for leaf in SURFACE)]


def check(leaf: Leaf, value: Value | None, path: str, top: float) -> Value:
    """Return *value* as *leaf* holds it; raise `ValueError` that says why it cannot."""
    if value is None:
        raise ValueError(f"{path} cannot be removed over OSC")
    if leaf.access == "r":
        raise ValueError(f"{path} can only be read")
    if leaf.kind == "string":
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(f"{path} wants a text without NUL, not {value!r:.60}")
        if len(value.encode()) > MAX_TEXT:
            raise ValueError(f"the text has {len(value.encode())} bytes, REAPER takes {MAX_TEXT}")
        return value
    if leaf.kind == "bool":
        if not isinstance(value, bool):
            raise ValueError(f"{path} wants a bool, not {value!r:.60}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{path} wants a number, not {value!r:.60}")
    low, high = leaf.minimum, top if leaf.unit == DECIBELS else leaf.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError(f"{value:g} lies outside {low} to {high}, the range of {path}")
    if leaf.kind == "int" and not float(value).is_integer():
        raise ValueError(f"{path} wants a whole number, not {value!r:.60}")
    return int(value) if leaf.kind == "int" else float(value)


def to_wire(leaf: Leaf, value: Value) -> Any:
    """Return *value* as an OSC argument."""
    if isinstance(value, str):
        return value
    number = float(value)  # type: ignore[arg-type]
    return (number + 1) / 2 if leaf.read is _centered else number
