"""Colours in the forms applications keep them in, and the way from each to each.

| unit           | value                                                                                  |
|----------------|----------------------------------------------------------------------------------------|
| `color.linear` | vector of red, green, blue (and alpha), each 0 to 1, linear light, sRGB primaries       |
| `color.rgb`    | the same, encoded as sRGB (IEC 61966-2-1): what pickers and the web show                |
| `color.rgba8`  | the same as `color.rgb` in whole numbers of 0 to 255                                   |
| `color.hsv`    | vector of hue, saturation and value (and alpha) of the sRGB colour, each 0 to 1         |
| `color.hex`    | string `#RRGGBB` or `#RRGGBBAA`, 8 bits each, as OSCQuery writes colours                |

Alpha is never encoded, and is there on the way out where it was there on the way in; `color.hex` always has it.
Grey has no hue, so a hue is lost where the saturation or the value is 0: the colour is not. Linear light above 1
(an emitter) passes to `color.rgb` and back, and is cut at 1 on the way to 8 bits.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Callable
from functools import lru_cache

from lightfast_link.value import Value, kind_of

Whole = Callable[[Value], Value]
Rgba = tuple[float, ...]
"""Three or four numbers, encoded as sRGB."""

_HEX = re.compile(r"#(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")


def encode(light: float) -> float:
    """Return linear *light* as sRGB encodes it; negative light is mirrored, so that nothing is lost."""
    if light < 0:
        return -encode(-light)
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def decode(code: float) -> float:
    """Return the linear light of an sRGB *code*."""
    if code < 0:
        return -decode(-code)
    return code / 12.92 if code <= 12.92 * 0.0031308 else ((code + 0.055) / 1.055) ** 2.4


def _numbers(value: Value, what: str) -> Rgba:
    if isinstance(value, (tuple, list)) and len(value) in {3, 4} and all(type(x) in {int, float} for x in value):
        return tuple([float(x) for x in value])
    raise ValueError(f"a {what} is a vector of 3 or 4 numbers, not {value!r:.40} ({kind_of(value)})")


def _from_linear(value: Value) -> Rgba:
    numbers = _numbers(value, "colour")
    return (*[encode(x) for x in numbers[:3]], *numbers[3:])


def _to_linear(rgba: Rgba) -> Value:
    return (*[decode(x) for x in rgba[:3]], *rgba[3:])


def _from_hsv(value: Value) -> Rgba:
    hue, saturation, brightness, *alpha = _numbers(value, "colour of hue, saturation and value")
    return (*colorsys.hsv_to_rgb(hue % 1.0 if hue != 1.0 else 1.0, saturation, brightness), *alpha)


def _to_hsv(rgba: Rgba) -> Value:
    return (*colorsys.rgb_to_hsv(*rgba[:3]), *rgba[3:])


def _from_bytes(value: Value) -> Rgba:
    return tuple([x / 255.0 for x in _numbers(value, "colour of 0 to 255")])


def _byte(code: float) -> int:
    return round(min(max(code, 0.0), 1.0) * 255.0)


def _to_bytes(rgba: Rgba) -> Value:
    return tuple([float(_byte(x)) for x in rgba])


def _from_hex(value: Value) -> Rgba:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise ValueError(f"a colour is written #RRGGBB or #RRGGBBAA, not {value!r:.40}")
    return tuple([byte / 255.0 for byte in bytes.fromhex(value[1:])])


def _to_hex(rgba: Rgba) -> Value:
    return "#" + bytes(_byte(x) for x in (*rgba, 1.0)[:4]).hex().upper()


FORMS: dict[str, tuple[Callable[[Value], Rgba], Callable[[Rgba], Value]]] = {
    "color.linear": (_from_linear, _to_linear),
    "color.rgb": (lambda value: _numbers(value, "colour"), tuple),
    "color.rgba8": (_from_bytes, _to_bytes),
    "color.hsv": (_from_hsv, _to_hsv),
    "color.hex": (_from_hex, _to_hex),
}
"""The units of colour: from each to encoded sRGB, and back."""


@lru_cache(maxsize=64)
def colours_between(source: str, target: str) -> tuple[Whole, Whole] | None:
    """Return the way from unit *source* to *target* and back, for whole values; None where one is no colour."""
    if source == target or source not in FORMS or target not in FORMS:
        return None
    from_here, to_here = FORMS[source]
    from_there, to_there = FORMS[target]
    return (lambda value: to_there(from_here(value))), (lambda value: to_here(from_there(value)))
