"""The timeline itself: where it is follows from where it was and the monotonic clock; nothing runs to move it."""

from __future__ import annotations

from dataclasses import dataclass

MIN_TEMPO, MAX_TEMPO = 20.0, 999.0
"""Beats per minute; the range that Ableton Link takes, too."""


@dataclass(slots=True)
class Playhead:
    """One position in seconds and in beats. Times are those of one monotonic clock, in seconds, given by the caller.

    A change of tempo or speed leaves both positions where they are: they go on from there. `seek` reads
    the timeline at the tempo of now throughout, so beat = seconds x tempo / 60 afterwards. *speed* is how much
    timeline passes in a second; another one than 1 only while it is brought in step with a leader.
    """

    tempo: float = 120.0
    playing: bool = False
    speed: float = 1.0
    _at: float = 0.0
    _seconds: float = 0.0
    _beats: float = 0.0

    def seconds(self, now: float) -> float:
        """Return the position at *now*, in seconds; a moment before the last change is read on the present course."""
        return self._seconds + self._passed(now)

    def beats(self, now: float) -> float:
        """Return the position at *now*, in beats."""
        return self._beats + self._passed(now) * self.tempo / 60.0

    def beat_in(self, beat: float, now: float) -> float:
        """Return in how many seconds it will be at *beat*; it must be playing."""
        return (beat - self.beats(now)) * 60.0 / (self.tempo * self.speed)

    def play(self, now: float) -> None:
        """Go on from where it is."""
        self._anchor(now)
        self.playing = True

    def stop(self, now: float) -> None:
        """Stay where it is."""
        self._anchor(now)
        self.playing, self.speed = False, 1.0

    def seek(self, now: float, seconds: float) -> None:
        """Go to *seconds*."""
        self._at, self._seconds, self._beats = now, seconds, seconds * self.tempo / 60.0

    def seek_beats(self, now: float, beats: float) -> None:
        """Go to *beats*."""
        self._at, self._seconds, self._beats = now, beats * 60.0 / self.tempo, beats

    def set_tempo(self, now: float, tempo: float) -> None:
        """Go on at *tempo*."""
        self._anchor(now)
        self.tempo = tempo

    def set_speed(self, now: float, speed: float) -> None:
        """Go on at *speed*."""
        self._anchor(now)
        self.speed = speed

    def _anchor(self, now: float) -> None:
        self._at, self._seconds, self._beats = now, self.seconds(now), self.beats(now)

    def _passed(self, now: float) -> float:
        return (now - self._at) * self.speed if self.playing else 0.0
