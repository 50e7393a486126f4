"""Units of measurement, by the names OSCQuery gives them, and the way from one to another.

Each unit has a dimension and a pair of functions to and from the base of that dimension. Names are
those of the ossia dialect of OSCQuery (`gain.db`, `angle.degree`, `time.bpm`); the part before the dot is
not always the dimension: `time.second`, `time.bpm` and `time.freq` measure durations and their inverses, and
convert into each other (a tempo of 120 bpm is a beat of half a second, is 2 Hz).

A position of a fader is a unit of gain: `gain.fader.ardour`, `gain.fader.ableton`, `gain.fader.x32` (see `faders`).
What needs more than two names is in rooms of its own: `clocked` (beats, frames, samples), `colours`, `scaling` (0 to 1
and MIDI onto a range). Names of notes are left out: programs do not agree which octave C4 is; `time.midinote` is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from lightfast.core.faders import LAWS, db_to_gain, gain_to_db

Function = Callable[[float], float]

MIDI_A4_HZ = 440.0
MIDI_A4_NOTE = 69.0


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit: *to_base* and *from_base* are each other's inverse, and raise `ValueError` outside their range."""

    name: str
    dimension: str
    to_base: Function
    from_base: Function


def _linear(name: str, dimension: str, factor: float) -> Unit:
    return Unit(name, dimension, lambda value: value * factor, lambda base: base / factor)


def _inverse(name: str, factor: float) -> Unit:
    """Return a unit of rate, whose base is the duration of one of it: `factor / value` seconds."""

    def turn(value: float) -> float:
        if value == 0:
            raise ValueError(f"0 in {name} has no duration")
        return factor / value

    return Unit(name, "duration", turn, turn)


def _note_to_seconds(note: float) -> float:
    return 1.0 / (MIDI_A4_HZ * math.pow(2.0, (note - MIDI_A4_NOTE) / 12.0))


def _seconds_to_note(base: float) -> float:
    if base <= 0:
        raise ValueError(f"a period of {base:g} s is no note")
    return MIDI_A4_NOTE + 12.0 * math.log2(1.0 / (base * MIDI_A4_HZ))


UNITS: dict[str, Unit] = {
    unit.name: unit
    for unit in (
        _linear("distance.m", "distance", 1.0),
        _linear("distance.km", "distance", 1000.0),
        _linear("distance.dm", "distance", 0.1),
        _linear("distance.cm", "distance", 0.01),
        _linear("distance.mm", "distance", 0.001),
        _linear("distance.inches", "distance", 0.0254),
        _linear("distance.feet", "distance", 0.3048),
        _linear("angle.radian", "angle", 1.0),
        _linear("angle.degree", "angle", math.pi / 180.0),
        _linear("gain.linear", "gain", 1.0),
        Unit("gain.db", "gain", db_to_gain, gain_to_db),
        *(Unit(f"gain.fader.{name}", "gain", to_gain, from_gain) for name, (to_gain, from_gain) in LAWS.items()),
        _linear("time.second", "duration", 1.0),
        _linear("time.ms", "duration", 0.001),
        _inverse("time.bpm", 60.0),
        _inverse("time.freq", 1.0),
        Unit("time.midinote", "duration", _note_to_seconds, _seconds_to_note),
        _linear("speed.m/s", "speed", 1.0),
        _linear("speed.km/h", "speed", 1.0 / 3.6),
        _linear("speed.ft/s", "speed", 0.3048),
    )
}
"""The units that convert by themselves; see the module for the others. Any other name is a label."""


@lru_cache(maxsize=1024)
def between(source: str, target: str) -> tuple[Function, Function] | None:
    """Return the way from unit *source* to *target* and the way back; None where nothing is to be converted.

    That is so where a unit is not given, not known, the same on both sides, or of another dimension.
    """
    if source == target:
        return None
    here, there = UNITS.get(source), UNITS.get(target)
    if here is None or there is None or here.dimension != there.dimension:
        return None
    return (
        lambda value: there.from_base(here.to_base(value)),
        lambda value: here.from_base(there.to_base(value)),
    )
