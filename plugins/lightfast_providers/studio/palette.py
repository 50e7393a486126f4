"""The colors of a picture: five from dark to light, and one that stands out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from lightfast_providers.studio.color import Color, from_hex, lightness, mix, shade, to_lab
from lightfast_providers.studio.words import COLORS, LANDSCAPE, MOODS, SUBJECTS, Reading

_GRAY = 0.035
_CHANCE = (
    "sunset",
    "ocean",
    "retro",
    "dreamy",
    "forest",
    "autumn",
    "summer",
    "cold",
    "happy",
    "space",
    "calm",
    "royal",
)


@dataclass(frozen=True, slots=True)
class Palette:
    """*tones* run from dark to light; *accent* stands out; *named* are the colors the prompt asked for."""

    tones: tuple[Color, Color, Color, Color, Color]
    accent: Color
    named: tuple[Color, ...] = ()

    @property
    def dark(self) -> Color:
        """The darkest tone."""
        return self.tones[0]

    @property
    def light(self) -> Color:
        """The lightest tone."""
        return self.tones[-1]

    def pick(self, chance: Random) -> Color:
        """Return a color that is seen on most grounds: a named one first, else one of the middle."""
        return chance.choice(self.named or (*self.tones[1:4], self.accent))


def _moods(reading: Reading) -> tuple[str, ...]:
    """Return the moods that color the picture: a place that is drawn (`ocean`) yields to a mood that is said."""
    said = tuple(mood for mood in reading.moods if mood not in SUBJECTS)
    return said or reading.moods


def choose(reading: Reading, chance: Random) -> Palette:
    """Return the palette of a prompt; where it names neither color nor mood, chance picks a mood."""
    named = tuple(from_hex(COLORS[name]) for name in reading.colors)
    if named and not reading.moods and (beneath := _beneath(reading)):
        return _under(beneath, said=bool(reading.ground))
    if not named:
        moods = _moods(reading) or (chance.choice(_CHANCE),)
        return _of_moods(moods)
    if not reading.moods:
        return _of_colors(named)
    base = _of_moods(_moods(reading))
    tones = [mix(tone, shade(_nearest(named, index), lightness(tone)), 0.5) for index, tone in enumerate(base.tones)]
    accent = max(named, key=_chroma)
    return Palette((tones[0], tones[1], tones[2], tones[3], tones[4]), accent, named)


def _beneath(reading: Reading) -> tuple[Color, ...]:
    """Return the colors of the ground, where the others belong to the shapes that stand on it."""
    if set(reading.subjects) & LANDSCAPE:
        return ()
    if reading.ground:
        return tuple(from_hex(COLORS[name]) for name in reading.ground)
    if {color for _, color in reading.bound} != set(reading.colors):
        return ()
    # All colors are spoken for: the ground is a quiet relative of the first, far from it in lightness.
    first = from_hex(COLORS[reading.colors[0]])
    level = 0.84 if lightness(first) < 0.68 else 0.32
    return (shade(first, level, 0.3, 25), shade(first, level - 0.14, 0.42, -25))


def _under(beneath: tuple[Color, ...], *, said: bool) -> Palette:
    tones = list(_of_colors(beneath).tones)
    if not said:  # a quiet ground stays on its side of the light
        start = 0.6 if lightness(beneath[0]) > 0.6 else 0.16
        tones = [shade(tone, start + 0.08 * index) for index, tone in enumerate(tones)]
    return Palette(
        (tones[0], tones[1], tones[2], tones[3], tones[4]), max(beneath, key=_chroma), beneath if said else ()
    )


def _of_moods(moods: tuple[str, ...]) -> Palette:
    lists = [[from_hex(text) for text in MOODS[mood].split()] for mood in moods[:2]]
    tones = lists[0]
    if len(lists) == 2:
        tones = [mix(one, two, 0.4) for one, two in zip(lists[0], lists[1], strict=True)]
    return Palette((tones[0], tones[1], tones[2], tones[3], tones[4]), max(tones, key=_chroma))


def _of_colors(named: tuple[Color, ...]) -> Palette:
    levels = (0.2, 0.38, 0.56, 0.76, 0.94)
    tones: list[Color] = []
    ordered = sorted(named, key=lightness)
    for index, level in enumerate(levels):
        own = ordered[min(len(ordered) - 1, index * len(ordered) // len(levels))]
        # The hue drifts a little with the light, as it does outdoors: cooler shadows, warmer lights.
        drift = (index - 2) * (9 if _chroma(own) > _GRAY else 0)
        chroma = (0.75, 1.0, 1.05, 0.85, 0.3)[index]
        tones.append(shade(own, level, chroma, _toward_warm(own, drift)))
    for color in named:  # the colors that were asked for are there as they are
        nearest = min(range(1, 4), key=lambda index, color=color: abs(levels[index] - lightness(color)))  # type: ignore[misc]
        tones[nearest] = color
    accent = max(named, key=_chroma)
    if len(named) == 1:
        accent = shade(accent, 0.8, 1.1, 40) if _chroma(accent) > _GRAY else shade(accent, 0.9)
    return Palette((tones[0], tones[1], tones[2], tones[3], tones[4]), accent, named)


def _nearest(named: tuple[Color, ...], index: int) -> Color:
    return named[index % len(named)]


def _chroma(color: Color) -> float:
    _, a, b = to_lab(color)
    return math.hypot(a, b)


def _toward_warm(color: Color, degrees: float) -> float:
    """Return *degrees* with the sign that turns the hue toward yellow for a positive value."""
    _, a, b = to_lab(color)
    hue = math.degrees(math.atan2(b, a))
    return degrees if ((95 - hue + 180) % 360 - 180) > 0 else -degrees
