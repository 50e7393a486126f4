"""MIDI clock: 24 ticks to the beat, start, continue, stop, and the song position; what comes in, made into a tempo.

A tick carries no time: it comes late by what stands before it in the wire, the driver and this process. So the tempo
is the slope of a line through the last ticks (four beats), cut back to the newest where these leave it together.
"""

from __future__ import annotations

import math

from lightfast_bridges.midi.line import Line

TICK, START, CONTINUE, STOP, SONG_POSITION = 0xF8, 0xFA, 0xFB, 0xFC, 0xF2
TICKS = 24
"""Ticks in a beat; a song position counts six of them, a sixteenth."""
SIXTEENTH = 6
_LINE = 4 * TICKS
_ENOUGH = 12
"""Ticks before a tempo is said: half a beat."""
_RECENT = 8
_LOST_S = 0.5
"""The slowest tempo, 20 beats a minute, ticks every 125 ms; after so many seconds without a tick, there is none."""
_LEAST = 0.02
"""How far from the line, in ticks, new ticks may always be: less is noise, whatever the deviation of the others."""
TEMPO = (20.0, 999.0)


def song_position(sixteenths: int) -> bytes:
    """Return the message that says where the next continue begins; raise `ValueError` beyond 16383 sixteenths."""
    if not 0 <= sixteenths < 1 << 14:
        raise ValueError(f"a song position goes to 16383 sixteenths, not {sixteenths}")
    return bytes((SONG_POSITION, sixteenths & 127, sixteenths >> 7))


class ClockReader:
    """Follows a clock. Times are monotonic seconds, positions beats."""

    def __init__(self) -> None:
        self.playing = False
        self.ticks = 0
        """The number of the last tick since the start of the song; the one after start is 0."""
        self.heard = 0.0
        self._line = Line(_LINE)
        self._count = 0
        self._pending = 0

    def tick(self, time: float) -> None:
        """Take a tick."""
        if time - self.heard > _LOST_S:
            self._line.clear()
        self.heard = time
        self._count += 1
        self._line.add(time, self._count)
        if len(self._line) >= _ENOUGH + _RECENT:
            self._follow_change()
        if self.playing:
            self.ticks = self._pending
            self._pending += 1

    def start(self) -> None:
        """Play from the beginning: the next tick is the first."""
        self.playing, self.ticks, self._pending = True, 0, 0

    def go_on(self) -> None:
        """Play from the song position: the next tick is there."""
        self.playing, self.ticks = True, self._pending

    def stop(self) -> None:
        """Stand still."""
        self.playing = False

    def locate(self, sixteenths: int) -> None:
        """Go to a song position."""
        self.ticks = self._pending = sixteenths * SIXTEENTH

    def lost(self, now: float) -> bool:
        """Say, once, that no tick has come for so long that there is no clock any more."""
        if not len(self._line) or now - self.heard <= _LOST_S:
            return False
        self._line.clear()
        self.playing = False
        return True

    @property
    def tempo(self) -> float | None:
        """Return the beats per minute, rounded to what the jitter leaves; None before that is known."""
        if len(self._line) < _ENOUGH:
            return None
        found = self._line.slope(0.0) * 60.0 / TICKS
        return found if TEMPO[0] * 0.9 <= found <= TEMPO[1] * 1.1 else None

    @property
    def jitter(self) -> float:
        """Return the standard deviation of the ticks' times from a steady tempo, in seconds."""
        slope = self._line.slope(0.0)
        return self._line.spread() / slope if slope > 0 else 0.0

    @property
    def uncertainty(self) -> float:
        """Return the standard error of the tempo, in beats per minute: jitter, over so many ticks."""
        many = len(self._line)
        return self._line.spread() * 60.0 / TICKS * math.sqrt(12.0 / many) / self._span() if many > 2 else TEMPO[1]

    @property
    def beats(self) -> float:
        """Return where the song was at the last tick."""
        return self.ticks / TICKS

    def _follow_change(self) -> None:
        """Forget the ticks of another tempo: where the newest leave the line together, and further each time."""
        errors, spread = self._line.ahead(_RECENT)
        if len(errors) < _RECENT:
            return
        one_side = all(error > 0 for error in errors) or all(error < 0 for error in errors)
        if one_side and abs(sum(errors[-4:])) / 4 > max(_LEAST, 3.0 * spread) and abs(errors[-1]) > abs(errors[0]):
            self._line.keep(_RECENT)

    def _span(self) -> float:
        """Return how many seconds the ticks of the line take."""
        slope = self._line.slope(0.0)
        return len(self._line) / slope if slope > 0 else 1e-3
