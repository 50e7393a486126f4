"""Frame rates, and positions as frames and SMPTE timecode."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from lightfast.core.errors import InvalidArgument

_TEXT = re.compile(r"(\d{1,2}):([0-5]?\d):([0-5]?\d)([:;.])(\d{1,2})", re.ASCII)
_NEARLY = 1e-6
"""Frames that a position may fall short of a whole one and still count as there: floats round."""


@dataclass(frozen=True, slots=True)
class FrameRate:
    """A frame rate: *nominal* frames are counted in each second of timecode, *exact* pass in a real one.

    Drop-frame timecode leaves out the first two numbers (four at 59.94) of each minute but every tenth,
    so that it keeps to the wall clock; no frame is dropped.
    """

    name: str
    nominal: int
    exact: Fraction
    drop: bool = False

    @property
    def fps(self) -> float:
        """Return the exact frames per second."""
        return float(self.exact)

    @property
    def left_out(self) -> int:
        """Return how many numbers a minute leaves out."""
        return self.nominal // 15 if self.drop else 0

    @property
    def day(self) -> int:
        """Return how many frames of timecode a day has."""
        return 24 * 6 * (self.nominal * 600 - 9 * self.left_out)


def _pulled_down(nominal: int) -> Fraction:
    return Fraction(nominal * 1000, 1001)


FRAME_RATES = {
    rate.name: rate
    for rate in (
        FrameRate("23.976", 24, _pulled_down(24)),
        FrameRate("24", 24, Fraction(24)),
        FrameRate("25", 25, Fraction(25)),
        FrameRate("29.97", 30, _pulled_down(30)),
        FrameRate("29.97df", 30, _pulled_down(30), drop=True),
        FrameRate("30", 30, Fraction(30)),
        FrameRate("48", 48, Fraction(48)),
        FrameRate("50", 50, Fraction(50)),
        FrameRate("59.94", 60, _pulled_down(60)),
        FrameRate("59.94df", 60, _pulled_down(60), drop=True),
        FrameRate("60", 60, Fraction(60)),
    )
}
"""All frame rates, by name."""
DEFAULT_RATE = FRAME_RATES["25"]


def frame_rate(name: str) -> FrameRate:
    """Return the frame rate called *name*; raise `InvalidArgument` that lists them."""
    if name not in FRAME_RATES:
        raise InvalidArgument(
            f"there is no frame rate {name!r:.20}: take one of {', '.join(FRAME_RATES)}", field="frame_rate"
        )
    return FRAME_RATES[name]


def frames_at(rate: FrameRate, seconds: float) -> int:
    """Return how many whole frames have passed at *seconds*."""
    return math.floor(seconds * rate.fps + _NEARLY)


def timecode_at(rate: FrameRate, seconds: float) -> str:
    """Return *seconds* as timecode, which begins anew each day; `;` before the frames says drop-frame."""
    number = frames_at(rate, seconds) % rate.day
    if rate.drop:
        number = _with_gaps(rate, number)
    second, frame = divmod(number, rate.nominal)
    mark = ";" if rate.drop else ":"
    return f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}{mark}{frame:02d}"


def seconds_at(rate: FrameRate, text: str) -> float:
    """Return where timecode *text* begins, in seconds; raise `InvalidArgument` for one that does not exist."""
    found = _TEXT.fullmatch(text.strip())
    if found is None:
        raise InvalidArgument(
            f"{text!r:.40} is no timecode: write HH:MM:SS:FF, or HH:MM:SS;FF for drop-frame", field="timecode"
        )
    hour, minute, second, frame = (int(found[group]) for group in (1, 2, 3, 5))
    if hour > 23 or frame >= rate.nominal:
        raise InvalidArgument(
            f"{text!r} does not exist at {rate.name} frames per second: hours go to 23, frames to {rate.nominal - 1}",
            field="timecode",
        )
    if found[4] == ";" and not rate.drop:
        raise InvalidArgument(f"{text!r} is drop-frame, and the frame rate is {rate.name}: write :", field="timecode")
    minutes = hour * 60 + minute
    number = (minutes * 60 + second) * rate.nominal + frame
    if rate.drop:
        if minute % 10 and second == 0 and frame < rate.left_out:
            raise InvalidArgument(
                f"{text!r} does not exist: drop-frame leaves out the first {rate.left_out} numbers of this minute",
                field="timecode",
            )
        number -= rate.left_out * (minutes - minutes // 10)
    return float(number / rate.exact)


def _with_gaps(rate: FrameRate, number: int) -> int:
    """Return the number that the frame *number*, counted from 0 without gaps, has in drop-frame timecode."""
    minute = rate.nominal * 60 - rate.left_out
    ten = minute * 10 + rate.left_out
    tens, rest = divmod(number, ten)
    number += tens * 9 * rate.left_out
    if rest >= rate.nominal * 60:
        number += rate.left_out * ((rest - rate.left_out) // minute)
    return number
