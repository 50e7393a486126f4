"""MIDI timecode: frame numbers and their bytes, and where a sender of quarter frames is.

A timecode takes eight quarter frames, so two frames, to be said. It names the frame at which the first of them was
sent; when the last one arrives, it is seven quarter frames old. So a reader adds these, and one quarter for each that
follows. Backwards the quarters come from the seventh to the zeroth, and the seven are taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from lightfast_bridges.midi.line import Line

QUARTER = 0xF1
FULL = bytes((0xF0, 0x7F, 0x7F, 0x01, 0x01))
_LOST_S = 0.25
"""Quarter frames come at least every 11 ms at normal speed; after so many seconds without one, the sender stopped."""
_LINE = 24
"""Quarter frames that a position is smoothed over: six frames."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A frame rate as MIDI knows it: *nominal* numbers in a second of timecode, *exact* frames in a real one."""

    name: str
    code: int
    nominal: int
    exact: Fraction
    drop: bool = False

    @property
    def day(self) -> int:
        """Return the frames of a day of timecode."""
        return self.number(23, 59, 59, self.nominal - 1) + 1

    def number(self, hour: int, minute: int, second: int, frame: int) -> int:
        """Return which frame since 00:00:00:00 has this timecode; raise `ValueError` where none has."""
        if not (0 <= hour < 24 and 0 <= minute < 60 and 0 <= second < 60 and 0 <= frame < self.nominal):
            raise ValueError(f"{hour:02d}:{minute:02d}:{second:02d}:{frame:02d} does not exist at {self.name}")
        minutes = hour * 60 + minute
        count = (minutes * 60 + second) * self.nominal + frame
        if not self.drop:
            return count
        if minute % 10 and not second and frame < 2:
            raise ValueError(f"drop-frame leaves {hour:02d}:{minute:02d}:00;{frame:02d} out")
        return count - 2 * (minutes - minutes // 10)

    def fields(self, number: int) -> tuple[int, int, int, int]:
        """Return hour, minute, second and frame of frame *number*, which begins anew each day."""
        number %= self.day
        if self.drop:
            tens, rest = divmod(number, 17_982)
            number += 18 * tens + (2 * ((rest - 2) // 1798) if rest >= 2 else 0)
        seconds, frame = divmod(number, self.nominal)
        return seconds // 3600, seconds // 60 % 60, seconds % 60, frame

    def seconds(self, quarters: float) -> float:
        """Return the seconds at which so many quarter frames have passed."""
        return quarters / 4.0 / float(self.exact)

    def quarters(self, seconds: float) -> float:
        """Return how many quarter frames have passed at *seconds*."""
        return seconds * 4.0 * float(self.exact)


RATES = {
    rate.name: rate
    for rate in (
        Rate("24", 0, 24, Fraction(24)),
        Rate("25", 1, 25, Fraction(25)),
        Rate("29.97df", 2, 30, Fraction(30_000, 1001), drop=True),
        Rate("30", 3, 30, Fraction(30)),
    )
}
"""The four rates that MIDI timecode has, by name."""
_BY_CODE = {rate.code: rate for rate in RATES.values()}


def quarter_frame(rate: Rate, number: int, piece: int) -> bytes:
    """Return the quarter frame *piece* (0 to 7) of the timecode of frame *number*."""
    hour, minute, second, frame = rate.fields(number)
    field = (frame, second, minute, hour | rate.code << 5)[piece // 2]
    return bytes((QUARTER, piece << 4 | (field >> 4 if piece % 2 else field & 15)))


def full_frame(rate: Rate, number: int) -> bytes:
    """Return the message that says where a sender is that stands or jumped."""
    hour, minute, second, frame = rate.fields(number)
    return FULL + bytes((rate.code << 5 | hour, minute, second, frame, 0xF7))


@dataclass(frozen=True, slots=True)
class Place:
    """Where the sender is: *seconds* of its timecode at *time* (monotonic); *speed* is 0 where it stands."""

    seconds: float
    time: float
    speed: float
    rate: Rate
    jumped: bool = False


class TimecodeReader:
    """Follows quarter frames and full frames. Times are monotonic seconds."""

    def __init__(self) -> None:
        self.rate = RATES["25"]
        self.jumps = 0
        self.playing = False
        self._nibbles = [0] * 8
        self._last = -1
        self._way = 0
        self._run = 0
        self._quarters: int | None = None
        self._heard = 0.0
        self._line = Line(_LINE)

    def quarter(self, data: int, time: float) -> Place | None:
        """Take the data byte of a quarter frame; return where the sender is, once that is known."""
        if time - self._heard > _LOST_S:
            self._forget()
        self._heard = time
        piece = data >> 4 & 7
        way = {1: 1, 7: -1}.get((piece - self._last) % 8, 0) if self._last >= 0 else 0
        if way and way == self._way:
            self._run += 1
        else:
            self._run, self._quarters = (2 if way else 1), None
            self._line.clear()
        self._way, self._last = way, piece
        self._nibbles[piece] = data & 15
        jumped = self._advance(piece)
        if self._quarters is None:
            return None
        self._line.add(time, self._quarters)
        self.playing = True
        return Place(self.rate.seconds(self._line.at(time)), time, self._speed(), self.rate, jumped)

    def full(self, data: bytes, time: float) -> Place | None:
        """Take a full frame: the sender stands there, until it says more; nothing for what is no full frame."""
        if len(data) != 10 or data[0] != 0xF0 or data[1] != 0x7F or data[3:5] != b"\1\1" or data[9] != 0xF7:
            return None
        rate = _BY_CODE[data[5] >> 5 & 3]
        try:
            number = rate.number(data[5] & 31, data[6], data[7], data[8])
        except ValueError:
            return None
        self._forget()
        self.rate = rate
        return Place(rate.seconds(number * 4), time, 0.0, rate, jumped=True)

    def stopped(self, now: float) -> bool:
        """Say, once, that a sender which played has fallen silent."""
        if not self.playing or now - self._heard <= _LOST_S:
            return False
        self._forget()
        return True

    @property
    def heard(self) -> float:
        """Return when the last quarter frame came."""
        return self._heard

    def _advance(self, piece: int) -> bool:
        """Count on; at the last piece, compare with what was said. Return whether the sender jumped."""
        before = self._quarters
        if before is not None:
            self._quarters = before + self._way
        if piece != (7 if self._way > 0 else 0) or self._run < 8:
            return False
        frame, second, minute, hour = (self._nibbles[at] | self._nibbles[at + 1] << 4 for at in (0, 2, 4, 6))
        rate = _BY_CODE[hour >> 5 & 3]
        try:
            said = rate.number(hour & 31, minute & 63, second & 63, frame & 31) * 4 + 7 * self._way
        except ValueError:
            return False  # a broken set: what was counted holds
        jumped = before is not None and (said != self._quarters or rate is not self.rate)
        if jumped:
            self.jumps += 1
            self._line.clear()
        self.rate, self._quarters = rate, said
        return jumped

    def _speed(self) -> float:
        return self._line.slope(self._way * 4.0 * float(self.rate.exact)) / (4.0 * float(self.rate.exact))

    def _forget(self) -> None:
        self._last, self._way, self._run, self._quarters = -1, 0, 0, None
        self.playing = False
        self._line.clear()
