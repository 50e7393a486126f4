"""The project of the simulated REAPER."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field

SILENCE = -150.0
"""What REAPER says for no volume at all, in dB."""


def to_db(volume: float) -> float:
    """Return a linear volume in dB."""
    return max(SILENCE, 20 * math.log10(volume)) if volume > 3e-8 else SILENCE


def to_volume(decibels: float) -> float:
    """Return the linear volume of *decibels*; what REAPER calls silence is 0."""
    return 10 ** (decibels / 20) if decibels > SILENCE else 0.0


@dataclass(slots=True)
class Parameter:
    """One parameter of an FX, 0 to 1; *unit* is what it is shown with."""

    name: str
    value: float = 0.0
    unit: str = "%"

    @property
    def text(self) -> str:
        """How REAPER shows the value."""
        return f"{self.value * 100:.1f}{self.unit}"


@dataclass(slots=True)
class Fx:
    """One FX."""

    name: str
    parameters: list[Parameter] = field(default_factory=list)
    enabled: bool = True
    open: bool = False
    preset: str = ""


@dataclass(slots=True)
class Send:
    """One send; its volume is linear."""

    name: str
    volume: float = 1.0
    pan: float = 0.0


@dataclass(slots=True, eq=False)
class Track:
    """One track; its volume is linear, pan and width go from -1 to 1."""

    name: str = ""
    volume: float = 1.0
    pan: float = 0.0
    width: float = 1.0
    mute: bool = False
    solo: bool = False
    recarm: bool = False
    monitor: int = 0
    selected: bool = False
    level: float = 0.0
    sends: list[Send] = field(default_factory=list)
    fx: list[Fx] = field(default_factory=list)
    guid: str = field(default_factory=lambda: "{" + str(uuid.uuid4()).upper() + "}")


@dataclass(slots=True)
class Marker:
    """One marker, or region with a length, in seconds."""

    number: int
    name: str
    time: float
    length: float = 0.0


@dataclass(slots=True)
class Project:
    """One project and its transport; *tracks* begin with track 1, *position* is in seconds."""

    tracks: list[Track] = field(default_factory=list)
    master: Track = field(default_factory=lambda: Track("MASTER"))
    markers: list[Marker] = field(default_factory=list)
    regions: list[Marker] = field(default_factory=list)
    playing: bool = False
    paused: bool = False
    recording: bool = False
    repeat: bool = False
    metronome: bool = False
    tempo: float = 120.0
    play_rate: float = 1.0
    position: float = 0.0
    loop: tuple[float, float] = (0.0, 0.0)
    actions: list[str] = field(default_factory=list)
    """The actions that were run and are not simulated, by number or name."""

    def track(self, index: int) -> Track | None:
        """Return a track by its number, 0 being the master."""
        if index == 0:
            return self.master
        return self.tracks[index - 1] if 0 < index <= len(self.tracks) else None

    def in_time(self, which: str) -> list[Marker]:
        """Return the `MARKER`s or `REGION`s in the order of time."""
        return sorted(self.markers if which == "MARKER" else self.regions, key=lambda one: one.time)


def demo_project() -> Project:
    """Return a small song."""
    comp = [Parameter("Threshold", 0.5), Parameter("Ratio", 0.25), Parameter("Attack", 0.1), Parameter("Release", 0.3)]
    synth = [Parameter("Attack", 0.02), Parameter("Decay", 0.4), Parameter("Cutoff", 0.75), Parameter("Volume", 0.5)]
    reverb = Send("Reverb", to_volume(-12.0))
    return Project(
        tracks=[
            Track("Drums", to_volume(-3.0), fx=[Fx("ReaComp (Cockos)", comp)], sends=[reverb]),
            Track("Bass", to_volume(-6.0), pan=-0.1, fx=[Fx("ReaSynth (Cockos)", synth)]),
            Track("Reverb", to_volume(-9.0)),
        ],
        markers=[Marker(1, "Intro", 0.0), Marker(2, "Verse", 16.0)],
        regions=[Marker(1, "Song", 0.0, 64.0)],
    )
