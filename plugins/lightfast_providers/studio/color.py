"""Colors in OKLab, where equal steps look equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

Color = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""
Lab = tuple[float, float, float]


def from_hex(text: str) -> Color:
    """Return the color of six hex digits.

    >>> from_hex("ff8000")
    (255, 128, 0)
    """
    return int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16)


def to_lab(color: Color) -> Lab:
    """Return *color* in OKLab: lightness 0 to 1, and two axes of hue."""
    red, green, blue = (_linear(channel / 255) for channel in color)
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    medium = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * medium - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * medium + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * medium - 0.8086757660 * short,
    )


def from_lab(lab: Lab) -> Color:
    """Return the nearest color that a screen can show."""
    lightness, a, b = lab
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (round(255 * _gamma(min(1.0, max(0.0, channel)))) for channel in linear)
    return red, green, blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def _gamma(channel: float) -> float:
    return float(12.92 * channel if channel <= 0.0031308 else 1.055 * channel ** (1 / 2.4) - 0.055)


def lightness(color: Color) -> float:
    """Return how light *color* looks, 0 to 1."""
    return to_lab(color)[0]


def mix(left: Color, right: Color, amount: float) -> Color:
    """Return the color *amount* of the way from *left* to *right*, 0 to 1."""
    one, two = to_lab(left), to_lab(right)
    return from_lab(
        (_between(one[0], two[0], amount), _between(one[1], two[1], amount), _between(one[2], two[2], amount))
    )


def shade(color: Color, light: float, chroma: float = 1.0, turn: float = 0.0) -> Color:
    """Return *color* at another lightness (0 to 1), its chroma multiplied, its hue turned by degrees."""
    _, a, b = to_lab(color)
    angle = math.atan2(b, a) + math.radians(turn)
    size = math.hypot(a, b) * chroma
    return from_lab((light, size * math.cos(angle), size * math.sin(angle)))


def ramp(colors: Sequence[Color], count: int) -> list[Color]:
    """Return *count* colors that run evenly through *colors*."""
    last = len(colors) - 1
    steps = []
    for index in range(count):
        position = index / max(1, count - 1) * last
        left = min(int(position), last - 1) if last else 0
        steps.append(mix(colors[left], colors[min(left + 1, last)], position - left))
    return steps


def _between(one: float, two: float, amount: float) -> float:
    return one + (two - one) * amount
