"""Fader laws: the ways programs and consoles map the position of a fader, 0 to 1, to a level.

Each law is a pair of functions between a position and a linear gain (1 is 0 dB); position 0 is silence, a gain of 0,
-∞ dB. A gain too small for the law is position 0; one above its top raises `ValueError`, for there is no such position.

- **Ardour**: `position = ((6·log2(gain) + 192) / 198)^8`, unity at 0.7818, the top, 1, at a gain of 2 (+6.02 dB). From
  Ardour's own `gain_to_slider_position` (in its utils.h, later pbd/control_math.h), and as Ardour 7.3 answers: a fader
  written 0.5 comes back as a gain of -10.469 dB.
- **Ableton Live**: `dB = 40·position - 34` from -18 dB (0.4) to +6 dB (1), unity at 0.85; below that Live publishes
  no formula, and the law is a line through levels read from Live every 3 dB (the fit in issue 44 of
  ideoforms/AbletonOSC goes through the same points within 0.3 dB, and gives the shape below -63 dB). The least
  level is -70 dB, at 0.
- **Behringer X32, Midas M32, X Air**: four straight lines in dB with corners at 0.0625 (-60 dB), 0.25 (-30 dB) and 0.5
  (-10 dB), from -90 dB to +10 dB, as the unofficial X32 OSC protocol of Patrick-Gilles Maillot gives them.

REAPER's law is left out: its functions `DB2SLIDER` and `SLIDER2DB` are published by name only, and the range of its
faders is a setting of the user's. Its OSC also speaks dB (`/track/1/volume/db`), which needs no law.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence

Function = Callable[[float], float]


def db_to_gain(level: float) -> float:
    """Return the linear gain of *level* in dB; -∞ dB is 0."""
    return math.pow(10.0, level / 20.0)


def gain_to_db(gain: float) -> float:
    """Return the level of a linear *gain* in dB, -∞ for 0; raise `ValueError` for a negative one."""
    if gain < 0:
        raise ValueError(f"a gain of {gain:g} has no level in dB")
    return 20.0 * math.log10(gain) if gain > 0 else -math.inf


def _position(position: float) -> float:
    if not -1e-6 <= position <= 1.0 + 1e-6:
        raise ValueError(f"a fader goes from 0 to 1, and this is {position:g}")
    return min(max(position, 0.0), 1.0)


def _too_loud(gain: float, top: float) -> ValueError:
    return ValueError(f"{gain_to_db(gain):+.2f} dB is above the top of the fader, {top:+.2f} dB")


def ardour_to_gain(position: float) -> float:
    """Return the gain at *position* of a fader of Ardour."""
    position = _position(position)
    return math.pow(2.0, (math.pow(position, 0.125) * 198.0 - 192.0) / 6.0) if position > 0 else 0.0


def gain_to_ardour(gain: float) -> float:
    """Return the position of a fader of Ardour at *gain*."""
    if gain > 2.0 * (1 + 1e-6):
        raise _too_loud(gain, 20.0 * math.log10(2.0))
    if gain < 0:
        raise ValueError(f"a gain of {gain:g} has no level in dB")
    share = (6.0 * math.log2(gain) + 192.0) / 198.0 if gain > 0 else 0.0
    return min(math.pow(share, 8.0), 1.0) if share > 0 else 0.0


def _by_points(points: Sequence[tuple[float, float]]) -> tuple[Function, Function]:
    """Return the law of straight lines in dB through *points* of position and level, and its inverse."""
    positions, levels = [p for p, _ in points], [level for _, level in points]

    def to_gain(position: float) -> float:
        position = _position(position)
        return db_to_gain(_between(positions, levels, position)) if position > 0 else 0.0

    def to_position(gain: float) -> float:
        level = gain_to_db(gain)
        if level > levels[-1] + 1e-5:
            raise _too_loud(gain, levels[-1])
        return _between(levels, positions, min(level, levels[-1])) if level > levels[0] else 0.0

    return to_gain, to_position


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    index = min(max(bisect.bisect_right(xs, x), 1), len(xs) - 1)
    low, high = xs[index - 1], xs[index]
    share = (x - low) / (high - low)
    return ys[index - 1] + (ys[index] - ys[index - 1]) * share


_LIVE = (
    (0.0, -70.0),
    (0.00268, -68.5),
    (0.00838, -66.5),
    (0.01356, -65.0),
    (0.021346, -63.0),
    (0.034624, -60.0),
    (0.051012, -57.0),
    (0.067786, -54.0),
    (0.085236, -51.0),
    (0.103536, -48.0),
    (0.122717, -45.0),
    (0.142882, -42.0),
    (0.164219, -39.0),
    (0.187037, -36.0),
    (0.211630, -33.0),
    (0.238439, -30.0),
    (0.268256, -27.0),
    (0.302414, -24.0),
    (0.343664, -21.0),
    (0.4, -18.0),
    (1.0, 6.0),
)
_X32 = ((0.0, -90.0), (0.0625, -60.0), (0.25, -30.0), (0.5, -10.0), (1.0, 10.0))

ableton_to_gain, gain_to_ableton = _by_points(_LIVE)
x32_to_gain, gain_to_x32 = _by_points(_X32)

LAWS: dict[str, tuple[Function, Function]] = {
    "ardour": (ardour_to_gain, gain_to_ardour),
    "ableton": (ableton_to_gain, gain_to_ableton),
    "x32": (x32_to_gain, gain_to_x32),
}
"""The laws by name: from a position to a gain, and back. Their units are `gain.fader.NAME`."""
