"""What a device says of its transport, by clock and by timecode, as the values of one.

Timecode names seconds and comes with drift corrected, so where both come, it says the position, the clock
the tempo.
"""

from __future__ import annotations

from lightfast.sdk import Value
from lightfast_bridges.midi.clock import CONTINUE, SONG_POSITION, START, STOP, TICK, ClockReader
from lightfast_bridges.midi.surface import BEATS, RATE
from lightfast_bridges.midi.timecode import QUARTER, Place, TimecodeReader

EVERY_S = 0.05
"""Seconds between two reports of a position."""
_NEAR = 0.05
"""Beats per minute by which a tempo may seem to change and not be told."""

News = list[tuple[str, Value, float]]
"""Path, value, and the monotonic time at which it was so."""


class Following:
    """Follows one device."""

    def __init__(self) -> None:
        self.clock = ClockReader()
        self.timecode = TimecodeReader()
        self._tempo: float | None = None
        self._seconds = 0.0
        self._beats = 0.0
        self._told = {"clock": -1.0, "timecode": -1.0}
        self._by_timecode = False

    def take(self, message: bytes, time: float) -> News | None:
        """Take a message; return what it changes, or None where it has nothing to do with the transport."""
        status = message[0]
        if status == TICK:
            return self._tick(time)
        if status == QUARTER and len(message) == 2:
            return self._place(self.timecode.quarter(message[1], time), time)
        if status in {START, CONTINUE, STOP}:
            return self._moved(status, time)
        if status == SONG_POSITION and len(message) == 3:
            self.clock.locate(message[1] | message[2] << 7)
            return self._located(time)
        if status == 0xF0:
            place = self.timecode.full(message, time)
            return None if place is None else self._place(place, time)
        return None

    def look(self, now: float) -> News:
        """Return what silence says."""
        out: News = []
        if self.timecode.stopped(now):
            time = self.timecode.heard
            self._by_timecode = False
            out.append(("timecode/playing", False, time))
            if not self.clock.playing:
                out.append(("transport/playing", False, time))
        was = self.clock.playing
        if self.clock.lost(now):
            self._tempo = None
            if was:
                out += self._playing(False, self.clock.heard)
        return out

    @property
    def moving(self) -> bool:
        """Say whether the device plays."""
        return self.clock.playing or self.timecode.playing

    def _tick(self, time: float) -> News:
        self.clock.tick(time)
        out: News = []
        tempo = self.clock.tempo
        if tempo is not None and (self._tempo is None or abs(tempo - self._tempo) > self._near()):
            self._tempo = round(tempo, 2)
            out += [("transport/tempo", self._tempo, time), ("clock/tempo", self._tempo, time)]
        if self.clock.playing:
            beats = self.clock.beats
            self._seconds += (beats - self._beats) * 60.0 / (self._tempo or 120.0)
            self._beats = beats
            if time - self._told["clock"] >= EVERY_S:
                out += self._where(time)
        return out

    def _near(self) -> float:
        return max(_NEAR, 4.0 * self.clock.uncertainty)

    def _moved(self, status: int, time: float) -> News:
        if status == STOP:
            self.clock.stop()
            return self._where(time) + self._playing(False, time)
        if status == START:
            self.clock.start()
        else:
            self.clock.go_on()
        return self._located(time) + self._playing(True, time)

    def _located(self, time: float) -> News:
        self._beats = self.clock.beats
        self._seconds = self._beats * 60.0 / (self._tempo or 120.0)
        return self._where(time)

    def _where(self, time: float) -> News:
        self._told["clock"] = time
        out: News = [(BEATS, self._beats, time)]
        if not self._by_timecode:
            out.append(("transport/position", self._seconds, time))
        return out

    def _playing(self, playing: bool, time: float) -> News:
        out: News = [("clock/playing", playing, time)]
        if not self._by_timecode:
            out.append(("transport/playing", playing, time))
        return out

    def _place(self, place: Place | None, time: float) -> News:
        if place is None:
            return []
        moves = self.timecode.playing
        began = moves and not self._by_timecode
        self._by_timecode = moves
        if not (began or place.jumped or not moves or time - self._told["timecode"] >= EVERY_S):
            return []
        self._told["timecode"] = time
        seconds = max(0.0, place.seconds)
        out: News = [(RATE, place.rate.name, time), ("timecode/position", seconds, time)]
        out.append(("transport/position", seconds, time))
        if moves:
            out += [("timecode/playing", True, time), ("transport/playing", True, time)]
        return out
