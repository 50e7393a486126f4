"""What the parts of a landscape have in common: where the light stands, where the land begins, how far is pale."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from lightfast_providers.studio.canvas import Canvas, Point
from lightfast_providers.studio.color import Color, lightness, mix, shade
from lightfast_providers.studio.palette import Palette
from lightfast_providers.studio.words import LOW_SUNS, Reading

Place = Callable[[float, float], Point]
"""From fractions of the picture to a point."""


class Scene:
    """One landscape."""

    def __init__(self, canvas: Canvas, palette: Palette, reading: Reading) -> None:
        self.canvas, self.palette, self.reading = canvas, palette, reading
        self.chance = canvas.chance
        self.subjects = set(reading.subjects)
        self.dark = reading.dark or bool({"stars", "moon", "aurora"} & self.subjects and "sun" not in self.subjects)
        self.horizon = self.chance.uniform(0.56, 0.66)
        low = bool(set(reading.moods) & LOW_SUNS) or bool({"water", "waves"} & self.subjects)
        self.light_x = self.chance.choice((self.chance.uniform(0.2, 0.4), self.chance.uniform(0.6, 0.8)))
        self.light_y = self.horizon - (self.chance.uniform(0.08, 0.16) if low else self.chance.uniform(0.3, 0.42))
        self.haze = (
            mix(palette.tones[3], palette.light, 0.3)
            if not self.dark
            else mix(palette.tones[2], palette.tones[3], 0.25)
        )

    def tone(self, depth: float) -> Color:
        """Return the color of land at *depth*: 0 is far and melts into the haze, 1 is near and dark."""
        near = self.palette.dark if not self.dark else shade(self.palette.dark, min(0.14, lightness(self.palette.dark)))
        middle = mix(self.palette.tones[1], self.palette.tones[2], 0.35)
        far = mix(self.haze, middle, 0.4)
        return mix(far, middle, depth * 2) if depth < 0.5 else mix(middle, near, depth * 2 - 1)


def swell(chance: Random, base: float, height: float, waves: float, *, sharp: bool = False) -> list[Point]:
    """Return a smooth line of 81 points around *base*."""
    parts = [
        (waves * factor, weight, chance.uniform(0, 6.28)) for factor, weight in ((1, 1.0), (2.3, 0.4), (4.1, 0.15))
    ]

    def value(x: float) -> float:
        total = sum(weight * math.sin(x * 6.28 * frequency + phase) for frequency, weight, phase in parts)
        return -abs(total) if sharp else total

    return [(step / 80, base - height * value(step / 80) * (-1 if sharp else 1)) for step in range(81)]
