"""Ranges onto each other: 0 to 1 in between, evenly or by ratios."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

Function = Callable[[float], float]

NORMAL: dict[str, tuple[float, float]] = {
    "normal": (0.0, 1.0),
    "percent": (0.0, 100.0),
    "byte": (0.0, 255.0),
    "midi.7bit": (0.0, 127.0),
    "midi.14bit": (0.0, 16383.0),
}
"""Units that say nothing but how much of the whole: their ranges. `byte` is what DMX sends, too."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range from *low* to *high*; *ratios* makes equal steps equal ratios, as for frequencies."""

    low: float
    high: float
    ratios: bool = False

    def __post_init__(self) -> None:
        """Raise `ValueError` for a range that nothing can be scaled to."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"a range of {self.low:g} to {self.high:g} cannot be scaled to")
        if self.ratios and self.low <= 0:
            raise ValueError(f"a range of {self.low:g} to {self.high:g} has no logarithmic scale: it must be above 0")

    def share(self, value: float) -> float:
        """Return how far *value* is from low (0) to high (1); raise `ValueError` where there is no such."""
        if not self.ratios:
            return (value - self.low) / (self.high - self.low)
        if value <= 0:
            raise ValueError(f"{value:g} lies on no logarithmic scale")
        return math.log(value / self.low) / math.log(self.high / self.low)

    def at(self, share: float) -> float:
        """Return the value at *share* of the way."""
        if not self.ratios:
            return self.low + (self.high - self.low) * share
        return self.low * math.pow(self.high / self.low, share)
