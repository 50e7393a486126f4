"""Ardour's fader law: where a fader stands for a gain, and back.

A gain of g (a factor) stands at ((6 * log2(g * 2 / top) + 192) / 198) ** 8 of the travel, where *top* is the gain
at the upper end: 2 (+6.02 dB) as Ardour is delivered, 10 (+20 dB) where the user has chosen the longer fader.
"""

from __future__ import annotations

import math

TOP = 2.0
"""The factor at the upper end of a fader, as Ardour is delivered."""
SILENCE = -200.0
"""What Ardour calls a gain of minus infinity, in dB."""


def position(decibels: float, top: float = TOP) -> float:
    """Return where the fader stands (0 to 1) for a gain in dB."""
    if decibels <= SILENCE:
        return 0.0
    base = (6.0 * (decibels / 20.0 * math.log2(10.0) + math.log2(2.0 / top)) + 192.0) / 198.0
    return math.pow(base, 8.0) if base > 0 else 0.0


def decibels(position: float, top: float = TOP) -> float:
    """Return the gain in dB of a fader that stands at *position* (0 to 1); silence is -200."""
    if position <= 0:
        return SILENCE
    octaves = (198.0 * math.pow(position, 0.125) - 192.0) / 6.0 + math.log2(top / 2.0)
    return max(SILENCE, 20.0 * octaves / math.log2(10.0))


def top_of(position: float, decibels: float) -> float | None:
    """Return the gain at the upper end, where a known pair lets it be told."""
    if position < 0.001:
        return None
    octaves = (198.0 * math.pow(position, 0.125) - 192.0) / 6.0
    return 2.0 * math.pow(2.0, decibels / 20.0 * math.log2(10.0) - octaves)
