"""What is due on the wire, and when: clock ticks and quarter frames of a timeline that this daemon leads.

Nothing here waits or sends; `sender` does. Times are monotonic seconds. A song position can only name sixteenths, and
timecode every second frame: so after a start both begin at the next one, exactly there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lightfast_bridges.midi.clock import CONTINUE, SIXTEENTH, START, STOP, TICK, TICKS, song_position
from lightfast_bridges.midi.timecode import Rate, full_frame, quarter_frame

MAX_SIXTEENTHS = 16_383
"""Where song positions end: 1023 bars and a bit. Beyond, a clock goes on, but its place cannot be told."""
_NEARLY = 1e-6
MAX_LATE = 0.5
"""What was due so many seconds ago is not made up for: the machine slept, and a burst would be no clock."""


@dataclass(frozen=True, slots=True)
class Due:
    """Messages to send at *time*."""

    time: float
    messages: tuple[bytes, ...]


class Schedule:
    """The timeline: its position, tempo, and whether it plays. *clock* and *rate* say what of it is sent."""

    def __init__(self, *, clock: bool, rate: Rate | None, tempo: float = 120.0) -> None:
        self.clock = clock
        self.rate = rate
        self.tempo = tempo
        self.playing = False
        self.ticking = False
        """Ticks go out while it stands, too, so that who follows knows the tempo."""
        self._at = 0.0
        self._seconds = 0.0
        self._beats = 0.0
        self._tick = 0
        self._start = -1
        self._free = 0.0
        self._quarter = 0

    def seconds(self, now: float) -> float:
        """Return the position at *now*, in seconds."""
        return self._seconds + (now - self._at if self.playing else 0.0)

    def beats(self, now: float) -> float:
        """Return the position at *now*, in beats."""
        return self._beats + ((now - self._at) * self.tempo / 60.0 if self.playing else 0.0)

    # What is wished. Each returns the messages that go out at once.

    def play(self, now: float) -> list[bytes]:
        """Go on from where it is."""
        if self.playing:
            return []
        self._anchor(now)
        self.playing = True
        return self._begin()

    def stop(self, now: float) -> list[bytes]:
        """Stand still here."""
        if not self.playing:
            return []
        self._free = self._time_of_tick() if self.clock else now
        self._anchor(now)
        self.playing = False
        out = [bytes((STOP,))] if self.clock and self._start < 0 else []
        return out + self._place()

    def seek(self, now: float, seconds: float) -> list[bytes]:
        """Go to *seconds*; beats are read at the tempo of now."""
        return self._go(now, seconds, seconds * self.tempo / 60.0)

    def seek_beats(self, now: float, beats: float) -> list[bytes]:
        """Go to *beats*."""
        return self._go(now, beats * 60.0 / self.tempo, beats)

    def set_tempo(self, now: float, tempo: float) -> list[bytes]:
        """Go on at *tempo*; a tick that is on its way keeps its place in the song."""
        left = max(0.0, self._free - now) * self.tempo / tempo
        self._anchor(now)
        self.tempo = tempo
        self._free = now + left
        self.ticking = True
        return []

    def set_rate(self, now: float, rate: Rate | None) -> list[bytes]:
        """Send timecode at *rate* from now on, or none."""
        self._anchor(now)
        self.rate = rate
        if self.playing:
            self._begin_timecode()
        return self._place_timecode()

    def quiet(self) -> None:
        """Send no ticks while it stands: somebody else does."""
        self.ticking = False

    def _go(self, now: float, seconds: float, beats: float) -> list[bytes]:
        running = self.playing and self.clock and self._start < 0
        out = [bytes((STOP,))] if running else []
        self._at, self._seconds, self._beats = now, max(0.0, seconds), max(0.0, beats)
        return out + (self._begin() if self.playing else self._place())

    # What is due.

    def next_time(self) -> float | None:
        """Return when the next messages are due; None when nothing is."""
        times = [self._time_of_tick()] if self.clock and (self.playing or self.ticking) else []
        if self.rate is not None and self.playing:
            times.append(self._time_of_quarter(self.rate))
        return min(times) if times else None

    def take(self, now: float) -> Due | None:
        """Return what is due by *now*, one moment at a time, and count on."""
        due = self.next_time()
        if due is None or due > now:
            return None
        out: list[bytes] = []
        if self.clock and (self.playing or self.ticking) and self._time_of_tick() <= due + _NEARLY:
            out += self._take_tick()
        if self.rate is not None and self.playing and self._time_of_quarter(self.rate) <= due + _NEARLY:
            number, piece = divmod(self._quarter, 8)
            out.append(quarter_frame(self.rate, number * 2, piece))
            self._quarter += 1
        return Due(due, tuple(out))

    def catch_up(self, now: float) -> list[bytes] | None:
        """Leave out what was due too long ago, and return what tells who follows the new place; None without such."""
        due = self.next_time()
        if due is None or now - due <= MAX_LATE:
            return None
        self._free = now
        return self._go(now, self.seconds(now), self.beats(now)) if self.playing else []

    def _take_tick(self) -> list[bytes]:
        if not self.playing:
            self._free += 60.0 / (TICKS * self.tempo)
            return [bytes((TICK,))]
        tick, self._tick = self._tick, self._tick + 1
        if tick != self._start:
            return [bytes((TICK,))]
        self._start = -1
        return [bytes((CONTINUE if tick else START,)), bytes((TICK,))]

    def _time_of_tick(self) -> float:
        if not self.playing:
            return self._free
        return self._at + (self._tick / TICKS - self._beats) * 60.0 / self.tempo

    def _time_of_quarter(self, rate: Rate) -> float:
        return self._at + rate.seconds(self._quarter) - self._seconds

    def _begin(self) -> list[bytes]:
        self.ticking = True
        self._tick = self._next_tick()
        self._start = (
            -(-self._tick // SIXTEENTH) * SIXTEENTH
        )  # from the tick: rounded by itself, it could lie before it
        self._begin_timecode()
        out: list[bytes] = []
        if self.clock and 0 < self._start // SIXTEENTH <= MAX_SIXTEENTHS:
            out.append(song_position(self._start // SIXTEENTH))
        return out + self._place_timecode()

    def _begin_timecode(self) -> None:
        if self.rate is not None:
            self._quarter = math.ceil(self.rate.quarters(self._seconds) / 8 - _NEARLY) * 8

    def _next_tick(self) -> int:
        return math.ceil(self._beats * TICKS - _NEARLY)

    def _place(self) -> list[bytes]:
        sixteenths = -(-self._next_tick() // SIXTEENTH)
        told = self.clock and sixteenths <= MAX_SIXTEENTHS
        return ([song_position(sixteenths)] if told else []) + self._place_timecode()

    def _place_timecode(self) -> list[bytes]:
        if self.rate is None:
            return []
        return [full_frame(self.rate, math.floor(self.rate.quarters(self._seconds) / 4 + _NEARLY))]

    def _anchor(self, now: float) -> None:
        self._at, self._seconds, self._beats = now, self.seconds(now), self.beats(now)
