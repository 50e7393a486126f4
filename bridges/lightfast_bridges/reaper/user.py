"""The person in front of the simulated REAPER: changes made in its windows, told as REAPER tells them."""

from __future__ import annotations

from lightfast_bridges.reaper.project import Marker, Project, Track, to_volume
from lightfast_bridges.reaper.telling import Telling


class User:
    """Changes the project; tracks are named by their number from 1."""

    def __init__(self, telling: Telling) -> None:
        self._telling = telling

    @property
    def _project(self) -> Project:
        return self._telling.project

    def _track(self, index: int) -> Track:
        track = self._project.track(index)
        if track is None:
            raise IndexError(f"there is no track {index}")
        return track

    def volume(self, index: int, decibels: float) -> None:
        """Move a fader."""
        self._track(index).volume = to_volume(decibels)
        self._telling.volume(index)

    def pan(self, index: int, pan: float) -> None:
        """Turn a pan knob."""
        self._track(index).pan = pan
        self._telling.pan(index)

    def switch(self, index: int, name: str, *, on: bool) -> None:
        """Press `mute`, `solo`, `recarm` or `selected`."""
        setattr(self._track(index), name, on)
        self._telling.switches(index)

    def rename(self, index: int, name: str) -> None:
        """Write another name."""
        self._track(index).name = name
        self._telling.name(index)

    def insert(self, index: int, track: Track) -> None:
        """Put a track before the one at *index*."""
        self._project.tracks.insert(index - 1, track)
        self._telling.list_changed()

    def delete(self, index: int) -> None:
        """Take a track away."""
        del self._project.tracks[index - 1]
        self._telling.list_changed()

    def open(self, project: Project) -> None:
        """Open another project."""
        self._telling.project.tracks[:] = project.tracks
        self._project.markers[:], self._project.regions[:] = project.markers, project.regions
        self._telling.everything()

    def parameter(self, index: int, fx: int, parameter: int, value: float) -> None:
        """Turn a knob of an FX."""
        self._track(index).fx[fx - 1].parameters[parameter - 1].value = value
        self._telling.parameter(index, fx, parameter)

    def fx_changed(self) -> None:
        """Tell that FX or sends were put in or taken away."""
        self._telling.list_changed()

    def mark(self, marker: Marker, which: str = "MARKER") -> None:
        """Set a `MARKER` or a `REGION`."""
        (self._project.markers if which == "MARKER" else self._project.regions).append(marker)
        self._telling.marks_changed(which)

    def tempo(self, tempo: float) -> None:
        """Set the tempo."""
        self._project.tempo = tempo
        self._telling.clock()

    def play(self, *, on: bool = True) -> None:
        """Press play, or stop."""
        self._project.playing = on
        self._telling.transport()
